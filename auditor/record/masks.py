"""The masks of recorded dropouts: each training forward pass gets the keys of its rows."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.model.keyed_dropout import slot_keys
from auditor.record.dropout import CurrentKeys, RecordedDropout, recorded_dropouts

SEED_BITS = 53
"""So that a manifest's JSON holds the seed exactly."""


@final
@dataclass(kw_only=True)
class StageMasks:
    """Hands out keys: places of a step are its rows in the order of the forward passes.

    Attributes:
        stage: Name of the stage; stages have masks of their own.
        sites: The model's recorded dropouts by name.
        active: Whether they dropped entries in the stage's first training pass; None before it.
    """

    stage: str
    sites: Mapping[str, RecordedDropout]
    active: bool | None = None
    _used: int = 0
    _settled: bool = False

    @property
    def seed(self) -> int | None:
        """The stage's seed, which its log holds; None where no entry was dropped."""
        if not self.active:
            return None
        (current,) = self._current
        text = f"{current.seed}\x1f{self.stage}"
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:8], "little") >> (64 - SEED_BITS)

    @property
    def _current(self) -> tuple[CurrentKeys, ...]:
        found = {id(site.current): site.current for site in self.sites.values()}
        return tuple(found.values())

    @property
    def _exporting(self) -> bool:
        """Whether the forward pass is an exporter's, which drops nothing."""
        return any(current.in_graph for current in self._current)

    def open(self) -> None:
        """Have every training forward pass ask for keys."""
        for current in self._current:
            current.recording = True

    def close(self) -> None:
        """Leave the dropouts to torch again."""
        for current in self._current:
            current.recording, current.keys = False, None

    def restart(self) -> None:
        """Begin the places of the next step."""
        self._used = 0

    def before_forward(self, tensors: Iterable[Any], *, step: int) -> None:
        """Set the keys of a forward pass of the model.

        Args:
            tensors: Its arguments; the first tensor has the batch as its first axis.
            step: Counted from the stage's first.

        Raises:
            UnsupportedError: If some dropouts are active and others are not, or the model changes
                in the middle of the stage.
        """
        if self._exporting:
            return
        dropping = [name for name, site in self.sites.items() if site.training and site.rate > 0]
        for current in self._current:
            current.keys = None
        if not torch.is_grad_enabled():
            if dropping:
                self._hand_out(tensors, step=step)
            return
        self._require_one_mode(dropping)
        if dropping:
            self._used += self._hand_out(tensors, step=step)

    def after_forward(self) -> None:
        """Refuse a dropout whose rate something else uses: a function with masks of torch's own.

        Raises:
            UnsupportedError: Naming the module.
        """
        quiet = self._exporting or not torch.is_grad_enabled()
        if self._settled or not self.active or quiet:
            return
        self._settled = True
        idle = [name for name, site in self.sites.items() if site.rate > 0 and not site.called]
        if idle:
            raise UnsupportedError(
                f"stage {self.stage!r}: {idle[0]}",
                expected="a dropout module that the forward pass calls",
                found="one that it does not: attention reads its rate and drops by a function",
                remedy="Set its rate to 0, for instance attention_probs_dropout_prob=0.0.",
            )

    def _hand_out(self, tensors: Iterable[Any], *, step: int) -> int:
        first = next(t for t in tensors if isinstance(t, Tensor) and t.dim() > 0)
        rows, seed = first.shape[0], self.seed
        if seed is None:
            return 0
        keys = slot_keys(seed, step=step, count=self._used + rows)[self._used :]
        for current in self._current:
            current.keys = torch.from_numpy(keys.copy()).to(first.device)
        return rows

    def _require_one_mode(self, dropping: list[str]) -> None:
        rated = [name for name, site in self.sites.items() if site.rate > 0]
        if dropping and (len(dropping) < len(rated) or len(self._current) > 1):
            idle = next((name for name in rated if name not in dropping), rated[0])
            raise UnsupportedError(
                f"stage {self.stage!r}",
                expected="recorded dropouts that are all active, or all not",
                found=f"{idle!r} not as {dropping[0]!r}",
                remedy="Train or freeze all of them, from one call of with_recorded_dropout.",
            )
        if self.active is not None and self.active != bool(dropping):
            raise UnsupportedError(
                f"stage {self.stage!r}",
                expected="one mode of dropout for all steps of a stage",
                found="model.train() or model.eval() between two steps",
                remedy="Record the steps with dropout and those without as two stages.",
            )
        if self.active is None:
            self.active = bool(dropping)
            for site in self.sites.values():
                site.called = False


def masks_of(model: nn.Module, *, stage: str) -> StageMasks:
    """Return what hands out the keys of a stage."""
    return StageMasks(stage=stage, sites=recorded_dropouts(model))


@contextmanager
def sites_in_graph(model: nn.Module) -> Iterator[None]:
    """Have recorded dropouts appear in a graph that is exported meanwhile."""
    shared = [site.current for site in recorded_dropouts(model).values()]
    for current in shared:
        current.in_graph = True
    try:
        yield
    finally:
        for current in shared:
            current.in_graph = False
