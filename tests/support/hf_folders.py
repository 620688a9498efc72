"""Tiny Hugging Face folders from configurations; nothing is downloaded."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support.text_models import train_tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

POSITIONS = 16
SIZE = 40


def bert(classes: int = 2) -> Any:
    """Return a text classifier."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=SIZE,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=POSITIONS,
        num_labels=classes,
    )
    return seeded(lambda: BertForSequenceClassification(config))


def gpt2() -> Any:
    """Return a causal language model with tied embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=SIZE, n_embd=16, n_layer=1, n_head=2, n_positions=POSITIONS,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return seeded(lambda: GPT2LMHeadModel(config))


def seeded(build: Any) -> Any:
    """Return what is built from a fixed seed, the global generator left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def trained(model: Any, *, steps: int, seed: int = 0, rate: float = 0.3) -> Any:
    """Return the model after some steps on random tokens."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    classes = model.config.num_labels if hasattr(model, "classifier") else None
    model.eval()  # dropout would make the folders differ from run to run
    for _ in range(steps):
        ids = torch.randint(4, SIZE, (8, 10), generator=generator)
        labels: Tensor = ids if classes is None else ids[:, 0] % classes
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model


def save(model: Any, folder: Path, *, template: bool = True) -> Path:
    """Return the folder, which holds the model and a tokenizer."""
    model.save_pretrained(folder)
    train_tokenizer(folder, template=template)
    return folder
