"""What turned texts or images into the columns of a stage, as a caller declares it."""

import json
import re
from pathlib import Path
from typing import Any

from auditor.errors import InputError, UnsupportedError
from auditor.record.image_processor import HF_FILE, from_image_processor, read_preprocessing
from auditor.record.preprocessing import PREPROCESSING_FILE, Preprocessing
from auditor.record.text_tokenizer import TOKENIZER_FILE, tokenizer_digest, tokenizer_text_digest
from auditor.stagelog.digest import DIGEST_PATTERN, Digest, parse_digest

DIGEST = re.compile(DIGEST_PATTERN)

Declared = Path | str | None
"""A file or a folder, or a digest; None where nobody says."""


def declared_tokenizer(given: Declared) -> Digest | None:
    """Return the digest of the tokenizer in a folder, or the digest that was given itself.

    Raises:
        InputError: If there is no ``tokenizer.json``.
    """
    if given is None or _is_digest(given):
        return None if given is None else parse_digest(str(given), where="tokenizer")
    return tokenizer_digest(Path(given))


def declared_preprocessing(given: Declared | Preprocessing) -> Digest | None:
    """Return the digest of the preprocessing in a file or folder, or the digest that was given.

    Raises:
        InputError: If there is none.
        UnsupportedError: If it asks for steps that are not treated.
    """
    if isinstance(given, Preprocessing):
        return given.digest
    if given is None or _is_digest(given):
        return None if given is None else parse_digest(str(given), where="preprocessing")
    return read_preprocessing(Path(given)).digest


def tokenizer_of(processor: Any) -> Digest | None:  # noqa: ANN401 - an optional library's class
    """Return the digest of the tokenizer that a Hugging Face trainer holds; None for another kind.

    It is that of the ``tokenizer.json`` which ``save_pretrained`` would write.

    Args:
        processor: ``trainer.processing_class``.
    """
    inner = getattr(processor, "backend_tokenizer", None)
    if inner is None:
        return None
    try:
        return tokenizer_text_digest(inner.to_str(), where="trainer.processing_class")
    except InputError:
        return None  # nothing is known about it, and nothing is claimed


def preprocessing_of(processor: Any) -> Digest | None:  # noqa: ANN401 - an optional library's class
    """Return the digest of what an image processor of a Hugging Face trainer does, if known here.

    Args:
        processor: ``trainer.processing_class``.
    """
    written = getattr(processor, "to_json_string", None)
    if written is None or not hasattr(processor, "image_mean"):
        return None
    try:
        return from_image_processor(json.loads(written()), where="trainer.processing_class").digest
    except UnsupportedError:
        return None  # it does more than a declaration can say


def saved_tokenizer(folder: Path) -> Digest | None:
    """Return the digest of the tokenizer in a checkpoint's folder; None where it has none."""
    return tokenizer_digest(folder) if (folder / TOKENIZER_FILE).is_file() else None


def saved_preprocessing(folder: Path) -> Digest | None:
    """Return the digest of the preprocessing in a checkpoint's folder, if known here."""
    if not any((folder / name).is_file() for name in (PREPROCESSING_FILE, HF_FILE)):
        return None
    try:
        return read_preprocessing(folder).digest
    except UnsupportedError:
        return None  # it does more than a declaration can say


def _is_digest(given: Path | str) -> bool:
    return isinstance(given, str) and DIGEST.fullmatch(given) is not None
