"""What interventions do to gates and examples, and which of them are refused."""

import re

import numpy as np
import pytest
import torch

from auditor.dynamics.interventions import gates, intervened_examples
from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import recorded_examples
from auditor.errors import InputError
from auditor.plan.request import Change, Intervention, Reference, Selection, StepWindow
from auditor.stagelog.batches import BatchRow, write_batches
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import canonical_bytes
from tests.support.cases import CASES, make_columns, make_run, write_dataset

REFERENCE = Reference(dataset="data", order="recorded")


def where(**columns: str | int) -> Selection:
    return Selection(columns={name: (value,) for name, value in columns.items()})


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(CASES["sgd"])


def test_gates_are_alpha_inside_the_window(run: Run) -> None:
    window = StepWindow(first_step=6, end_step=8)
    fade = Intervention(kind="fade", stage="stage1", alpha=0.25, steps=window)

    assert gates(run.log.stages[1], fade).tolist() == [1.0, 0.25, 0.25, 1.0, 1.0]


def test_skip_gates_everything(run: Run) -> None:
    skip = Intervention(kind="skip", stage="stage1")

    assert gates(run.log.stages[1], skip).tolist() == [0.0] * 5


def test_replace_takes_the_index_modulo_the_reference(run: Run) -> None:
    reference = Reference(dataset="data", order="recorded", where=where(source="b"))
    replace = Intervention(kind="replace", stage="stage1", reference=reference)

    examples = intervened_examples(run, 1, intervention=replace, seed=0)

    recorded = recorded_examples(run, 1)
    rows = np.arange(1, 24, 2)  # source b
    assert examples.index.tolist() == rows[recorded.index % 12].tolist()
    assert examples.offsets.tolist() == recorded.offsets.tolist()


def test_replace_shuffled_uses_every_example_once_an_epoch(run: Run) -> None:
    reference = Reference(dataset="data", where=where(group=0))  # six examples
    replace = Intervention(kind="replace", stage="stage1", reference=reference)

    index = intervened_examples(run, 1, intervention=replace, seed=0).index

    epochs = [sorted(index[i : i + 6].tolist()) for i in range(0, 18, 6)]
    assert epochs == [list(range(6))] * 3
    assert index[:6].tolist() != index[6:12].tolist()


def test_replace_depends_on_the_seed_alone(run: Run) -> None:
    replace = Intervention(kind="replace", stage="stage1", reference=Reference(dataset="data"))

    once, again, other = (
        intervened_examples(run, 1, intervention=replace, seed=seed).index for seed in (0, 0, 1)
    )

    assert once.tolist() == again.tolist() != other.tolist()


def test_replace_outside_its_window_is_as_recorded(run: Run) -> None:
    window = StepWindow(first_step=6, end_step=8)
    replace = Intervention(kind="replace", stage="stage1", reference=REFERENCE, steps=window)

    table = intervened_examples(run, 1, intervention=replace, seed=0).table

    assert table.tolist() == [0] * 4 + [1] * 8 + [0] * 7


def test_replace_by_an_evaluation_set(run: Run) -> None:
    replace = Intervention(
        kind="replace", stage="stage1", reference=Reference(data=push(run), order="recorded")
    )

    examples = intervened_examples(run, 1, intervention=replace, seed=0)

    assert examples.tables[-1].dataset.examples == 5
    assert examples.index.max() < 5


def push(run: Run, *, drop: str = "", dtype: torch.dtype = torch.float64) -> str:
    """Return the digest of an evaluation set of five examples, perhaps without a column."""
    columns = make_columns(5, generator=torch.Generator().manual_seed(1), dtype=dtype)
    columns.pop(drop, None)
    dataset = write_dataset(columns, blobs=run.blobs)
    return run.blobs.write(canonical_bytes(EvaluationSet(name="reference", dataset=dataset)))


def test_resampled_drop_fills_from_kept_examples_the_stage_used(run: Run) -> None:
    drop = Intervention(kind="drop", stage="stage1", where=where(source="b"))

    examples = intervened_examples(run, 1, intervention=drop, seed=0)

    recorded = recorded_examples(run, 1)
    kept = recorded.index % 2 == 0
    assert (examples.index % 2 == 0).all()
    assert (examples.index[kept] == recorded.index[kept]).all()
    assert set(examples.index.tolist()) <= set(recorded.index[kept].tolist())
    assert examples.weights is None


def test_kept_drop_sets_weights_to_zero(run: Run) -> None:
    drop = Intervention(kind="drop", stage="stage1", where=where(source="b"), divisor="kept")

    examples = intervened_examples(run, 1, intervention=drop, seed=0)

    assert examples.weights is not None
    assert examples.weights.tolist() == (examples.index % 2 == 0).astype(float).tolist()


REFUSED: dict[str, tuple[Intervention, str]] = {
    "replace without reference": (
        Intervention(kind="replace", stage="stage1"), "intervention.reference",
    ),
    "two references": (
        Intervention(
            kind="replace", stage="stage1", reference=Reference(dataset="data", data="0" * 64)
        ),
        "intervention.reference",
    ),
    "unknown dataset": (
        Intervention(kind="replace", stage="stage1", reference=Reference(dataset="nope")),
        "intervention.reference.dataset",
    ),
    "reference selects nothing": (
        Intervention(
            kind="replace", stage="stage1",
            reference=Reference(dataset="data", where=where(source="a", group=99)),
        ),
        "intervention.reference.where",
    ),
    "drop without where": (Intervention(kind="drop", stage="stage1"), "intervention.where"),
    "unknown column": (
        Intervention(kind="drop", stage="stage1", where=where(vendor="b")),
        "datasets[data].columns[vendor]",
    ),
    "column of vectors": (
        Intervention(kind="drop", stage="stage1", where=where(input=1)),
        "datasets[data].columns[input]",
    ),
    "unknown text": (
        Intervention(kind="drop", stage="stage1", where=where(source="c")),
        "datasets[data].columns[source]",
    ),
    "text for a number": (
        Intervention(kind="drop", stage="stage1", where=where(group="b")),
        "datasets[data].columns[group]",
    ),
    "drop of nothing": (
        Intervention(kind="drop", stage="stage1", where=where(group=99)), "intervention.where",
    ),
    "drop of everything": (
        Intervention(
            kind="drop", stage="stage1", where=Selection(columns={"source": ("a", "b")})
        ),
        "intervention.where",
    ),
    "window outside the stage": (
        Intervention(
            kind="drop", stage="stage1", where=where(source="b"),
            steps=StepWindow(first_step=0, end_step=6),
        ),
        "intervention.steps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(run: Run, case: str) -> None:
    intervention, field = REFUSED[case]

    with pytest.raises(InputError, match="^" + re.escape(field)):
        intervened_examples(run, 1, intervention=intervention, seed=0)


@pytest.mark.parametrize(
    ("drop", "dtype", "column"),
    [("label", torch.float64, "label"), ("", torch.float32, "input")],
)
def test_reference_without_the_bound_columns_is_refused(
    run: Run, drop: str, dtype: torch.dtype, column: str
) -> None:
    reference = Reference(data=push(run, drop=drop, dtype=dtype))
    replace = Intervention(kind="replace", stage="stage1", reference=reference)

    with pytest.raises(InputError, match=rf"columns\[{column}\]"):
        intervened_examples(run, 1, intervention=replace, seed=0)


def test_fade_without_alpha_is_refused(run: Run) -> None:
    with pytest.raises(InputError, match=r"intervention\.alpha"):
        gates(run.log.stages[1], Intervention(kind="fade", stage="stage1"))


def test_change_uses_the_recorded_examples(run: Run) -> None:
    change = Intervention(kind="change", stage="stage1", hyperparameters={"lr": Change(scale=0.5)})

    changed = intervened_examples(run, 1, intervention=change, seed=0)

    assert changed is intervened_examples(run, 1, intervention=None, seed=0)
    assert gates(run.log.stages[1], change).tolist() == [1.0] * run.log.stages[1].steps


def mixture(run: Run, **texts: tuple[str, ...]) -> Run:
    """Return the run with stage 1 on several datasets of 24 examples, a text for each half."""
    generator = torch.Generator().manual_seed(2)
    datasets = dict(run.log.datasets)
    for name, categories in texts.items():
        written = write_dataset(
            make_columns(24, generator=generator, dtype=torch.float64), blobs=run.blobs
        )
        source = written.columns["source"].model_copy(update={"categories": categories})
        datasets[name] = written.model_copy(
            update={"columns": {**written.columns, "source": source}}
        )
    stage = run.log.stages[1]
    rows = [
        [BatchRow(dataset=name, indices=np.arange(4) + step, weights=None) for name in texts]
        for step in range(stage.steps)
    ]
    batches = run.blobs.write(write_batches(rows, first_step=stage.first_step))
    stage = stage.model_copy(update={"batches": batches, "datasets": tuple(texts)})
    stages = (run.log.stages[0], stage, *run.log.stages[2:])
    log = run.log.model_copy(update={"datasets": datasets, "stages": stages})
    return Run(log, run.log_digest, run.blobs)


def test_drop_from_a_mixture_leaves_datasets_without_the_text_alone(run: Run) -> None:
    mixed = mixture(run, own=("a", "x"), bought=("v", "w"))
    drop = Intervention(kind="drop", stage="stage1", where=where(source="v"), divisor="kept")

    examples = intervened_examples(mixed, 1, intervention=drop, seed=0)

    assert examples.weights is not None
    bought = examples.table == 1
    assert examples.weights[~bought].tolist() == [1.0] * 20
    assert examples.weights[bought].tolist() == (examples.index[bought] % 2).astype(float).tolist()


def test_drop_of_a_text_that_no_dataset_knows_is_refused(run: Run) -> None:
    mixed = mixture(run, own=("a", "x"), bought=("v", "w"))
    drop = Intervention(kind="drop", stage="stage1", where=where(source="z"))

    with pytest.raises(InputError, match="one of a, x, found z"):
        intervened_examples(mixed, 1, intervention=drop, seed=0)


def test_drop_of_a_whole_dataset_fills_from_the_stage_s_others(run: Run) -> None:
    mixed = mixture(run, own=("a", "x"), bought=("v", "w"))
    drop = Intervention(
        kind="drop", stage="stage1", where=Selection(columns={"source": ("v", "w")})
    )

    examples = intervened_examples(mixed, 1, intervention=drop, seed=0)

    recorded = recorded_examples(mixed, 1)
    assert (examples.table == 0).all()
    assert (examples.index[recorded.table == 0] == recorded.index[recorded.table == 0]).all()
    assert set(examples.index.tolist()) <= set(recorded.index[recorded.table == 0].tolist())


def test_drop_that_would_empty_a_stage_says_what_to_ask_instead(run: Run) -> None:
    drop = Intervention(
        kind="drop", stage="stage1", where=Selection(columns={"source": ("a", "b")})
    )

    with pytest.raises(InputError, match=r"'stage1'.*source=a\|b, which all .*`skip`.*`replace`"):
        intervened_examples(run, 1, intervention=drop, seed=0)
