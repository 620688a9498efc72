import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from auditor.edge.folder import EVALSET_FILE
from auditor.errors import InputError
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.jsonl_rows import read_jsonl
from auditor.record.table import Row, Table
from auditor.record.text_evalset import classification_columns, language_columns
from auditor.record.text_tokenizer import load_tokenizer
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.text_models import train_tokenizer

ROWS = [
    {"text": "the film was a joy", "label": 1, "source": "tweets"},
    {"text": "a dull plot", "label": 0, "source": "film"},
]


def table(rows: list[Row]) -> Table:
    return Table(name="data", rows=rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain")
    train_tokenizer(path, template=False)
    return path


def test_classification_columns_are_the_librarys_own_padded_tokens(folder: Path) -> None:
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.enable_padding(pad_id=reference.token_to_id("[PAD]"))
    expected = reference.encode_batch([row["text"] for row in ROWS])

    found = classification_columns(table(ROWS), load_tokenizer(folder), keep=["source"])

    assert torch.tensor([one.ids for one in expected]).equal(found.columns["input_ids"])
    assert torch.tensor([one.attention_mask for one in expected]).equal(
        found.columns["attention_mask"]
    )
    assert found.columns["label"].tolist() == [1, 0]
    assert found.columns["source"] == ["tweets", "film"]
    assert (found.length, found.truncated) == (7, 0)


def test_a_long_text_is_cut_but_keeps_its_special_tokens(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))

    found = classification_columns(table(ROWS), tokenizer, length=4)

    ids = found.columns["input_ids"]
    assert found.truncated == 2
    assert ids.shape == (2, 4)
    assert ids[:, -1].tolist() == [reference.token_to_id("[SEP]")] * 2


def test_pairs_have_segments_of_their_own(folder: Path) -> None:
    rows = [{"premise": "the film", "claim": "a joy", "label": 0}]

    found = classification_columns(
        table(rows), load_tokenizer(folder), text="premise", pair="claim"
    )

    assert found.columns["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_classes_may_be_named_as_the_model_names_them(folder: Path) -> None:
    rows = [{"text": "the film", "label": "good"}, {"text": "the plot", "label": "bad"}]
    tokenizer = load_tokenizer(folder)

    found = classification_columns(table(rows), tokenizer, classes={"bad": 0, "good": 1})

    assert found.columns["label"].tolist() == [1, 0]
    with pytest.raises(InputError, match="row 1: label"):
        classification_columns(table(rows), tokenizer, classes={"no": 0, "yes": 1})


def test_language_columns_ask_for_each_next_token(plain: Path) -> None:
    tokenizer = load_tokenizer(plain)
    ids = tokenizer.encode([row["text"] for row in ROWS], length=9)

    found = language_columns(table(ROWS), tokenizer)

    assert found.length == 4
    assert found.columns["input_ids"][0].tolist() == ids[0].ids[:-1]
    assert found.columns["next"][0].tolist() == ids[0].ids[1:]
    assert found.columns["counted"].tolist() == [[True] * 4, [True, True, False, False]]


def test_of_a_prompt_only_the_completion_counts(plain: Path) -> None:
    rows = [{"prompt": "the film was ", "completion": "a joy"}]

    found = language_columns(table(rows), load_tokenizer(plain), text="completion", prompt="prompt")

    assert found.columns["counted"].tolist() == [[False, False, True, True]]


def test_labels_ask_at_each_position_for_what_counts(plain: Path) -> None:
    """The labels of a reference, shifted as causal language models shift them, are the targets."""
    rows = [
        {"prompt": "the film was ", "completion": "a joy from start"},
        *[{"prompt": "a ", "completion": text} for text in ("dull plot", "cast")],
    ]

    found = language_columns(table(rows), load_tokenizer(plain), text="completion", prompt="prompt")

    columns = {name: torch.as_tensor(found.columns[name]) for name in ("next", "counted", "labels")}
    targets = columns["next"].masked_fill(~columns["counted"], -100)
    assert columns["labels"][:, 1:].equal(targets[:, :-1])
    assert columns["labels"][:, 0].tolist() == [-100] * 3


def test_examples_are_filled_up_to_a_length(folder: Path, plain: Path) -> None:
    one = classification_columns(table(ROWS), load_tokenizer(folder), length=9, padding="length")
    two = language_columns(table(ROWS), load_tokenizer(plain), length=9, padding="length")

    assert torch.as_tensor(one.columns["input_ids"]).shape == (2, 9)
    assert torch.as_tensor(one.columns["attention_mask"]).sum(1).tolist() == [7, 5]
    assert (two.length, torch.as_tensor(two.columns["labels"]).shape) == (8, (2, 8))


def test_a_text_of_which_nothing_counts_is_refused(plain: Path) -> None:
    rows = [{"prompt": "the film was a joy", "completion": " from start"}]

    with pytest.raises(InputError, match="row 1"):
        language_columns(
            table(rows), load_tokenizer(plain), text="completion", prompt="prompt", length=4
        )


def test_the_digest_ignores_how_the_tokenizer_was_last_called(folder: Path, tmp_path: Path) -> None:
    called = Tokenizer.from_file(str(folder / "tokenizer.json"))
    called.enable_truncation(max_length=3)
    called.enable_padding(length=3)
    called.save(str(tmp_path / "tokenizer.json"))
    other = tmp_path / "other"
    train_tokenizer(other, template=False)

    assert load_tokenizer(tmp_path).digest == load_tokenizer(folder).digest
    assert load_tokenizer(other).digest != load_tokenizer(folder).digest


def test_the_evaluation_set_names_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    found = classification_columns(table(ROWS), load_tokenizer(folder))

    write_evaluation_folder(
        tmp_path, name="texts", columns=found.columns, tokenizer=found.tokenizer
    )

    manifest = parse_evaluation_set((tmp_path / EVALSET_FILE).read_bytes())
    assert manifest.dataset.tokenizer == load_tokenizer(folder).digest


@pytest.mark.parametrize(
    ("row", "where"),
    [
        ({"label": 1}, "row 3: text"),
        ({"text": 7, "label": 1}, "row 3: text"),
        ({"text": "a film", "label": 1.5}, "row 3: label"),
        ({"text": "a film", "label": -1}, "row 3: label"),
        ({"text": "a film", "label": True}, "row 3: label"),
    ],
)
def test_a_row_of_another_kind_is_named(folder: Path, row: dict[str, object], where: str) -> None:
    with pytest.raises(InputError, match=where):
        classification_columns(table([*ROWS, row]), load_tokenizer(folder))


def test_kept_columns_are_filled_in_every_row(folder: Path) -> None:
    with pytest.raises(InputError, match="source"):
        classification_columns(
            table([*ROWS, {"text": "a film", "label": 0}]),
            load_tokenizer(folder),
            keep=["source"],
        )


@pytest.mark.parametrize("text", ["[1, 2]", "{", '"text"', "[" * 100_000])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n\n" + text + "\n")

    with pytest.raises(InputError, match=r"rows\.jsonl:3"):
        read_jsonl(path)


def test_rows_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))

    assert list(read_jsonl(path).rows) == ROWS


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Nonsense"}}')

    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(tmp_path)
