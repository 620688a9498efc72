"""Record a loop that is written with Accelerate; needs ``[huggingface]``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.checks import needs_extra
from auditor.errors import UnsupportedError
from auditor.record.adapters.declaration import StageDeclaration
from auditor.record.adapters.distributed import StepDeclarations, record_distributed
from auditor.record.datasets import DatasetHandle
from auditor.record.recorder import Recorder

with needs_extra("huggingface", purpose="recording with huggingface"):
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from accelerate.utils import DistributedType

_PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


@contextmanager
def record_accelerate(
    recorder: Recorder | None,
    accelerator: Accelerator,
    model: nn.Module,
    *,
    declared: StageDeclaration,
    optimizer: AcceleratedOptimizer | TorchOptimizer,
    dataset: DatasetHandle | None = None,
) -> Iterator[StepDeclarations]:
    """Record a stage inside the ``with`` block; accumulation and precision are the accelerator's.

    Args:
        recorder: In the main process; None in the others.
        accelerator: What prepared model and optimizer.
        model: The model, prepared or plain.
        declared: The rest; clipping with ``accelerator.clip_grad_norm_`` is declared there.
        optimizer: The optimizer, prepared or plain.
        dataset: What positions refer to, in the main process; None when tensors are declared.

    Yields:
        What the loop declares its batches to.

    Raises:
        UnsupportedError: If the accelerator does what cannot be recorded.
        StageLogError: If the stage is refused.
    """
    _require_recordable(accelerator)
    bfloat16 = str(accelerator.mixed_precision) == "bf16"
    stage = replace(
        declared,
        accumulation=accelerator.gradient_accumulation_steps,
        precision="autocast bfloat16 over float32" if bfloat16 else declared.precision,
    )
    inner = optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer
    with record_distributed(
        recorder, accelerator.unwrap_model(model), stage, optimizer=inner, dataset=dataset
    ) as steps:
        yield steps


def _require_recordable(accelerator: Accelerator) -> None:
    if accelerator.distributed_type not in _PLAIN:
        raise UnsupportedError(
            "Accelerator.distributed_type",
            expected="one process, or DistributedDataParallel",
            found=str(accelerator.distributed_type),
            remedy="Train this stage with DistributedDataParallel.",
        )
    if str(accelerator.mixed_precision) not in {"no", "bf16"}:
        raise UnsupportedError(
            "Accelerator.mixed_precision",
            expected="no or bf16",
            found=str(accelerator.mixed_precision),
            remedy="Train in bf16 or in float32; or write the loop with torch.amp.GradScaler and "
            "record it with recorder.stage(scaler=...).",
        )
