"""What a gradient scaler does around ``optimizer.step()``: its scale, and the steps it refuses."""

from dataclasses import dataclass
from typing import Protocol, final


class LossScaler(Protocol):
    """A ``torch.amp.GradScaler``, or one with the same methods."""

    def is_enabled(self) -> bool:
        """Return whether it scales at all."""

    def get_scale(self) -> float:
        """Return what the next loss is multiplied by."""


@final
@dataclass(kw_only=True)
class ScalerWatch:
    """Tells which declared batches the scaler refused to step on.

    A refused step calls no hook of the optimizer. But the scaler lowers its scale then, and only
    then: a batch that waits for its step while the scale falls has been refused.

    Attributes:
        scaler: The scaler; None without one.
    """

    scaler: LossScaler | None
    _declared_at: float = 0.0

    @property
    def scale(self) -> float | None:
        """What the loss is multiplied by now; None where nothing is."""
        enabled = self.scaler is not None and self.scaler.is_enabled()
        return float(self.scaler.get_scale()) if self.scaler is not None and enabled else None

    def batch_declared(self) -> None:
        """Note that the first examples of a step are declared."""
        self._declared_at = self.scale or 0.0

    def has_refused(self) -> bool:
        """Say whether the scale has fallen since."""
        now = self.scale
        return now is not None and now < self._declared_at
