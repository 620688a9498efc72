"""TRL: packed supervised fine-tuning, then preference optimisation, recorded and audited."""

import copy
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import trl
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.errors import UnsupportedError
from auditor.record.adapters.huggingface import record_trainer
from auditor.record.adapters.named_inputs import export_by_name
from auditor.record.encodings import tokenizer_of
from tests.support.adapter_runs import memory_recorder, replay_verdicts, retrained_without
from tests.support.guides import run_python_of
from tests.support.hf_folders import gpt2
from tests.support.text_models import SENTENCES

pytestmark = [
    # Of the libraries about their own names.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
WORDS = sorted({word for text in SENTENCES for word in text.split()})


def tokenizer() -> Any:
    """Return a word tokenizer that is made here."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, "<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def model() -> Any:
    """Return a small language model without dropout."""
    made = gpt2()
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return made


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "use_cpu": True, "report_to": [], "save_strategy": "no",
        "logging_strategy": "no", "disable_tqdm": True, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2, "max_steps": 3, "bf16": False, "learning_rate": 1e-3,
        "gradient_checkpointing": False, "dataloader_pin_memory": False, **options,
    }  # fmt: skip


def sft(trained: Any, folder: Path, **options: Any) -> Any:
    texts = datasets.Dataset.from_dict({"text": list(SENTENCES) * 4})
    packed = {"packing": True, "packing_strategy": "wrapped", "max_length": 8}
    config = trl.SFTConfig(**arguments(folder, **{**packed, **options}))
    return trl.SFTTrainer(
        model=trained, args=config, train_dataset=texts, processing_class=tokenizer()
    )


def dpo(trained: Any, folder: Path, **options: Any) -> Any:
    words = [text.split() for text in SENTENCES] * 3
    pairs = datasets.Dataset.from_dict({
        "prompt": [" ".join(text[:3]) for text in words],
        "chosen": [" " + " ".join(text[3:]) for text in words],
        "rejected": [" the end was bad"] * len(words),
    })
    return trl.DPOTrainer(
        model=trained, ref_model=copy.deepcopy(trained), train_dataset=pairs,
        args=trl.DPOConfig(**arguments(folder, beta=0.3, **options)), processing_class=tokenizer(),
    )  # fmt: skip


def mean_loss(trained: Any, columns: dict[str, Tensor]) -> float:
    trained.eval()
    with torch.no_grad():
        logits = trained(columns["input_ids"], attention_mask=columns["attention_mask"]).logits
    return functional.cross_entropy(logits.flatten(0, 1), columns["labels"].flatten()).item()


def test_two_stages_are_audited_as_trl_would_retrain_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, skipped = model(), model()
    dpo(skipped, tmp_path).train()

    run_python_of(
        "docs/howto/record-trl.md",
        tmp_path,
        monkeypatch,
        model=trained,
        make_sft_trainer=lambda model: sft(model, tmp_path),
        make_dpo_trainer=lambda model: dpo(model, tmp_path),
    )

    log, _, _ = read_log(tmp_path / "my-log")
    blobs = FolderBlobs(tmp_path / "my-log" / BLOBS_FOLDER)
    assert [stage.loss.kind for stage in log.stages] == ["causal_lm", "dpo"]
    assert [stage.accumulated for stage in log.stages] == ["step", None]
    assert log.stages[1].loss.beta == 0.3
    assert {stage.tokenizer for stage in log.stages} == {tokenizer_of(tokenizer())}
    assert log.datasets["dpo-data"].columns["labels"].shape[0] == 2
    assert replay_verdicts(log, blobs) == ["consistent", "consistent"]
    ids = torch.randint(2, 15, (8, 11), generator=torch.Generator().manual_seed(3))
    held_out = {
        "input_ids": ids[:, :-1], "attention_mask": torch.ones_like(ids[:, 1:]),
        "labels": ids[:, 1:],
    }  # fmt: skip
    report = retrained_without(log, blobs, stages=["sft"], held_out=held_out, target="labels")
    truth = mean_loss(trained, held_out) - mean_loss(skipped, held_out)
    assert report.effects[0].value == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (sft, {"packing_strategy": "bfd"}, "packing_strategy='wrapped'"),
        (sft, {"loss_type": "dft"}, "loss_type dft"),
        (dpo, {"loss_type": ["ipo"]}, "DPOConfig.loss_type"),
        (dpo, {"sync_ref_model": True}, "DPOConfig.sync_ref_model"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_training(
    tmp_path: Path, make: Any, options: dict[str, Any], message: str
) -> None:
    trained = model()
    recorder, _ = memory_recorder(trained, export=export_by_name)

    with (
        pytest.raises(UnsupportedError, match=message),
        record_trainer(recorder, make(trained, tmp_path, **options), "only"),
    ):
        pass
