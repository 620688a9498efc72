"""Bisection of two small releases: what is compared, derived, refused, and named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.audit.bisect import bisect
from auditor.audit.bisect_compare import Difference, differences
from auditor.audit.bisect_derive import derived
from auditor.audit.bisect_finding import BisectFinding, BisectRequest, Part
from auditor.effects import Better, Query, QueryKind
from auditor.errors import InputError, PreconditionError, UnsupportedError
from auditor.record.evalset import write_evaluation_set
from auditor.record.recorder import Recorder
from auditor.stagelog.batches import read_batches
from auditor.stagelog.digest import Digest, canonical_bytes, digest_of
from auditor.stagelog.log import StageLog
from auditor.stagelog.schedule import read_schedule, write_schedule
from auditor.stagelog.validate import validate
from tests.support.builders import (
    FixedClock,
    MemorySink,
    export_once,
    make_columns,
    make_network,
    make_optimizer,
)
from tests.support.memory_index import MemoryIndex

STAGES = 3
STEPS = 8
BATCH = 16
EXAMPLES = 192
HELD_OUT = 96
Rates = dict[int, float]


def learnable(*, examples: int, seed: int) -> dict[str, Tensor]:
    """Return columns whose label follows from the features."""
    x = make_columns(examples=examples, seed=seed)["x"]
    return {"x": x, "label": x[:, :3].argmax(dim=1)}


class Releases:
    """Records releases into one store and keeps the network that each ended with."""

    def __init__(self) -> None:
        self.sink = MemorySink.new()
        self.held_out = learnable(examples=HELD_OUT, seed=999)
        self.evaluation = write_evaluation_set("held-out", self.held_out, self.sink.blobs)

    def record(
        self,
        *,
        order: int = 0,
        rates: Rates | None = None,
        noisy: int | None = None,
        steps: Rates | None = None,
        stages: int = STAGES,
        seed: int = 0,
    ) -> tuple[StageLog, nn.Module]:
        """Train and record: a rate or number of steps of one stage, or false labels in one."""
        network = make_network(seed=seed)
        recorder = Recorder(
            self.sink, network, run_name="release", export=export_once, clock=FixedClock()
        )
        for index in range(stages):
            columns = learnable(examples=EXAMPLES, seed=100 + index)
            if index == noisy:
                columns["label"] = (columns["label"] + 1) % 3
            data = recorder.dataset(f"data{index}", columns)
            optimizer = make_optimizer("sgd", network, lr=(rates or {}).get(index, 0.1))
            generator = torch.Generator().manual_seed(1000 * order + index)
            with recorder.stage(
                f"stage{index}",
                optimizer=optimizer,
                loss="cross_entropy",
                inputs={"x": "x"},
                target="label",
                self_check="off",
            ) as stage:
                for _ in range(int((steps or {}).get(index, STEPS))):
                    rows = torch.randperm(EXAMPLES, generator=generator)[:BATCH]
                    stage.batch(data, rows)
                    optimizer.zero_grad()
                    output = network(columns["x"][rows])
                    nn.functional.cross_entropy(output, columns["label"][rows]).backward()
                    optimizer.step()
        return recorder.log, network

    def loss_of(self, network: nn.Module) -> float:
        with torch.no_grad():
            output = network(self.held_out["x"])
            return nn.functional.cross_entropy(output, self.held_out["label"]).item()

    def bisect(self, a: StageLog, b: StageLog, **changes: float) -> BisectFinding:
        digests = [self.sink.blobs.write(canonical_bytes(log)) for log in (a, b)]
        query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=self.evaluation)
        request = BisectRequest(
            a=digests[0],
            b=digests[1],
            queries=(query,),
            **{"share": 0.5, "confidence": 0.9, "draws": 6, **changes},
        )
        return bisect(request, blobs=self.sink.blobs, index=MemoryIndex(), device="cpu")


@pytest.fixture(scope="module")
def releases() -> Releases:
    return Releases()


def parts(found: tuple[Difference, ...]) -> list[tuple[int, Part]]:
    return [(difference.stage, difference.part) for difference in found]


def test_changed_rate_is_the_only_difference_and_named_exactly(releases: Releases) -> None:
    a, network_a = releases.record()
    b, network_b = releases.record(rates={1: 0.001})

    finding = releases.bisect(a, b)

    (query,) = finding.queries
    (explanation,) = query.explanations
    assert (explanation.stage, explanation.part, explanation.what) == (
        "stage1", Part.SETTINGS, ("lr",),
    )  # fmt: skip
    assert query.gap == pytest.approx(
        releases.loss_of(network_b) - releases.loss_of(network_a), rel=1e-8
    )
    assert explanation.share == pytest.approx(1.0, rel=1e-6)  # B with A's rate is A
    assert finding.found
    assert "'stage1' of B used the settings of A" in query.statement


@pytest.mark.parametrize("stage", range(STAGES))
def test_false_labels_are_found_in_their_stage_among_other_orders(
    releases: Releases, stage: int
) -> None:
    a, _ = releases.record(order=1)
    b, _ = releases.record(order=2, noisy=stage)

    finding = releases.bisect(a, b)

    (query,) = finding.queries
    assert query.cause is not None
    cause = query.explanations[query.cause]
    assert (cause.stage, cause.part, cause.noise_of) == (f"stage{stage}", Part.DATA, "sample")
    assert cause.low is not None
    assert cause.low < cause.explained < cause.high


def test_releases_that_differ_by_order_alone_have_no_cause(releases: Releases) -> None:
    a, _ = releases.record(order=3)
    b, _ = releases.record(order=4)

    finding = releases.bisect(a, b)

    (query,) = finding.queries
    assert not finding.found
    assert len(query.explanations) == STAGES
    assert query.statement.startswith("No single change explains")


def test_half_of_a_stage_with_a_changed_rate_does_not_hide_false_labels(
    releases: Releases,
) -> None:
    a, _ = releases.record()
    b, _ = releases.record(noisy=2, rates={2: 0.09})

    (query,) = releases.bisect(a, b).queries

    found = {(one.part): one.share for one in query.explanations}
    assert set(found) == {Part.DATA, Part.SETTINGS, Part.STAGE}
    assert found[Part.STAGE] == pytest.approx(1.0, rel=1e-6)
    assert query.cause is not None
    assert query.explanations[query.cause].part is Part.DATA  # narrower than the whole stage


def test_part_with_which_b_diverges_is_shown_and_not_named(releases: Releases) -> None:
    a, _ = releases.record(order=1)
    b, _ = releases.record(order=2)
    blobs = releases.sink.blobs
    schedule = read_schedule(blobs.read(Digest(a.stages[1].schedule)), where="schedule")
    huge = replace(schedule, columns={**schedule.columns, "lr": schedule.columns["lr"] + 1e200})
    stage = a.stages[1].model_copy(update={"schedule": blobs.write(write_schedule(huge))})
    claimed = a.model_copy(update={"stages": (a.stages[0], stage, a.stages[2])})

    (query,) = releases.bisect(claimed, b).queries

    verdicts = {(one.stage, one.part): one.verdict for one in query.explanations}
    assert verdicts["stage1", Part.SETTINGS] == "diverged"
    assert query.cause is None


def test_initial_values_are_shown_and_never_named(releases: Releases) -> None:
    a, _ = releases.record()
    b, _ = releases.record(seed=5)

    finding = releases.bisect(a, b)

    (explanation,) = finding.queries[0].explanations
    assert explanation.part is Part.INITIAL
    assert explanation.share == pytest.approx(1.0, rel=1e-6)
    assert explanation.verdict == "no noise scale"
    assert not finding.found


def test_stage_of_another_length_is_carried_over_whole_and_renumbered(releases: Releases) -> None:
    a, _ = releases.record(steps={1: 12})
    b, _ = releases.record()

    (difference,) = differences(a, b, releases.sink.blobs)
    log = derived(a, b, difference, blobs=releases.sink.blobs)
    (query,) = releases.bisect(a, b).queries

    validate(log)
    assert difference.part is Part.STAGE
    assert [(stage.first_step, stage.end_step) for stage in log.stages] == [
        (0, 8), (8, 20), (20, 28),
    ]  # fmt: skip
    last = log.stages[-1]
    blobs = releases.sink.blobs
    assert read_batches(blobs.read(Digest(last.batches)), where="b").first_step == 20
    assert read_schedule(blobs.read(Digest(last.schedule)), where="s").first_step == 20
    assert query.explanations[0].share == pytest.approx(1.0, rel=1e-6)


def test_data_of_another_release_keep_their_rows(releases: Releases) -> None:
    a, _ = releases.record(order=1)
    b, _ = releases.record(order=2, noisy=0)
    found = differences(a, b, releases.sink.blobs)

    log = derived(a, b, found[0], blobs=releases.sink.blobs)

    validate(log)
    (name,) = log.stages[0].datasets
    assert name not in b.datasets
    assert log.datasets[name] == a.datasets["data0"]
    blobs = releases.sink.blobs
    mine = read_batches(blobs.read(Digest(a.stages[0].batches)), where="a")
    taken = read_batches(blobs.read(Digest(log.stages[0].batches)), where="b")
    assert all(
        np.array_equal(mine.rows(step)[0].indices, taken.rows(step)[0].indices)
        for step in range(STEPS)
    )
    assert log.stages[1:] == b.stages[1:]


def test_other_order_of_equal_data_is_told_from_other_examples(releases: Releases) -> None:
    a, _ = releases.record(order=1)
    b, _ = releases.record(order=2)

    found = differences(a, b, releases.sink.blobs)

    assert parts(found) == [(index, Part.DATA) for index in range(STAGES)]
    assert all(difference.what == ("examples",) for difference in found)  # drawn, not a whole epoch


Alter = Callable[[StageLog], StageLog]


def renamed(log: StageLog) -> StageLog:
    last = log.stages[-1].model_copy(update={"name": "other"})
    return log.model_copy(update={"stages": (*log.stages[:-1], last)})


def without_batches(log: StageLog) -> StageLog:
    last = log.stages[-1].model_copy(update={"batches": None})
    return log.model_copy(update={"stages": (*log.stages[:-1], last)})


def wider(log: StageLog) -> StageLog:
    info = log.parameters["0.bias"].model_copy(update={"shape": (6,)})
    return log.model_copy(update={"parameters": {**log.parameters, "0.bias": info}})


def freezing(log: StageLog) -> StageLog:
    last = log.stages[-1]
    (group,) = last.groups
    fewer = group.model_copy(update={"parameters": group.parameters[1:]})
    return log.model_copy(
        update={"stages": (*log.stages[:-1], last.model_copy(update={"groups": (fewer,)}))}
    )


@pytest.mark.parametrize(
    ("alter", "error", "where"),
    [
        (lambda log: log, InputError, "A, B"),
        (renamed, InputError, "stages"),
        (without_batches, PreconditionError, "B.level"),
        (wider, UnsupportedError, "parameters"),
        (freezing, UnsupportedError, "stages[2].groups"),
    ],
    ids=["equal", "other stages", "level", "other shapes", "other groups"],
)
def test_releases_that_cannot_be_compared_are_refused(
    releases: Releases, alter: Alter, error: type[Exception], where: str
) -> None:
    a, _ = releases.record()

    with pytest.raises(error) as refused:
        differences(a, alter(a), releases.sink.blobs)

    assert refused.value.where == where


def test_a_second_bisection_computes_nothing_again(releases: Releases) -> None:
    a, _ = releases.record()
    b, _ = releases.record(rates={0: 0.02})
    digests = [releases.sink.blobs.write(canonical_bytes(log)) for log in (a, b)]
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=releases.evaluation)
    request = BisectRequest(
        a=digests[0], b=digests[1], queries=(query,), share=0.5, confidence=0.9, draws=4
    )
    index, seen = MemoryIndex(), []

    first = bisect(request, blobs=releases.sink.blobs, index=index, device="cpu")
    again = bisect(
        request,
        blobs=releases.sink.blobs,
        index=index,
        device="cpu",
        on_progress=lambda progress: seen.append(progress.kind),
    )

    assert seen == []
    assert again == first
    assert digest_of(a) == first.a
