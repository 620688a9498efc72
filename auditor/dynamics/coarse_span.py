"""Steps of a span in blocks: a gradient at the block's start, then the optimizer's own steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from auditor.curvature.exact import ExactCurvature
from auditor.curvature.segment import SegmentCurvature
from auditor.dynamics.adam import AdamForm
from auditor.dynamics.block_gradient import BlockGradient
from auditor.dynamics.divisors import is_mean
from auditor.dynamics.gates import gate
from auditor.dynamics.hyperparameters import ADAM_COLUMNS, Hyperparameters, StepForm
from auditor.dynamics.minibatches import Lane, Pooled, StageBatches
from auditor.dynamics.progress import Progress
from auditor.dynamics.run import Run
from auditor.dynamics.spans import Span
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import (
    TensorFunction,
    require_finite_state,
    step_map,
    traced_when_worth,
    uniform_groups,
)
from auditor.errors import UnsupportedError
from auditor.model.objective import Minibatch


@final
class CoarseSpan:
    """Lanes that move together through a span.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        span: Its steps and the lanes.
        batches: Of all lanes, with all examples.
        numbers: Hyperparameters of the lanes that move.
        drawn: Which part of a block's examples each of them uses.
        segment: H of the local model, or None for 0.
    """

    def __init__(
        self,
        run: Run,
        stage_index: int,
        span: Span,
        *,
        batches: StageBatches,
        numbers: Sequence[Hyperparameters],
        drawn: Sequence[Lane],
        segment: SegmentCurvature | None,
    ) -> None:
        self._run, self._index, self._span = run, stage_index, span
        self._batches, self._drawn, self._segment = batches, drawn, segment
        first, end = span.steps.start, span.steps.stop
        self._rows = torch.stack([own.rows[first:end] for own in numbers], dim=1)  # [n, L, H]
        self._form: StepForm = numbers[0].forms[first]
        self._adaptive = any(isinstance(form, AdamForm) for form in self._form)
        self._constants = run.constants(stage_index)

    def execute(
        self, state: TrainingState, *, block_steps: int, progress: Progress
    ) -> TrainingState:
        """Return the state, [L, ...], after the span."""
        span = self._span
        first = span.steps.start
        alpha = torch.from_numpy(
            self._batches.alpha[list(span.moving), first : span.steps.stop].T.copy()
        ).to(state.theta)  # [n, L]
        uniform = uniform_groups(state, self._run.spans(self._index))
        blocks = [span.steps[i : i + block_steps] for i in range(0, len(span.steps), block_steps)]
        for block in blocks:
            pooled = self._batches.pooled(
                block.start, block.stop, lanes=span.moving, drawn=self._drawn
            )
            noisy = self._adaptive and pooled.target.shape[1] > pooled.step_examples
            gradient, noise, buffers = self._gradient(
                state, pooled, noisy=noisy, repeats=len(blocks)
            )
            anchor = state.theta
            for step in block:
                if step == block.start:
                    moved = buffers
                else:
                    moved = tuple(state.buffers[name] for name in sorted(state.buffers))
                arguments = (
                    *state.tensors,
                    *moved,
                    anchor,
                    gradient,
                    noise,
                    self._rows[step - first],
                    alpha[step - first],
                )
                function = self._step(state, uniform=uniform, noisy=noisy, arguments=arguments)
                state = state.replaced(function(*arguments))
            require_finite_state(state.tensors, run=self._run, stage_index=self._index, block=block)
            progress.add(len(block) * len(span.moving))
        return state

    def _gradient(
        self, state: TrainingState, pooled: Pooled, *, noisy: bool, repeats: int
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the block's gradient and noise, [L, P] each, and the buffers after."""
        stage = self._run.log.stages[self._index]
        mean = BlockGradient(
            gradient_of=ExactCurvature().gradient_of(self._run.objective(self._index)),
            step_examples=pooled.step_examples,
            divisor=float(pooled.step_examples) if is_mean(stage) else 1.0,
            noise=noisy,
        )
        if noisy:
            self._require_memory()
        width, names = len(state.tensors), sorted(state.buffers)

        def head(*arguments: Tensor) -> tuple[Tensor, ...]:
            own = state.replaced(arguments[:width])
            target, weights, *inputs = arguments[width:]
            batch = Minibatch(
                inputs=tuple(inputs),
                target=target,
                weights=weights,
                denominator=weights.new_ones(()),
            )
            gradient, noise, moved = mean(own, self._constants, batch)
            return (gradient, noise, *(moved.get(name, own.buffers[name]) for name in names))

        arguments = (*state.tensors, pooled.target, pooled.weights, *pooled.inputs)
        key = ("block gradient", noisy, pooled.step_examples, *self._key(state))
        function = traced_when_worth(
            self._run,
            lambda: torch.func.vmap(head),
            key=key,
            arguments=arguments,
            steps=repeats,
        )
        gradient, noise, *buffers = function(*arguments)
        return gradient, noise, tuple(buffers)

    def _step(
        self, state: TrainingState, *, uniform: bool, noisy: bool, arguments: tuple[Tensor, ...]
    ) -> TensorFunction:
        """Return (*state, *buffers, anchor, gradient, noise, row, alpha) -> the next state."""
        run, width, names = self._run, len(state.tensors), sorted(state.buffers)
        phi = step_map(
            run, self._index, form=self._form, uniform=uniform, curvature=ExactCurvature()
        )

        def step(*flat: Tensor) -> tuple[Tensor, ...]:
            own = state.replaced(flat[:width])
            buffers = dict(zip(names, flat[width : width + len(names)], strict=True))
            anchor, gradient, noise, row, alpha = flat[width + len(names) :]
            if self._segment is not None:
                gradient = gradient + self._segment.eigen.product(own.theta - anchor)
            start = self._with_noise(own, noise, row=row) if noisy else own
            proposed = phi.update(start, gradient, row=row, buffers=buffers)
            return (
                gate(own, proposed, alpha=alpha).tensors if self._span.gated else proposed.tensors
            )

        return traced_when_worth(
            run,
            lambda: torch.func.vmap(step),
            key=("coarse step", uniform, noisy, self._span.gated, self._segment, *self._key(state)),
            arguments=arguments,
            steps=len(self._span.steps),
        )

    def _with_noise(self, state: TrainingState, noise: Tensor, *, row: Tensor) -> TrainingState:
        """Return the state whose second moment holds what beta2 times it adds to the next one.

        v' = beta2 v + (1 - beta2) (g^2 + n) is the update by g from v + (1 - beta2) n / beta2.
        """
        numbers, spans = row.unbind(0), self._run.spans(self._index)
        parts: list[Tensor] = []
        for index, span in enumerate(spans[:-1]):
            beta2 = numbers[index * len(ADAM_COLUMNS) + ADAM_COLUMNS.index("beta2")]
            parts.append(((1 - beta2) / beta2).to(noise) * span.entries(noise))
        parts.append(torch.zeros_like(spans[-1].entries(noise)))
        second = state.slots["exp_avg_sq"] + torch.cat(parts, dim=-1)
        return replace(state, slots={**state.slots, "exp_avg_sq": second})

    def _key(self, state: TrainingState) -> tuple[object, ...]:
        run, index = self._run, self._index
        structure = (tuple(sorted(state.slots)), tuple(sorted(state.buffers)))
        return (id(run.objective(index)), run.spans(index), self._form, structure)

    def _require_memory(self) -> None:
        columns = self._rows.reshape(-1, len(ADAM_COLUMNS))
        if bool((columns[:, ADAM_COLUMNS.index("beta2")] == 0).any()):
            stage = self._run.log.stages[self._index]
            raise UnsupportedError(
                f"stages[{stage.name}].schedule.beta2",
                expected="a second moment that remembers earlier steps",
                found=0.0,
                remedy="Use subsampled_replay, or coarse_replay with block_steps 1.",
            )
