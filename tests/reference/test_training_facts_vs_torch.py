"""Losses and training facts: recorded, replayed and retrained without a stage, as plain torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.consistency import check_segment
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.tangent import stage_embedding
from auditor.dynamics.trajectory import advance
from auditor.errors import InputError, StageLogError, UnsupportedError
from auditor.plan.request import Intervention
from auditor.record.export import export_graph
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from auditor.stagelog.log import Clipping, Loss
from tests.support.builders import FixedClock, MemorySink, export_once
from tests.support.cases import quiet
from tests.support.facts_cases import (
    IGNORED,
    EmaFrom,
    FactsCase,
    LossOf,
    bigram,
    small_classifier,
    texts,
    trained,
    vectors,
)
from tests.support.memory_blobs import MemoryBlobs

CLASS_WEIGHTS = (1.0, 0.3, 2.0)


def clip_norm(parameters: Sequence[Tensor]) -> object:
    return clip_grad_norm_(parameters, 0.2)


def clip_value(parameters: Sequence[Tensor]) -> object:
    return clip_grad_value_(parameters, 0.02)


def weighted(model: nn.Module, _: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    return functional.cross_entropy(
        model(rows["x"]),
        rows["y"],
        weight=torch.tensor(CLASS_WEIGHTS, dtype=torch.float64),
        ignore_index=IGNORED,
        label_smoothing=0.1,
    )


def tokens(model: nn.Module, _: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    logits = model(rows["ids"])[:, :-1].flatten(0, 1)
    return functional.cross_entropy(logits, rows["labels"][:, 1:].flatten(), ignore_index=IGNORED)


def log_probability(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    losses = functional.cross_entropy(
        model(ids)[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=IGNORED
    )
    return -losses.sum(1)


def preferences(model: nn.Module, start: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    ratios = []
    for side in (0, 1):
        pair = (rows["ids"][:, side], rows["labels"][:, side])
        with torch.no_grad():
            before = log_probability(start, *pair)
        ratios.append(log_probability(model, *pair) - before)
    margin = 0.5 * (ratios[0] - ratios[1])
    losses = -0.9 * functional.logsigmoid(margin) - 0.1 * functional.logsigmoid(-margin)
    return losses.mean()


def positives(model: nn.Module, _: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    weight = torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)
    target = functional.one_hot(rows["y"].clamp_min(0), 3).double()
    return functional.binary_cross_entropy_with_logits(model(rows["x"]), target, pos_weight=weight)


def squared(model: nn.Module, _: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    return functional.mse_loss(model(rows["x"]), rows["z"])


def with_regression(seed: int) -> dict[str, Tensor]:
    columns = vectors(seed)
    return {**columns, "z": columns["x"][:, :3].sin()}


def with_one_hot(seed: int) -> dict[str, Tensor]:
    columns = vectors(seed)
    return {**columns, "z": functional.one_hot(columns["y"].clamp_min(0), 3).double()}


DPO = Loss(kind="dpo", beta=0.5, label_smoothing=0.1, ignore_index=IGNORED, reference="stage_start")
CLASSES = FactsCase(
    network=small_classifier, columns=vectors, inputs="x", target="y", loss_of=weighted,
    loss=Loss(
        kind="cross_entropy", class_weights=CLASS_WEIGHTS, ignore_index=IGNORED, label_smoothing=0.1
    ),
)  # fmt: skip
TEXTS = FactsCase(
    network=bigram, columns=lambda seed: texts(seed, shape=(24,)), inputs="ids", target="labels",
    loss_of=tokens, loss="causal_lm",
)  # fmt: skip
PAIRS = FactsCase(
    network=bigram, columns=lambda seed: texts(seed, shape=(24, 2)), inputs="ids", target="labels",
    loss_of=preferences, loss=DPO,
)  # fmt: skip
NORM = {"clipping": Clipping(kind="norm", limit=0.2)}
VALUE = {"clipping": Clipping(kind="value", limit=0.02)}


def momentum(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    first, *rest = parameters
    return torch.optim.SGD(
        [{"params": rest}, {"params": [first], "lr": 0.3, "weight_decay": 0.0}],
        lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05,
    )  # fmt: skip


def two_groups(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    first, *rest = parameters
    return torch.optim.AdamW(
        [
            {"params": rest, "weight_decay": 0.0},
            {"params": [first], "lr": 0.05, "betas": (0.5, 0.9)},
        ],
        lr=1e-2,
    )


CASES = {
    "label smoothing, class weights, ignore index": CLASSES,
    "the same in unequal microbatches": replace(
        CLASSES, microbatches=(3, 6, 2), declared={"accumulation": 3}
    ),
    "the same over the whole step": replace(
        CLASSES, microbatches=(3, 6), declared={"accumulation": 2, "accumulated": "step"}
    ),
    "accumulation, clipping by norm": replace(
        CLASSES, microbatches=(6, 6), clip=clip_norm, optimizer=momentum,
        declared={"accumulation": 2, **NORM},
    ),
    "clipping by value": replace(CLASSES, clip=clip_value, declared=VALUE),
    "clipping by norm, Adam, groups": replace(
        CLASSES, clip=clip_norm, declared=NORM, optimizer=two_groups
    ),
    "causal LM of unequal lengths": TEXTS,
    "causal LM, unequal microbatches": replace(
        TEXTS, microbatches=(2, 4), declared={"accumulation": 2}
    ),
    "causal LM, one mean a step": replace(
        TEXTS, microbatches=(2, 4), declared={"accumulation": 2, "accumulated": "step"}
    ),
    "preferences against the stage's start": PAIRS,
    "weights of positives": replace(
        CLASSES, columns=with_one_hot, target="z", loss_of=positives,
        loss=Loss(kind="binary_cross_entropy_with_logits", pos_weight=CLASS_WEIGHTS),
    ),
    "squared error": replace(
        CLASSES, columns=with_regression, target="z", loss_of=squared, loss="mse"
    ),
}  # fmt: skip


def parameters_of(run: Run, state: TrainingState, *, stage: int) -> dict[str, Tensor]:
    return run.layout(stage).unflatten(state.theta)


def close(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> None:
    assert set(found) == set(truth)
    for name, tensor in truth.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_replay_is_the_training(case: FactsCase) -> None:
    boundaries, run = trained(case)

    for index in range(2):
        end = advance(run, index, [run.boundary(index)], lanes=[Lane()], on_block=quiet).states[0]
        close(parameters_of(run, end, stage=index), boundaries[index + 1])
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_retraining_without_the_first_stage_is_torch_without_it(case: FactsCase) -> None:
    _, run = trained(case)
    truth, _ = trained(case, skip=frozenset({0}))

    found = without_first_stage(run)

    close(parameters_of(run, found, stage=1), truth[2])
    assert not torch.allclose(found.theta, run.boundary(2).theta, atol=1e-3)


def without_first_stage(run: Run) -> TrainingState:
    skip = Lane(intervention=Intervention(stage="stage0", kind="skip"))
    state = advance(run, 0, [run.boundary(0)], lanes=[skip], on_block=quiet).states[0]
    return advance(run, 1, [state], lanes=[Lane()], on_block=quiet).states[0]


def test_a_fixed_reference_stays_as_recorded() -> None:
    case = replace(PAIRS, loss=DPO.model_copy(update={"reference": "fixed"}))
    boundaries, run = trained(case)
    fixed = case.network()
    fixed.load_state_dict(boundaries[1])
    truth, _ = trained(replace(case, steps=5), skip=frozenset({0}), reference=fixed)

    found = without_first_stage(run)

    close(parameters_of(run, found, stage=1), truth[2])
    other = without_first_stage(trained(PAIRS)[1])
    assert not torch.allclose(found.theta, other.theta, atol=1e-4)


def test_a_forgotten_fact_is_inconsistent() -> None:
    facts: list[Callable[[FactsCase], FactsCase]] = [
        lambda case: replace(case, clip=clip_norm),
        lambda case: replace(case, loss=Loss(kind="cross_entropy", ignore_index=IGNORED)),
    ]
    for forget in facts:
        _, run = trained(forget(CLASSES))
        assert check_segment(run, 1, on_block=quiet).verdict == "inconsistent"


def in_bfloat16(loss_of: LossOf) -> LossOf:
    def under_autocast(model: nn.Module, start: nn.Module, rows: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_of(model, start, rows)

    return under_autocast


AUTOCAST = {
    "classes": replace(
        CASES["squared error"],
        network=lambda: small_classifier(dtype=torch.float32),
        columns=lambda seed: {
            name: values.float() if values.is_floating_point() else values
            for name, values in with_regression(seed).items()
        },
        loss_of=in_bfloat16(squared),
    ),
    "causal LM": replace(
        TEXTS, network=lambda: bigram(dtype=torch.float32), loss_of=in_bfloat16(tokens)
    ),
    "preferences": replace(
        PAIRS, network=lambda: bigram(dtype=torch.float32), loss_of=in_bfloat16(preferences)
    ),
}


@pytest.mark.parametrize("case", AUTOCAST.values(), ids=AUTOCAST.keys())
def test_autocast_is_replayed_and_retrained_within_its_rounding(case: FactsCase) -> None:
    """To 2 % of the way that the parameters go: bfloat16 has an epsilon of 0.8 %."""
    _, run = trained(case)
    truth, _ = trained(case, skip=frozenset({0}))

    found = without_first_stage(run)

    assert run.log.stages[0].precision == "autocast bfloat16 over float32"
    assert [check_segment(run, i, on_block=quiet).verdict for i in (0, 1)] == ["consistent"] * 2
    want = run.layout(1).flatten(truth[2])
    way = (want - run.boundary(0).theta).norm()
    assert (found.theta - want).norm() < 0.02 * way


@pytest.mark.parametrize("changes", [{"precision": "float32"}, {"clipping": NORM["clipping"]}])
def test_tolerance_of_autocast_still_finds_another_training(changes: dict[str, object]) -> None:
    """A log that denies autocast, or claims a clipping that did not take place."""
    _, run = trained(AUTOCAST["classes"])
    stages = tuple(stage.model_copy(update=changes) for stage in run.log.stages)
    log = run.log.model_copy(update={"stages": stages})
    changed = Run(log, run.log_digest, run.blobs)

    verdict = check_segment(changed, 0, on_block=quiet).verdict

    assert verdict == "inconsistent"


class Huber(nn.Module):
    """A loss of one's own: of each example, smooth, without parameters."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return [B] of output and target [B, ...]."""
        difference = output - target
        return (torch.sqrt(1 + difference * difference) - 1).mean(dim=1)


def own_loss(model: nn.Module, _: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    losses: Tensor = Huber()(model(rows["x"]), rows["z"])
    return losses.mean()


def test_a_loss_graph_is_the_loss() -> None:
    example = torch.zeros(2, 3, dtype=torch.float64)
    graph = export_graph(Huber(), (example, example), input_names=("output", "target"))
    blobs = MemoryBlobs()
    digest = blobs.write(graph)
    case = replace(
        CASES["squared error"], loss_of=own_loss, loss=Loss(kind="graph", graph=digest), blobs=blobs
    )
    boundaries, run = trained(case)
    truth, _ = trained(case, skip=frozenset({0}))

    close(parameters_of(run, run.boundary(1), stage=0), boundaries[1])
    close(parameters_of(run, without_first_stage(run), stage=1), truth[2])


def test_a_graph_that_is_no_loss_is_refused() -> None:
    blobs = MemoryBlobs()
    example = torch.zeros(2, 4, dtype=torch.float64)
    digest = blobs.write(export_graph(small_classifier(), (example,), input_names=("x",)))
    case = replace(
        CASES["squared error"], loss_of=own_loss, loss=Loss(kind="graph", graph=digest), blobs=blobs
    )
    _, run = trained(case)

    with pytest.raises((InputError, UnsupportedError)):
        run.objective(0)


def test_recorded_denominators_and_skipped_steps() -> None:
    """A sum over tokens by a constant; a scaler that refuses every other update."""
    model = bigram()
    sink = MemorySink(blobs=MemoryBlobs(), manifests=[])
    recorder = Recorder(sink, model, run_name="facts", export=export_once, clock=FixedClock())
    columns = texts(1, shape=(24,))
    data = recorder.dataset("texts", columns)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with recorder.stage(
        "only", optimizer=optimizer, loss="causal_lm", inputs={"ids": "ids"}, target="labels"
    ) as stage:
        for step in range(6):
            rows = torch.arange(4 * step, 4 * step + 4)
            optimizer.zero_grad()
            stage.batch(data, rows)
            stage.denominator(9.0 + step)
            logits = model(columns["ids"][rows])[:, :-1].flatten(0, 1)
            labels = columns["labels"][rows, 1:].flatten()
            total = functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
            (total / (9.0 + step)).backward()  # type: ignore[no-untyped-call]
            if step % 2:
                stage.skip_step()
            else:
                optimizer.step()

    log = recorder.log
    run = Run(log, digest_of(log), sink.blobs)
    end = advance(run, 0, [run.boundary(0)], lanes=[Lane()], on_block=quiet).states[0]

    assert log.stages[0].loss_denominator == "recorded"
    assert (log.stages[0].steps, log.stages[0].skipped) == (3, (1, 2, 3))
    close(
        parameters_of(run, end, stage=0),
        {name: value.detach() for name, value in model.named_parameters()},
    )


@pytest.mark.parametrize("first", ["stage_start", "first_step"])
@pytest.mark.parametrize("clip", [False, True])
def test_a_stage_may_end_with_its_moving_average(first: EmaFrom, clip: bool) -> None:
    case = replace(
        CLASSES, ema=(0.8, first), **({"clip": clip_norm, "declared": NORM} if clip else {})
    )
    boundaries, run = trained(case)
    truth, _ = trained(case, skip=frozenset({0}))

    for index in range(2):
        end = advance(run, index, [run.boundary(index)], lanes=[Lane()], on_block=quiet).states[0]
        close(parameters_of(run, end, stage=index), boundaries[index + 1])
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"
    close(parameters_of(run, without_first_stage(run), stage=1), truth[2])
    raw = trained(replace(case, ema=None))[0]
    assert not torch.allclose(raw[1]["0.weight"], boundaries[1]["0.weight"], atol=1e-3)


def test_an_average_that_is_not_released_is_refused() -> None:
    with pytest.raises(StageLogError, match="moving average"):
        trained(replace(CLASSES, ema=(0.8, "stage_start"), release=False))


def test_derivatives_of_an_average_are_refused_by_name() -> None:
    run = trained(replace(CLASSES, ema=(0.8, "stage_start")))[1]
    skip = Intervention(stage="stage0", kind="skip")

    with pytest.raises(UnsupportedError, match="ema_decay"):
        stage_embedding(run, skip, curvature="exact", on_block=quiet)
    with pytest.raises(UnsupportedError, match="ema_decay"):
        sweep(run, run.boundary(2), curvature="exact", on_block=quiet)
