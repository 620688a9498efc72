"""``stage: all`` and lists of stages in request files."""

from pathlib import Path

import pytest

from auditor.edge.folder import write_log
from auditor.errors import InputError
from auditor.plan.request import Change, Intervention, Joint
from auditor.stagelog.dataset import Column
from service.cli.many_stages import over_stages
from service.cli.request_file import resolve_request
from tests.support.manifests import COLUMNS, make_dataset, make_log, make_stage
from tests.unit.cli.test_request_file import NamedPlaces, make_document

OTHER = {**COLUMNS, "source": Column(dtype="int32", categories=("own", "bought"))}
LOG = make_log(
    make_stage(0),
    make_stage(1, datasets=("other",)),
    make_stage(2),
    datasets={"train": make_dataset(), "other": make_dataset(columns=OTHER)},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    write_log(tmp_path / "run", LOG)
    return tmp_path


def ask(folder: Path, intervention: dict) -> Intervention | Joint:
    document = make_document(log="run", interventions=[intervention])
    return resolve_request(document, base=folder, places=NamedPlaces()).interventions[0]


def test_drop_from_all_stages_is_joint_where_the_source_occurs(folder):
    found = ask(folder, {"kind": "drop", "stage": "all", "where": {"source": "vendor"}})

    assert isinstance(found, Joint)
    assert [part.stage for part in found.parts] == ["stage0", "stage2"]
    assert {part.where.columns["source"] for part in found.parts} == {("vendor",)}


def test_drop_from_all_is_one_intervention_where_one_stage_has_the_source(folder):
    found = ask(folder, {"kind": "drop", "stage": "all", "where": {"source": "bought"}})

    assert isinstance(found, Intervention)
    assert found.stage == "stage1"


def test_numbers_may_occur_in_every_stage(folder):
    found = ask(folder, {"kind": "drop", "stage": "all", "where": {"label": 2}})

    assert [part.stage for part in found.parts] == ["stage0", "stage1", "stage2"]


def test_a_change_of_listed_stages_is_joint(folder):
    found = ask(
        folder,
        {
            "kind": "change",
            "stage": ["stage2", "stage0"],
            "hyperparameters": {"lr": {"scale": 0.5}},
        },
    )

    assert [part.stage for part in found.parts] == ["stage2", "stage0"]
    assert found.parts[0].hyperparameters == {"lr": Change(scale=0.5)}


def test_an_explicit_joint_takes_short_forms(folder):
    drop = {"kind": "drop", "stage": "stage0", "where": {"source": "vendor"}}
    skip = {"kind": "skip", "stage": "stage1"}

    found = ask(folder, {"kind": "joint", "parts": [drop, skip]})

    assert found.label == "drop stage0 source=vendor + skip stage1"


@pytest.mark.parametrize(
    ("intervention", "where"),
    [
        ({"kind": "drop", "stage": "all", "where": {"source": "nobody"}}, "interventions[0].stage"),
        ({"kind": "skip", "stage": []}, "interventions[0].stage"),
        ({"kind": "skip", "stage": ["stage0", "stage0"]}, "interventions[0].stage"),
        ({"kind": "skip", "stage": ["stage0", 3]}, "interventions[0].parts.1.stage"),
        ({"kind": "joint", "parts": [{"kind": "skip", "stage": "a"}]}, "interventions[0].parts"),
        ({"kind": "joint"}, "interventions[0].parts"),
        (
            {"kind": "joint", "parts": [{"kind": "skip", "stage": "a"}, {"kind": "sk"}]},
            "interventions[0].parts[1].kind",
        ),
        (
            {"kind": "joint", "parts": [{"kind": "skip", "stage": "a"}] * 2},
            "interventions[0]",
        ),
        (
            {"kind": "change", "stage": "a", "hyperparameters": {"lr": {}}},
            "interventions[0].hyperparameters.lr",
        ),
        (
            {"kind": "change", "stage": "a", "hyperparameters": {"lr": {"scale": 1, "value": 1}}},
            "interventions[0].hyperparameters.lr",
        ),
        (
            {"kind": "change", "stage": "a", "hyperparameters": {"lr": 0.5}},
            "interventions[0].hyperparameters.lr",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_field(folder, intervention, where):
    with pytest.raises(InputError) as refused:
        ask(folder, intervention)

    assert refused.value.where == where


def test_all_stages_of_a_log_that_is_elsewhere_cannot_be_listed():
    document = make_document(interventions=[{"kind": "skip", "stage": "all"}])

    with pytest.raises(InputError, match=r"log: expected a log folder.*stage: \[a, b\]"):
        resolve_request(document, base=Path(), places=NamedPlaces())


def test_a_stage_that_is_called_all_is_meant_by_a_list():
    log = make_log(make_stage(0, name="all"))

    with pytest.raises(InputError, match="a stage of that name"):
        over_stages({"kind": "skip", "stage": "all"}, where="i", log=lambda: log)
    assert over_stages({"kind": "skip", "stage": ["all"]}, where="i", log=lambda: log) == {
        "kind": "skip",
        "stage": "all",
    }
