"""Record what a Hugging Face ``Trainer`` trains; needs ``[huggingface]``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, final

from torch import nn
from torch.optim.optimizer import Optimizer as TorchOptimizer
from typing_extensions import override

from auditor.checks import needs_extra
from auditor.errors import StageLogError
from auditor.record.adapters.declaration import StageDeclaration
from auditor.record.adapters.distributed import require_batch_independence
from auditor.record.adapters.hf_data import (
    TrainingData,
    forward_hook,
    hold_training_data,
    item_counter,
)
from auditor.record.adapters.hf_facts import LABELS, require_recordable, trainer_facts
from auditor.record.adapters.ledger import StepLedger
from auditor.record.adapters.ranks import gather_through, open_channel, same_outcome, world_size
from auditor.record.datasets import DatasetHandle
from auditor.record.encodings import preprocessing_of, tokenizer_of
from auditor.record.evalset import ColumnValues
from auditor.record.recorder import Recorder
from auditor.record.stage_settings import SelfCheck
from auditor.stagelog.log import Loss, StageKind

with needs_extra("huggingface", purpose="recording with huggingface"):
    from transformers import (
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )


@final
class StageCallback(TrainerCallback):
    """Opens a stage when training begins and closes it when it ends.

    Args:
        begin: Opens the stage for the optimizer that the trainer made.
        end: Closes it.
    """

    def __init__(
        self,
        *,
        begin: Callable[[TorchOptimizer], None],
        end: Callable[[], None],
    ) -> None:
        self._begin, self._end = begin, end

    @override
    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **known: Any,
    ) -> None:
        """Open the stage."""
        if state.global_step > 0:
            raise StageLogError(
                "trainer.train(resume_from_checkpoint=...)",
                expected="a stage that is recorded from its first step",
                found=f"a start at step {state.global_step}",
                remedy="Record the whole stage in one go, or the rest as a stage of its own with "
                "max_steps and without resume_from_checkpoint.",
            )
        optimizer = known["optimizer"]
        self._begin(getattr(optimizer, "optimizer", optimizer))

    @override
    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **known: Any,
    ) -> None:
        """Close the stage, which checks itself."""
        self._end()


@contextmanager
def record_trainer(  # noqa: PLR0913 - one keyword for each thing that may be declared
    recorder: Recorder | None,
    trainer: Trainer,
    name: str,
    *,
    kind: StageKind | str = StageKind.OTHER,
    columns: Mapping[str, ColumnValues] | None = None,
    dataset: DatasetHandle | None = None,
    batches: Literal["positions", "tensors"] = "positions",
    inputs: Sequence[str] | None = None,
    loss: Loss | str | None = None,
    cadence_steps: int | None = None,
    self_check: SelfCheck = "replay",
) -> Iterator[None]:
    """Record ``trainer.train()`` inside the ``with`` block as one stage.

    Accumulation, clipping, precision and the loss are read from the trainer and its model; the
    schedule from the optimizer at each step, the tokenizer's or image processor's digest from
    ``trainer.processing_class``. The training data is collated and written first, as
    dataset ``<name>-data``, and batches are recorded by position.

    Where several processes train together (``torchrun``, ``accelerate launch``), each enters the
    block; rank 0 writes.

    Args:
        recorder: Made with the trainer's model and ``export=export_by_name``; None in processes
            other than rank 0.
        trainer: With its data, not trained yet.
        name: Name in the log and in reports.
        kind: What the stage is for.
        columns: Further columns of the training data, such as ``source``.
        dataset: The training data when it is recorded already, with the columns that the collator
            makes.
        batches: ``tensors`` records what the model saw and not positions: for iterable datasets
            and for collators that draw at random.
        inputs: Columns that are arguments of the model's forward; by default all that are.
        loss: What the trainer minimises, where that cannot be read from its model.
        cadence_steps: Keep a checkpoint every so many steps.
        self_check: As in :meth:`auditor.record.recorder.Recorder.stage`.

    Yields:
        Nothing; call ``trainer.train()``.

    Raises:
        UnsupportedError: If the trainer does what cannot be recorded; before its first step.
        StageLogError: If it did not train, or the self-check fails; in every process.
    """
    model: nn.Module = trainer.accelerator.unwrap_model(trainer.model)
    require_recordable(trainer, model)
    processes = world_size()
    if processes > 1:
        require_batch_independence(model)
    channel = open_channel()
    with ExitStack() as undo:
        data = TrainingData(name=f"{name}-data", dataset=dataset, columns=dict(columns or {}))
        with same_outcome(channel, stage=name):
            held = hold_training_data(recorder, trainer, data, batches=batches, inputs=inputs)
            undo.callback(held.restore)
            # The sample is in rank 0 only, and so are the facts that anything is done with.
            facts = trainer_facts(trainer, model, loss=loss, sample=held.sample)
        ledger = StepLedger(
            accumulation=facts.accumulation,
            averaging=facts.averaging,
            items=item_counter(held) if facts.first_labels == "counted" else None,
            gather=gather_through(channel),
            dataset=held.dataset,
        )
        hook = forward_hook(ledger, columns=(*held.inputs, LABELS))
        for module in (model, getattr(trainer, "ref_model", None)):  # TRL's reference sees it too
            if module is not None:
                undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        stages = undo.enter_context(ExitStack())
        declared = StageDeclaration(
            name=name,
            kind=kind,
            loss=facts.loss,
            inputs={column: column for column in held.inputs},
            target=LABELS,
            accumulation=facts.accumulation * processes,
            accumulated=facts.accumulated,
            clipping=facts.clipping,
            precision=facts.precision,
            cadence_steps=cadence_steps,
            self_check=self_check,
            tokenizer=tokenizer_of(getattr(trainer, "processing_class", None)),
            preprocessing=preprocessing_of(getattr(trainer, "processing_class", None)),
        )

        def begin(optimizer: TorchOptimizer) -> None:
            stages.callback(ledger.listen(optimizer))
            with same_outcome(channel, stage=name):
                if recorder is not None:
                    ledger.stage = stages.enter_context(declared.open(recorder, optimizer))

        def end() -> None:
            with same_outcome(channel, stage=name):
                stages.close()

        callback = StageCallback(begin=begin, end=end)
        trainer.add_callback(callback)
        undo.callback(trainer.remove_callback, callback)
        yield
        if recorder is not None and ledger.stage is None:
            raise StageLogError(
                f"stage {name!r}",
                expected="trainer.train() inside the `with` block",
                found="no training",
                remedy="Call it there.",
            )
