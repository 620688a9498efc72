"""Small transformers for sentences: a classifier and a causal language model."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.fidelity.sentences import PADDING

WIDTH = 32
HEADS = 4
HIDDEN = 64
LAYERS = 2
INITIAL_SPREAD = 0.2


class Block(nn.Module):
    """Self-attention and a network per token, each on normalised inputs and added to them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH)
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.norm_network = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, HIDDEN)
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, states: Tensor, visible: Tensor | None) -> Tensor:
        """Return states [B, L, WIDTH]; ``visible`` [B, 1, 1, L] are keys, None the earlier ones."""
        batch, length, _ = states.shape
        projected = self.query_key_value(self.norm_attention(states))
        heads = projected.reshape(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attention = functional.scaled_dot_product_attention(
            heads[0], heads[1], heads[2], attn_mask=visible, is_causal=visible is None
        )  # [B, HEADS, L, WIDTH / HEADS]
        states = states + self.attended(attention.transpose(1, 2).reshape(batch, length, WIDTH))
        hidden = functional.gelu(self.up(self.norm_network(states)))
        return states + self.down(hidden)


class SentenceClassifier(nn.Module):
    """Classes of padded sentences: the mean over their tokens' states, then a linear head.

    Args:
        vocabulary: Number of tokens.
        length: Tokens of a sentence.
        classes: Number of classes.
    """

    def __init__(self, *, vocabulary: int, length: int, classes: int = 2) -> None:
        super().__init__()
        self.tokens = _embedding(vocabulary)
        self.positions = nn.Parameter(torch.zeros(length, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, classes] of tokens [B, length], each with one that is no padding."""
        real = tokens != PADDING
        states = self.tokens(tokens) + self.positions
        for block in self.blocks:
            states = block(states, real[:, None, None, :])
        weight = real[:, :, None].to(states.dtype)
        return self.head((self.norm(states) * weight).sum(dim=1) / weight.sum(dim=1))


class LanguageModel(nn.Module):
    """The next token after each token of a block.

    Args:
        vocabulary: Number of tokens.
        length: Tokens of a block.
    """

    def __init__(self, *, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens = _embedding(vocabulary)
        self.positions = nn.Parameter(torch.zeros(length, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, length, vocabulary] of the tokens after tokens [B, length]."""
        states = self.tokens(tokens) + self.positions
        for block in self.blocks:
            states = block(states, None)
        return self.head(self.norm(states))


def _embedding(vocabulary: int) -> nn.Embedding:
    """Return an embedding whose first values are small enough to be learnt in few steps."""
    embedding = nn.Embedding(vocabulary, WIDTH)
    nn.init.normal_(embedding.weight, std=INITIAL_SPREAD)
    return embedding
