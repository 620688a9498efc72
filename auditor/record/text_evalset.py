"""Texts as columns of an evaluation set: for classification, and for causal language models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from auditor.errors import DomainError, InputError
from auditor.record.evalset import ColumnValues
from auditor.record.table import Table, text_values
from auditor.record.table_columns import class_of, kept_columns
from auditor.record.text_tokenizer import EncodedText, TextTokenizer

DEFAULT_LENGTH = 512
"""Tokens of a text that are kept unless more are asked for."""

TextTask = Literal["classification", "language"]
Padding = Literal["longest", "length"]
"""Whether examples are filled up to the longest of them, or all to the allowed length."""

IGNORED = -100
"""The label of a token that does not count, as Hugging Face's losses have it."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumns:
    """Tokenised texts, ready for :func:`auditor.record.evalset_folder.write_evaluation_folder`.

    Attributes:
        task: What kind of model they are for.
        columns: ``input_ids``, ``attention_mask`` and ``token_type_ids``, [N, length] int64, ``id``
            and the kept columns; and ``label`` [N], or ``next`` [N, length] with its ``counted``,
            and ``labels`` [N, length] as a causal language model is trained on.
        length: Tokens of every example.
        truncated: How many texts were longer.
        tokenizer: Digest of the tokenizer.
    """

    task: TextTask
    columns: Mapping[str, ColumnValues]
    length: int
    truncated: int
    tokenizer: str


def classification_columns(  # noqa: PLR0913 - one keyword for each thing that may be named
    table: Table,
    tokenizer: TextTokenizer,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    classes: Mapping[str, int] | None = None,
    length: int = DEFAULT_LENGTH,
    padding: Padding = "longest",
    ids: str | None = None,
    keep: Sequence[str] = (),
) -> TextColumns:
    """Return texts with one class each; every text is cut or filled up to the longest, at most.

    Args:
        table: As a reader such as :func:`auditor.record.jsonl_rows.read_jsonl` returns it.
        tokenizer: The model's.
        text: Column of the text.
        pair: Column of a second text that belongs to it, or None.
        label: Column of the class: a number, or a text of ``classes``.
        classes: Class by its name, as ``label2id`` in a model's ``config.json``.
        length: Most tokens of a text.
        padding: What short texts are filled up to.
        ids: Column that tells examples apart; None to number them.
        keep: Further columns to take over: texts, numbers or booleans.

    Raises:
        InputError: If a row lacks a column or holds another kind of value.
    """
    texts = text_values(table, text)
    pairs = None if pair is None else text_values(table, pair)
    _require_length(length, least=4)
    encoded = tokenizer.encode(texts, length=length, pairs=pairs)
    longest = length if padding == "length" else max(len(one.ids) for one in encoded)
    label_column = torch.tensor([
        class_of(row.get(label), classes=classes, where=f"{table.place(index)}: {label}")
        for index, row in enumerate(table.rows)
    ])
    return TextColumns(
        task="classification",
        columns={
            **_token_columns(encoded, length=longest, pad_id=tokenizer.pad_id),
            "label": label_column,
            **kept_columns(table, keep, ids=ids),
        },
        length=longest,
        truncated=sum(one.cut for one in encoded),
        tokenizer=tokenizer.digest,
    )


def language_columns(
    table: Table,
    tokenizer: TextTokenizer,
    *,
    text: str = "text",
    prompt: str | None = None,
    length: int = DEFAULT_LENGTH,
    padding: Padding = "longest",
    ids: str | None = None,
    keep: Sequence[str] = (),
) -> TextColumns:
    """Return texts with the token that follows each, and which of those count.

    ``next`` [N, length] is the target, ``counted`` the mask of a query: all tokens of the text but
    the first, or, with a prompt, those that reach into the text behind it.

    Args:
        table: As a reader such as :func:`auditor.record.jsonl_rows.read_jsonl` returns it.
        tokenizer: The model's.
        text: Column of the text, or of the completion where there is a prompt.
        prompt: Column of what stands before the text and does not count, or None.
        length: Most tokens of a prompt and its text together: one more than the model is given.
        padding: What short texts are filled up to.
        ids: Column that tells examples apart; None to number them.
        keep: Further columns to take over: texts, numbers or booleans.

    Raises:
        InputError: If a row lacks a column, or no token of it counts.
    """
    texts = text_values(table, text)
    prompts = [""] * len(texts) if prompt is None else text_values(table, prompt)
    _require_length(length, least=4)
    joined = [before + after for before, after in zip(prompts, texts, strict=True)]
    encoded = tokenizer.encode(joined, length=length)
    longest = length if padding == "length" else max(2, *(len(one.ids) for one in encoded))
    tokens = _token_columns(encoded, length=longest, pad_id=tokenizer.pad_id)
    counted = tokens["attention_mask"].bool()
    if prompt is not None:
        behind = _padded([one.ends for one in encoded], length=longest, fill=0)
        starts = torch.tensor([len(part) for part in prompts]).unsqueeze(1)  # [N, 1]
        counted &= behind > starts
    counted = counted[:, 1:].contiguous()
    empty = (~counted.any(dim=1)).nonzero()
    if len(empty):
        raise InputError(
            table.place(int(empty[0, 0])),
            expected=f"a text of which a token counts within {longest} tokens",
            found="none",
            remedy="Leave the row out, or allow longer texts.",
        )
    # The last token is only asked for, the first only given.
    given = {name: column[:, :-1].contiguous() for name, column in tokens.items()}
    following = tokens["input_ids"][:, 1:].contiguous()
    # A label stands where its token does; that of the first token is asked for by no position.
    before = (tokens["attention_mask"][:, :1] > 0) & (prompt is None)
    labelled = torch.cat([before, counted[:, :-1]], dim=1)
    labels = given["input_ids"].masked_fill(~labelled, IGNORED)
    return TextColumns(
        task="language",
        columns={
            **given,
            "next": following,
            "counted": counted,
            "labels": labels,
            **kept_columns(table, keep, ids=ids),
        },
        length=longest - 1,
        truncated=sum(one.cut for one in encoded),
        tokenizer=tokenizer.digest,
    )


def _token_columns(
    encoded: Sequence[EncodedText], *, length: int, pad_id: int
) -> dict[str, Tensor]:
    ids = [one.ids for one in encoded]
    return {
        "input_ids": _padded(ids, length=length, fill=pad_id),
        "attention_mask": _padded([[1] * len(row) for row in ids], length=length, fill=0),
        "token_type_ids": _padded([one.segments for one in encoded], length=length, fill=0),
    }


def _padded(rows: Sequence[Sequence[int]], *, length: int, fill: int) -> Tensor:
    """Return rows [N, length] int64, filled up at their ends."""
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows])


def _require_length(length: int, *, least: int) -> None:
    if length < least:
        raise DomainError(
            "length",
            expected=f"at least {least} tokens",
            found=length,
            remedy="Allow longer texts.",
        )
