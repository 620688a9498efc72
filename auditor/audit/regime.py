"""The regime of a log: what of its training the errors of estimators depend on."""

import math

import numpy as np

from auditor.estimators.dossier import Regime
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.schedule import read_schedule


def regime_of(log: StageLog, blobs: BlobStore) -> Regime:
    """Return the regime of a log; without a rate where a stage has no schedule or no finite one."""
    trained = {name for stage in log.stages for name in stage.trainable}
    rates = [_effective_rate(stage, blobs) for stage in log.stages]
    known = [rate for rate in rates if rate is not None]
    return Regime(
        optimizers=tuple(sorted({_optimizer(stage) for stage in log.stages})),
        losses=tuple(sorted({stage.loss.kind for stage in log.stages})),
        stages=len(log.stages),
        steps=sum(stage.steps for stage in log.stages),
        parameters=sum(math.prod(log.parameters[name].shape) for name in sorted(trained)),
        effective_rate=max(known) if len(known) == len(rates) else None,
    )


def _optimizer(stage: Stage) -> str:
    return f"{stage.optimizer.kind} nesterov" if stage.optimizer.nesterov else stage.optimizer.kind


def _effective_rate(stage: Stage, blobs: BlobStore) -> float | None:
    """Return the largest learning rate of a stage, over 1 - momentum where there is momentum."""
    if stage.schedule is None:
        return None
    columns = read_schedule(blobs.read(Digest(stage.schedule)), where=stage.name).columns
    rates, momentum = columns["lr"], columns.get("momentum", np.zeros(1))
    if (momentum >= 1.0).any():
        return None
    return float(f"{(rates / (1.0 - momentum)).max():.6g}")  # 0.2, not what 0.02 / 0.1 is in binary
