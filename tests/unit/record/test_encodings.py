"""What a log names as its tokenizer and preprocessing, however it is declared."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from auditor.errors import InputError
from auditor.record.encodings import (
    declared_preprocessing,
    declared_tokenizer,
    preprocessing_of,
    saved_preprocessing,
    saved_tokenizer,
    tokenizer_of,
)
from auditor.record.preprocessing import Preprocessing
from auditor.record.text_tokenizer import load_tokenizer
from auditor.stagelog.digest import canonical_bytes
from tests.support.text_models import train_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(path)
    return path


def test_a_tokenizer_is_declared_by_folder_file_or_digest(folder: Path) -> None:
    digest = load_tokenizer(folder).digest

    for given in (folder, str(folder), folder / "tokenizer.json", digest):
        assert declared_tokenizer(given) == digest
    assert declared_tokenizer(None) is None
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        declared_tokenizer(folder / "absent")


def test_preprocessing_is_declared_by_value_folder_or_digest(tmp_path: Path) -> None:
    steps = Preprocessing(channels="L")
    (tmp_path / "preprocessing.json").write_bytes(canonical_bytes(steps))

    for given in (steps, tmp_path, str(tmp_path), steps.digest):
        assert declared_preprocessing(given) == steps.digest
    assert declared_preprocessing(None) is None


def test_a_trainers_tokenizer_has_the_digest_of_what_it_saves(folder: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    processor = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    processor(["the film"], max_length=3, truncation=True)
    processor.save_pretrained(tmp_path)

    assert tokenizer_of(processor) == load_tokenizer(tmp_path).digest
    assert preprocessing_of(processor) is None


def test_a_trainers_image_processor_has_the_digest_of_what_it_saves(tmp_path: Path) -> None:
    from transformers import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": 8, "width": 8})
    processor.save_pretrained(tmp_path)

    assert preprocessing_of(processor) == saved_preprocessing(tmp_path) is not None
    assert tokenizer_of(processor) is None


@pytest.mark.parametrize("processor", [None, object(), SimpleNamespace(backend_tokenizer=None)])
def test_of_another_processor_nothing_is_claimed(processor: object) -> None:
    assert (tokenizer_of(processor), preprocessing_of(processor)) == (None, None)


def test_a_checkpoints_folder_says_what_it_holds(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_pad": True}))

    assert saved_tokenizer(folder) == load_tokenizer(folder).digest
    assert (saved_tokenizer(tmp_path), saved_preprocessing(folder)) == (None, None)
    assert saved_preprocessing(tmp_path) is None
