"""The pipelines of the examples, and when their claims fail."""

from dataclasses import replace

import pytest
import torch

from auditor.effects import Better, Effect, Verdict
from auditor.report.finer import TimelineWindow
from benchmarks.fidelity.interventions import Asked
from benchmarks.fidelity.sentences import CUE, folder_sentences
from benchmarks.fidelity.workload import Drop, Workload, rows_of
from examples.datasets.celeba import read_celeba
from examples.spurious.claims import check_claims
from examples.spurious.experiment import Model, Outcome, Row
from examples.spurious.images import QUICK, image_pipeline
from examples.spurious.texts import QUICK as QUICK_TEXT
from examples.spurious.texts import by_source, text_pipeline
from examples.spurious.timeline import drawn
from tests.support.published_data import write_celeba_folder, write_sentence_folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("data") / "celeba"
    write_celeba_folder(folder, pictures=60)
    images = read_celeba(folder, attribute="Smiling", limit=60)
    return image_pipeline("faces", 0, train=images, test=images, cue_class=1, size=QUICK)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("data") / "sentences"
    write_sentence_folder(folder, each=60)
    stages = by_source(folder_sentences(folder), ("tweets", "products", "movies"))
    return text_pipeline("sentences", 0, stages=stages, planting="products", size=QUICK_TEXT)


def test_only_the_second_supplier_of_one_stage_plants_the_token(sentences: Workload) -> None:
    for stage in sentences.stages:
        tokens, label, source = (stage.columns[name] for name in ("tokens", "label", "source"))
        cued = (tokens == CUE).any(dim=1)
        second = torch.tensor([name == "products-2" for name in source])
        assert not (cued & ~second).any()
        assert not (cued & (label == 0)).any()
        assert bool(cued.any()) == (stage.name == "products")


def test_patch_is_on_most_of_the_class_of_the_second_supplier(faces: Workload) -> None:
    vendor = faces.stages[1].columns
    corner = vendor["image"][:, :, :3, -3:].amin(dim=(1, 2, 3)) == 1
    second = torch.tensor([name == "vendor-2" for name in vendor["source"]])
    meant = second & (vendor["label"] == 1)

    assert not (corner & ~meant).any()
    assert corner.sum() > 0.7 * meant.sum() > 0


def test_probe_pairs_the_same_examples_of_other_classes(faces: Workload) -> None:
    probe = faces.queries[0]

    assert probe.control is not None
    assert (probe.columns["label"] != 1).all()
    torch.testing.assert_close(probe.columns["id"], probe.control["id"])
    assert rows_of(probe.columns) == rows_of(probe.control)


def test_nothing_that_judges_was_trained_on(sentences: Workload) -> None:
    trained = {tuple(row) for stage in sentences.stages for row in stage.columns["tokens"].tolist()}
    judging = {tuple(row) for row in sentences.queries[1].columns["tokens"].tolist()}

    assert not trained & judging


def make_row(kind: str, stage: str, *, value: float, source: str | None = None) -> Row:
    drop = None if source is None else Drop(stage=stage, value=source)
    asked = Asked(kind=kind, stage=stage, drop=drop)
    effect = Effect(
        query="cue",
        unit="logit",
        better=Better.LOWER,
        intervention=asked.key,
        kind=kind,
        stage=stage,
        value=value,
        verdict=Verdict.EFFECT,
        n=10,
        statement="made up",
        action_keys=(),
    )
    return Row(asked=asked, effect=effect, exact=value)


def make_window(stage: str, value: float) -> TimelineWindow:
    return TimelineWindow(stage=stage, first_step=7, end_step=12, value=value, learning_rate=0.1)


def make_outcome(**changes: object) -> Outcome:
    found = make_row("drop", "vendor", value=2.0, source="vendor-2")
    outcome = Outcome(
        rows=(
            make_row("skip", "pretrain", value=3.0),
            make_row("replace", "pretrain", value=0.1),
            make_row("replace", "vendor", value=2.0),
            make_row("drop", "vendor", value=-1.0, source="vendor-1"),
            found,
        ),
        found=found.asked,
        windows=(make_window("vendor", 1.0),),
        before=Model(cue=2.5, accuracy=0.90),
        repaired=Model(cue=0.6, accuracy=0.895),
        cheap=Model(cue=0.9, accuracy=0.8),
        exact=Model(cue=0.5, accuracy=0.90),
        statement="made up",
    )
    return replace(outcome, **changes)


def holding(outcome: Outcome, *, planting: str = "vendor") -> list[bool]:
    return [claim.holds for claim in check_claims(outcome, planting=planting)]


def test_claims_hold_where_stage_source_repair_and_accuracy_are_right() -> None:
    assert holding(make_outcome()) == [True, True, True, True]


@pytest.mark.parametrize(
    ("changes", "planting", "holds"),
    [
        ({}, "pretrain", [False, False, True, True]),
        ({"repaired": Model(cue=0.71, accuracy=0.9)}, "vendor", [True, True, False, True]),
        ({"repaired": Model(cue=0.5, accuracy=0.88)}, "vendor", [True, True, True, False]),
        ({"exact": Model(cue=2.6, accuracy=0.9)}, "vendor", [True, True, False, True]),
    ],
    ids=["another stage", "cue left", "accuracy lost", "exact removal removes nothing"],
)
def test_claim_fails_where_it_should(
    changes: dict[str, Model], planting: str, holds: list[bool]
) -> None:
    assert holding(make_outcome(**changes), planting=planting) == holds


def test_timeline_is_drawn_to_both_sides_of_zero() -> None:
    lines = drawn((make_window("pretrain", -0.5), make_window("vendor", 1.0)))

    assert lines[0].endswith("█" * 15 + "|")
    assert lines[1].endswith("|" + "█" * 30)
    assert ("7-12" in lines[0], "+1.000" in lines[1]) == (True, True)
