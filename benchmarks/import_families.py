"""Modules of the model families whose imports are timed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

VOCABULARY, LENGTH = 100, 32


class Block(nn.Module):
    """Causal attention and a feed-forward part, each with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return states [B, L, D]."""
        parts = self.qkv(self.first(x)).chunk(3, dim=-1)
        heads = [part.unflatten(-1, (4, -1)).transpose(1, 2) for part in parts]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class Transformer(nn.Module):
    """Token and position embeddings, blocks, a head that reads the last token."""

    def __init__(self, *, width: int, depth: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, 10]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        states = self.tokens(tokens) + self.positions(places)
        return self.head(self.norm(self.blocks(states))[:, -1])


class Residual(nn.Module):
    """Two convolutions with batch normalisation, and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.two = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first, self.second = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same shape."""
        y = torch.relu(self.first(self.one(x)))
        return torch.relu(x + self.second(self.two(y)))


def mlp() -> nn.Module:
    """Return three linear layers."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
                         nn.Linear(64, 10))  # fmt: skip


def cnn() -> nn.Module:
    """Return two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def resnet() -> nn.Module:
    """Return a small residual network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), Residual(16), Residual(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A module and its minibatch."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]


FAMILIES = {
    "mlp": Family(mlp, lambda: torch.randn(32, 64)),
    "cnn": Family(cnn, lambda: torch.randn(32, 1, 16, 16)),
    "resnet": Family(resnet, lambda: torch.randn(16, 1, 16, 16)),
    "transformer": Family(
        lambda: Transformer(width=32, depth=2), lambda: torch.randint(0, VOCABULARY, (16, LENGTH))
    ),
}
