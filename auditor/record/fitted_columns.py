"""Columns as a stage of a log takes them: dtypes, shapes, and classes in its order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from auditor.errors import InputError
from auditor.record.evalset import DTYPE_NAMES, CodedTexts, ColumnValues, describe_column
from auditor.stagelog.dataset import Column
from auditor.stagelog.log import Stage, StageLog

_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StageColumns:
    """What a stage of a log reads.

    Attributes:
        stage: The stage.
        log: Its log.
    """

    stage: Stage
    log: StageLog

    @property
    def inputs(self) -> Mapping[str, Column]:
        """Columns that feed the graph, as trained on; of a log without data as the graph says."""
        graph = self.log.graphs[self.stage.graph]
        found: dict[str, Column] = {}
        for value in graph.inputs:
            column = self.stage.bindings.inputs.get(value.name)
            if column is None:
                continue
            trained = self._trained(column)
            if trained is not None:
                found[column] = trained
            elif all(isinstance(size, int) for size in value.shape[1:]):
                found[column] = Column.model_validate({
                    "dtype": value.dtype,
                    "shape": tuple(value.shape[1:]),
                })
        return found

    @property
    def target(self) -> Column | None:
        """The target's column as trained on; None where the log has no data."""
        return self._trained(self.stage.bindings.target)

    @property
    def tokens(self) -> int | None:
        """Tokens of an example, where the first input is one of tokens and its length is fixed."""
        first = next(iter(self.inputs.values()), None)
        if first is None or "int" not in first.dtype or len(first.shape) != 1:
            return None
        return first.shape[0]

    @property
    def classes(self) -> dict[str, int] | None:
        """Number of each class by its name, where the training data names them."""
        if self.target is None or self.target.categories is None:
            return None
        return {name: number for number, name in enumerate(self.target.categories)}

    def _trained(self, column: str) -> Column | None:
        if not self.stage.datasets:
            return None
        return self.log.datasets[self.stage.datasets[0]].columns.get(column)


def stage_columns(log: StageLog, name: str | None) -> StageColumns:
    """Return what a stage reads, the last one by default.

    Raises:
        InputError: If the log has no stage of this name.
    """
    for stage in log.stages:
        if stage.name == name or (name is None and stage is log.stages[-1]):
            return StageColumns(stage=stage, log=log)
    raise InputError(
        "--stage",
        expected="one of the log's stages: " + ", ".join(stage.name for stage in log.stages),
        found=name,
        remedy="Correct the name; `stageaudit log inspect` lists the stages.",
    )


def fitted(
    columns: Mapping[str, ColumnValues], target: StageColumns, *, label: str | None, where: str
) -> dict[str, ColumnValues]:
    """Return columns with the dtypes of a stage, and its target column made from a label.

    Args:
        columns: As they were built.
        target: What the stage reads.
        label: Column that holds the class of every example, or None.
        where: What messages call the data.

    Raises:
        InputError: If a column is missing, cannot be converted without loss, or has another shape.
    """
    found = dict(columns)
    bound = target.stage.bindings.target
    if label is not None and label in found and bound not in found:
        found[bound] = found[label]
    for name, column in target.inputs.items():
        if name not in found:
            raise InputError(
                where,
                expected=f"a column {name!r}, which stage {target.stage.name!r} reads",
                found=", ".join(found),
                remedy="Name it as the training data does: --stack NAME=COLUMN,... for numbers, "
                "--column NAME for images; or name another --stage.",
            )
        found[name] = converted(found[name], column, where=f"{where}: {name}")
    if target.target is not None and bound in found:
        found[bound] = converted(found[bound], target.target, where=f"{where}: {bound}")
    return found


def converted(values: ColumnValues, like: Column, *, where: str) -> ColumnValues:
    """Return values as another column has them.

    Raises:
        InputError: If values would change, or the shape of an example differs.
    """
    tensor, found = describe_column(where, values)
    if found.shape != like.shape:
        raise _unlike(where, f"shape {list(like.shape)}", f"shape {list(found.shape)}")
    if like.categories is not None:
        return _coded(tensor, found, like.categories, where=where)
    if found.categories is not None:
        raise _unlike(where, f"{like.dtype} numbers", "texts")
    cast = tensor.to(_DTYPES[like.dtype])
    if not (tensor.is_floating_point() and cast.is_floating_point()) and not torch.equal(
        cast.to(tensor.dtype), tensor
    ):
        raise _unlike(where, f"values that {like.dtype} can hold", found.dtype)
    return cast


def _coded(
    tensor: torch.Tensor, found: Column, categories: tuple[str, ...], *, where: str
) -> CodedTexts:
    """Return codes among given categories, of texts or of numbers of classes."""
    if found.categories is not None:
        unknown = [text for text in found.categories if text not in categories]
        if unknown:
            raise _unlike(where, "one of " + ", ".join(categories), unknown[0])
        codes = torch.tensor([categories.index(text) for text in found.categories])
        tensor = codes[tensor.long()]
    elif tensor.is_floating_point() or bool(((tensor < 0) | (tensor >= len(categories))).any()):
        raise _unlike(where, f"numbers from 0 to {len(categories) - 1}, or texts", found.dtype)
    return CodedTexts(codes=tensor.numpy(), categories=categories)


def _unlike(where: str, expected: str, found: object) -> InputError:
    return InputError(
        where,
        expected=f"{expected}, as in the training data",
        found=found,
        remedy="Convert the column: the model reads exactly these values. `stageaudit log "
        "inspect` shows what the log holds.",
    )
