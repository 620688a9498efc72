"""Raw files as people have them: reviews, a table, photographs; and a recorded run on reviews."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from auditor.record.recorder import Recorder
from auditor.record.text_tokenizer import load_tokenizer
from tests.support.text_models import SENTENCES, train_tokenizer

TOKENS = 12
CLASSES = ("bad", "good")


class Reviews(nn.Module):
    """Classifies the mean of a text's embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 4)
        self.head = nn.Linear(4, len(CLASSES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).to(self.head.weight.dtype)
        return self.head((self.embedding(input_ids) * mask).sum(1) / mask.sum(1))


def reviews(count: int, *, begin: int = 0) -> list[dict[str, Any]]:
    """Return rows of reviews."""
    words = " ".join(SENTENCES).split()
    return [
        {
            "id": i,
            "text": " ".join(words[i % 20 : i % 20 + 4 + i % 3]),
            "label": CLASSES[i % 2],
            "group": "film" if i % 3 else "book",
        }
        for i in range(begin, begin + count)
    ]


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_photos(root: Path, *, count: int = 3, size: tuple[int, int] = (10, 12)) -> Path:
    """Return a folder with ``count`` random photographs of each of two classes."""
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            generator = np.random.default_rng(10 * number + i)
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def encoded(folder: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Return reviews as the recorded run has them, by the tokenizers library alone."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=0, length=TOKENS)
    tokenizer.enable_truncation(TOKENS)
    found = tokenizer.encode_batch([row["text"] for row in rows])
    return {
        "input_ids": torch.tensor([one.ids for one in found]),
        "attention_mask": torch.tensor([one.attention_mask for one in found]),
        "label": torch.tensor([CLASSES.index(row["label"]) for row in rows]),
    }


def record_reviews(log: Path, tokenizer: Path) -> Reviews:
    """Return a model after two recorded stages on reviews, its tokenizer declared."""
    train_tokenizer(tokenizer)
    assert load_tokenizer(tokenizer).size <= 40
    (tokenizer / "config.json").write_text(
        json.dumps({
            "architectures": ["BertForSequenceClassification"],
            "label2id": {name: number for number, name in enumerate(CLASSES)},
        })
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reviews()
    recorder = Recorder(log, model, run_name="reviews")
    for stage, begin in (("crawl", 0), ("vendor", 100)):
        columns = encoded(tokenizer, reviews(12, begin=begin))
        data = recorder.dataset(stage, columns)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with recorder.stage(
            stage,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={name: name for name in ("input_ids", "attention_mask")},
            target="label",
            tokenizer=tokenizer,
        ) as recording:
            for step in range(6):
                rows = torch.arange(4) + 4 * (step % 3)
                recording.batch(data, rows)
                optimizer.zero_grad()
                inputs = [columns[name][rows] for name in ("input_ids", "attention_mask")]
                functional.cross_entropy(model(*inputs), columns["label"][rows]).backward()
                optimizer.step()
    return model


def save_image_models(names: Sequence[str]) -> Any:
    """Return the last of some image classifiers that are saved with their image processor."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4, id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ViTForImageClassification(config).eval()
        for name in names:
            model.save_pretrained(name)
            ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(name)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    return ViTForImageClassification.from_pretrained(names[-1]).eval()
