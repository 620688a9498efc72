"""What a user of Lightning writes: a module, and a loader whose batches say what they hold."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from auditor.record.adapters.rows import IndexedCollator, IndexedDataset
from tests.support.builders import make_columns, make_network
from tests.support.lightning_library import lightning


class Classifier(lightning.LightningModule):
    """What a user of Lightning writes."""

    def __init__(self, *, manual: str | None = None) -> None:
        super().__init__()
        self.network = make_network(dtype=torch.float32)
        if manual:
            self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, label = batch
        return functional.cross_entropy(self.network(x), label)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def columns(stage: int) -> dict[str, Tensor]:
    """Return ``x`` and ``label`` of a stage's data."""
    made = make_columns(examples=23, dtype=torch.float32, seed=stage)
    return {name: made[name] for name in ("x", "label")}


def loader(stage: int, workers: int) -> Any:
    """Return the loader of a stage's data."""
    own = columns(stage)
    return DataLoader(
        IndexedDataset(TensorDataset(own["x"], own["label"])), batch_size=4, shuffle=True,
        num_workers=workers, collate_fn=IndexedCollator(),
        generator=torch.Generator().manual_seed(stage),
    )  # fmt: skip
