"""Trajectories: carry states through a stage, all lanes in one traced, vmapped step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.averaging import released
from auditor.dynamics.changes import intervened_hyperparameters
from auditor.dynamics.heat import SECOND, with_noise, without_noise
from auditor.dynamics.hyperparameters import Hyperparameters
from auditor.dynamics.minibatches import Lane, StageBatches, require_lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.spans import Span, spans_of, together
from auditor.dynamics.state import TrainingState, stack, unstack, with_slots
from auditor.dynamics.stepping import (
    StepKind,
    TensorFunction,
    require_finite_state,
    step_arguments,
    step_function,
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
    states: Sequence[TrainingState],
    *,
    lanes: Sequence[Lane],
    on_block: OnBlock,
) -> Advanced:
    """Carry boundary states through a stage: its transition R_t, then its steps.

    Exact: every step is the recorded optimizer's arithmetic with the recorded hyperparameters, or
    with those that a lane changes.
    Steps that all lanes skip are not computed, lanes that skip a step take no part in it. Lanes
    agree with single ones to rounding. Cost: one gradient a step and lane on b of its B examples.
    Memory: the state and its successor, activations, and a block of examples, for every lane.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the layout of the boundary before the stage.
        lanes: What each trajectory changes.
        on_block: Told about every 32 steps.

    Raises:
        NumericalError: If a state becomes non-finite, naming the stage and the steps.
        InputError: If an intervention does not fit the log.
        PreconditionError: If the log lacks what the stage's steps need.
        UnsupportedError: If the stage or an intervention is not treated by this version.
    """
    transition = run.transition(stage_index)
    stage = run.log.stages[stage_index]
    return replay(
        run,
        stage_index,
        [transition(state) for state in states],
        lanes=lanes,
        steps=range(stage.steps),
        on_block=on_block,
    )


def replay(
    run: Run,
    stage_index: int,
    states: Sequence[TrainingState],
    *,
    lanes: Sequence[Lane],
    steps: range,
    on_block: OnBlock,
) -> Advanced:
    """Carry states through some steps of a stage; as :func:`advance`, but without R_t.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        states: One a lane, in the stage's layout.
        lanes: What each trajectory changes.
        steps: Consecutive steps, counted from the stage's first.
        on_block: Told about every 32 steps.
    """
    if len(states) != len(lanes):
        raise InternalError(
            "lanes", expected=f"{len(states)} lanes", found=len(lanes), remedy="Pass one a state."
        )
    for lane in lanes:
        require_lane(run.log.stages[stage_index], lane)
    result = list(states)
    examples = 0
    # Lanes that skip the whole stage need nothing of it, not even that its batches were recorded.
    active = [i for i, lane in enumerate(lanes) if not _skips_all(lane)]
    progress = Progress(total=len(steps) * len(active), on_block=on_block)
    for fraction in sorted({lanes[i].fraction for i in active}):
        members = [i for i in active if lanes[i].fraction == fraction]
        batches = StageBatches(run, stage_index, lanes=[lanes[i] for i in members])
        numbers = [
            intervened_hyperparameters(run, stage_index, intervention=lanes[i].intervention)
            for i in members
        ]
        group = _Group(
            run, stage_index, batches=batches, numbers=numbers, states=[states[i] for i in members]
        )
        for span in spans_of(batches, numbers, steps=steps):
            examples += group.execute(span, progress=progress)
        for i, state in zip(members, group.finished(), strict=True):
            result[i] = state
    progress.finish()
    stage = run.log.stages[stage_index]
    if steps.stop == stage.steps:
        result = [released(state, stage) for state in result]
    return Advanced(states=result, gradient_examples=examples)


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
        states: Sequence[TrainingState],
    ) -> None:
        self.states = [
            with_slots(state, own.slots, layout=run.layout(stage_index))
            for state, own in zip(states, numbers, strict=True)
        ]
        self._run, self._stage_index, self._batches = run, stage_index, batches
        self._numbers = numbers
        self._fraction = _cooled_fraction(run, stage_index, batches=batches, states=self.states)
        if self._fraction is not None:
            self.states = [with_noise(state) for state in self.states]
        spans = run.spans(stage_index)
        self._uniform = all(uniform_groups(state, spans) for state in states)
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
            moving = [self.states[lane] for lane in part.moving]
            state = moving[0] if len(moving) == 1 else stack(moving)
            state = self._steps(state, part, progress=progress)
            after = [state] if len(moving) == 1 else unstack(state)
            for lane, own in zip(part.moving, after, strict=True):
                self.states[lane] = own
        return size * steps * len(span.moving)

    def _steps(self, state: TrainingState, span: Span, *, progress: Progress) -> TrainingState:
        rows = self._rows(span)
        alpha = self._alpha(span, like=state.theta)
        function: TensorFunction | None = None
        tensors = state.tensors
        for block in self._blocks(span):
            examples = self._batches.block(block.start, block.stop, lanes=span.moving)
            first = block.start - span.steps.start
            arguments = step_arguments(rows[first : first + len(block)], examples)
            if alpha is not None:
                own = alpha[first:].unbind(0)
                arguments = [(*a, gate) for a, gate in zip(arguments, own, strict=False)]
            if function is None:
                function = self._function(span, state, arguments=(*tensors, *arguments[0]))
            for of_step in arguments:
                tensors = function(*tensors, *of_step)
            require_finite_state(tensors, run=self._run, stage_index=self._stage_index, block=block)
            progress.add(len(block) * len(span.moving))
        return state.replaced(tensors)

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
        self, span: Span, state: TrainingState, *, arguments: tuple[Tensor, ...]
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
        structure = (tuple(sorted(state.slots)), tuple(sorted(state.buffers)))
        key = ("advance", id(run.objective(index)), run.spans(index), kind, structure)
        shapes = (kind, tuple(argument.shape for argument in arguments))
        self._repeats[shapes] = self._repeats.get(shapes, 0) + len(span.steps)
        return traced_when_worth(
            run,
            lambda: step_function(run, index, kind=kind, like=state),
            key=key,
            arguments=arguments,
            steps=self._repeats[shapes],
        )
