"""In what two reports were made differently, and which queries are not the same question."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from auditor.compare.result import Setting
from auditor.policy.rows import query_value, same_data
from auditor.report.schema import Report

_ASKED_ELSEWHERE = frozenset({
    "schema", "log", "model", "queries", "interventions", "estimator", "purpose", "operator",
    "policy_digest",
})  # fmt: skip
"""Fields of a request that the report itself has, or that rows are made of."""
_DATA = frozenset({"data", "treated", "control"})
"""Fields of a query that name its evaluation data, which the report's values name too."""
_NAMES = frozenset({"name", "better", "unit"})
"""Fields of a query that do not say what is measured; ``better`` and ``unit`` have flags."""


def settings_of(a: Report, b: Report) -> Iterator[Setting]:
    """Yield what differs between two reports beside their figures."""
    for what, one, other in (*_identities(a, b), *_settings(a, b), *_requests(a, b)):
        if one != other:
            yield Setting(what=what, a=one, b=other)


def query_flags(a: Report, b: Report, query: str) -> tuple[str, ...]:
    """Return why a query of one name is not the same question in both reports."""
    values = query_value(a, query), query_value(b, query)
    if values[0] is None or values[1] is None:
        return ()
    flags = () if same_data(values[0], values[1]) else ("other evaluation data",)
    one, other = _asked_query(a, query), _asked_query(b, query)
    if one is None or other is None:
        told = bool(values[0].data and values[1].data)
        return flags if told or flags or _data(a) == _data(b) else ("evaluation data may differ",)
    fields = sorted(one.keys() | other.keys())
    differs = [field for field in fields if one.get(field) != other.get(field)]
    return (*flags, *(f"other {field}" for field in differs))


def _identities(a: Report, b: Report) -> Iterator[tuple[str, str | None, str | None]]:
    yield "log", _named(a.log.name, a.log.digest), _named(b.log.name, b.log.digest)
    yield "stages", ", ".join(a.log.stages), ", ".join(b.log.stages)
    yield "log level", str(a.log.level), str(b.log.level)
    yield "model", a.model.digest[:12], b.model.digest[:12]
    yield "model compared with the log", _yes(a), _yes(b)
    yield "repaired", _repaired(a), _repaired(b)
    yield "evaluation data", _data(a), _data(b)


def _settings(a: Report, b: Report) -> Iterator[tuple[str, str | None, str | None]]:
    yield "estimator", a.estimator.id, b.estimator.id
    if a.estimator.id == b.estimator.id:
        one, other = (r.estimator.settings.model_dump(exclude={"id"}) for r in (a, b))
        for name in sorted(one.keys() | other.keys()):
            yield f"estimator.{name}", _text(one.get(name)), _text(other.get(name))
    yield "confidence", _confidence(a), _confidence(b)
    yield "assurance", a.assurance, b.assurance
    yield "policy", _short(a.policy_digest), _short(b.policy_digest)
    yield "stageaudit", a.software.stageaudit, b.software.stageaudit
    yield "torch", a.software.torch, b.software.torch
    yield "device", a.software.device, b.software.device


def _requests(a: Report, b: Report) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield further fields of the requests, where both reports hold theirs."""
    if a.asked is None or b.asked is None:
        return
    for name in sorted((a.asked.keys() | b.asked.keys()) - _ASKED_ELSEWHERE - {"confidence"}):
        yield name, _text(a.asked.get(name)), _text(b.asked.get(name))


def _asked_query(report: Report, name: str) -> Mapping[str, JsonValue] | None:
    """Return what a report's request says of a query beside its name and its data."""
    queries = None if report.asked is None else report.asked.get("queries")
    for query in queries if isinstance(queries, list) else ():
        if isinstance(query, dict) and query.get("name") == name:
            return _measured(query)
    return None


def _measured(query: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        field: _measured(value) if isinstance(value, dict) and field == "of" else value
        for field, value in query.items()
        if field not in _NAMES | _DATA
    }


def _named(name: str, digest: str) -> str:
    return f"{name} {digest[:12]}"


def _yes(report: Report) -> str:
    if report.model.source != "artifact":
        return "no artifact was given"
    return "equal" if report.model.bound else "another model"


def _repaired(report: Report) -> str | None:
    return None if report.repair is None else report.repair.label


def _data(report: Report) -> str:
    return ", ".join(_named(data.name, data.digest) for data in report.evaluation_data)


def _confidence(report: Report) -> str | None:
    levels = sorted({e.confidence for e in report.effects if e.confidence is not None})
    return ", ".join(f"{level:.0%}" for level in levels) or None


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
