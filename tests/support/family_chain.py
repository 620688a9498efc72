"""What every family must pass, from derivatives of the imported graph to an audit."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from auditor.audit.local import run_audit
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, advance
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.model.objective import Minibatch
from auditor.plan.request import AuditRequest
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from tests.support.cases import quiet
from tests.support.families import BATCH, STAGES, Family, Recorded, record
from tests.support.going_on import carried_on
from tests.support.memory_index import MemoryIndex

RELATIVE = 1e-5
"""Replay against the recorded checkpoint after 20 steps, fp32."""


def distance(ours: Tensor, truth: Tensor) -> float:
    """Return the relative distance of two tensors, in the norm of the second."""
    return float((ours.double() - truth.double()).norm() / truth.double().norm().clamp(min=1e-12))


def run_of(recorded: Recorded) -> Run:
    """Return the recorded run."""
    return Run(recorded.log, recorded.digest, recorded.blobs)


def require_derivatives(family: Family, recorded: Recorded) -> None:
    """Forward, gradient, products and lanes of the first stage's loss are those of the module."""
    run = run_of(recorded)
    model, objective, start = family.model(), run.objective(0), run.boundary(0)
    data = family.data(0, BATCH)
    buffers = {**start.buffers, **run.constants(0)}
    batch = minibatch(data)

    def ours(theta: Tensor, examples: Minibatch = batch) -> Tensor:
        return objective.loss(theta, buffers, examples)[0]

    names = dict(model.named_parameters())

    def torchs(theta: Tensor, rows: slice = slice(None)) -> Tensor:
        named = objective.layout.unflatten(theta)
        state = {name: named[name] for name in names}
        own = {name: buffer.clone() for name, buffer in model.named_buffers()}
        # Fused attention has no second derivatives.
        with sdpa_kernel(SDPBackend.MATH):
            return family.mean_loss(
                functional_call(model, (state, own), (data["x"][rows],)), data["label"][rows]
            )

    theta = start.theta
    direction = torch.randn(theta.shape, generator=torch.Generator().manual_seed(3))
    slope = grad(torchs)(theta)
    product = grad(lambda t: grad(torchs)(t) @ direction)(theta)

    assert distance(ours(theta), torchs(theta)) < 1e-5
    assert distance(grad(ours)(theta), slope) < 1e-4
    assert distance(jvp(ours, (theta,), (direction,))[1], slope @ direction) < 1e-3
    assert distance(jvp(grad(ours), (theta,), (direction,))[1], product) < 1e-3
    lanes = vmap(grad(ours))(torch.stack([theta, 1.1 * theta]))
    assert distance(lanes[0], slope) < 1e-4
    assert distance(lanes[1], grad(torchs)(1.1 * theta)) < 1e-4


def require_per_example_gradients(family: Family, recorded: Recorded) -> None:
    """Gradients of single examples under vmap are those of the module; it is as evaluated."""
    run = run_of(recorded)
    last = len(STAGES)
    model, end = recorded.model.eval(), run.boundary(last)
    data = family.data(0, 3)
    forward, layout = run.computations(last - 1).forward, run.layout(last - 1)
    buffers = {**end.buffers, **run.constants(last - 1)}

    def one(theta: Tensor, x: Tensor, label: Tensor) -> Tensor:
        output = forward(theta, buffers, (x[None],))[0]
        return family.mean_loss(output, label[None])

    found = vmap(grad(one), in_dims=(None, 0, 0))(end.theta, data["x"], data["label"])

    for row in range(3):
        model.zero_grad()
        family.mean_loss(model(data["x"][row : row + 1]), data["label"][row : row + 1]).backward()
        named = layout.unflatten(found[row])
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                ours, truth = named[name], parameter.grad
                assert float((ours - truth).norm()) <= 1e-4 * float(truth.norm()) + 1e-6


def minibatch(data: dict[str, Tensor]) -> Minibatch:
    """Return a batch of examples as the first stage's objective takes it."""
    return Minibatch(
        inputs=(data["x"],),
        target=data["label"],
        weights=torch.ones(len(data["x"])),
        denominator=torch.tensor(float(len(data["x"]))),
    )


def require_replay(recorded: Recorded) -> None:
    """Replay of each stage from its recorded start reaches the recorded end, buffers included.

    A replay that is interrupted in a stage reaches the same, bit by bit.
    """
    run = run_of(recorded)
    for stage in range(len(STAGES)):
        start, truth = run.boundary(stage), run.boundary(stage + 1)
        end = advance(run, stage, [start], lanes=[Lane()], on_block=quiet).states[0]
        require_equal_states(end, truth)
        if stage == 1:
            again = carried_on(run, Lane(), stage=stage, step=7)
            assert all(map(torch.equal, again.tensors, end.tensors))


def require_equal_states(ours: TrainingState, truth: TrainingState) -> None:
    """Theta and every buffer agree to the tolerance of a replay."""
    found = distance(ours.theta, truth.theta)
    assert found < RELATIVE, found
    assert ours.buffers.keys() == truth.buffers.keys()
    for name, buffer in truth.buffers.items():
        assert distance(ours.buffers[name], buffer) < 10 * RELATIVE, name


def audited(recorded: Recorded) -> Report:
    """Return the report of exact retraining without each stage."""
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest,
        interventions="stages",
        queries=(query,),
        estimator=RetrainSettings(),
    )
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


def require_audit(family: Family, recorded: Recorded) -> None:
    """Exact retraining equals a training in plain torch without the stage."""
    report = audited(recorded)

    factual = family.held_out_loss(family.trained_without(None))
    truth = [
        factual - family.held_out_loss(family.trained_without(stage))
        for stage in range(len(STAGES))
    ]
    values = [effect.value for effect in report.effects]
    assert all(
        math.isclose(value, wanted, rel_tol=1e-3, abs_tol=1e-4)
        for value, wanted in zip(values, truth, strict=True)
    ), (values, truth)
    assert max(map(abs, truth)) > 1e-3, "effects of 0 would test nothing"


@cache
def recorded_once(family: Family) -> Recorded:
    """Return the family's log; it is recorded once a process."""
    return record(family)
