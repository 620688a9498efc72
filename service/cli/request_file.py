"""An audit request as people write it: YAML with paths, turned into blobs and digests.

A path is relative to the request file. ``log`` is a log folder, ``model`` a model file; ``data``,
``treated``, ``control`` and ``reference.data`` are evaluation-set folders or ``.npz`` files. A
SHA-256 digest stands wherever a path does. ``policy`` is a policy file, of which the request keeps
the digest. Short forms: ``estimator: retrain``,
``interventions: stages``, ``where: {source: vendor-b}``, ``stage: all`` or a list of stages,
``group: {sex: [f, m]}``; ``metric`` is an ONNX file, ``tool`` the name of an outside tool; a
probe's ``of`` takes ``data`` and ``better`` from the probe.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from auditor.edge.folder import read_log
from auditor.effects import Probe, Query, QueryKind, Tool
from auditor.errors import InputError
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.stagelog.digest import DIGEST_PATTERN, Digest, digest_of
from auditor.stagelog.log import StageLog
from service.cli.many_stages import over_stages
from service.cli.policy_file import read_policy
from service.cli.yaml_file import Plain, read_document

RecordT = TypeVar("RecordT", bound=BaseModel)

GUIDE = "docs/howto/audit.md lists the fields."


class Places(Protocol):
    """Where the data named by a request is put: the local cache or a service."""

    def log(self, folder: Path) -> Digest:
        """Make a log available and return its identity."""

    def evaluation_set(self, path: Path) -> Digest:
        """Make an evaluation set (folder or .npz) available and return its identity."""

    def model(self, path: Path) -> Digest:
        """Make a model file available and return its digest."""

    def metric(self, path: Path) -> Digest:
        """Make the ONNX graph of a metric available and return its digest."""


def read_request(path: Path) -> Plain:
    """Return the content of a request file.

    Raises:
        InputError: If it cannot be read, is too large, or is no YAML mapping.
    """
    return read_document(path, what="request file", guide=GUIDE)


def resolve_request(
    document: Mapping[str, Any],
    *,
    base: Path,
    places: Places,
    tools: Mapping[str, Tool] = MappingProxyType({}),
) -> AuditRequest:
    """Return the request that a document describes, its data put into ``places``.

    Args:
        document: The fields, with paths.
        base: What relative paths start from.
        places: Receives logs, evaluation sets, models and metric graphs.
        tools: Outside tools by name: what the command line allows.

    Returns:
        A request of digests only.

    Raises:
        InputError: If a field is unknown, missing or wrong, or a path does not exist.
    """
    plain: Plain = dict(document)
    paths = _Paths(base=base, places=places, tools=tools, log=plain.get("log"))
    if "log" in plain:
        plain["log"] = paths.log(plain["log"])
    if "model" in plain:
        plain["model"] = paths.model(plain["model"])
    if "policy" in plain:
        plain["policy_digest"] = paths.policy(plain.pop("policy"))
    if isinstance(plain.get("estimator"), str):
        plain["estimator"] = {"id": plain["estimator"]}
    if isinstance(plain.get("queries"), list):
        plain["queries"] = [
            _query(item, where=f"queries[{index}]", paths=paths)
            for index, item in enumerate(plain["queries"])
        ]
    if isinstance(plain.get("interventions"), list):
        plain["interventions"] = [
            _intervention(item, where=f"interventions[{index}]", paths=paths)
            for index, item in enumerate(plain["interventions"])
        ]
    return _parse(AuditRequest, plain, where="request")


class _Paths:
    """Turns what stands in a document into digests; digests stay as they are."""

    def __init__(
        self, *, base: Path, places: Places, tools: Mapping[str, Tool], log: object
    ) -> None:
        self._base = base
        self._places = places
        self._log = log
        self.tools = tools

    def read_log(self) -> StageLog:
        """Return the manifest of the request's log folder; of a digest nothing is known here."""
        if not isinstance(self._log, str) or re.fullmatch(DIGEST_PATTERN, self._log):
            raise InputError(
                "log",
                expected="a log folder, whose stages `stage: all` stands for",
                found=self._log,
                remedy="Name the folder, or list the stages: `stage: [a, b]`.",
            )
        return read_log((self._base / Path(self._log).expanduser()).resolve())[0]

    def log(self, value: object) -> str:
        return self._digest(value, where="log", put=self._places.log)

    def model(self, value: object) -> str:
        return self._digest(value, where="model", put=self._places.model)

    def policy(self, value: object) -> str:
        return self._digest(value, where="policy", put=lambda path: digest_of(read_policy(path)))

    def data(self, value: object, *, where: str) -> str:
        return self._digest(value, where=where, put=self._places.evaluation_set)

    def metric(self, value: object, *, where: str) -> str:
        return self._digest(value, where=where, put=self._places.metric)

    def _digest(self, value: object, *, where: str, put: Callable[[Path], Digest]) -> str:
        if not isinstance(value, str):
            raise InputError(
                where, expected="a path or a SHA-256 digest", found=value, remedy=GUIDE
            )
        if re.fullmatch(DIGEST_PATTERN, value):
            return value
        path = (self._base / Path(value).expanduser()).resolve()
        if not path.exists():
            raise InputError(
                where,
                expected="a digest or a path that exists",
                found=value,
                remedy=f"Paths are relative to {self._base}.",
            )
        return str(put(path))


def _query(item: object, *, where: str, paths: _Paths) -> Plain:
    plain = _require_mapping(item, where=where)
    if "of" not in plain:
        return _plain_query(plain, where=where, paths=paths)
    for side in ("treated", "control"):
        plain[side] = paths.data(plain.get(side), where=f"{where}.{side}")
    of = _require_mapping(plain["of"], where=f"{where}.of")
    if of.get("kind") == QueryKind.OUTSIDE:
        raise InputError(
            f"{where}.of.kind",
            expected="a kind that is evaluated on the treated and the control set",
            found=of["kind"],
            remedy="Ask for `kind: outside` and let the tool return the difference of each pair.",
        )
    of.setdefault("name", plain.get("name"))
    of.setdefault("better", plain.get("better"))
    of["data"] = (
        paths.data(of["data"], where=f"{where}.of.data") if "data" in of else plain["treated"]
    )
    plain["of"] = _short_forms(of, where=f"{where}.of", paths=paths)
    _parse(Probe, plain, where=where)
    return plain


def _plain_query(plain: Plain, *, where: str, paths: _Paths) -> Plain:
    if plain.get("kind") == QueryKind.OUTSIDE:
        plain["tool"] = _tool(plain.get("tool"), where=f"{where}.tool", tools=paths.tools)
    else:
        plain["data"] = paths.data(plain.get("data"), where=f"{where}.data")
    plain = _short_forms(plain, where=where, paths=paths)
    _parse(Query, plain, where=where)
    return plain


def _short_forms(plain: Plain, *, where: str, paths: _Paths) -> Plain:
    """Return a query with its short forms written out: metric files, groups, rows."""
    if "metric" in plain:
        plain["metric"] = paths.metric(plain["metric"], where=f"{where}.metric")
    if isinstance(plain.get("group"), dict):  # group: {sex: [f, m]}
        column, names = _one_entry(plain["group"], where=f"{where}.group")
        plain |= {"group": column, "groups": names if isinstance(names, list) else [names]}
    if isinstance(plain.get("where"), dict) and set(plain["where"]) != {"column", "equals"}:
        column, value = _one_entry(plain["where"], where=f"{where}.where")  # where: {sex: f}
        plain["where"] = {"column": column, "equals": value}
    return plain


def _one_entry(plain: Plain, *, where: str) -> tuple[str, Any]:
    if len(plain) != 1:
        raise InputError(
            where, expected="one column with its values", found=", ".join(plain), remedy=GUIDE
        )
    return next(iter(plain.items()))


def _tool(value: object, *, where: str, tools: Mapping[str, Tool]) -> Plain:
    """Return the tool of a name; a request never says what is run, the command line does."""
    if not isinstance(value, str) or value not in tools:
        raise InputError(
            where,
            expected="the name of a tool that the command line allows"
            + (": " + ", ".join(tools) if tools else ""),
            found=value,
            remedy="Run `stageaudit audit REQUEST.yaml --local LOGDIR --outside NAME=COMMAND`; "
            "a service runs no tools.",
        )
    return tools[value].model_dump(mode="json", by_alias=True, exclude_none=True)


def _intervention(item: object, *, where: str, paths: _Paths) -> Plain:
    plain = _require_mapping(item, where=where)
    if plain.get("kind") == "joint" and isinstance(plain.get("parts"), list):
        plain["parts"] = [
            _intervention(part, where=f"{where}.parts[{index}]", paths=paths)
            for index, part in enumerate(plain["parts"])
        ]
        _parse(Joint, plain, where=where)
        return plain
    if "where" in plain:
        plain["where"] = _selection(plain["where"], where=f"{where}.where")
    if isinstance(plain.get("steps"), list) and len(plain["steps"]) == 2:
        plain["steps"] = {"first_step": plain["steps"][0], "end_step": plain["steps"][1]}
    if "reference" in plain:
        reference = _require_mapping(plain["reference"], where=f"{where}.reference")
        if "data" in reference:
            reference["data"] = paths.data(reference["data"], where=f"{where}.reference.data")
        if "where" in reference:
            reference["where"] = _selection(reference["where"], where=f"{where}.reference.where")
        plain["reference"] = reference
    plain = over_stages(plain, where=where, log=paths.read_log)
    if plain.get("kind") == "joint":
        _parse(Joint, plain, where=where)
    else:
        _parse(Intervention, plain, where=where)
    return plain


def _selection(value: object, *, where: str) -> Plain:
    """Return ``{columns: {column: [values]}}`` from that or from ``{column: value or values}``."""
    plain = _require_mapping(value, where=where)
    columns = plain["columns"] if set(plain) == {"columns"} else plain
    columns = _require_mapping(columns, where=where)
    return {
        "columns": {
            name: found if isinstance(found, list) else [found] for name, found in columns.items()
        }
    }


def _require_mapping(value: object, *, where: str) -> Plain:
    if not isinstance(value, dict):
        raise InputError(where, expected="a mapping of fields", found=value, remedy=GUIDE)
    return dict(value)


def _parse(model: type[RecordT], plain: Mapping[str, Any], *, where: str) -> RecordT:
    try:
        # Through JSON, where lists may stand for tuples although the records are strict.
        return model.model_validate_json(json.dumps(plain))
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise InputError(
                where, expected="text, numbers, lists and mappings", found=error, remedy=GUIDE
            ) from error
        first = error.errors(include_url=False)[0]
        raise InputError(
            ".".join([where, *map(str, first["loc"])]),
            expected=first["msg"],
            found=first.get("input"),
            remedy=GUIDE,
        ) from error
