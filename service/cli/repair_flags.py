"""What a repair is asked for on the command line: interventions, goals, a fade to search for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.errors import InputError
from auditor.plan.repair import Goal
from auditor.plan.settings import FADE_LEVELS
from service.cli.audit_flags import absolute

Plain = dict[str, Any]

_GOAL = re.compile(r"^\s*(?P<query>.+?)\s*(?P<relation>[<>])\s*(?P<bound>[-+0-9.eE]+)\s*$")
_SEE = "See `stageaudit repair --help`."


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairFlags:
    """What the command line says; empty means not said."""

    skip: Sequence[str] = ()
    fade: Sequence[str] = ()
    replace: Sequence[str] = ()
    drop: Sequence[str] = ()
    until: Sequence[str] = ()
    keep: Sequence[str] = ()
    estimator: str | None = None
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairAsked:
    """A repair as a request document, and the stage whose fade is to be found, if there is one.

    The document's intervention is the one to carry out; with ``search`` it holds the levels to
    begin with.
    """

    document: Plain
    search: str | None
    goals: tuple[Goal, ...]


def parse_repair(document: Mapping[str, Any], flags: RepairFlags, *, log: str) -> RepairAsked:
    """Return what is asked, from a request file's fields and from flags.

    The file's queries are evaluated before and after; its intervention is carried out unless flags
    name others, which are then carried out together. Its estimator is not used: a repair retrains
    exactly unless ``--estimator`` says otherwise.

    Raises:
        InputError: If there is no intervention or more than one repair, or flags contradict.
    """
    plain = {**document, "log": absolute(log), "baselines": []}
    plain["estimator"] = _estimator(flags)
    goals = (
        *(_goal(text, of="value", flag="--until") for text in flags.until),
        *(_goal(text, of="change", flag="--keep") for text in flags.keep),
    )
    search = _searched(flags)
    given = _interventions(flags)
    if search is not None:
        if given:
            raise InputError(
                "--fade",
                expected=f"no other intervention beside the search for a fade of {search!r}",
                found="others",
                remedy="Search for one stage's fade, or give every level: --fade STAGE=ALPHA.",
            )
        if not goals:
            raise InputError(
                "--fade",
                expected=f"--until beside --fade {search}, or a level: --fade {search}=0.5",
                found="neither",
                remedy="Say what the fade is for: --until 'cue < 0.1' --keep 'accuracy > -0.01'.",
            )
        plain["interventions"] = [
            {"kind": "fade", "stage": search, "alpha": level} for level in FADE_LEVELS
        ]
    elif given:
        plain["interventions"] = given if len(given) == 1 else [{"kind": "joint", "parts": given}]
    elif not isinstance(plain.get("interventions"), list) or len(plain["interventions"]) != 1:
        raise InputError(
            "interventions",
            expected="one repair: --skip, --fade, --replace or --drop, or a request file with one "
            "intervention",
            found="none by flags, and not exactly one in the file",
            remedy=_SEE,
        )
    return RepairAsked(document=plain, search=search, goals=goals)


def _estimator(flags: RepairFlags) -> Plain:
    if flags.fraction is None:
        return {"id": flags.estimator or "retrain"}
    if flags.estimator not in {None, "subsampled_replay"}:
        raise InputError(
            "--fraction",
            expected="--estimator subsampled_replay beside it",
            found=flags.estimator,
            remedy="Leave --fraction out: exact retraining uses whole batches.",
        )
    return {"id": "subsampled_replay", "fraction": flags.fraction}


def _searched(flags: RepairFlags) -> str | None:
    """Return the stage of a ``--fade`` without a level."""
    open_fades = [text for text in flags.fade if "=" not in text]
    if len(open_fades) > 1:
        raise InputError(
            "--fade",
            expected="one stage without a level",
            found=", ".join(open_fades),
            remedy="Search for one stage's fade at a time.",
        )
    return open_fades[0] if open_fades else None


def _interventions(flags: RepairFlags) -> list[Plain]:
    found: list[Plain] = [{"kind": "skip", "stage": stage} for stage in flags.skip]
    for text in flags.fade:
        if "=" in text:
            stage, level = _split(text, "=", flag="--fade", form="STAGE=ALPHA")
            found.append({"kind": "fade", "stage": stage, "alpha": _number(level, flag="--fade")})
    for text in flags.replace:
        stage, data = _split(text, "=", flag="--replace", form="STAGE=DATA")
        found.append({"kind": "replace", "stage": stage, "reference": {"data": absolute(data)}})
    for text in flags.drop:
        stage, condition = _split(text, ":", flag="--drop", form="STAGE:COLUMN=VALUE")
        column, value = _split(condition, "=", flag="--drop", form="STAGE:COLUMN=VALUE")
        found.append({"kind": "drop", "stage": stage, "where": {column: value}})
    return found


def _goal(text: str, *, of: str, flag: str) -> Goal:
    match = _GOAL.match(text)
    if match is None:
        raise InputError(
            flag,
            expected="a query's name, < or >, and a number, such as 'cue < 0.1'",
            found=text,
            remedy=_SEE,
        )
    return Goal.model_validate({
        "query": match["query"],
        "of": of,
        "relation": match["relation"],
        "bound": _number(match["bound"], flag=flag),
    })


def _number(text: str, *, flag: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(flag, expected="a number", found=text, remedy=_SEE) from error


def _split(text: str, separator: str, *, flag: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not (left and found and right):
        raise InputError(flag, expected=form, found=text, remedy=_SEE)
    return left, right
