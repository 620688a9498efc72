"""Dropout that a replay can repeat: ``with_recorded_dropout(model)``."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd
from typing_extensions import override

from auditor.errors import DomainError, StageLogError, UnsupportedError
from auditor.model.keyed_dropout import keyed_dropout

OPERATOR_VERSION = 13
"""Since which operator set the graph's dropout means what it means here."""


@final
@dataclass(kw_only=True)
class CurrentKeys:
    """What the dropouts of a model share: the keys of the forward pass that is under way.

    Attributes:
        seed: Of the model's masks, as the user chose it.
        keys: [B] int64; None outside of a recorded forward pass.
        recording: Whether a stage is open, in which every training forward pass has keys.
        in_graph: Whether the model is being exported for a log.
    """

    seed: int
    keys: Tensor | None = None
    recording: bool = False
    in_graph: bool = False


@final
class RecordedDropout(nn.Module):
    """``nn.Dropout`` with the masks of :mod:`auditor.model.keyed_dropout`.

    Outside of a recorded stage it is ``nn.Dropout``.

    Args:
        rate: Part of the entries that are 0.
        site: Number in the model, from 1.
        current: Shared by all of the model's.
    """

    def __init__(self, rate: float, *, site: int, current: CurrentKeys) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise DomainError(
                f"dropout {site}",
                expected="a rate from 0 to below 1",
                found=rate,
                remedy="Remove the module, or give it another rate.",
            )
        # As a graph stores it, so that both keep the same entries.
        self.rate = float(torch.tensor(rate, dtype=torch.float32))
        self.site = site
        self.current = current
        self.called = False

    @property
    def p(self) -> float:
        """The rate, by the name that ``nn.Dropout`` has for it; some attention reads it."""
        return self.rate

    @override
    def forward(self, values: Tensor) -> Tensor:
        """Return the values, in training with some entries 0 and the others larger."""
        if self.current.in_graph:
            return self._as_operator(values)
        self.called = True
        if not self.training or self.rate == 0:
            return values
        keys = self.current.keys
        if keys is not None:
            return keyed_dropout(values, keys, site=self.site, rate=self.rate)
        if self.current.recording:
            raise StageLogError(
                f"dropout {self.site}",
                expected="a forward pass of the model that is recorded",
                found="one of a part of it",
                remedy="Call the module that was passed to Recorder, not its parts.",
            )
        return functional.dropout(values, self.rate, training=True)

    @override
    def extra_repr(self) -> str:
        """Return what is printed of it."""
        return f"rate={self.rate:g}, site={self.site}"

    def _as_operator(self, values: Tensor) -> Tensor:
        """Return the ONNX operator with its site as seed; the importer finds it by that."""
        found: Tensor = torch.onnx.ops.symbolic(
            "Dropout",
            (values, torch.tensor(self.rate), torch.tensor(1, dtype=torch.bool)),
            attrs={"seed": self.site},
            dtype=values.dtype,
            shape=values.shape,
            version=OPERATOR_VERSION,
        )
        return found


def with_recorded_dropout(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Replace every ``nn.Dropout`` of a model, in place, by one whose masks a replay can repeat.

    Parameters and their names stay. The masks are other ones than torch's, at the same rates.

    Args:
        model: Before it is passed to the recorder, and before it is compiled or wrapped.
        seed: Another seed gives other masks.

    Returns:
        The same model.

    Raises:
        UnsupportedError: If it has dropout of another kind.
    """
    current = CurrentKeys(seed=seed)
    found = [(name, module) for name, module in model.named_modules() if module is not model]
    for name, module in found:
        _refuse_other_kinds(name, module)
    sites = [(name, module) for name, module in found if isinstance(module, nn.Dropout)]
    for site, (name, module) in enumerate(sites, start=1):
        parent, _, own = name.rpartition(".")
        recorded = RecordedDropout(module.p, site=site, current=current).train(module.training)
        setattr(model.get_submodule(parent), own, recorded)
    return model


def recorded_dropouts(model: nn.Module) -> dict[str, RecordedDropout]:
    """Return the recorded dropouts of a model by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, RecordedDropout)}


def _refuse_other_kinds(name: str, module: nn.Module) -> None:
    by_function = isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0
    other = isinstance(module, _DropoutNd) and not isinstance(module, nn.Dropout) and module.p > 0
    if by_function or other:
        raise UnsupportedError(
            f"module {name!r}",
            expected="dropout by modules of the class nn.Dropout",
            found=f"{type(module).__name__} with dropout of its own",
            remedy="Set its rate to 0, and use nn.Dropout on what it takes or gives.",
        )
