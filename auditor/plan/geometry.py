"""What a stage's traced step depends on, from the manifest alone: which logs can share lanes.

Values are left out: parameters, data, hyperparameters and seeds are arguments of a step. So are
names of what does not enter it: the log, the stage, its position, its transition.
"""

from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import StageLog
from auditor.stagelog.rules_parameters import present_after


def step_digest(log: StageLog, stage: int) -> Digest:
    """Return the digest of what decides the arithmetic of one step of a stage, besides shapes.

    Stages with one digest, of whichever log, have the same graph, loss, precision, parameters in
    the same groups, optimizer, clipping and averaging.

    Args:
        log: The manifest.
        stage: The stage, from 0.
    """
    own = log.stages[stage]
    graph = log.graphs[own.graph]
    alive = present_after(log, stage)
    facts = {
        "graph": graph.onnx,
        "batch_norm": graph.batch_norm,
        "running_norms": graph.running_norms,
        "parameters": {
            name: (info.shape, info.dtype, info.kind, info.tied_to)
            for name, info in log.parameters.items()
            if name in alive
        },
        "groups": [group.parameters for group in own.groups],
        "bindings": own.bindings.model_dump(mode="json"),
        "loss": own.loss.model_dump(mode="json"),
        "loss_denominator": own.loss_denominator,
        "loss_scale": own.loss_scale,
        "precision": own.precision,
        "masked": own.masked,
        "optimizer": own.optimizer.model_dump(mode="json"),
        "clipping": None if own.clipping is None else own.clipping.model_dump(mode="json"),
        "ema_decay": own.ema_decay,
    }
    return digest_of(facts)


def stage_digest(log: StageLog, stage: int) -> Digest:
    """Return the digest of a stage's step and of how often, on what shapes it is taken.

    The sizes of single steps are not in a manifest: lanes whose steps differ there are told apart
    when they run.

    Args:
        log: The manifest.
        stage: The stage, from 0.
    """
    own = log.stages[stage]
    bindings = own.bindings
    bound = {*bindings.inputs.values(), bindings.target}
    if bindings.weight is not None:
        bound.add(bindings.weight)
    tables = [log.datasets[name].columns for name in own.datasets]
    columns = {
        name: sorted({(t[name].dtype, t[name].shape) for t in tables if name in t})
        for name in bound
    }
    return digest_of({
        "step": step_digest(log, stage),
        "steps": own.steps,
        "examples_per_step": own.examples_per_step,
        "columns": columns,
    })
