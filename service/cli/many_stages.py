"""One intervention on several stages, as request files write it: ``stage: all`` or a list."""

from collections.abc import Callable, Mapping
from typing import Any

from auditor.errors import InputError
from auditor.stagelog.log import Stage, StageLog

Plain = dict[str, Any]
ALL = "all"


def over_stages(plain: Plain, *, where: str, log: Callable[[], StageLog]) -> Plain:
    """Return an intervention on each stage that is meant, joined; one on one stage as it is.

    ``all`` means every stage, and of a ``drop`` every stage whose data can hold what is dropped.

    Args:
        plain: An intervention's fields; ``where`` is ``{columns: {column: [values]}}``.
        where: Its path in the request.
        log: Reads the log's manifest.

    Raises:
        InputError: If no stage is meant, or one twice.
    """
    stage = plain.get("stage")
    if stage == ALL:
        names = _all_stages(plain, log(), where=where)
    elif isinstance(stage, list):
        names = stage
    else:
        return plain
    if not names or any(names.count(name) > 1 for name in names):
        raise InputError(
            f"{where}.stage",
            expected="one or more stages, each once",
            found=", ".join(map(str, names)) or "none",
            remedy="Correct the list; `stageaudit log inspect` lists the stages.",
        )
    parts = [{**plain, "stage": name} for name in names]
    return parts[0] if len(parts) == 1 else {"kind": "joint", "parts": parts}


def _all_stages(plain: Plain, log: StageLog, *, where: str) -> list[str]:
    if any(stage.name == ALL for stage in log.stages):
        raise InputError(
            f"{where}.stage",
            expected="a word of one meaning",
            found=f"{ALL!r}, and a stage of that name",
            remedy=f"List the stages: `stage: [{ALL}]` is the stage of that name.",
        )
    if plain.get("kind") != "drop" or "where" not in plain:
        return [stage.name for stage in log.stages]
    columns = plain["where"]["columns"]
    return [stage.name for stage in log.stages if _can_hold(stage, columns, log=log)]


def _can_hold(stage: Stage, columns: Mapping[str, list[object]], *, log: StageLog) -> bool:
    """Say whether a stage's data may hold selected examples, as far as the manifest tells."""
    for dataset in (log.datasets[name] for name in stage.datasets):
        known = [dataset.columns.get(name) for name in columns]
        if all(
            column is not None
            and (column.categories is None or bool(set(values) & set(column.categories)))
            for column, values in zip(known, columns.values(), strict=True)
        ):
            return True
    return False
