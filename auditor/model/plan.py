"""A graph at fixed shapes: a straight line of pure torch calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from torch import Tensor

from auditor.checks import require_shape
from auditor.errors import InputError
from auditor.model.outside import indices_are_data
from auditor.model.sites import Site


class Outputs(NamedTuple):
    """What a forward pass gives; a pytree, so that transforms may return it.

    Args:
        values: The graph's outputs, in its order.
        buffers: Every buffer that was given, after the pass.
    """

    values: tuple[Tensor, ...]
    buffers: dict[str, Tensor]


class Observed(NamedTuple):
    """What a step took and gave."""

    arguments: tuple[Any, ...]
    result: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One call: which slots it reads, which it fills, and which are not read again."""

    function: Callable[..., Any]
    arguments: tuple[int, ...]
    results: tuple[int, ...]
    last_read: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The forward computation at fixed input shapes, as a pure function.

    Safe inside ``torch.func`` transforms: grad, jvp, forward over reverse, vmap over parameters,
    buffers and inputs; and inside ``trace``.

    Args:
        slots: Constants at their places, None elsewhere.
        inputs: Name, shape and slot of each data input.
        parameters: Name in the state and slot of each parameter that the graph takes.
        buffers: The same for buffers.
        updated: Name in the state -> slot of the buffer's new value.
        counters: Buffers that count training passes.
        steps: What to call, in order.
        outputs: Slots of the outputs.
        sites: Where weights are used linearly.
        keys: Slot of the keys of recorded dropout's masks; None without such dropout.
    """

    slots: tuple[Any, ...]
    inputs: tuple[tuple[str, tuple[int, ...], int], ...]
    parameters: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[str, int], ...]
    updated: Mapping[str, int]
    counters: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    sites: tuple[Site, ...] = ()
    keys: int | None = None

    def __call__(
        self,
        params: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        *inputs: Tensor,
        keys: Tensor | None = None,
    ) -> Outputs:
        """Return the graph's outputs and the buffers after the pass.

        Args:
            params: At least every parameter of the model.
            buffers: At least every buffer that the graph reads; the others pass through.
            inputs: Data inputs in the graph's order, in the shapes of the plan.
            keys: Of the examples' dropout masks, [B] int64; without them nothing is dropped.

        Raises:
            InputError: If a parameter, a buffer or an input is missing.
            ShapeError: If an input has another shape than the plan.
            DomainError: If an index lies outside a table of the model.
        """
        return self.observed(params, buffers, *inputs, offsets={}, keys=keys)[0]

    def observed(
        self,
        params: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        *inputs: Tensor,
        offsets: Mapping[int, Tensor],
        keys: Tensor | None = None,
    ) -> tuple[Outputs, dict[int, Observed]]:
        """Return the outputs with something added to some results, and what these steps saw.

        Derivatives by a zero offset are those by the step's result.

        Args:
            params: As for a call.
            buffers: As for a call.
            inputs: As for a call.
            offsets: Step -> what is added to its result; the step must have one.
            keys: As for a call.
        """
        slots = list(self.slots)
        if len(inputs) != len(self.inputs):
            raise _missing("inputs", f"{len(self.inputs)} of them", len(inputs))
        for (name, shape, slot), tensor in zip(self.inputs, inputs, strict=True):
            require_shape(f"input {name!r}", tensor, shape)
            slots[slot] = tensor
        for where, named, places in (
            ("parameters", params, self.parameters),
            ("buffers", buffers, self.buffers),
        ):
            for name, slot in places:
                if name not in named:
                    raise _missing(f"{where}[{name}]", "a tensor", "none")
                slots[slot] = named[name]
        if self.keys is not None:
            slots[self.keys] = keys
        with indices_are_data():
            seen = self._run(slots, offsets)
        after = dict(buffers)
        after.update({name: slots[slot] for name, slot in self.updated.items()})
        after.update({name: after[name] + 1 for name in self.counters if name in after})
        return Outputs(tuple(slots[slot] for slot in self.outputs), after), seen

    def _run(self, slots: list[Any], offsets: Mapping[int, Tensor]) -> dict[int, Observed]:
        """Fill the slots of all results; what is not read again is let go."""
        seen: dict[int, Observed] = {}
        for index, step in enumerate(self.steps):
            arguments = [slots[i] for i in step.arguments]
            result = step.function(*arguments)
            if index in offsets:
                result = result + offsets[index]
                seen[index] = Observed(tuple(arguments), result)
            if len(step.results) == 1:
                slots[step.results[0]] = result
            else:
                for slot, value in zip(step.results, result, strict=True):
                    slots[slot] = value
            for slot in step.last_read:
                slots[slot] = None
        return seen


def _missing(where: str, expected: str, found: object) -> InputError:
    return InputError(
        where,
        expected=expected,
        found=found,
        remedy="Check that the checkpoint and the graph are of the same model.",
    )
