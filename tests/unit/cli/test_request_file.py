"""YAML with paths to a request of digests."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.effects import Probe, Tool, ToolFile
from auditor.errors import InputError
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, sha256
from service.cli.request_file import read_request, resolve_request

LOG = "a" * 64
DATA = "d" * 64


class NamedPlaces:
    """Places whose digests are those of the file names; remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def _put(self, kind: str, path: Path) -> Digest:
        self.seen.append((kind, path.name))
        return sha256(path.name.encode())

    def log(self, folder: Path) -> Digest:
        return self._put("log", folder)

    def evaluation_set(self, path: Path) -> Digest:
        return self._put("data", path)

    def model(self, path: Path) -> Digest:
        return self._put("model", path)

    def metric(self, path: Path) -> Digest:
        return self._put("metric", path)


def make_document(**changes: Any) -> dict[str, Any]:
    return {
        "log": LOG,
        "interventions": "stages",
        "queries": [{"name": "loss", "kind": "loss", "better": "lower", "data": DATA}],
    } | changes


def resolve(document: dict[str, Any], base: Path = Path()) -> AuditRequest:
    return resolve_request(document, base=base, places=NamedPlaces())


def test_digests_stay_as_they_are() -> None:
    request = resolve(make_document())

    assert (request.log, request.queries[0].data) == (LOG, DATA)
    assert request.estimator.id == "default"


def test_paths_are_put_into_places_relative_to_the_file(tmp_path: Path) -> None:
    for name in ("log", "heldout", "clean"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.safetensors").touch()
    replace = {"kind": "replace", "stage": "vendor", "reference": {"data": "clean"}}
    places = NamedPlaces()

    request = resolve_request(
        make_document(
            log="log",
            model="model.safetensors",
            interventions=[replace],
            queries=[{"name": "q", "kind": "loss", "better": "lower", "data": "heldout"}],
        ),
        base=tmp_path,
        places=places,
    )

    assert places.seen == [
        ("log", "log"),
        ("model", "model.safetensors"),
        ("data", "heldout"),
        ("data", "clean"),
    ]
    assert request.interventions[0].reference.data == sha256(b"clean")


def test_probe_completes_what_it_is_of(tmp_path: Path) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    probe = {
        "name": "cue",
        "better": "lower",
        "of": {"kind": "margin", "class": 3},
        "treated": "with",
        "control": "without",
    }

    found = resolve(make_document(queries=[probe]), tmp_path).queries[0]

    assert isinstance(found, Probe)
    assert (found.of.data, found.of.class_, found.of.better) == (sha256(b"with"), 3, "lower")


def test_short_forms_are_written_out() -> None:
    drop = {"kind": "drop", "stage": "s", "where": {"source": "vendor-b"}, "steps": [3, 7]}

    request = resolve(make_document(estimator="retrain", interventions=[drop]))

    assert request.estimator.id == "retrain"
    assert request.interventions[0].where.columns == {"source": ("vendor-b",)}
    assert request.interventions[0].steps.end_step == 7


def ask(query: dict[str, Any], base: Path = Path(), **tools: Tool) -> Any:
    whole = {"name": "q", "better": "lower", "data": DATA, **query}
    whole = {name: value for name, value in whole.items() if value is not None}
    return resolve_request(
        make_document(queries=[whole]), base=base, places=NamedPlaces(), tools=tools
    ).queries[0]


def test_short_forms_of_queries_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "brier.onnx").touch()
    gap = {"kind": "accuracy_gap", "group": {"sex": ["f", "m"]}, "where": {"clinic": 3}}
    probe = {
        "data": None, "of": {"kind": "ece", "where": {"clinic": 3}},
        "treated": DATA, "control": LOG,
    }  # fmt: skip

    found = ask(gap)
    assert (found.group, found.groups) == ("sex", ("f", "m"))
    assert (found.where.column, found.where.equals) == ("clinic", 3)
    assert ask({"kind": "metric", "metric": "brier.onnx"}, tmp_path).metric == sha256(b"brier.onnx")
    assert ask(probe).of.where.column == "clinic"


def test_an_outside_tool_is_what_the_command_line_says() -> None:
    tool = Tool(
        name="toxigen", version="1.4", command=("run", "{checkpoint}", "{values}"),
        files=(ToolFile(name="run", digest=LOG),),
    )  # fmt: skip

    found = ask({"kind": "outside", "tool": "toxigen", "data": None}, toxigen=tool)

    assert found.tool == tool


def test_a_probe_of_an_outside_tool_is_refused() -> None:
    probe = {"data": None, "of": {"kind": "outside"}, "treated": DATA, "control": LOG}

    with pytest.raises(InputError, match="difference of each pair") as refused:
        ask(probe)

    assert refused.value.where == "queries[0].of.kind"


@pytest.mark.parametrize("tool", ["other", None, {"name": "x", "command": ["rm"], "files": []}])
def test_a_request_cannot_say_what_is_run(tool: object) -> None:
    with pytest.raises(InputError, match="--outside NAME=COMMAND") as refused:
        ask({"kind": "outside", "tool": tool, "data": None})

    assert refused.value.where == "queries[0].tool"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"log": "nowhere"}, "log"),
        (
            {
                "queries": [
                    {
                        "name": "q",
                        "kind": "ece",
                        "better": "lower",
                        "data": DATA,
                        "where": {"a": 1, "b": 2},
                    }
                ]
            },
            "queries[0].where",
        ),
        (
            {
                "queries": [
                    {
                        "name": "q",
                        "kind": "metric",
                        "better": "lower",
                        "data": DATA,
                        "metric": "none.onnx",
                    }
                ]
            },
            "queries[0].metric",
        ),
        ({"log": 3}, "log"),
        ({"color": "red"}, "request.color"),
        ({"queries": []}, "request.queries"),
        ({"queries": ["loss"]}, "queries[0]"),
        ({"queries": [{"name": "q", "better": "lower", "data": DATA}]}, "queries[0].kind"),
        (
            {"queries": [{"name": "q", "kind": "los", "better": "lower", "data": DATA}]},
            "queries[0].kind",
        ),
        ({"queries": [{"name": "q", "kind": "loss", "better": "lower"}]}, "queries[0].data"),
        ({"interventions": [{"kind": "skip"}]}, "interventions[0].stage"),
        ({"interventions": [{"kind": "skip", "stage": "s", "when": 1}]}, "interventions[0].when"),
        ({"interventions": [{"kind": "drop", "stage": "s", "where": 1}]}, "interventions[0].where"),
        ({"estimator": {"id": 3}}, "request.estimator.id"),
        ({"seed": -1}, "request.seed"),
        ({"purpose": Path()}, "request"),
    ],
)
def test_wrong_fields_are_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(make_document(**changes))

    assert refused.value.where == where


@pytest.mark.parametrize(
    "text",
    ["- a list", "a: [", "log: x\nlog: y", "!!python/object/apply:os.system ['true']", "3"],
)
def test_files_that_are_no_plain_mapping_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "request.yaml"
    path.write_text(text)

    with pytest.raises(InputError):
        read_request(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable request file"):
        read_request(tmp_path / "none.yaml")


@given(
    st.dictionaries(
        st.sampled_from(["log", "model", "queries", "interventions", "estimator", "seed", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["kind", "of", "data", "where", "reference", "steps", "name"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_any_document_gives_a_request_or_an_input_error(document: dict[str, Any]) -> None:
    try:
        found = resolve(document)
    except InputError:
        return
    assert isinstance(found, AuditRequest)
