"""A tokenizer from the ``tokenizer.json`` of a model folder; needs ``[huggingface]``, no torch.

The file is data that the tokenizers library parses: nothing of the folder is executed.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from auditor.checks import needs_extra
from auditor.errors import InputError
from auditor.stagelog.digest import Digest, canonical_bytes, sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
_CALL_SETTINGS = ("truncation", "padding")
"""Parts of the file that say how it was last called, not what it does to a text."""


BLOCK_TEXTS = 1024


def _ignore(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedText:
    """The tokens of one text.

    Attributes:
        ids: Token ids, special tokens included.
        segments: 0 for tokens of the text, 1 for those of its pair.
        ends: Position in the text behind each token; 0 for special tokens.
        cut: Whether tokens of the text are missing.
    """

    ids: list[int]
    segments: list[int]
    ends: list[int]
    cut: bool


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextTokenizer:
    """Turns texts into token ids.

    Attributes:
        digest: SHA-256 of the canonical JSON of ``tokenizer.json``, without the settings of its
            last call: two files with one digest tokenise alike.
        size: Number of tokens it knows.
        pad_id: Id that fills up short texts.
        on_progress: Told how many texts of how many are tokenised.
    """

    digest: Digest
    size: int
    pad_id: int
    _tokenizer: "Tokenizer"
    on_progress: Callable[[int, int], None] = _ignore

    def encode(
        self, texts: Sequence[str], *, length: int, pairs: Sequence[str] | None = None
    ) -> list[EncodedText]:
        """Return the tokens of every text, without padding.

        Args:
            texts: What is tokenised.
            length: Most tokens of a text; a longer one is cut, its special tokens stay.
            pairs: The second text of each, such as a hypothesis; or None.
        """
        self._tokenizer.enable_truncation(max_length=length)
        given = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        found: list[EncodedText] = []
        for begin in range(0, len(given), BLOCK_TEXTS):
            found += self._encoded(given[begin : begin + BLOCK_TEXTS])
            self.on_progress(len(found), len(given))
        return found

    def _encoded(self, given: Sequence[str | tuple[str, str]]) -> list[EncodedText]:
        return [
            EncodedText(
                ids=list(one.ids),
                segments=list(one.type_ids),
                ends=[end for _, end in one.offsets],
                cut=bool(one.overflowing),
            )
            for one in self._tokenizer.encode_batch(list(given))
        ]


def load_tokenizer(
    folder: Path, *, on_progress: Callable[[int, int], None] = _ignore
) -> TextTokenizer:
    """Return the tokenizer of a model folder, or of a folder with ``tokenizer.json`` alone.

    Args:
        folder: The folder, or the file.
        on_progress: Told how many texts of how many are tokenised.

    Raises:
        InputError: If the folder has no ``tokenizer.json``, or one that cannot be read.
        PreconditionError: If the tokenizers library is not installed.
    """
    with needs_extra("huggingface", purpose="tokenising texts"):
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra that only texts need
    path = _tokenizer_file(folder)
    described = _described(read_json_object(path))
    try:
        tokenizer = Tokenizer.from_str(json.dumps(described))
    except Exception as error:
        raise InputError(
            str(path),
            expected="a tokenizer",
            found=error,
            remedy="Save it again with the tokenizers library that is installed here.",
        ) from error
    return TextTokenizer(
        digest=sha256(canonical_bytes(described)),
        size=tokenizer.get_vocab_size(),
        pad_id=_pad_id(tokenizer, path.parent),
        _tokenizer=tokenizer,
        on_progress=on_progress,
    )


def tokenizer_digest(folder: Path) -> Digest:
    """Return the digest of the tokenizer in a folder, or in a ``tokenizer.json``; needs no extra.

    Raises:
        InputError: If there is none.
    """
    return sha256(canonical_bytes(_described(read_json_object(_tokenizer_file(folder)))))


def tokenizer_text_digest(text: str, *, where: str) -> Digest:
    """Return the digest of a tokenizer that was written out as JSON.

    Raises:
        InputError: If the text is no JSON object.
    """
    return sha256(canonical_bytes(_described(_json_object(text, where=where))))


def _tokenizer_file(folder: Path) -> Path:
    path = folder if folder.is_file() else folder / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(
            str(folder),
            expected=f"a {TOKENIZER_FILE}",
            found="none",
            remedy="Save it there with AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER).",
        )
    return path


def _described(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key not in _CALL_SETTINGS}


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: If the file holds none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            str(path), expected="a JSON file", found=error, remedy="Save the folder again."
        ) from error
    return _json_object(data, where=str(path))


def _json_object(data: str | bytes, *, where: str) -> dict[str, Any]:
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where, expected="a JSON file", found=error, remedy="Save the folder again."
        ) from error
    if not isinstance(plain, dict):
        raise InputError(
            where,
            expected="a JSON object",
            found=type(plain).__name__,
            remedy="Save the folder again.",
        )
    return plain


def _pad_id(tokenizer: "Tokenizer", folder: Path) -> int:
    """Return the id of the declared padding token, else 0: padded positions are masked anyway."""
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        declared = read_json_object(settings).get("pad_token")
        text = declared.get("content") if isinstance(declared, dict) else declared
        found = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if found is not None:
            return int(found)
    return 0
