"""``stageaudit quick`` on three Hugging Face folders and a JSONL file, against plain torch."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from service.cli.main import run
from tests.support import hf_folders
from tests.support.text_models import SENTENCES

pytestmark = [
    # torch.export and transformers warn about their own internals.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def quick(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(["quick", *map(str, arguments)])
    return int(ended.value.code or 0)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def texts(count: int) -> list[str]:
    words = " ".join(SENTENCES).split()
    return [" ".join(words[i : i + 4 + i % 3]) for i in range(count)]


def three_folders(root: Path, model: Any, **options: Any) -> list[Path]:
    """Return folders of a model before, between and after two stages."""
    folders = [hf_folders.save(model, root / "base", **options)]
    for seed, name in enumerate(("sft", "final")):
        hf_folders.trained(model, steps=4, seed=seed)
        folders.append(hf_folders.save(model, root / name, **options))
    return folders


def subtracted(model: Any, folders: list[Path], *, stage: int) -> Any:
    """Return the final model less what a stage added to the weights."""
    states = [type(model).from_pretrained(folder).state_dict() for folder in folders]
    final = type(model).from_pretrained(folders[-1])
    final.load_state_dict({
        name: value - (states[stage + 1][name] - states[stage][name])
        for name, value in states[-1].items()
    })
    return final.eval()


def tokens(folder: Path, given: list[str]) -> tuple[Tensor, Tensor]:
    """Return padded ids and masks, by the tokenizers library's own padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
    encoded = tokenizer.encode_batch(given)
    return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])


def test_of_a_classifier_figures_are_those_of_plain_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = hf_folders.bert()
    folders = three_folders(tmp_path, model)
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(texts(12))]
    data = write_rows(tmp_path / "eval.jsonl", rows)

    assert quick(*folders, "--data", data, "--json", "-o", tmp_path / "kept") == 0

    found = json.loads(capsys.readouterr().out)
    ids, mask = tokens(folders[-1], [row["text"] for row in rows])
    labels = torch.tensor([row["label"] for row in rows])

    def values(net: Any) -> tuple[float, float]:
        with torch.no_grad():
            logits = net(input_ids=ids, attention_mask=mask).logits
        loss = functional.cross_entropy(logits, labels).item()
        return loss, (logits.argmax(-1) == labels).double().mean().item()

    plain = [values(type(model).from_pretrained(folder).eval()) for folder in folders]
    displaced = [values(subtracted(model, folders, stage=stage)) for stage in range(2)]
    assert [query["query"] for query in found["queries"]] == ["loss", "accuracy"]
    for number, query in enumerate(found["queries"]):
        assert query["value"] == pytest.approx(plain[2][number], abs=1e-6)
        for stage, row in enumerate(query["stages"]):
            delta = plain[stage + 1][number] - plain[stage][number]
            vector = plain[2][number] - displaced[stage][number]
            assert row["checkpoint_delta"] == pytest.approx(delta, abs=1e-6)
            assert row["task_vector"] == pytest.approx(vector, abs=1e-6)
        first, last = query["stages"]
        assert (first["verdict"], first["exact"], last["exact"]) == ("not resolved", False, True)
        assert last["without"] == pytest.approx(plain[1][number], abs=1e-6)
    assert abs(found["queries"][0]["stages"][0]["checkpoint_delta"]) > 1e-4
    assert found["level"] == 0
    assert any("sft: number of steps" in gap for gap in found["gaps"])
    kept = tmp_path / "kept"
    assert (kept / "log" / "stagelog.json").is_file()
    assert (kept / "report.json").is_file()


def test_of_a_language_model_only_the_completion_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = hf_folders.gpt2()
    folders = three_folders(tmp_path, model, template=False)
    rows = [{"prompt": "the film ", "completion": text} for text in texts(8)]
    data = write_rows(tmp_path / "eval.jsonl", rows)

    assert quick(*folders, "--data", data) == 0

    printed = capsys.readouterr().out
    ids, mask = tokens(folders[-1], [row["prompt"] + row["completion"] for row in rows])

    def summed(net: Any) -> tuple[Tensor, Tensor]:
        """Return each row's summed loss over its completion, and the tokens of it."""
        with torch.no_grad():
            logits = net(input_ids=ids, attention_mask=mask).logits[:, :-1]
        losses = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        counted = mask[:, 1:].bool()
        counted[:, 0] = False  # the prompt is two words, so its second token is no completion
        return (losses * counted).sum(1), counted.sum(1)

    sums, counts = zip(
        *(summed(type(model).from_pretrained(folder).eval()) for folder in folders), strict=True
    )
    losses = [(s / c).mean().item() for s, c in zip(sums, counts, strict=True)]
    perplexities = [(s.sum() / c.sum()).exp().item() for s, c in zip(sums, counts, strict=True)]
    assert f"loss = {losses[2]:.4g} nat" in printed
    assert f"perplexity = {perplexities[2]:.4g}" in printed
    assert re.search(rf"final +{re.escape(f'{losses[2] - losses[1]:+.4f}')}", printed)
    assert re.search(rf"sft +{re.escape(f'{perplexities[1] - perplexities[0]:+.4f}')}", printed)
    assert "What they cannot answer" in printed
    assert "What to record next time" in printed
