"""Which effects and actions of a report ``--only`` names."""

import re
from collections.abc import Sequence

from auditor.effects import Effect
from auditor.errors import InputError
from auditor.plan.actions import ActionKey
from auditor.report.reproduction import Only
from auditor.report.schema import Report

KEY_DIGITS = re.compile(r"^[0-9a-f]{8,64}$")


def chosen_of(texts: Sequence[str], report: Report) -> Only | None:
    """Return what some texts name; None without any, which is everything.

    Args:
        texts: ``INTERVENTION on QUERY``, an intervention's label, a query's name, or at least 8
            digits that an action's key begins with.
        report: Whose effects and actions.

    Raises:
        InputError: If a text names nothing of the report.
    """
    if not texts:
        return None
    effects: dict[tuple[str, str], Effect] = {}
    keys: set[ActionKey] = set()
    known = _keys_of(report)
    for text in texts:
        rows = [effect for effect in report.effects if text in _names_of(effect)]
        own = {key for key in known if KEY_DIGITS.match(text) and key.startswith(text)}
        if not rows and not own:
            raise InputError(
                "--only",
                expected="an effect, intervention or query of the report, or a key's beginning",
                found=text,
                remedy="`stageaudit report show` lists the effects; `--json` has the keys.",
            )
        effects |= {(effect.query, effect.intervention): effect for effect in rows}
        keys |= own
    return Only(effects=tuple(effects.values()), keys=frozenset(keys))


def _names_of(effect: Effect) -> tuple[str, str, str]:
    return (f"{effect.intervention} on {effect.query}", effect.intervention, effect.query)


def _keys_of(report: Report) -> frozenset[ActionKey]:
    """Return the keys that a report names."""
    executions = None if report.run is None else report.run.executions
    groups = () if executions is None else executions.groups
    ran = {ActionKey(key) for group in groups for key in group.keys}
    return frozenset(ran | {ActionKey(key) for e in report.effects for key in e.action_keys})
