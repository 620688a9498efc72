"""The training data of a Hugging Face ``Trainer`` as a dataset of a log, and its batches."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.adapters.hf_facts import LABELS, is_a, labels_counted
from auditor.record.adapters.ledger import Microbatch, StepLedger
from auditor.record.adapters.rows import (
    ROWS,
    Collator,
    Indexable,
    IndexedCollator,
    IndexedDataset,
    Rows,
    collated_columns,
    has_positions,
)
from auditor.record.adapters.trl_pairs import pairing
from auditor.record.datasets import DatasetHandle
from auditor.record.evalset import ColumnValues
from auditor.record.recorder import Recorder

Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[Any, dict[str, Any]]]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """What the caller said about the training data.

    Attributes:
        name: Name of the dataset when it is written.
        dataset: The dataset when it is recorded already.
        columns: Further columns.
    """

    name: str
    dataset: DatasetHandle | None = None
    columns: Mapping[str, ColumnValues] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HeldData:
    """How a stage's training data is recorded.

    Attributes:
        dataset: What positions refer to; None when tensors are captured.
        inputs: Columns that are arguments of the model's forward.
        labels: Reads the target of every example; of a microbatch of tensors its own.
        restore: Gives the trainer its dataset and its collator back.
    """

    dataset: DatasetHandle | None
    inputs: tuple[str, ...]
    labels: Callable[[], Tensor]
    restore: Callable[[], None]

    @property
    def sample(self) -> dict[str, Tensor] | None:
        """A few examples by argument of the model's forward, target included."""
        if self.dataset is None:
            return None
        return {name: self.dataset.sample[name] for name in (*self.inputs, LABELS)}


def hold_training_data(
    recorder: Recorder | None,
    trainer: Any,  # noqa: ANN401 - an optional library's class
    data: TrainingData,
    *,
    batches: Literal["positions", "tensors"],
    inputs: Sequence[str] | None,
) -> HeldData:
    """Return how the training data is recorded; the trainer's batches say what they hold.

    Args:
        recorder: Receives the dataset; None in a process that records nothing.
        trainer: A ``transformers.Trainer``.
        data: What is known about its data.
        batches: By position in the dataset, or the tensors.
        inputs: Columns that are arguments of the model's forward; None for all that are.

    Raises:
        UnsupportedError: If examples have no positions, or change from one reading to the next.
    """
    examples, collator = trainer.train_dataset, trainer.data_collator
    if batches == "tensors":
        if not inputs:
            raise UnsupportedError(
                "record_trainer(batches='tensors')",
                expected="the names of the model's inputs",
                found="none",
                remedy="Pass inputs=['input_ids', 'attention_mask'], or what your model takes.",
            )
        return HeldData(
            dataset=None, inputs=tuple(inputs), labels=torch.Tensor, restore=lambda: None
        )
    if not has_positions(examples):
        raise _without_positions(examples)
    # What Trainer itself does for a dataset that is not of the datasets library.
    collate: Collator = trainer._get_collator_with_removed_columns(collator)

    def restore() -> None:
        trainer.train_dataset, trainer.data_collator = examples, collator

    def carry_positions() -> None:
        trainer.train_dataset = IndexedDataset(examples)
        trainer.data_collator = IndexedCollator(collate)

    if recorder is None:
        carry_positions()
        return HeldData(dataset=None, inputs=(), labels=torch.Tensor, restore=restore)
    recorded = pairing(collate) if is_a(trainer, "DPOTrainer") else collate
    require_repeatable(examples, recorded)
    columns = collated_columns(examples, recorded)
    dataset = data.dataset or recorder.dataset(data.name, {**columns, **data.columns})
    names = tuple(inputs or _arguments(trainer.accelerator.unwrap_model(trainer.model), dataset))
    carry_positions()
    return HeldData(dataset=dataset, inputs=names, labels=lambda: columns[LABELS], restore=restore)


def forward_hook(ledger: StepLedger, *, columns: Sequence[str]) -> Hook:
    """Return a forward pre-hook that notes what each differentiated pass uses.

    Args:
        ledger: Where it is noted; nothing is noted while it does not listen.
        columns: Which tensors to keep of a batch without positions.
    """

    def hook(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        rows = kwargs.pop(ROWS, None)
        if torch.is_grad_enabled() and ledger.listening:
            if isinstance(rows, Rows):
                ledger.add(rows)
            elif ledger.dataset is None and LABELS in kwargs:  # not when the graph is exported
                ledger.add({name: _tensor(kwargs, name) for name in columns})
        return args, kwargs

    return hook


def item_counter(held: HeldData) -> Callable[[Microbatch], int]:
    """Return what counts the labels of a microbatch without waiting for a device."""
    if held.dataset is None:
        return lambda part: 0 if isinstance(part, Rows) else int(labels_counted(part[LABELS]).sum())
    of_example = labels_counted(held.labels()).numpy()  # [N]
    return lambda part: int(of_example[part.indices].sum()) if isinstance(part, Rows) else 0


def require_repeatable(dataset: Indexable, collate: Collator) -> None:
    """Refuse data that is not the same when it is read again.

    Raises:
        UnsupportedError: If two readings of the first examples differ.
    """
    count = min(2, len(dataset))
    first, second = (
        collated_columns([dataset[i] for i in range(count)], collate) for _ in range(2)
    )
    differing = sorted(
        name
        for name, values in first.items()
        if name not in second or not torch.equal(values, second[name])
    )
    if differing:
        raise UnsupportedError(
            f"training data, column {differing[0]!r}",
            expected="the same tensors whenever an example is read",
            found="others: the dataset or its collator draws at random",
            remedy="Record what the model saw: batches='tensors', inputs=[...].",
        )


def _arguments(model: nn.Module, dataset: DatasetHandle) -> list[str]:
    known = [name for name in inspect.signature(model.forward).parameters if name != LABELS]
    return [name for name in known if name in dataset.sample]


def _tensor(kwargs: Mapping[str, Any], name: str) -> Tensor:
    value = kwargs.get(name)
    if not isinstance(value, Tensor):
        raise StageLogError(
            "batch",
            expected=f"a tensor {name!r} in every batch",
            found=type(value).__name__,
            remedy="Name the model's inputs with inputs=[...]; the target is called 'labels'.",
        )
    return value


def _without_positions(dataset: object) -> UnsupportedError:
    return UnsupportedError(
        "trainer.train_dataset",
        expected="a dataset with positions",
        found=type(dataset).__name__,
        remedy="Record what the model saw: batches='tensors', inputs=[...].",
    )
