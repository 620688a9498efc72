"""Loops of many kinds, recorded as their authors wrote them; each log replays to its end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.edge.folder import read_log
from auditor.errors import StageLogError, UnsupportedError
from auditor.record.datasets import DatasetHandle
from auditor.record.recorder import Recorder
from auditor.record.stage import StageRecorder
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import digest_of
from auditor.stagelog.log import CheckpointRole, Loss, Stage
from auditor.stagelog.schedule import read_schedule
from auditor.stagelog.validate import refuse_unsupported, validate
from tests.support.builders import (
    CLASSES,
    FEATURES,
    FixedClock,
    MemorySink,
    export_once,
    make_columns,
    make_network,
    make_stage_log,
)

COLUMNS = make_columns()
STEPS = 6


class Session:
    """A recorder in memory with one dataset ``train``, and the loop most tests use."""

    def __init__(self, model: nn.Module) -> None:
        self.sink = MemorySink.new()
        self.model = model
        self.recorder = Recorder(
            self.sink, model, run_name="session", export=export_once, clock=FixedClock()
        )
        self.data = self.recorder.dataset("train", COLUMNS)

    def stage(self, name: str, optimizer: torch.optim.Optimizer, **options: Any) -> Any:
        declared = {"loss": "cross_entropy", "inputs": {"x": "x"}, "target": "label"} | options
        return self.recorder.stage(name, optimizer=optimizer, **declared)

    def train(self, name: str, optimizer: torch.optim.Optimizer, **options: Any) -> None:
        with self.stage(name, optimizer, **options) as stage:
            for k in range(STEPS):
                self.step(stage, optimizer, range(8 * k, 8 * k + 8))

    def step(
        self, stage: StageRecorder, optimizer: torch.optim.Optimizer, rows: Iterable[int]
    ) -> None:
        indices = torch.tensor(list(rows))
        stage.batch(self.data, indices)
        optimizer.zero_grad()
        self.loss(indices).backward()
        optimizer.step()

    def loss(self, indices: Tensor, reduction: str = "mean") -> Tensor:
        return functional.cross_entropy(
            self.model(column("x")[indices]), column("label")[indices], reduction=reduction
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.recorder.log.stages


def column(name: str) -> Tensor:
    values = COLUMNS[name]
    assert isinstance(values, Tensor)
    return values


def require_replays(session: Session) -> None:
    """The whole log is valid and its replay reproduces every checkpoint."""
    log, blobs = session.recorder.log, session.sink.blobs
    validate(log)
    refuse_unsupported(log)
    check_content(log, blobs)
    run = Run(log, digest_of(log), blobs, device="cpu")
    verdicts = [
        check_segment(run, index, on_block=lambda _done, _total: None).verdict
        for index in range(len(log.stages))
    ]
    assert verdicts == ["consistent"] * len(log.stages)


def sgd(parameters: Any, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, **{"lr": 0.05, "momentum": 0.9} | options)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("transition", ["reset", "keep"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_every_optimizer_replays(optimizer: Any, transition: Any, dtype: torch.dtype) -> None:
    recorded = make_stage_log(
        stages=2, optimizer=optimizer, transition=transition, dtype=dtype, cadence_steps=3
    )
    run = Run(recorded.log, recorded.digest, recorded.blobs, device="cpu")

    findings = [check_segment(run, i, on_block=lambda _done, _total: None) for i in range(2)]

    assert [f.verdict for f in findings] == ["consistent", "consistent"]
    assert [f.checkpoints for f in findings] == [3, 3]


def test_scheduler_and_two_groups_are_seen_as_they_happened() -> None:
    session = Session(make_network())
    first, last = session.model.get_submodule("0"), session.model.get_submodule("2")
    groups = [
        {"params": first.parameters(), "lr": 0.1},
        {"params": last.parameters(), "lr": 0.01, "weight_decay": 0.1},
    ]
    optimizer = torch.optim.SGD(groups)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)

    with session.stage("only", optimizer) as stage:
        for k in range(STEPS):
            session.step(stage, optimizer, range(k, k + 8))
            scheduler.step()

    digest = session.stages[0].schedule
    schedule = read_schedule(session.sink.blobs.read(digest), where="schedule")
    torch.testing.assert_close(
        torch.tensor(schedule.columns["lr"]),
        torch.tensor([[0.1, 0.01], [0.05, 0.005], [0.025, 0.0025]]).double()
        .repeat_interleave(2, dim=0), rtol=1e-6, atol=0,
    )  # fmt: skip
    assert [g.parameters for g in session.stages[0].groups] == [
        ("0.weight", "0.bias"), ("2.weight", "2.bias"),
    ]  # fmt: skip
    require_replays(session)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (5, 2, 1), (3, 3)], ids=str)
def test_accumulation_replays_whatever_the_sizes(sizes: tuple[int, ...]) -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    with session.stage("only", optimizer, accumulation=3) as stage:
        for k in range(STEPS):
            optimizer.zero_grad()
            begin = 4 * k
            for size in sizes:
                indices = torch.arange(begin, begin + size)
                begin += size
                stage.batch(session.data, indices)
                (session.loss(indices) / 3).backward()
            optimizer.step()

    assert session.stages[0].accumulation == 3
    require_replays(session)


def test_weights_scale_the_numerator_of_the_mean() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())
    weights = torch.linspace(0, 2, 8, dtype=torch.float64)

    with session.stage("only", optimizer) as stage:
        for k in range(STEPS):
            indices = torch.arange(8 * k, 8 * k + 8)
            stage.batch(session.data, indices, weights)
            optimizer.zero_grad()
            (session.loss(indices, "none") * weights).mean().backward()
            optimizer.step()

    require_replays(session)


def test_mixture_of_datasets_is_one_mean() -> None:
    session = Session(make_network())
    more = make_columns(seed=5)
    other = session.recorder.dataset("more", more)
    optimizer = sgd(session.model.parameters())

    with session.stage("only", optimizer) as stage:
        for k in range(STEPS):
            indices = torch.arange(k, k + 4)
            stage.batch(session.data, indices)
            stage.batch(other, indices)
            x = torch.cat([column("x")[indices], torch.as_tensor(more["x"])[indices]])
            y = torch.cat([column("label")[indices], torch.as_tensor(more["label"])[indices]])
            optimizer.zero_grad()
            functional.cross_entropy(session.model(x), y).backward()
            optimizer.step()

    assert session.stages[0].datasets == ("train", "more")
    require_replays(session)


def test_captured_tensors_make_augmentation_part_of_the_data() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())
    generator = torch.Generator().manual_seed(3)

    with session.stage("only", optimizer) as stage:
        for k in range(STEPS):
            rows = slice(8 * k, 8 * k + 8)
            noise = torch.randn(8, FEATURES, generator=generator, dtype=torch.float64)
            x, label = column("x")[rows] + noise, column("label")[rows]
            stage.batch_tensors({"x": x, "label": label})
            x_before = x.clone()
            optimizer.zero_grad()
            functional.cross_entropy(session.model(x), label).backward()
            optimizer.step()
            x.zero_()  # what was captured does not change with the caller's tensor
            assert not torch.equal(x, x_before)

    assert session.stages[0].stochastic.augmentation == "recorded"
    assert session.recorder.log.datasets["only-captured"].examples == 48
    require_replays(session)


class Heads(nn.Module):
    """A body and a head that can be replaced, as transfer learning does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = make_network()
        self.old: nn.Module | None = nn.Linear(CLASSES, CLASSES).double()
        self.new: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        head = self.new or self.old
        assert head is not None
        result: Tensor = head(self.body(x).tanh())
        return result


def test_head_is_replaced_and_body_frozen_then_unfrozen() -> None:
    model = Heads()
    session = Session(model)
    session.train("pretrain", sgd(model.parameters()))

    model.old, model.new = None, nn.Linear(CLASSES, CLASSES).double()
    model.body.requires_grad_(False)
    session.train("adapt", sgd(model.parameters()))

    model.body.requires_grad_()
    session.train("finetune", sgd(model.parameters()))

    _, adapt, finetune = (stage.transition for stage in session.stages)
    body = tuple(sorted(f"body.{name}" for name, _ in model.body.named_parameters()))
    assert adapt.added == ("new.bias", "new.weight")
    assert adapt.removed == ("old.bias", "old.weight")
    assert (adapt.frozen, adapt.unfrozen) == (body, ())
    assert (finetune.added, finetune.frozen, finetune.unfrozen) == ((), (), body)
    assert len(session.recorder.log.graphs) == 2
    require_replays(session)


def test_parameters_set_to_new_values_are_recorded_as_such() -> None:
    session = Session(make_network())
    session.train("first", sgd(session.model.parameters()))
    with torch.no_grad():
        session.model.get_parameter("2.weight").normal_(generator=torch.Generator().manual_seed(1))

    session.train("second", sgd(session.model.parameters()))

    transition = session.stages[1].transition
    assert transition.added == transition.removed == ("2.weight",)
    require_replays(session)


def test_optimizer_kept_while_a_layer_is_frozen() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())
    session.train("first", optimizer)
    session.model.get_submodule("0").requires_grad_(False)
    session.train("second", optimizer)
    session.model.get_submodule("0").requires_grad_()

    session.train("third", optimizer)

    assert [s.transition.optimizer for s in session.stages] == ["reset", "keep", "keep"]
    assert session.stages[1].transition.frozen == ("0.bias", "0.weight")
    require_replays(session)


def test_optimizer_of_half_known_state_is_refused() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())
    session.train("first", optimizer)
    optimizer.state[session.model.get_parameter("0.weight")]["momentum_buffer"].mul_(0.5)

    with pytest.raises(UnsupportedError, match="fresh optimizer, or exactly the state"):
        session.train("second", optimizer)


class Tied(nn.Module):
    """Embeds and reads out with the same matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(FEATURES, CLASSES, bias=False).double()
        self.middle = nn.Linear(CLASSES, FEATURES).double()
        self.outward = nn.Linear(FEATURES, CLASSES, bias=False).double()
        self.outward.weight = self.inward.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.outward(self.middle(self.inward(x).tanh()).tanh())
        return result


def test_tied_weights_are_one_tensor() -> None:
    session = Session(Tied())

    session.train("only", sgd(session.model.parameters()))

    parameters = session.recorder.log.parameters
    assert parameters["outward.weight"].tied_to == "inward.weight"
    assert parameters["inward.weight"].tied_to is None
    require_replays(session)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_replays_in_the_mode_it_trained_in(mode: str) -> None:
    model = nn.Sequential(
        nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES)
    ).double()
    session = Session(model.train(mode == "train"))

    session.train("only", sgd(model.parameters()))

    graph = session.recorder.log.graphs["model"]
    assert graph.batch_norm == ("batch" if mode == "train" else "running")
    assert session.recorder.log.parameters["1.running_mean"].kind == "buffer"
    assert model.get_submodule("1").training == (mode == "train")
    require_replays(session)


def test_parameter_without_a_gradient_is_frozen() -> None:
    session = Session(make_network())
    optimizer = torch.optim.SGD(session.model.parameters(), lr=0.1, weight_decay=0.5)
    session.model.get_parameter("0.bias").requires_grad_(False)

    session.train("only", optimizer)

    assert "0.bias" not in session.stages[0].trainable
    require_replays(session)


def test_witness_and_cadence_are_kept_without_repeating_the_end() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())
    session.train("six", optimizer, cadence_steps=3)
    with session.stage("four", optimizer) as stage:
        for k in range(4):
            session.step(stage, optimizer, range(k, k + 8))

    kept = [[(c.step, c.role) for c in stage.checkpoints] for stage in session.stages]
    assert kept == [
        [(3, CheckpointRole.CADENCE), (4, CheckpointRole.WITNESS), (6, CheckpointRole.BOUNDARY)],
        [(10, CheckpointRole.BOUNDARY)],
    ]
    require_replays(session)


def test_steps_without_a_batch_name_the_step() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    def loop() -> None:
        with session.stage("only", optimizer) as stage:
            session.step(stage, optimizer, range(8))
            session.loss(torch.arange(8)).backward()
            optimizer.step()

    with pytest.raises(StageLogError, match="'only', step 1: expected a declared batch"):
        loop()


def test_batch_without_a_step_names_the_step() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    def loop() -> None:
        with session.stage("only", optimizer) as stage:
            session.step(stage, optimizer, range(8))
            stage.batch(session.data, [1, 2])

    with pytest.raises(StageLogError, match=r"'only', step 1: .*the end of the stage"):
        loop()


def test_second_batch_of_a_dataset_before_the_step_is_refused() -> None:
    session = Session(make_network())

    def loop() -> None:
        with session.stage("only", sgd(session.model.parameters())) as stage:
            stage.batch(session.data, [1])
            stage.batch(session.data, [2])

    with pytest.raises(StageLogError, match="a second batch of 'train' before the step"):
        loop()


@pytest.mark.parametrize(
    ("indices", "weights"),
    [([48], None), ([-1], None), ([], None), ([0.5], None), ([[1]], None), ([1], [1.0, 2.0]),
     ([1], [float("nan")])],
)  # fmt: skip
def test_batch_outside_the_dataset_is_refused(indices: Any, weights: Any) -> None:
    session = Session(make_network())

    def loop() -> None:
        with session.stage("only", sgd(session.model.parameters())) as stage:
            stage.batch(session.data, indices, weights)

    with pytest.raises(StageLogError, match="step 0"):
        loop()


def test_dataset_of_another_recorder_is_refused() -> None:
    session, other = Session(make_network()), Session(make_network())

    def loop() -> None:
        with session.stage("only", sgd(session.model.parameters())) as stage:
            stage.batch(other.data, [1])

    with pytest.raises(StageLogError, match="a dataset of this recorder"):
        loop()


def test_what_is_trained_must_not_change_within_a_stage() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    def loop() -> None:
        with session.stage("only", optimizer) as stage:
            session.step(stage, optimizer, range(8))
            session.model.get_parameter("0.bias").requires_grad_(False)
            session.step(stage, optimizer, range(8))

    with pytest.raises(StageLogError, match=r"step 1: .*Start a new stage"):
        loop()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torch.optim.RMSprop, r"torch\.optim\.SGD, Adam or AdamW"),
        (lambda p: torch.optim.Adam(p, amsgrad=True), "amsgrad"),
        (lambda p: torch.optim.SGD(p, maximize=True), "maximize"),
    ],
)
def test_optimizer_that_is_not_treated_is_refused_by_name(make: Any, message: str) -> None:
    session = Session(make_network())

    with pytest.raises(UnsupportedError, match=message):
        session.stage("only", make(session.model.parameters())).__enter__()


def test_closure_is_refused() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    def loop() -> None:
        with session.stage("only", optimizer) as stage:
            stage.batch(session.data, [1])
            optimizer.step(lambda: 0.0)

    with pytest.raises(UnsupportedError, match="without a closure"):
        loop()


def test_parameters_of_another_model_are_refused() -> None:
    session = Session(make_network())
    other = make_network()
    optimizer = sgd([*session.model.parameters(), *other.parameters()])

    def loop() -> None:
        with session.stage("only", optimizer) as stage:
            stage.batch(session.data, [1])
            (session.loss(torch.tensor([1])) + other(column("x")[:1]).sum()).backward()
            optimizer.step()

    with pytest.raises(StageLogError, match="that is not the model's"):
        loop()


def test_crash_leaves_the_log_up_to_the_last_boundary(tmp_path: Path) -> None:
    model = make_network()
    recorder = Recorder(tmp_path, model, run_name="crash", export=export_once)
    data: DatasetHandle = recorder.dataset("train", COLUMNS)
    optimizer = sgd(model.parameters())
    options: dict[str, Any] = {
        "optimizer": optimizer, "loss": "cross_entropy", "inputs": {"x": "x"}, "target": "label",
    }  # fmt: skip

    def step(stage: StageRecorder) -> None:
        stage.batch(data, range(8))
        optimizer.zero_grad()
        functional.cross_entropy(model(column("x")[:8]), column("label")[:8]).backward()
        optimizer.step()

    with recorder.stage("first", **options) as stage:
        for _ in range(5):
            step(stage)

    def crash() -> None:
        with recorder.stage("second", **options) as stage:
            step(stage)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()

    log, _, blobs = read_log(tmp_path)
    validate(log)
    check_content(log, blobs)
    assert [s.name for s in log.stages] == ["first"]
    with pytest.raises(StageLogError, match="'second', which was not"):
        recorder.stage("third", **options).__enter__()


def test_optimizer_is_left_without_hooks() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    session.train("only", optimizer)

    session.loss(torch.arange(8)).backward()
    optimizer.step()  # would be refused as a step without a batch
    assert session.stages[0].steps == STEPS


def test_second_stage_of_a_name_is_refused_before_it_trains() -> None:
    session = Session(make_network())
    session.train("only", sgd(session.model.parameters()))

    with pytest.raises(StageLogError, match="a second stage"):
        session.stage("only", sgd(session.model.parameters())).__enter__()


def test_stages_do_not_nest() -> None:
    session = Session(make_network())
    optimizer = sgd(session.model.parameters())

    with session.stage("outer", optimizer) as stage:
        with pytest.raises(StageLogError, match="'outer' still open"):
            session.stage("inner", optimizer).__enter__()
        session.step(stage, optimizer, range(8))

    assert [s.name for s in session.stages] == ["outer"]


def test_new_layer_of_another_shape_under_an_old_name_is_refused() -> None:
    model = make_network()
    session = Session(model)
    session.train("first", sgd(model.parameters()))
    model.register_module("2", nn.Linear(5, CLASSES + 1).double())

    with pytest.raises(UnsupportedError, match="new attribute name"):
        session.train("second", sgd(model.parameters()))


def test_mean_squared_error_of_a_regression_replays() -> None:
    session = Session(make_network())
    target = torch.randn(48, CLASSES, generator=torch.Generator().manual_seed(2)).double()
    data = session.recorder.dataset("values", {"x": column("x"), "y": target})
    optimizer = sgd(session.model.parameters())

    with session.stage("only", optimizer, loss=Loss(kind="mse"), target="y") as stage:
        for k in range(STEPS):
            indices = torch.arange(8 * k, 8 * k + 8)
            stage.batch(data, indices)
            optimizer.zero_grad()
            functional.mse_loss(session.model(column("x")[indices]), target[indices]).backward()
            optimizer.step()

    require_replays(session)
