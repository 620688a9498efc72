"""Lanes that go through their stages side by side: one traced, vmapped step for all of them."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.changes import intervened_hyperparameters
from auditor.dynamics.heat import NOISE, SECOND, with_noise, without_noise
from auditor.dynamics.joined_batches import LaneBatches, joined
from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.progress import Progress
from auditor.dynamics.run import Run
from auditor.dynamics.saved import Passage
from auditor.dynamics.spans import Span, spans_of, together
from auditor.dynamics.state import (
    TrainingState,
    form_of,
    stack,
    unstack_tensors,
    with_slots,
)
from auditor.dynamics.stepping import (
    StepKind,
    TensorFunction,
    require_finite_state,
    step_arguments,
    step_function,
    taken,
    traced_when_worth,
    uniform_groups,
)
from auditor.stagelog.log import Stage


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """One trajectory on its way through a stage of its run.

    Attributes:
        run: The recorded run.
        stage_index: The stage, from 0.
        lane: What the trajectory changes.
        steps: Consecutive steps, counted from the stage's first.
    """

    run: Run
    stage_index: int
    lane: Lane
    steps: range

    @property
    def stage(self) -> Stage:
        """The stage as recorded."""
        return self.run.log.stages[self.stage_index]


def cohorts(legs: Sequence[Leg]) -> list[tuple[list[int], LaneBatches]]:
    """Return which legs have steps of the same kind and sizes, and their batches.

    Two runs share a cohort when their steps compute the same function of their arguments
    (:meth:`Run.step_identity`) and have the same sizes, one by one; nothing else has to agree.

    Args:
        legs: Of any runs and stages; none skips its whole stage.

    Returns:
        Positions and batches of each cohort; every position once.
    """
    by_stage: dict[Hashable, list[int]] = {}
    for i in sorted(range(len(legs)), key=lambda i: legs[i].lane.fraction):
        own = legs[i]
        key = (id(own.run), own.stage_index, own.lane.fraction, own.steps)
        by_stage.setdefault(key, []).append(i)
    alike: dict[Hashable, list[tuple[list[int], StageBatches]]] = {}
    for members in by_stage.values():
        first = legs[members[0]]
        batches = StageBatches(first.run, first.stage_index, lanes=[legs[i].lane for i in members])
        identity = first.run.step_identity(first.stage_index)
        alike.setdefault((identity, batches.geometry, first.steps), []).append((members, batches))
    return [
        ([i for members, _ in parts for i in members], joined([batches for _, batches in parts]))
        for parts in alike.values()
    ]


@final
class Cohort:
    """Lanes of one fraction on their way through stages that compute the same.

    Args:
        legs: One a lane.
        states: Of each lane; let go of on the way if an iterator gave them.
        batches: Of all lanes.
        passage: Told where they are.
    """

    def __init__(
        self,
        legs: Sequence[Leg],
        states: Iterable[TrainingState],
        *,
        batches: LaneBatches,
        passage: Passage,
    ) -> None:
        first = legs[0]
        # Whatever the steps close over is the same for all lanes, so the first stands for them.
        self._run, self._stage_index, self._steps = first.run, first.stage_index, first.steps
        self._batches, self._passage = batches, passage
        self._numbers = [
            intervened_hyperparameters(own.run, own.stage_index, intervention=own.lane.intervention)
            for own in legs
        ]
        layout, spans = first.run.layout(first.stage_index), first.run.spans(first.stage_index)
        self.states = [
            with_slots(state, numbers.slots, layout=layout)
            for state, numbers in zip(states, self._numbers, strict=True)
        ]
        self._fraction = _cooled_fraction(first, batches=batches, states=self.states)
        if self._fraction is not None:
            self.states = [s if NOISE in s.slots else with_noise(s) for s in self.states]
        self._uniform = all(uniform_groups(state, spans) for state in self.states)
        self._repeats: dict[object, int] = {}

    def execute(self, progress: Progress) -> int:
        """Take all steps and return the gradient-examples that it took."""
        spans = spans_of(self._batches, self._numbers, steps=self._steps)
        return sum(self._execute(span, progress=progress) for span in spans)

    def finished(self) -> list[TrainingState]:
        """Return the states in the layout of the stage's end."""
        if self._fraction is None:
            return self.states
        return [without_noise(state, fraction=self._fraction) for state in self.states]

    def _execute(self, span: Span, *, progress: Progress) -> int:
        """Advance the lanes that move and return the gradient-examples that it took."""
        steps, size = len(span.steps), int(self._batches.sizes[span.steps.start])
        progress.add(steps * (len(self.states) - len(span.moving)))
        for part in together(span, self.states, batches=self._batches, numbers=self._numbers):
            after = self._through(part, progress=progress)
            for lane, own in zip(part.moving, after, strict=True):
                self.states[lane] = own
                self._passage.reached([lane], step=span.steps.stop, state=own)
        return size * steps * len(span.moving)

    def _through(self, span: Span, *, progress: Progress) -> list[TrainingState]:
        rows = self._rows(span)
        self._passage.left(span.moving)
        form, tensors = self._take(span.moving)
        alpha = self._alpha(span, like=tensors[0])
        function: TensorFunction | None = None
        for block in self._blocks(span):
            examples = self._batches.block(block.start, block.stop, lanes=span.moving)
            first = block.start - span.steps.start
            arguments = step_arguments(rows[first : first + len(block)], examples)
            if alpha is not None:
                own = alpha[first:].unbind(0)
                arguments = [(*a, gate) for a, gate in zip(arguments, own, strict=False)]
            if function is None:
                function = self._function(span, form, arguments=(*tensors, *arguments[0]))
            for of_step in arguments:
                tensors += of_step
                tensors = list(taken(function, tensors))
            del examples, arguments, of_step  # before the next block is gathered
            require_finite_state(tensors, run=self._run, stage_index=self._stage_index, block=block)
            self._passage.reached(span.moving, step=block.stop, state=form.replaced(tensors))
            progress.add(len(block) * len(span.moving))
            self._passage.left(span.moving)  # so that no block holds the state before it
        if len(span.moving) == 1:
            return [form.replaced(tensors)]
        return unstack_tensors(tensors, form=form)

    def _take(self, lanes: Sequence[int]) -> tuple[TrainingState, list[Tensor]]:
        """Return the structure of some lanes' states, and their tensors, which only it holds."""
        form = form_of(self.states[lanes[0]])

        def moving() -> Iterator[TrainingState]:
            for lane in lanes:
                state, self.states[lane] = self.states[lane], form
                yield state
                del state

        own = moving()
        return form, list((next(own) if len(lanes) == 1 else stack(own)).tensors)

    def _blocks(self, span: Span) -> list[range]:
        """Return the span in blocks whose examples fit the memory set aside for them."""
        lanes = 1 if self._batches.shared(span.moving) else len(span.moving)
        n = self._batches.block_steps(span.steps.start, lanes=lanes)
        return [span.steps[i : i + n] for i in range(0, len(span.steps), n)]

    def _rows(self, span: Span) -> Tensor:
        """Return the numbers of a span's steps, [steps, H], or [steps, L, H] where lanes differ."""
        rows = [
            self._numbers[lane].step_rows[span.steps.start : span.steps.stop]
            for lane in span.moving
        ]
        return torch.stack(rows, dim=1) if self._numbers_differ(span) else rows[0]

    def _numbers_differ(self, span: Span) -> bool:
        return len({id(self._numbers[lane]) for lane in span.moving}) > 1

    def _alpha(self, span: Span, *, like: Tensor) -> Tensor | None:
        """Return the gates of a span, [steps] or [steps, L]; None when all are 1."""
        if not span.gated:
            return None
        own = self._batches.alpha[list(span.moving)][:, span.steps.start : span.steps.stop]
        alpha = torch.from_numpy(own.T.copy()).to(like)
        return alpha[:, 0] if len(span.moving) == 1 else alpha

    def _function(
        self, span: Span, form: TrainingState, *, arguments: tuple[Tensor, ...]
    ) -> TensorFunction:
        run, index = self._run, self._stage_index
        kind = StepKind(
            form=self._numbers[span.moving[0]].forms[span.steps.start],
            uniform=self._uniform,
            gated=span.gated,
            lanes=None if len(span.moving) == 1 else len(span.moving),
            shared=self._batches.shared(span.moving),
            own_numbers=self._numbers_differ(span),
            fraction=self._fraction,
        )
        structure = (tuple(sorted(form.slots)), tuple(sorted(form.buffers)))
        key = ("advance", run.step_identity(index), kind, structure)
        shapes = (kind, tuple(argument.shape for argument in arguments))
        self._repeats[shapes] = self._repeats.get(shapes, 0) + len(span.steps)
        return traced_when_worth(
            run.prepared,
            lambda: step_function(run, index, kind=kind, like=form),
            key=key,
            arguments=arguments,
            steps=self._repeats[shapes],
        )


def _cooled_fraction(
    leg: Leg, *, batches: LaneBatches, states: Sequence[TrainingState]
) -> float | None:
    """Return b / B where Adam's second moment can be rid of sub-sampling noise, else None.

    Halves need two examples, and a forward pass that normalises by batch statistics would see
    other statistics in each half.
    """
    graph = leg.run.log.graphs[leg.stage.graph]
    adaptive = SECOND in states[0].slots
    split = graph.batch_norm != "batch" and int(batches.sizes.min()) > 1
    return batches.fraction if adaptive and split and batches.fraction < 1 else None
