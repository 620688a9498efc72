"""Files become sets: one content in three formats is one set, and nothing is half-written."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs
from auditor.errors import AuditorError, ConflictError, InputError, PreconditionError
from auditor.model.tensors import read_tensors
from auditor.record.text_tokenizer import load_tokenizer
from auditor.stagelog.content import check_evaluation_content
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest
from auditor.stagelog.evaluation import parse_evaluation_set
from service.data_summary import data_summary
from service.data_tables import TableFormat, TableSettings, write_table_set
from tests.support import raw_files
from tests.support.text_models import train_tokenizer


def read(folder: Path) -> tuple[EvaluationSet, dict[str, torch.Tensor]]:
    found = parse_evaluation_set((folder / EVALSET_FILE).read_bytes())
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    (shard,) = found.dataset.shards
    return found, dict(read_tensors(blobs.read(Digest(shard.digest)), where="shard"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the log ``log`` and its tokenizer ``final``."""
    root = tmp_path_factory.mktemp("recorded")
    raw_files.record_reviews(root / "log", root / "final")
    return root


def test_one_content_is_one_set_in_every_format(tmp_path: Path, folder: Path) -> None:
    rows = raw_files.reviews(7)
    raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)
    raw_files.write_csv(tmp_path / "rows.csv", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    settings = TableSettings(tokenizer=folder, classes=["bad", "good"])
    kinds: tuple[TableFormat, ...] = ("jsonl", "csv", "parquet")

    for kind in kinds:
        write_table_set(tmp_path / f"rows.{kind}", tmp_path / kind, kind=kind, settings=settings)

    digests = {data_summary(tmp_path / kind)["digest"] for kind in kinds}
    summary = data_summary(tmp_path / "csv")
    assert len(digests) == 1
    assert summary["tokenizer"] == load_tokenizer(folder).digest
    assert summary["groups"]["group"] == {"book": 3, "film": 4}
    assert summary["groups"]["label"] == {"0": 4, "1": 3}
    assert (summary["examples"], summary["name"]) == (7, "rows")


def test_a_set_for_a_log_is_as_long_as_its_examples(tmp_path: Path, recorded: Path) -> None:
    rows = raw_files.reviews(5)
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = TableSettings(tokenizer=recorded / "final", log=recorded / "log", name="held out")

    made = write_table_set(path, tmp_path / "set", kind="jsonl", settings=settings)

    found, tensors = read(tmp_path / "set")
    expected = raw_files.encoded(recorded / "final", rows)
    assert all(tensors[name].equal(values) for name, values in expected.items())
    assert found.name == "held out"
    assert made.classes == {"bad": 0, "good": 1}


def test_a_tokenizer_of_another_log_is_refused_before_the_work(
    tmp_path: Path, recorded: Path
) -> None:
    train_tokenizer(tmp_path / "other", template=False)
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", raw_files.reviews(5))
    settings = TableSettings(tokenizer=tmp_path / "other", log=recorded / "log")

    with pytest.raises(PreconditionError, match="tokenizer"):
        write_table_set(path, tmp_path / "set", kind="jsonl", settings=settings)

    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("row", "where"),
    [
        ({"text": "a film"}, "rows.jsonl:3: label"),
        ({"text": "a film", "label": "unknown"}, "rows.jsonl:3: label"),
        ({"text": 1, "label": "good"}, "rows.jsonl:3: text"),
        ({"text": "a film", "label": "good", "id": 1}, "rows.jsonl:3: id"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_left(
    tmp_path: Path, recorded: Path, row: dict[str, Any], where: str
) -> None:
    good = [{"text": "the film", "label": "bad", "id": number} for number in range(2)]
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", [*good, {"id": 7, **row}])
    settings = TableSettings(tokenizer=recorded / "final", log=recorded / "log")

    with pytest.raises(InputError) as refused:
        write_table_set(path, tmp_path / "set", kind="jsonl", settings=settings)

    assert refused.value.where == where
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_columns_are_taken_over_without_a_tokenizer(tmp_path: Path) -> None:
    rows = [
        {"a": i, "b": i / 2, "key": f"k{i}", "label": "ny"[i % 2], "v": [i, 1]} for i in range(4)
    ]
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = TableSettings(stack={"x": ["a", "b"]}, ids="key")

    made = write_table_set(path, tmp_path / "set", kind="jsonl", settings=settings)

    found, tensors = read(tmp_path / "set")
    assert set(tensors) == {"x", "id", "label", "v"}
    assert tensors["x"].tolist() == [[i, i / 2] for i in range(4)]
    assert found.dataset.columns["id"].categories == ("k0", "k1", "k2", "k3")
    assert made.classes == {"n": 0, "y": 1}
    assert tensors["label"].tolist() == [0, 1, 0, 1]
    assert found.dataset.tokenizer is None


def test_targets_of_a_regression_stay_numbers(tmp_path: Path) -> None:
    path = raw_files.write_csv(tmp_path / "rows.csv", [{"a": 1, "y": 0.25}, {"a": 2, "y": -3}])

    made = write_table_set(
        path, tmp_path / "set", kind="csv", settings=TableSettings(label="y", keep=["a"])
    )

    assert read(tmp_path / "set")[1]["y"].tolist() == [0.25, -3]
    assert made.classes is None


def test_texts_of_a_language_model_count_behind_their_prompt(tmp_path: Path, folder: Path) -> None:
    rows = [
        {"prompt": "the film was ", "completion": "a joy"},
        {"prompt": "a ", "completion": "cast"},
    ]
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = TableSettings(tokenizer=folder, length=16)

    made = write_table_set(path, tmp_path / "set", kind="jsonl", settings=settings)

    _, tensors = read(tmp_path / "set")
    assert tensors["counted"].sum(1).tolist() == [2, 1]
    assert made.notes == ("6 tokens an example",)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_place_that_is_taken_is_refused_before_the_file_is_read(
    tmp_path: Path, kind: TableFormat
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("x")

    with pytest.raises(ConflictError):
        write_table_set(tmp_path / "absent", tmp_path / "set", kind=kind, settings=TableSettings())


def test_classes_are_named_once(tmp_path: Path) -> None:
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", [{"label": "a"}])

    with pytest.raises(InputError, match="--classes"):
        write_table_set(
            path, tmp_path / "set", kind="jsonl", settings=TableSettings(classes=["a", "a"])
        )


def test_a_log_of_another_model_is_refused_by_its_columns(tmp_path: Path, recorded: Path) -> None:
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", [{"x": 1, "label": 0}])

    with pytest.raises(AuditorError, match="'input_ids'"):
        write_table_set(
            path, tmp_path / "set", kind="jsonl", settings=TableSettings(log=recorded / "log")
        )


def test_the_configuration_of_another_kind_of_model_is_no_obstacle(
    tmp_path: Path, folder: Path
) -> None:
    train_tokenizer(tmp_path / "masked")
    (tmp_path / "masked" / "config.json").write_text(
        json.dumps({"architectures": ["BertForMaskedLM"]})
    )
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", [{"text": "a film", "label": 1}])

    write_table_set(
        path, tmp_path / "set", kind="jsonl", settings=TableSettings(tokenizer=tmp_path / "masked")
    )

    assert read(tmp_path / "set")[1]["label"].tolist() == [1]


NAMES = st.sampled_from(["a", "id", "label", "", "__metadata__", "x" * 200, "\n", "é", "\ud800"])
VALUES = st.integers() | st.floats() | st.text(max_size=3) | st.booleans() | st.just("\ud800")


@settings(max_examples=60)
@given(
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=3),
)
def test_any_rows_are_a_valid_set_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], rows: list[tuple[Any, ...]]
) -> None:
    root = tmp_path_factory.mktemp("rows")
    plain = [dict(zip(names, row, strict=False)) for row in rows]
    (root / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in plain))

    try:
        write_table_set(root / "rows.jsonl", root / "set", kind="jsonl", settings=TableSettings())
    except AuditorError:
        assert [path.name for path in root.iterdir()] == ["rows.jsonl"]
        return
    found = parse_evaluation_set((root / "set" / EVALSET_FILE).read_bytes())
    check_evaluation_content(found, FolderBlobs(root / "set" / BLOBS_FOLDER))
    assert found.dataset.examples == len(rows)
