"""Manifests: what is read, what is refused, and under which path."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from auditor.errors import StageLogError, UnsupportedError
from auditor.stagelog.digest import canonical_bytes
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import STAGELOG_MINOR, parse_manifest, refuse_unsupported, validate
from tests.support.manifests import make_log, make_stage

Manifest = dict[str, Any]
D = "7" * 64


def plain(log: StageLog | None = None) -> Manifest:
    result: Manifest = json.loads(canonical_bytes(log or make_log()))
    return result


def read(manifest: Manifest) -> StageLog:
    return parse_manifest(json.dumps(manifest).encode())


def refusal(manifest: Manifest) -> StageLogError:
    with pytest.raises(StageLogError) as caught:
        validate(read(manifest))
    return caught.value


def put(*path: str | int, to: object) -> Callable[[Manifest], None]:
    """Return a change of a manifest: the value at a path."""

    def change(manifest: Manifest) -> None:
        target: Any = manifest
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = to

    return change


def test_parse_undoes_canonical_bytes() -> None:
    log = make_log()

    assert parse_manifest(canonical_bytes(log)) == log
    assert parse_manifest(memoryview(canonical_bytes(log))) == log


def test_valid_log_is_accepted() -> None:
    validate(make_log())
    refuse_unsupported(make_log())


SCHEMA_DEFECTS = [
    (put("stages", 2, "first_step", to="20"), "stages[2].first_step"),
    (put("stages", 0, "unknown", to=1), "stages[0].unknown"),
    (put("run", "name", to=""), "run.name"),
    (put("start", "parameters", to="xyz"), "start.parameters"),
    (put("parameters", "fc.weight", to={"shape": [-1], "dtype": "float32"}),
     'parameters["fc.weight"].shape[0]'),
    (put("stages", 1, "checkpoints", 0, "role", to="final"), "stages[1].checkpoints[0].role"),
    (put("stages", 1, "loss", "label_smoothing", to=1.0), "stages[1].loss.label_smoothing"),
    (put("datasets", "train", "shards", 0, "count", to=0), "datasets.train.shards[0].count"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "where"), SCHEMA_DEFECTS, ids=[where for _, where in SCHEMA_DEFECTS]
)
def test_parse_names_the_field_that_is_wrong(
    change: Callable[[Manifest], None], where: str
) -> None:
    manifest = plain()
    change(manifest)

    with pytest.raises(StageLogError) as caught:
        read(manifest)

    assert caught.value.where == where


STAGE_DEFECTS = [
    ("gap", put("stages", 1, "first_step", to=11), "stages[1].first_step"),
    ("overlap", put("stages", 1, "first_step", to=9), "stages[1].first_step"),
    ("no_steps", put("stages", 2, "end_step", to=20), "stages[2].end_step"),
    ("ends_before_it_begins", put("stages", 2, "end_step", to=3), "stages[2].end_step"),
    ("same_name", put("stages", 2, "name", to="stage0"), "stages[2].name"),
    ("no_stages", put("stages", to=[]), "stages"),
    ("start_elsewhere", put("start", "step", to=1), "start.step"),
    ("start_no_boundary", put("start", "role", to="cadence"), "start.step"),
    ("unknown_graph", put("stages", 0, "graph", to="other"), "stages[0].graph"),
    ("unknown_dataset", put("stages", 0, "datasets", to=["x"]), "stages[0].datasets"),
    ("dataset_twice", put("stages", 0, "datasets", to=["train"] * 2), "stages[0].datasets"),
    ("no_dataset", put("stages", 0, "datasets", to=[]), "stages[0].datasets"),
    ("no_size", put("stages", 0, "examples_per_step", to=None), "stages[0].examples_per_step"),
    ("unbound_input", put("stages", 0, "bindings", "inputs", to={}), "stages[0].bindings.inputs"),
    ("unknown_input", put("stages", 0, "bindings", "inputs", "z", to="image"),
     "stages[0].bindings.inputs"),
    ("unknown_column", put("stages", 0, "bindings", "inputs", "x", to="pixels"),
     'stages[0].bindings.inputs["x"]'),
    ("unknown_target", put("stages", 0, "bindings", "target", to="y"),
     "stages[0].bindings.target"),
    ("unknown_weight", put("stages", 0, "bindings", "weight", to="w"),
     "stages[0].bindings.weight"),
    ("no_such_output", put("stages", 0, "bindings", "output", to=1), "stages[0].bindings.output"),
    ("unknown_parent", put("stages", 1, "parents", to=["stage2"]), "stages[1].parents"),
    ("smoothing_of_mse", put("stages", 0, "loss", to={"kind": "mse", "label_smoothing": 0.1}),
     "stages[0].loss.label_smoothing"),
    ("negative_class_weight", put("stages", 0, "loss",
                                  to={"kind": "cross_entropy", "class_weights": [1, -1.0]}),
     "stages[0].loss.class_weights[1]"),
    ("no_checkpoint", put("stages", 0, "checkpoints", to=[]), "stages[0].checkpoints"),
    ("boundary_early", put("stages", 0, "checkpoints", 0, "step", to=9),
     "stages[0].checkpoints[0].step"),
    ("boundary_late", put("stages", 0, "checkpoints", 0, "step", to=11),
     "stages[0].checkpoints[0].step"),
    ("last_is_no_boundary", put("stages", 0, "checkpoints", 0, "role", to="cadence"),
     "stages[0].checkpoints[0].role"),
    ("created_without_zone", put("run", "created", to="2026-01-01T00:00:00"), "run.created"),
    ("created_in_words", put("run", "created", to="yesterday"), "run.created"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "where"),
    [pytest.param(change, where, id=name) for name, change, where in STAGE_DEFECTS],
)
def test_contradiction_between_stages_is_refused(
    change: Callable[[Manifest], None], where: str
) -> None:
    manifest = plain()
    change(manifest)

    assert refusal(manifest).where == where


def checkpoint(step: int, role: str) -> Manifest:
    return {"step": step, "parameters": D, "optimizer": D, "role": role}


CHECKPOINT_DEFECTS = [
    ([checkpoint(5, "witness"), checkpoint(10, "boundary")], "stages[0].checkpoints[0].step"),
    ([checkpoint(0, "cadence"), checkpoint(10, "boundary")], "stages[0].checkpoints[0].step"),
    ([checkpoint(4, "boundary"), checkpoint(10, "boundary")], "stages[0].checkpoints[0].role"),
    ([checkpoint(6, "cadence"), checkpoint(4, "witness"), checkpoint(10, "boundary")],
     "stages[0].checkpoints[1].step"),
    ([checkpoint(4, "witness"), checkpoint(4, "cadence"), checkpoint(10, "boundary")],
     "stages[0].checkpoints[1].step"),
]  # fmt: skip


@pytest.mark.parametrize(("checkpoints", "where"), CHECKPOINT_DEFECTS)
def test_checkpoint_at_a_wrong_step_is_refused(checkpoints: list[Manifest], where: str) -> None:
    manifest = plain()
    manifest["stages"][0]["checkpoints"] = checkpoints

    assert refusal(manifest).where == where


def test_witness_and_cadence_checkpoints_are_accepted() -> None:
    manifest = plain()
    manifest["stages"][0]["checkpoints"] = [
        checkpoint(4, "witness"), checkpoint(8, "cadence"), checkpoint(10, "boundary"),
    ]  # fmt: skip

    validate(read(manifest))


def test_columns_bound_in_two_datasets_must_agree() -> None:
    manifest = plain()
    other = json.loads(json.dumps(manifest["datasets"]["train"]))
    other["columns"]["image"]["shape"] = [5]
    manifest["datasets"]["more"] = other
    manifest["stages"][0]["datasets"] = ["train", "more"]

    assert refusal(manifest).where == 'datasets["more"].columns["image"]'


DATASET_DEFECTS = [
    (put("shards", 0, "count", to=99), "shards"),
    (put("shards", to=[]), "shards"),
    (put("coverage", to={"kind": "hashes"}), "shards"),
    (put("coverage", to={"kind": "sample"}), "coverage"),
    (put("coverage", to={"kind": "sample", "of": 99, "seed": 0}), "coverage"),
    (put("columns", "label", "categories", to=["a"]), 'columns["label"]'),
    (put("columns", "source", "categories", to=["a", "a"]), 'columns["source"].categories'),
    (put("columns", to={}), "columns"),
]


@pytest.mark.parametrize(("change", "where"), DATASET_DEFECTS)
def test_dataset_that_contradicts_itself_is_refused(
    change: Callable[[Manifest], None], where: str
) -> None:
    manifest = plain()
    change(manifest["datasets"]["train"])

    assert refusal(manifest).where == f'datasets["train"].{where}'


def test_too_many_stages_are_refused() -> None:
    log = make_log(*(make_stage(index, steps=1) for index in range(257)))

    assert refusal(plain(log)).where == "stages"


def test_too_many_steps_are_refused() -> None:
    error = refusal(plain(make_log(make_stage(0, steps=10**7 + 1))))

    assert (error.where, error.found) == ("stages", str(10**7 + 1))


def test_newer_major_version_names_what_reads_it() -> None:
    manifest = plain() | {"schema": "stageaudit.stagelog.v2"}

    with pytest.raises(UnsupportedError, match=r"Upgrade stageaudit .*v2"):
        read(manifest)


def test_other_schema_is_refused() -> None:
    with pytest.raises(StageLogError, match="schema"):
        read(plain() | {"schema": "stageaudit.evalset.v1"})


def test_log_of_minor_version_0_keeps_its_bytes_and_so_its_identity() -> None:
    """Fields that came later are not written where they are at their defaults."""
    added = {"accumulated", "skipped", "unchanged", "origin", "external", "hashes"}
    text = canonical_bytes(read(plain() | {"minor": 0})).decode()

    assert not [name for name in added if f'"{name}"' in text]


def test_newer_minor_version_without_new_fields_is_read() -> None:
    assert read(plain() | {"minor": STAGELOG_MINOR + 1}).minor == STAGELOG_MINOR + 1


def test_newer_minor_version_with_new_fields_asks_for_an_upgrade() -> None:
    with pytest.raises(UnsupportedError, match="Upgrade"):
        read(plain() | {"minor": STAGELOG_MINOR + 1, "novelty": 1})


def test_older_manifest_without_the_minor_field_is_read() -> None:
    manifest = plain()
    del manifest["minor"]

    assert read(manifest).minor == 0


def test_fields_that_came_later_leave_older_logs_their_identity() -> None:
    """A manifest without them has to be its own canonical form, or it would be refused."""
    stage = plain()["stages"][0]

    assert set(stage) & {"accumulated", "skipped", "ema_decay", "ema_from", "loss_scale"} == set()
    assert set(stage["loss"]) & {"pos_weight", "beta", "reference", "graph"} == set()
