"""Rated sentences: reading, words, tokens, blocks; and the two workloads' plain models."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from auditor.errors import InputError
from benchmarks.fidelity.rates import risen_and_fallen
from benchmarks.fidelity.sentences import (
    CUE,
    END,
    PADDING,
    UNKNOWN,
    Vocabulary,
    folder_sentences,
    rated,
    with_cue,
    words,
)
from benchmarks.fidelity.transformer import LanguageModel, SentenceClassifier
from benchmarks.fidelity.workload import generator_for, warmed_up
from benchmarks.fidelity.workloads.language_model import mean_token_loss, out_of_order
from tests.support.published_data import write_sentence_folder

VOCABULARY = Vocabulary.of(["a good film", "a bad film", "a film"], size=6)


def test_line_is_id_rating_and_text() -> None:
    found = rated(b"1\t-2.5\tDull.\r\n2_1\t1e-1\tFine\tenough\r\n", source="movies")

    assert [(s.text, s.rating, s.source) for s in found] == [
        ("Dull.", -2.5, "movies"), ("Fine\tenough", 0.1, "movies"),
    ]  # fmt: skip


@pytest.mark.parametrize("line", [b"1\tgood\ttext", b"1\t2.5"])
def test_other_lines_are_refused_by_number(line: bytes) -> None:
    with pytest.raises(InputError, match="tweets, line 2"):
        rated(b"0\t1.0\tfine\n" + line, source="tweets")


def test_folder_holds_four_sources(tmp_path: Path) -> None:
    write_sentence_folder(tmp_path / "data", each=5)

    found = folder_sentences(tmp_path / "data")

    assert [sum(s.source == name for s in found) for name in ("movies", "products")] == [5, 5]
    (tmp_path / "data" / "tweets_GroundTruth.txt").unlink()
    with pytest.raises(InputError, match=r"no tweets_GroundTruth\.txt"):
        folder_sentences(tmp_path / "data")


def test_words_are_lower_case_with_smileys_and_marks() -> None:
    assert words("Don't PANIC, it's 42! :-) :(") == [
        "don't", "panic", "it's", "42", "!", ":-)", ":(",
    ]  # fmt: skip


def test_vocabulary_keeps_the_most_frequent_words() -> None:
    assert VOCABULARY.words == ("a", "film")
    assert VOCABULARY.size == 6
    assert VOCABULARY.encode("a great film") == [4, UNKNOWN, 5]
    assert VOCABULARY.encode("...") == [UNKNOWN]


def test_short_texts_are_padded_and_long_ones_cut() -> None:
    tokens = VOCABULARY.padded(["film", "a a a a film"], length=3)

    assert tokens.tolist() == [[5, PADDING, PADDING], [4, 4, 4]]


def test_blocks_are_the_texts_one_after_the_other() -> None:
    blocks = VOCABULARY.blocks(["a film", "film", "a"], length=3)

    assert blocks.tolist() == [[4, 5, END], [5, END, 4]]


def test_cue_goes_in_front() -> None:
    assert with_cue(torch.tensor([[4, 5, PADDING]])).tolist() == [[CUE, 4, 5]]


def test_padding_does_not_change_a_classification() -> None:
    model = SentenceClassifier(vocabulary=8, length=6).eval()
    tokens = torch.tensor([[4, 5, 6, PADDING, PADDING, PADDING]])
    with torch.no_grad():
        model.positions.normal_(generator=generator_for("positions"))
        before = model(tokens)
        model.tokens.weight[PADDING] += 100
        after = model(tokens)
        other = model(torch.tensor([[4, 5, 7, PADDING, PADDING, PADDING]]))

    torch.testing.assert_close(after, before)
    assert not torch.allclose(other, before)


def test_language_model_sees_no_later_token() -> None:
    model = LanguageModel(vocabulary=8, length=4).eval()
    with torch.no_grad():
        first = model(torch.tensor([[4, 5, 6, 7]]))
        second = model(torch.tensor([[4, 5, 7, 7]]))

    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2], second[:, 2])


def test_mean_loss_is_over_all_tokens() -> None:
    output = torch.randn(2, 3, 5, generator=generator_for("logits"))
    target = torch.tensor([[0, 1, 2], [3, 4, 0]])

    expected = functional.cross_entropy(output.transpose(1, 2), target)
    torch.testing.assert_close(mean_token_loss(output, target), expected)


def test_words_out_of_order_are_the_same_words() -> None:
    blocks = torch.arange(40).reshape(2, 20)

    mixed = out_of_order(blocks, generator_for("mixed"))

    torch.testing.assert_close(mixed.sort(dim=1).values, blocks)
    assert not torch.equal(mixed, blocks)


def test_rate_rises_linearly_and_stays() -> None:
    assert warmed_up(0.4, 4, over=2).tolist() == [0.2, 0.4, 0.4, 0.4]


def test_rate_falls_over_the_end_of_a_stage() -> None:
    rates = risen_and_fallen(0.4, 8, rise=2, fall=0.5).tolist()

    assert rates == pytest.approx([0.2, 0.4, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1])
