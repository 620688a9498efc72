"""Record what a Lightning ``Trainer`` fits; needs ``[lightning]``."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast, final

from torch import nn
from torch.optim.optimizer import Optimizer as TorchOptimizer
from typing_extensions import override

from auditor.checks import needs_extra
from auditor.errors import UnsupportedError
from auditor.record.adapters.declaration import StageDeclaration
from auditor.record.adapters.distributed import StepDeclarations, record_distributed
from auditor.record.adapters.rows import take_rows
from auditor.record.datasets import DatasetHandle
from auditor.record.recorder import Recorder
from auditor.stagelog.log import Clipping

with needs_extra("lightning", purpose="recording with lightning"):
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

_PRECISIONS = {
    "32-true": None, "64-true": None, "bf16-mixed": "autocast bfloat16 over float32",
}  # fmt: skip


@final
class StageCallback(Callback):
    """Records one ``trainer.fit`` as one stage.

    The training batches say which examples they hold: make their loader with
    :class:`~auditor.record.adapters.rows.IndexedDataset` and
    :class:`~auditor.record.adapters.rows.IndexedCollator`; the callback takes the positions out
    before ``training_step`` sees the batch.

    Args:
        recorder: In rank 0; None in the other processes.
        model: The network that the recorder was made with, which ``training_step`` calls.
        declared: The stage; accumulation, clipping and precision are the trainer's.
        dataset: What positions refer to, in rank 0.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        model: nn.Module,
        declared: StageDeclaration,
        *,
        dataset: DatasetHandle | None,
    ) -> None:
        self._recorder, self._model, self._declared = recorder, model, declared
        self._dataset = dataset
        self._open = ExitStack()
        self._steps: StepDeclarations | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the stage.

        Raises:
            UnsupportedError: If the trainer does what cannot be recorded.
        """
        _require_recordable(trainer, pl_module)
        clipping = None
        if trainer.gradient_clip_val:
            clipping = Clipping.model_validate({
                "kind": str(trainer.gradient_clip_algorithm or "norm"),
                "limit": float(trainer.gradient_clip_val),
            })
        stage = replace(
            self._declared,
            accumulation=int(trainer.accumulate_grad_batches),
            clipping=clipping,
            precision=_PRECISIONS[str(trainer.precision)] or self._declared.precision,
        )
        self._open = ExitStack()
        self._open.callback(_step_after_gradients(trainer.precision_plugin))
        self._steps = self._open.enter_context(
            record_distributed(
                self._recorder,
                self._model,
                stage,
                optimizer=trainer.optimizers[0],
                dataset=self._dataset,
            )
        )

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Note which examples the batch holds, and hide them from ``training_step``."""
        rows = take_rows(batch)
        if self._steps is not None:
            self._steps.batch(rows)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the stage, which checks itself."""
        self._steps = None
        self._open.close()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what can be kept of a stage that does not end."""
        self._steps = None
        self._open.__exit__(type(exception), exception, exception.__traceback__)


def _require_recordable(trainer: Trainer, module: LightningModule) -> None:
    found: list[tuple[str, object, str, str]] = []
    if not module.automatic_optimization or len(trainer.optimizers) != 1:
        found.append((
            "LightningModule", f"{len(trainer.optimizers)} optimizers, automatic_optimization="
            f"{module.automatic_optimization}", "one optimizer, stepped by Lightning",
            "Write the loop yourself and record it with recorder.stage(...).",
        ))  # fmt: skip
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        found.append((
            "Trainer.strategy", type(trainer.strategy).__name__, "one device, or DDP",
            "Train this stage with strategy='ddp' or on one device.",
        ))  # fmt: skip
    if str(trainer.precision) not in _PRECISIONS:
        found.append((
            "Trainer.precision", trainer.precision, " or ".join(_PRECISIONS),
            "Train in one of these; or write the loop with torch.amp.GradScaler and record it with "
            "recorder.stage(scaler=...).",
        ))  # fmt: skip
    if trainer.ckpt_path is not None:
        found.append((
            "trainer.fit(ckpt_path=...)", trainer.ckpt_path,
            "a stage that is recorded from its first step",
            "Record the whole stage in one go, or the rest as a stage of its own.",
        ))  # fmt: skip
    for where, value, expected, remedy in found:
        raise UnsupportedError(where, expected=expected, found=value, remedy=remedy)


def _step_after_gradients(plugin: Any) -> Callable[[], None]:  # noqa: ANN401 - of several classes
    """Have gradients computed before ``optimizer.step()`` and not inside it.

    Lightning hands the forward and backward pass to the optimizer as a closure, which SGD and Adam
    call first of all. Called before, it computes the same; and whoever listens to the optimizer
    sees the gradients that its step will use.

    Returns:
        What restores the plugin.
    """

    def step(
        optimizer: TorchOptimizer, model: LightningModule, closure: Callable[[], Any]
    ) -> object:
        result = plugin._wrap_closure(model, optimizer, closure)
        optimizer.step()
        return cast(object, result)

    plugin.optimizer_step = step

    def restore() -> None:
        del plugin.optimizer_step

    return restore
