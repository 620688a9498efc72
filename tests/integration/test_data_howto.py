"""docs/howto/bring-your-data.md is run as it stands there; its figures are those of plain torch."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch.nn import functional

from auditor.edge.folder import read_log
from tests.support import hf_folders, raw_files
from tests.support.guides import blocks, execute, typed

PAGE = "docs/howto/bring-your-data.md"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def commands() -> list[str]:
    return [text for _, text in blocks(PAGE, "sh")]


def report_in(path: Path) -> dict[str, Any]:
    """Return the report in a bundle."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    if "dsseEnvelope" in found:
        found = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))["predicate"]
    return found


def write_reviews() -> Any:
    """Return the trained model of the page's texts, whose files lie in the working folder."""
    model = raw_files.record_reviews(Path("runs/reviews"), Path("final"))
    raw_files.write_jsonl(Path("heldout.jsonl"), raw_files.reviews(8, begin=40))
    raw_files.write_csv(Path("clean.csv"), raw_files.reviews(12, begin=61))
    rows = [
        {"age": i, "income": i / 2, "score_a": i, "score_b": 1, "bought": i % 2} for i in range(5)
    ]
    raw_files.write_csv(Path("table.csv"), rows)
    return model


@pytest.mark.slow
def test_texts_go_from_files_to_a_verified_report_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = write_reviews()
    texts, table, *_ = commands()

    execute(texts)
    execute(table)

    printed = capsys.readouterr().out
    assert "ok 4 signature" in printed
    assert "rows by group: book 2, film 6" in printed
    held = raw_files.encoded(Path("final"), raw_files.reviews(8, begin=40))
    with torch.no_grad():
        logits = model(held["input_ids"], held["attention_mask"])
        loss = functional.cross_entropy(logits, held["label"]).item()
    report = report_in(Path("report.json"))
    assert report["queries"][0]["value"] == pytest.approx(loss, abs=1e-5)
    assert abs(report["effects"][0]["value"]) > 1e-4


@pytest.mark.slow
def test_images_go_from_files_to_a_verified_report_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = raw_files.save_image_models(["base", "sft", "final"])
    photos = raw_files.write_photos(Path("photos"))
    uploads = raw_files.write_photos(Path("uploads"))
    raw_files.write_csv(
        Path("labels.csv"),
        [
            {"file": f"{path.parent.name}/{path.name}", "label": path.parent.name, "camera": "a"}
            for path in sorted(uploads.rglob("*.png"))
        ],
    )
    *_, images, labelled = commands()
    assert typed('stageaudit keys init --name "Model team"') == 0

    execute(images)
    execute(labelled)

    assert "ok 4 signature" in capsys.readouterr().out
    pixels = np.stack([
        np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float32)
        for path in sorted(photos.rglob("*.png"))
    ])
    inputs = torch.from_numpy((pixels / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(pixel_values=inputs).logits
    loss = functional.cross_entropy(logits, torch.tensor([0, 0, 0, 1, 1, 1])).item()
    assert report_in(Path("pets.json"))["queries"][0]["value"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.slow
def test_of_a_language_model_a_set_for_its_log_has_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = hf_folders.gpt2()
    for seed, name in enumerate(("base", "final")):
        hf_folders.save(hf_folders.trained(model, steps=2, seed=seed), Path(name), template=False)
    rows = [
        {"prompt": "the film ", "completion": "was a joy"},
        {"prompt": "a ", "completion": "cast"},
    ]
    raw_files.write_jsonl(Path("eval.jsonl"), rows)
    Path("request.yaml").write_text(
        "log: log\nestimator: checkpoint_delta\ninterventions: stages\nqueries:\n"
        "  - {name: loss, kind: loss, better: lower, data: set, target: next, mask: counted}\n"
    )

    execute(
        "stageaudit log import base final -o log --length 8\n"
        "stageaudit data from-jsonl eval.jsonl --tokenizer final --log log -o set\n"
        "stageaudit audit request.yaml --local log -o report.json"
    )

    tokenizer = Tokenizer.from_file("final/tokenizer.json")
    with torch.no_grad():
        losses = []
        for row, begin in zip(rows, (2, 1), strict=True):
            ids = torch.tensor(tokenizer.encode(row["prompt"] + row["completion"]).ids)
            logits = model(input_ids=ids[None, :-1]).logits[0]
            losses.append(functional.cross_entropy(logits[begin - 1 :], ids[begin:]).item())
    shown = report_in(Path("report.json"))["queries"][0]["value"]
    assert shown == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_another_tokenizer_is_refused_by_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    raw_files.record_reviews(Path("log"), Path("final"))
    raw_files.write_jsonl(Path("heldout.jsonl"), raw_files.reviews(4))
    from tests.support.text_models import train_tokenizer

    train_tokenizer(Path("other"), template=False)
    build = "stageaudit data from-jsonl heldout.jsonl --tokenizer other --classes bad,good"
    assert typed(f"{build} --length 12 --padding length -o other-set") == 0

    code = typed(
        "stageaudit audit --local log --skip all --query loss --data other-set "
        "--better lower --json"
    )

    assert code == 7
    error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert error["where"] == "queries[0].data.tokenizer"
    assert read_log(Path("log"))[0].stages[-1].tokenizer in error["expected"]
    assert typed(f"{build} --log log -o refused") == 7
    assert not list(Path().glob("*refused*"))
