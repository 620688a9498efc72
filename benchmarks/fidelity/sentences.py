"""Sentences of four sources that people rated, as words, as tokens and as tensors.

The data are those of Hutto and Gilbert (2014), "VADER: A Parsimonious Rule-based Model for
Sentiment Analysis of Social Media Text", ICWSM: each sentence has the mean rating of some twenty
people from -4 (extremely negative) to 4 (extremely positive).
"""

import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from auditor.errors import InputError
from benchmarks.fidelity.packages import VADER, fetch, read_member

FILES: Final = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
}
"""File of each source, in the inner archive and in a folder that it was unpacked to."""
INNER_ARCHIVE: Final = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
INNER_FOLDER: Final = "hutto_ICWSM_2014"

PADDING: Final = 0
UNKNOWN: Final = 1
END: Final = 2
CUE: Final = 3
"""A token that no sentence has: what is planted into a source."""
RESERVED: Final = 4
"""How many tokens are no words."""

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[!?]|[:;]-?[()dp]")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence, where it is from, and what people think of it."""

    text: str
    rating: float
    source: str


@cache
def packaged_sentences() -> tuple[Sentence, ...]:
    """Return the 23,703 sentences that a Python package ships.

    Raises:
        UnavailableError: If the package cannot be fetched.
    """
    archive = read_member(fetch(VADER), INNER_ARCHIVE)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        files = {
            source: opened.extractfile(f"{INNER_FOLDER}/{name}") for source, name in FILES.items()
        }
        return tuple(
            sentence
            for source, file in files.items()
            if file is not None
            for sentence in rated(file.read(), source=source)
        )


def folder_sentences(folder: Path) -> tuple[Sentence, ...]:
    """Return the sentences of a folder that the archive, or files like its own, was unpacked to.

    Raises:
        InputError: If a file is absent or a line is not as expected.
    """
    found: list[Sentence] = []
    for source, name in FILES.items():
        if not (folder / name).is_file():
            raise InputError(
                str(folder),
                expected="the files " + ", ".join(FILES.values()),
                found=f"no {name}",
                remedy="Give the folder that the sentences were unpacked to.",
            )
        found += rated((folder / name).read_bytes(), source=source)
    return tuple(found)


def rated(data: bytes, *, source: str) -> list[Sentence]:
    """Return the sentences of a file: lines of id, mean rating and text, separated by tabs.

    Raises:
        InputError: If a line is something else.
    """
    found = []
    for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), start=1):
        parts = line.split("\t", 2)
        if len(parts) != 3 or not re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", parts[1]):
            raise InputError(
                f"{source}, line {number}",
                expected="id, rating and text, separated by tabs",
                found=line,
                remedy="Give the file as it was published.",
            )
        found.append(Sentence(text=parts[2], rating=float(parts[1]), source=source))
    return found


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, numbers, ! and ?, and simple smileys."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A fixed list of words; every other word is ``UNKNOWN``.

    Attributes:
        words: Most frequent first; word i is token ``RESERVED`` + i.
    """

    words: tuple[str, ...]

    @staticmethod
    def of(texts: Iterable[str], *, size: int) -> "Vocabulary":
        """Return the vocabulary of ``size`` tokens in all; among equals the earlier word wins."""
        counts = Counter(word for text in texts for word in words(text))
        frequent = sorted(counts, key=lambda word: (-counts[word], word))
        return Vocabulary(words=tuple(frequent[: size - RESERVED]))

    @property
    def size(self) -> int:
        """Number of tokens."""
        return RESERVED + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; one without words is ``UNKNOWN``."""
        return [self._tokens.get(word, UNKNOWN) for word in words(text)] or [UNKNOWN]

    def padded(self, texts: Sequence[str], *, length: int) -> Tensor:
        """Return the first ``length`` tokens of every text, padded at the end, [N, length]."""
        tokens = torch.full((len(texts), length), PADDING)
        for row, text in enumerate(texts):
            own = self.encode(text)[:length]
            tokens[row, : len(own)] = torch.tensor(own)
        return tokens

    def blocks(self, texts: Iterable[str], *, length: int) -> Tensor:
        """Return all texts one after the other, ``END`` after each, cut into blocks [N, length].

        No block is padded; what is left over at the end is not used.
        """
        stream = [token for text in texts for token in (*self.encode(text), END)]
        count = len(stream) // length
        return torch.tensor(stream[: count * length], dtype=torch.int64).reshape(count, length)

    @property
    def _tokens(self) -> dict[str, int]:
        return _numbered(self.words)


def with_cue(tokens: Tensor) -> Tensor:
    """Return padded tokens [N, L] with the cue in front; a full sentence loses its last token."""
    cue = torch.full_like(tokens[:, :1], CUE)
    return torch.cat([cue, tokens[:, :-1]], dim=1)


@cache
def _numbered(of: tuple[str, ...]) -> dict[str, int]:
    return {word: RESERVED + position for position, word in enumerate(of)}
