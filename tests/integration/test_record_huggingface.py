"""The Hugging Face Trainer, recorded and audited; truth is the Trainer run without the stage."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.adapters.named_inputs import export_by_name
from auditor.record.dropout import with_recorded_dropout
from auditor.stagelog.batches import read_batches
from tests.support.adapter_runs import memory_recorder, replay_verdicts, retrained_without
from tests.support.hf_folders import SIZE, bert, gpt2

transformers = pytest.importorskip("transformers")


from auditor.record.adapters.huggingface import record_trainer  # noqa: E402

pytestmark = [
    # Of the libraries about themselves, each where it is used.
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
LENGTH = 6
EXAMPLES = 22


def tokens(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, SIZE, (EXAMPLES, LENGTH), generator=generator)


def texts(seed: int) -> datasets.Dataset:
    """Token ids with their mask and a label; a text column that no model takes."""
    ids = tokens(seed)
    return datasets.Dataset.from_dict({
        "input_ids": ids.tolist(),
        "attention_mask": torch.ones_like(ids).tolist(),
        "label": (ids[:, 0] % 2).tolist(),
        "text": ["unused"] * EXAMPLES,
    })


def still(model: Any) -> Any:
    """Return the model without dropout."""
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return model


def make_trainer(model: Any, data: Any, folder: Path, **options: Any) -> Any:
    collator = options.pop("collator", None)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], save_strategy="no", seed=5,
        logging_strategy="no", disable_tqdm=True, per_device_train_batch_size=4,
        dataloader_pin_memory=False,
        **{"learning_rate": 5e-3, "num_train_epochs": 1, **options},
    )  # fmt: skip
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=data, data_collator=collator
    )


def test_two_stages_are_audited_as_the_trainer_would_retrain_them(tmp_path: Path) -> None:
    model = still(bert())
    recorder, blobs = memory_recorder(model, export=export_by_name)
    options: list[dict[str, Any]] = [
        {"lr_scheduler_type": "cosine", "warmup_steps": 2},
        {"max_grad_norm": 0.3, "num_train_epochs": 2, "dataloader_num_workers": 2},
    ]
    for stage, own in enumerate(options):
        trainer = make_trainer(model, texts(stage), tmp_path, **own)
        with record_trainer(recorder, trainer, f"stage{stage}", kind="finetune"):
            trainer.train()
    skipped = still(bert())
    make_trainer(skipped, texts(1), tmp_path, **options[1]).train()

    log = recorder.log
    held_out = {
        "input_ids": tokens(9), "attention_mask": torch.ones(EXAMPLES, LENGTH, dtype=torch.int64),
        "labels": tokens(9)[:, 0] % 2,
    }  # fmt: skip
    report = retrained_without(log, blobs, stages=["stage0"], held_out=held_out, target="labels")

    truth = mean_loss(model, held_out) - mean_loss(skipped, held_out)
    assert report.effects[0].value == pytest.approx(truth, rel=1e-3)
    assert "inconsistent" not in {finding.verdict for finding in report.log.consistency}
    assert replay_verdicts(log, blobs) == ["consistent", "consistent"]
    assert log.stages[1].clipping is not None
    assert [stage.steps for stage in log.stages] == [6, 12]


def mean_loss(model: Any, columns: dict[str, Tensor]) -> float:
    model.eval()
    with torch.no_grad():
        inputs = {name: columns[name] for name in ("input_ids", "attention_mask")}
        return functional.cross_entropy(model(**inputs).logits, columns["labels"]).item()


def test_accumulated_classifier_is_recorded_as_the_trainer_divides(tmp_path: Path) -> None:
    """BERT's classifier ignores the count of items: the Trainer adds up the microbatches' means."""
    model = still(bert())
    recorder, blobs = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, texts(0), tmp_path, gradient_accumulation_steps=4)

    with record_trainer(recorder, trainer, "only"):
        trainer.train()

    stage = recorder.log.stages[0]
    first, last = (read_batches(blobs.read(stage.batches), where="").rows(k) for k in (0, 1))
    weights = [row.weights for row in first]
    np.testing.assert_allclose(weights, 4.0)
    # 6 microbatches are 4 and 2, of 4 and of 4 and 2 examples: n / n_m for a sum of means.
    assert [len(row.indices) for row in last] == [4, 2]
    np.testing.assert_allclose(last[0].weights, 6 / 4)
    np.testing.assert_allclose(last[1].weights, 6 / 2)
    assert replay_verdicts(recorder.log, blobs) == ["consistent"]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_language_model_averages_over_the_tokens_of_a_step(
    tmp_path: Path, accumulation: int
) -> None:
    model = still(gpt2())
    recorder, blobs = memory_recorder(model, export=export_by_name)
    ids, words = tokens(0), 2 + torch.arange(EXAMPLES) % (LENGTH - 1)
    data = datasets.Dataset.from_dict({
        "input_ids": [row[:n].tolist() for row, n in zip(ids, words.tolist(), strict=True)],
        "labels": [row[:n].tolist() for row, n in zip(ids, words.tolist(), strict=True)],
    })
    trainer = make_trainer(
        model, data, tmp_path, collator=padded, gradient_accumulation_steps=accumulation,
        optim="sgd", learning_rate=0.1, max_grad_norm=0.0,
    )  # fmt: skip

    with record_trainer(recorder, trainer, "sft", kind="finetune"):
        trainer.train()

    stage = recorder.log.stages[0]
    assert (stage.loss.kind, stage.accumulated) == ("causal_lm", "step")
    assert recorder.log.datasets["sft-data"].columns["labels"].shape == (LENGTH,)
    assert replay_verdicts(recorder.log, blobs) == ["consistent"]


def padded(items: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Pad to the longest of the batch, labels with -100."""
    length = max(len(item["input_ids"]) for item in items)

    def rows(name: str, fill: int) -> Tensor:
        return torch.tensor([i[name] + [fill] * (length - len(i[name])) for i in items])

    ids = rows("input_ids", 0)
    labels = rows("labels", -100)
    return {"input_ids": ids, "attention_mask": (labels != -100).long(), "labels": labels}


class Stream(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Examples without positions."""

    def __iter__(self) -> Any:
        return iter(texts(0).remove_columns("text"))


def test_stream_is_recorded_by_the_tensors_that_the_model_saw(tmp_path: Path) -> None:
    model = still(bert())
    recorder, blobs = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, Stream(), tmp_path, max_steps=5)

    with pytest.raises(UnsupportedError, match="dataset with positions"):
        enter(record_trainer(recorder, trainer, "stream"))
    with record_trainer(
        recorder, trainer, "stream", batches="tensors", inputs=["input_ids", "attention_mask"]
    ):
        trainer.train()

    assert recorder.log.datasets["stream-captured"].examples == 20
    assert replay_verdicts(recorder.log, blobs) == ["consistent"]


def enter(context: Any) -> None:
    with context:
        pass


def test_collator_that_draws_at_random_is_refused_before_training(tmp_path: Path) -> None:
    model = still(gpt2())
    recorder, _ = memory_recorder(model, export=export_by_name)
    data = texts(0).remove_columns(["text", "label"])
    trainer = make_trainer(model, data, tmp_path, collator=noisy)

    with pytest.raises(UnsupportedError, match="draws at random"):
        enter(record_trainer(recorder, trainer, "mlm"))


def noisy(items: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    ids = torch.tensor([item["input_ids"] for item in items])
    return {"input_ids": ids, "labels": torch.randint(SIZE, ids.shape)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load_best_model_at_end": True, "eval_strategy": "no"}, "load_best_model_at_end"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha"),
        ({"torch_compile": True}, "torch_compile"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_training(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    model = still(bert())
    recorder, _ = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, texts(0), tmp_path)
    for name, value in options.items():
        setattr(trainer.args, name, value)

    with pytest.raises(UnsupportedError, match=message):
        enter(record_trainer(recorder, trainer, "only"))


def test_recorded_dropout_is_replayed(tmp_path: Path) -> None:
    """Hidden states are dropped by modules; attention drops by a function, and is turned off."""
    model = bert()
    for part in model.modules():
        if type(part).__name__ == "BertSelfAttention":
            part.dropout.p = 0.0
    model = with_recorded_dropout(model)
    recorder, blobs = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, texts(0), tmp_path, gradient_accumulation_steps=2)

    with record_trainer(recorder, trainer, "only"):
        trainer.train()

    assert recorder.log.stages[0].stochastic.dropout == "seeded"
    assert replay_verdicts(recorder.log, blobs) == ["consistent"]


def test_attention_that_drops_by_a_function_is_refused(tmp_path: Path) -> None:
    model = with_recorded_dropout(bert())
    recorder, _ = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, texts(0), tmp_path)

    with (
        pytest.raises(UnsupportedError, match="attention_probs_dropout_prob"),
        record_trainer(recorder, trainer, "only"),
    ):
        trainer.train()


def test_dropout_is_refused_before_training(tmp_path: Path) -> None:
    model = bert()
    recorder, _ = memory_recorder(model, export=export_by_name)

    with pytest.raises(UnsupportedError, match=r"dropout.*0\.1"):
        enter(record_trainer(recorder, make_trainer(model, texts(0), tmp_path), "only"))


def test_optimizer_that_is_not_treated_is_refused_before_its_first_step(tmp_path: Path) -> None:
    model = still(bert())
    recorder, _ = memory_recorder(model, export=export_by_name)
    trainer = make_trainer(model, texts(0), tmp_path, optim="adafactor")
    before = model.classifier.weight.clone()

    with (
        pytest.raises(UnsupportedError, match="Adafactor"),
        record_trainer(recorder, trainer, "only"),
    ):
        trainer.train()

    assert torch.equal(model.classifier.weight, before)


def test_block_without_training_is_refused_and_leaves_the_trainer_as_it_was(
    tmp_path: Path,
) -> None:
    model = still(bert())
    recorder, _ = memory_recorder(model, export=export_by_name)
    data = texts(0)
    trainer = make_trainer(model, data, tmp_path)
    callbacks = list(trainer.callback_handler.callbacks)

    with pytest.raises(StageLogError, match="no training"):
        enter(record_trainer(recorder, trainer, "only"))

    assert trainer.train_dataset is data
    assert trainer.callback_handler.callbacks == callbacks
