"""Turn a manifest's bytes into a StageLog and refuse what contradicts itself."""

import re
from datetime import datetime

from auditor.errors import StageLogError, UnsupportedError
from auditor.stagelog.log import STAGELOG_SCHEMA, StageLog
from auditor.stagelog.rules_datasets import check_dataset
from auditor.stagelog.rules_parameters import check_parameters, check_transitions
from auditor.stagelog.rules_stages import check_stage, check_steps
from auditor.stagelog.strict_json import load_object, parse_record
from auditor.stagelog.unsupported import refuse_unsupported

STAGELOG_MINOR = 2
"""The newest minor version that this release writes."""

_MANIFEST = "stagelog.json"


def parse_manifest(data: bytes | memoryview) -> StageLog:
    """Return the log that a manifest describes: its form is checked, not yet its sense.

    Older minor versions are read. A newer minor version is read when it uses no field that is
    unknown here; a newer major version is not.

    Args:
        data: The manifest's bytes.

    Returns:
        The log; pass it to :func:`validate` next.

    Raises:
        StageLogError: If the bytes are no manifest; ``where`` is the path of the field.
        UnsupportedError: If the format is of another major version, or of a newer minor version
            that uses fields unknown here.
    """
    plain = load_object(data, where=_MANIFEST)
    _require_version(plain)
    try:
        return parse_record(StageLog, data, where=_MANIFEST)
    except StageLogError as error:
        minor = plain.get("minor", 0)
        if isinstance(minor, int) and minor > STAGELOG_MINOR:
            raise UnsupportedError(
                error.where,
                expected=f"fields of {STAGELOG_SCHEMA} up to minor version {STAGELOG_MINOR}",
                found=f"minor version {minor}",
                remedy=f"Upgrade stageaudit to a release that reads {STAGELOG_SCHEMA}.{minor}.",
            ) from error
        raise


def validate(log: StageLog) -> None:
    """Refuse a log whose parts contradict one another; needs no blobs.

    Checked: stages follow one another without gap or overlap and have at least one step; names
    are unique and known; parameters are in one group at most; transitions agree with what each
    stage trains; boundary checkpoints are at their steps, a witness at its own; datasets add up.

    Args:
        log: A parsed manifest.

    Raises:
        StageLogError: At the first contradiction; ``where`` is the path of the field.
    """
    _require_instant(log.run.created)
    for name, dataset in log.datasets.items():
        check_dataset(dataset, where=f'datasets["{name}"]')
    check_parameters(log)
    check_steps(log)
    for index in range(len(log.stages)):
        check_stage(log, index)
    check_transitions(log)


def _require_version(plain: dict[str, object]) -> None:
    found = plain.get("schema")
    if found == STAGELOG_SCHEMA:
        return
    family = re.fullmatch(r"stageaudit\.stagelog\.v([0-9]{1,4})", str(found))
    if family is None:
        raise StageLogError(
            f"{_MANIFEST}: schema",
            expected=STAGELOG_SCHEMA,
            found=found,
            remedy="Pass the stagelog.json that the recorder wrote.",
        )
    raise UnsupportedError(
        f"{_MANIFEST}: schema",
        expected=f"{STAGELOG_SCHEMA}, the format that this release reads",
        found=found,
        remedy=f"Upgrade stageaudit to a release whose documentation names v{family[1]}.",
    )


def _require_instant(created: str) -> None:
    try:
        instant = datetime.fromisoformat(created)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise StageLogError(
            "run.created",
            expected="a time with a zone, such as 2026-01-31T09:30:00+00:00",
            found=created,
            remedy="Write the time in ISO 8601 with its offset.",
        )


__all__ = ["STAGELOG_MINOR", "parse_manifest", "refuse_unsupported", "validate"]
