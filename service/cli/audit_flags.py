"""A request from flags: the short way to ask one question, and the way to vary a request file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.errors import InputError

Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFlags:
    """What the command line says about a request; None and empty mean not said."""

    log: str | None = None
    model: Path | None = None
    skip: Sequence[str] = ()
    replace: Sequence[str] = ()
    drop: Sequence[str] = ()
    query: str | None = None
    data: str | None = None
    better: str | None = None
    target: str | None = None
    class_: int | None = None
    query_name: str | None = None
    group: str | None = None
    extremes: int | None = None
    estimator: str | None = None
    replicas: int | None = None
    fraction: float | None = None
    tolerance: float | None = None
    budget: float | None = None
    seed: int | None = None
    confidence: float | None = None
    noise: str | None = None
    purpose: str | None = None
    operator: str | None = None
    policy: Path | None = None


def apply_flags(document: Mapping[str, Any], flags: AuditFlags) -> Plain:
    """Return the document with the fields that flags set; paths of flags become absolute.

    Raises:
        InputError: If flags contradict one another or lack a part.
    """
    plain = dict(document)
    for name in ("seed", "confidence", "extremes", "purpose", "operator"):
        value = getattr(flags, name)
        if value is not None:
            plain[name] = value
    if flags.noise is not None:
        plain["noise"] = [part.strip() for part in flags.noise.split(",")]
    if flags.log is not None:
        plain["log"] = absolute(flags.log)
    for name, path in (("model", flags.model), ("policy", flags.policy)):
        if path is not None:
            plain[name] = str(path.absolute())
    _set_estimator(plain, flags)
    interventions = _interventions(flags)
    if interventions is not None:
        plain["interventions"] = interventions
    elif "interventions" not in plain:
        plain["interventions"] = "stages"
    if flags.query is not None:
        plain["queries"] = [_query(flags)]
    return plain


def absolute(text: str) -> str:
    """Return an existing path as an absolute one; anything else, such as a digest, as it is."""
    path = Path(text).expanduser()
    return str(path.absolute()) if path.exists() else text


def _set_estimator(plain: Plain, flags: AuditFlags) -> None:
    if flags.estimator is not None:
        plain["estimator"] = {"id": flags.estimator}
    replay = _given(replicas=flags.replicas, fraction=flags.fraction)
    auto = _given(tolerance=flags.tolerance, budget=flags.budget)
    if not replay and not auto:
        return
    chosen = plain.get("estimator", {"id": "default"})
    identifier = chosen if isinstance(chosen, str) else chosen.get("id")
    if auto and (replay or identifier not in {"default", "auto"}):
        raise InputError(
            " ".join(f"--{name}" for name in auto),
            expected="estimator auto, which alone has them",
            found=" ".join(f"--{name}" for name in replay) or f"estimator {identifier}",
            remedy="Use --estimator auto without --replicas and --fraction, or leave these out.",
        )
    if identifier == "default":
        identifier = "auto" if auto else "subsampled_replay"
    kept = {} if isinstance(chosen, str) else chosen
    plain["estimator"] = {**kept, "id": identifier, **replay, **auto}


def _given(**settings: float | None) -> dict[str, float]:
    return {name: value for name, value in settings.items() if value is not None}


def _interventions(flags: AuditFlags) -> str | list[Plain] | None:
    if "all" in flags.skip:
        if len(flags.skip) > 1 or flags.replace or flags.drop:
            raise InputError(
                "--skip all",
                expected="no other --skip, --replace or --drop beside it",
                found="others",
                remedy="Name the stages, or write the interventions in a request file.",
            )
        return "stages"
    found: list[Plain] = [{"kind": "skip", "stage": stage} for stage in flags.skip]
    for text in flags.replace:
        stage, reference = _split(text, "=", flag="--replace", form="STAGE=DATA")
        found.append({
            "kind": "replace",
            "stage": stage,
            "reference": {"data": absolute(reference)},
        })
    for text in flags.drop:
        stage, condition = _split(text, ":", flag="--drop", form="STAGE:COLUMN=VALUE")
        column, value = _split(condition, "=", flag="--drop", form="STAGE:COLUMN=VALUE")
        found.append({"kind": "drop", "stage": stage, "where": {column: value}})
    return found or None


def _split(text: str, separator: str, *, flag: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not (left and found and right):
        raise InputError(flag, expected=form, found=text, remedy="See `stageaudit audit --help`.")
    return left, right


def _query(flags: AuditFlags) -> Plain:
    if flags.data is None or flags.better is None:
        raise InputError(
            "--query",
            expected="--data and --better beside it",
            found="--better" if flags.data is None else "--data",
            remedy="Say on which data it is evaluated and which direction is better.",
        )
    query: Plain = {
        "name": flags.query_name or flags.query,
        "kind": flags.query,
        "better": flags.better,
        "data": absolute(flags.data),
    }
    if flags.target is not None:
        query["target"] = flags.target
    if flags.class_ is not None:
        query["class"] = flags.class_
    if flags.group is not None:
        query["group"] = flags.group
    return query
