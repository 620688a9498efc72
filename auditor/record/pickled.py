"""What a pickled checkpoint is turned into before this library sees it: plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

PickleReader = Callable[[Path], object]
"""Returns the content of a pickled file as dictionaries, lists, numbers, texts and tensors.

It must not run what is in the file: the command line passes one that reads it in a child process.
"""


@final
@dataclass(frozen=True, slots=True)
class ForeignValue:
    """A value that was left behind, such as a tensor of a dtype that is not treated.

    Attributes:
        kind: What it was.
    """

    kind: str
