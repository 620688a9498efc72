"""Step maps against ``torch.optim``, step for step, state included."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, replay
from auditor.model.layout import ParameterLayout
from tests.support.cases import (
    BODY,
    HEAD,
    TWO_GROUPS,
    StageSpec,
    adam,
    make_run,
    one_group,
    quiet,
    sgd,
)
from tests.support.dense import minibatch

SPECS: dict[str, StageSpec] = {
    "sgd": one_group(sgd()),
    "decay": one_group(sgd(weight_decay=0.1)),
    "momentum": one_group(sgd(momentum=0.9)),
    "dampening": one_group(sgd(momentum=0.9, dampening=0.4)),
    "nesterov decay": one_group(sgd(momentum=0.9, weight_decay=0.01), nesterov=True),
    "adam": one_group(adam(eps=1e-8), kind="adam"),
    "adam decay": one_group(adam(weight_decay=0.1, beta2=0.999), kind="adam"),
    "adamw": one_group(adam(weight_decay=0.1, beta2=0.999), kind="adamw"),
    "two groups": TWO_GROUPS,
    "two adamw groups": StageSpec(
        kind="adamw", groups=(adam(*HEAD, lr=0.1), adam(*BODY, weight_decay=0.3))
    ),
    "frozen": StageSpec(groups=(sgd(*HEAD, momentum=0.9, dampening=0.1),)),
    "frozen adam": StageSpec(kind="adam", groups=(adam(*BODY),)),
}
SLOTS = {
    "momentum_buffer": "momentum_buffer", "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq",
    "step": "count",
}  # fmt: skip


def torch_optimizer(
    spec: StageSpec, named: dict[str, Tensor], numbers: Iterable[dict[str, float]]
) -> torch.optim.Optimizer:
    """Return torch's optimizer with one parameter group for each of the spec's."""
    groups = []
    for group, h in zip(spec.groups, numbers, strict=True):
        options: dict[str, object] = {n: h[n] for n in ("lr", "weight_decay")}
        if spec.kind == "sgd":
            options |= {n: h[n] for n in ("momentum", "dampening")} | {"nesterov": spec.nesterov}
        else:
            options |= {"betas": (h["beta1"], h["beta2"]), "eps": h["eps"]}
        groups.append({"params": [named[name] for name in group.parameters], **options})
    if spec.kind == "sgd":
        return torch.optim.SGD(groups)
    return (torch.optim.Adam if spec.kind == "adam" else torch.optim.AdamW)(groups)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPECS)
def test_step_maps_equal_torch_optim(name: str, dtype: torch.dtype) -> None:
    spec = replace(SPECS[name], steps=4)
    run = make_run([spec], dtype=dtype)
    layout, stage, columns = run.layout(0), run.log.stages[0], run.schedule(0).columns
    state = run.transition(0)(run.boundary(0))
    named = {n: t.clone().requires_grad_() for n, t in layout.unflatten(state.theta).items()}
    first = [{c: float(v[0, g]) for c, v in columns.items()} for g in range(len(spec.groups))]
    optimizer = torch_optimizer(spec, named, first)
    tolerance = {"rtol": 1e-12, "atol": 1e-14} if dtype == torch.float64 else {
        "rtol": 1e-5, "atol": 1e-7
    }  # fmt: skip

    for step in range(4):
        for number, group in enumerate(optimizer.param_groups):
            group["lr"] = float(columns["lr"][step, number])
        optimizer.zero_grad()
        batch = minibatch(run, stage, index=0, step=step)
        run.objective(0).loss(layout.flatten(named), state.buffers, batch)[0].backward()
        optimizer.step()
        steps = range(step, step + 1)
        state = replay(run, 0, [state], lanes=[Lane()], steps=steps, on_block=quiet).states[0]

        torch.testing.assert_close(state.theta, layout.flatten(named).detach(), **tolerance)
        for found, expected in moments(state, layout, named, optimizer):
            torch.testing.assert_close(found, expected.to(dtype), **tolerance)


def moments(
    state: TrainingState,
    layout: ParameterLayout,
    named: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> list[tuple[Tensor, Tensor]]:
    """Return (ours, torch's) of every tensor of the optimizer's state."""
    pairs = []
    for index, (name, parameter) in enumerate(named.items()):
        for slot, expected in optimizer.state.get(parameter, {}).items():
            values = state.slots[SLOTS[slot]]
            own = values[index] if slot == "step" else layout.unflatten(values)[name]
            pairs.append((own, expected))
    assert pairs or not state.slots
    return pairs
