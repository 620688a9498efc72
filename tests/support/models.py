"""Small torch modules, their graphs without weights, and the imported models."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.model.onnx_model import OnnxModel
from auditor.record.export import export_graph
from auditor.stagelog.log import ParameterInfo

CLASSES = 3
VOCABULARY = 20
LENGTH = 6


class TransformerClassifier(nn.Module):
    """Embedding, one encoder layer with a padding mask, mean pooling, linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 8)
        self.positions = nn.Parameter(torch.randn(LENGTH, 8) * 0.1)
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == 0
        states = self.encoder(self.tokens(tokens) + self.positions, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).to(states.dtype)
        pooled = (self.norm(states) * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        return self.head(pooled)


class CausalSelfAttention(nn.Module):
    """nanoGPT's block: fused qkv that is split, scaled dot product attention, tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.tokens(tokens)  # [B, L, 8]
        heads = [
            part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(states).split(8, dim=2)
        ]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        states = states + self.out(mixed.transpose(1, 2).flatten(2))
        return self.head(states[:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.GELU(), nn.Linear(6, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(6, CLASSES),
    )


@dataclass(frozen=True)
class Family:
    """How to make a module and a minibatch for it."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int, torch.Generator], Tensor]


FAMILIES = {
    "mlp": Family(mlp, lambda n, g: torch.randn(n, 5, generator=g, dtype=torch.float64)),
    "cnn": Family(cnn, lambda n, g: torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64)),
    "transformer": Family(
        TransformerClassifier, lambda n, g: torch.randint(0, VOCABULARY, (n, LENGTH), generator=g)
    ),
    "attention": Family(
        CausalSelfAttention, lambda n, g: torch.randint(0, VOCABULARY, (n, LENGTH), generator=g)
    ),
}


def build_module(name: str, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    """Return a family's module with random values in every parameter and buffer."""
    module = FAMILIES[name].build().to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype) * 0.5)
        for key, buffer in module.named_buffers():
            if buffer.is_floating_point():
                noise = torch.rand(buffer.shape, generator=generator, dtype=dtype)
                buffer.copy_(noise + 0.5 if key.endswith("var") else noise - 0.5)
    return module


def state_infos(module: nn.Module) -> dict[str, ParameterInfo]:
    """Return the manifest's ``parameters`` for a module; later names of a tensor are tied."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    owners: dict[int, str] = {}
    infos = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        owner = owners.setdefault(id(tensor), name)
        infos[name] = ParameterInfo(
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            kind="parameter" if name in parameters else "buffer",
            tied_to=None if owner == name else owner,
        )
    return infos


def import_module(module: nn.Module, *inputs: Tensor) -> OnnxModel:
    """Export a module and import it again."""
    names = [f"input_{i}" for i in range(len(inputs))]
    return OnnxModel.load(
        export_graph(module, inputs, input_names=names), names=state_infos(module)
    )


def named_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's parameters by name, without autograd, tied ones once."""
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def named_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the module's buffers by name."""
    return {name: tensor.detach().clone() for name, tensor in module.named_buffers()}
