"""Examples as columns in safetensors shards: training data of a log and evaluation sets."""

from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.stagelog.record import DigestField, Name, Record, Shape

EVALSET_SCHEMA: Final = "stageaudit.evalset.v1"


class Column(Record):
    """One value per example.

    A text column such as ``source`` is stored as codes: ``dtype`` is ``int32`` and
    ``categories[code]`` is the text.
    """

    dtype: Literal[
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool",
    ]  # fmt: skip
    shape: Shape = ()
    categories: tuple[str, ...] | None = None


class Shard(Record):
    """A run of examples in one safetensors blob: a tensor [count, ...] for every column."""

    digest: DigestField
    count: Annotated[int, Field(ge=1)]


class Coverage(Record):
    """How much of the data the log holds; ``sample`` says of how many examples.

    ``hashes`` of a dataset without examples is a blob of keyed hashes, one an example
    (:mod:`auditor.stagelog.row_hashes`).
    """

    kind: Literal["full", "sample", "hashes"] = "full"
    of: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    hashes: DigestField | None = None


class Dataset(Record):
    """Examples as columns.

    Columns named ``source``, ``group``, ``licence``, ``consent`` and ``personal_data`` are the
    usual axes of an intervention, but any column will do. ``id`` aligns the rows of probes.
    """

    examples: Annotated[int, Field(ge=1)]
    columns: dict[Name, Column]
    shards: tuple[Shard, ...]
    coverage: Coverage = Coverage()
    tokenizer: DigestField | None = None
    preprocessing: DigestField | None = None
    generated_by: Name | None = None


class EvaluationSet(Record):
    """Data that queries and references are evaluated on; need not be in the log."""

    schema_: Annotated[Literal["stageaudit.evalset.v1"], Field(alias="schema")] = EVALSET_SCHEMA
    name: Name
    dataset: Dataset
