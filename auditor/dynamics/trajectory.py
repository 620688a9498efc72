"""Trajectories: carry states through a stage, all lanes in one traced, vmapped step."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.averaging import released
from auditor.dynamics.changes import intervened_hyperparameters
from auditor.dynamics.heat import NOISE, SECOND, with_noise, without_noise
from auditor.dynamics.hyperparameters import Hyperparameters
from auditor.dynamics.minibatches import Lane, StageBatches, require_lane
from auditor.dynamics.progress import OnBlock, Progress
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
from auditor.errors import InternalError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Advanced:
    """What :func:`advance` computed.

    Attributes:
        states: One state a lane, in the stage's layout.
        gradient_examples: Per-example gradients that it took, over all lanes.
    """

    states: list[TrainingState]
    gradient_examples: int


def advance(
    run: Run,
    stage_index: int,
    states: Iterable[TrainingState],
    *,
    lanes: Sequence[Lane],
    on_block: OnBlock,
    passage: Passage | None = None,
) -> Advanced:
    """Carry boundary states through a stage: its transition R_t, then its steps.

    Exact: every step is the recorded optimizer's arithmetic with the recorded hyperparameters, or
    with those that a lane changes.
    Steps that all lanes skip are not computed, lanes that skip a step take no part in it. Lanes
    agree with single ones to rounding. Cost: one gradient a step and lane on b of its B examples.
    Memory: for every lane its state, gradients, once more the parameters, and activations; and a
    block of examples. A start state is let go of on the way if an iterator gave it.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the layout of the boundary before the stage.
        lanes: What each trajectory changes.
        on_block: Told about every 32 steps.
        passage: Where lanes go on from, and are at block boundaries; None starts all of them.

    Raises:
        NumericalError: If a state becomes non-finite, naming the stage and the steps.
        InputError: If an intervention does not fit the log.
        PreconditionError: If the log lacks what the stage's steps need.
        UnsupportedError: If the stage or an intervention is not treated by this version.
    """
    transition = run.transition(stage_index)
    stage = run.log.stages[stage_index]
    places = passage or Passage.new(len(lanes))

    def start(lane: int, state: TrainingState) -> TrainingState:
        saved = places.saved(lane) if lane < len(lanes) else None  # refused by replay
        return transition(state) if saved is None else saved.state

    return replay(
        run,
        stage_index,
        map(start, range(len(lanes) + 1), states),
        lanes=lanes,
        steps=range(stage.steps),
        on_block=on_block,
        passage=places,
    )


def replay(
    run: Run,
    stage_index: int,
    states: Iterable[TrainingState],
    *,
    lanes: Sequence[Lane],
    steps: range,
    on_block: OnBlock,
    passage: Passage | None = None,
) -> Advanced:
    """Carry states through some steps of a stage; as :func:`advance`, but without R_t.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the stage's layout.
        lanes: What each trajectory changes.
        steps: Consecutive steps, counted from the stage's first.
        on_block: Told about every 32 steps.
        passage: Which steps lanes have behind them already; told where they are.
    """
    passage = passage or Passage.new(len(lanes))
    result = dict(enumerate(states))
    if len(result) != len(lanes):
        raise InternalError(
            "lanes", expected=f"{len(result)} lanes", found=len(lanes), remedy="Pass one a state."
        )
    for lane in lanes:
        require_lane(run.log.stages[stage_index], lane)
    examples = 0
    # Lanes that skip the whole stage need nothing of it, not even that its batches were recorded.
    active = [i for i, lane in enumerate(lanes) if not _skips_all(lane)]
    progress = Progress(total=len(steps) * len(active), on_block=on_block)
    for fraction in sorted({lanes[i].fraction for i in active}):
        members = [i for i in active if lanes[i].fraction == fraction]
        batches = StageBatches(run, stage_index, lanes=[lanes[i] for i in members])
        for alpha, i in zip(batches.alpha, members, strict=True):
            alpha[: passage.first_step(i)] = 0  # a lane stands still until where it goes on from
        numbers = [
            intervened_hyperparameters(run, stage_index, intervention=lanes[i].intervention)
            for i in members
        ]
        own = (result.pop(i) for i in members)
        group = _Group(
            run,
            stage_index,
            batches=batches,
            numbers=numbers,
            states=own,
            passage=passage.of(members),
        )
        for span in spans_of(batches, numbers, steps=steps):
            examples += group.execute(span, progress=progress)
        result |= dict(zip(members, group.finished(), strict=True))
    progress.finish()
    stage, ends = run.log.stages[stage_index], [result[i] for i in range(len(lanes))]
    if steps.stop == stage.steps:
        ends = [released(state, stage) for state in ends]
    return Advanced(states=ends, gradient_examples=examples)


def _skips_all(lane: Lane) -> bool:
    intervention = lane.intervention
    return intervention is not None and intervention.kind == "skip" and intervention.steps is None


def _cooled_fraction(
    run: Run, stage_index: int, *, batches: StageBatches, states: Sequence[TrainingState]
) -> float | None:
    """Return b / B where Adam's second moment can be rid of sub-sampling noise, else None.

    Halves need two examples, and a forward pass that normalises by batch statistics would see
    other statistics in each half.
    """
    graph = run.log.graphs[run.log.stages[stage_index].graph]
    adaptive = SECOND in states[0].slots
    split = graph.batch_norm != "batch" and int(batches.sizes.min()) > 1
    return batches.fraction if adaptive and split and batches.fraction < 1 else None


@final
class _Group:
    """The lanes of one fraction on their way through a stage."""

    def __init__(
        self,
        run: Run,
        stage_index: int,
        *,
        batches: StageBatches,
        numbers: Sequence[Hyperparameters],
        states: Iterable[TrainingState],
        passage: Passage,
    ) -> None:
        self.states = [
            with_slots(state, own.slots, layout=run.layout(stage_index))
            for state, own in zip(states, numbers, strict=True)
        ]
        self._run, self._stage_index, self._batches = run, stage_index, batches
        self._numbers, self._passage = numbers, passage
        self._fraction = _cooled_fraction(run, stage_index, batches=batches, states=self.states)
        if self._fraction is not None:
            self.states = [s if NOISE in s.slots else with_noise(s) for s in self.states]
        spans = run.spans(stage_index)
        self._uniform = all(uniform_groups(state, spans) for state in self.states)
        self._repeats: dict[object, int] = {}

    def finished(self) -> list[TrainingState]:
        """Return the states in the layout of the stage's end."""
        if self._fraction is None:
            return self.states
        return [without_noise(state, fraction=self._fraction) for state in self.states]

    def execute(self, span: Span, *, progress: Progress) -> int:
        """Advance the lanes that move and return the gradient-examples that it took."""
        steps, size = len(span.steps), int(self._batches.sizes[span.steps.start])
        progress.add(steps * (len(self.states) - len(span.moving)))
        for part in together(span, self.states, batches=self._batches, numbers=self._numbers):
            after = self._steps(part, progress=progress)
            for lane, own in zip(part.moving, after, strict=True):
                self.states[lane] = own
                self._passage.reached([lane], step=span.steps.stop, state=own)
        return size * steps * len(span.moving)

    def _steps(self, span: Span, *, progress: Progress) -> list[TrainingState]:
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
        key = ("advance", id(run.objective(index)), run.spans(index), kind, structure)
        shapes = (kind, tuple(argument.shape for argument in arguments))
        self._repeats[shapes] = self._repeats.get(shapes, 0) + len(span.steps)
        return traced_when_worth(
            run,
            lambda: step_function(run, index, kind=kind, like=form),
            key=key,
            arguments=arguments,
            steps=self._repeats[shapes],
        )
