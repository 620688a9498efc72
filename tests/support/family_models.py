"""The models of the families, from random initialisation; those of ``transformers`` and ``peft``.

Import it from tests only: ``tests.conftest`` hides a torchvision that may not fit the torch.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from auditor.stagelog.log import Loss
from tests.support.families import CLASSES, LENGTH, VOCABULARY, Family

NO_DROPOUT = MappingProxyType({
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
})  # fmt: skip


class Logits(nn.Module):
    """A model of ``transformers`` as a function from one tensor to logits."""

    def __init__(self, network: nn.Module, argument: str, **options: Any) -> None:
        super().__init__()
        self.network, self._argument, self._options = network, argument, options

    def forward(self, x: Tensor) -> Tensor:
        return self.network(**{self._argument: x}, **self._options).logits


class BasicBlock(nn.Module):
    """Two convolutions with batch norm and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(hidden + self.shortcut(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, momentum=0.3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
    )  # fmt: skip


def frozen_norm(model: nn.Module) -> None:
    """Fine-tune with the statistics of the first stage, as detectors are."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def resnet18(width: int = 4) -> nn.Module:
    widths = [width, 2 * width, 2 * width, 4 * width]
    blocks, channels = [], width
    for stage, wide in enumerate(widths):
        for block in range(2):
            stride = 2 if stage and not block else 1
            blocks.append(BasicBlock(channels, wide, stride))
            channels = wide
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES),
    )  # fmt: skip


def vit() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        image_size=8, patch_size=4, num_channels=1, num_labels=CLASSES, **NO_DROPOUT,
    )  # fmt: skip
    return Logits(transformers.ViTForImageClassification(config), "pixel_values")


def bert() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=8, num_labels=CLASSES, **NO_DROPOUT,
    )  # fmt: skip
    return Logits(transformers.BertForSequenceClassification(config), "input_ids")


def distilbert() -> nn.Module:
    config = transformers.DistilBertConfig(
        vocab_size=VOCABULARY, dim=16, n_layers=1, n_heads=2, hidden_dim=24, num_labels=CLASSES,
        max_position_embeddings=8, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    )  # fmt: skip
    return Logits(transformers.DistilBertForSequenceClassification(config), "input_ids")


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=8, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return Logits(transformers.GPT2LMHeadModel(config), "input_ids", use_cache=False)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=24, max_position_embeddings=8,
    )  # fmt: skip
    return Logits(transformers.LlamaForCausalLM(config), "input_ids", use_cache=False)


def with_adapters(model: nn.Module) -> None:
    """Freeze the model and inject LoRA adapters, in place."""
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    network = model.network
    assert isinstance(network, nn.Module)
    config = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    inject_adapter_in_model(config, network)


def with_new_head(model: nn.Module) -> None:
    """Put a fresh classification head of another name in the place of the first one."""
    network = model.network
    assert isinstance(network, transformers.DistilBertForSequenceClassification)
    network.classifier = nn.Sequential(nn.Linear(16, CLASSES))


def vectors(generator: torch.Generator, examples: int) -> dict[str, Tensor]:
    label = torch.randint(0, CLASSES, (examples,), generator=generator)
    x = torch.randn(examples, 5, generator=generator)
    x[:, 0] += label
    return {"x": x, "label": label}


def images(generator: torch.Generator, examples: int, *, size: int = 8) -> dict[str, Tensor]:
    label = torch.randint(0, CLASSES, (examples,), generator=generator)
    x = torch.randn(examples, 1, size, size, generator=generator)
    quarter = size // 4
    x[:, :, quarter:-quarter, quarter:-quarter] += (label - 1)[:, None, None, None]
    return {"x": x, "label": label}


def texts(generator: torch.Generator, examples: int) -> dict[str, Tensor]:
    # Without token 0, the padding: its embedding is not trained, which a graph does not tell.
    x = torch.randint(1, VOCABULARY, (examples, LENGTH), generator=generator)
    return {"x": x, "label": x[:, 1] % CLASSES}


def continued(generator: torch.Generator, examples: int) -> dict[str, Tensor]:
    x = torch.randint(0, VOCABULARY, (examples, LENGTH), generator=generator)
    x[:, 1::2] = (x[:, ::2] + 3) % VOCABULARY
    return {"x": x, "label": x}


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


CAUSAL: Mapping[str, Any] = MappingProxyType({
    "loss": Loss(kind="causal_lm", over="tokens"), "mean_loss": next_token_loss,
})  # fmt: skip
VISION = {
    "mlp": Family(build=mlp, columns=vectors),
    "cnn with batch norm": Family(build=cnn, columns=images),
    "cnn, batch norm frozen later": Family(build=cnn, columns=images, change=frozen_norm),
    "resnet18": Family(build=resnet18, columns=partial(images, size=16), rate=0.001),
    "vit": Family(build=vit, columns=images, rate=0.02),
}
TEXT = {
    "bert": Family(build=bert, columns=texts, rate=0.05),
    "distilbert, head replaced": Family(
        build=distilbert, columns=texts, rate=0.05, change=with_new_head
    ),
    "gpt2": Family(build=gpt2, columns=continued, rate=0.05, **CAUSAL),
}
ADAPTED = {
    "llama": Family(build=llama, columns=continued, rate=0.05, **CAUSAL),
    "llama, adapters later": Family(
        build=llama, columns=continued, rate=0.02, adaptive=True, change=with_adapters, **CAUSAL
    ),
}
