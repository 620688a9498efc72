"""The part of a model card says what the report says, and nothing in it is markup."""

from auditor.page.facts import PageFacts
from auditor.page.model_card import MAX_ROWS, model_card
from auditor.report.schema import Limitation
from tests.support.reports import make_effect, make_report
from tests.support.rich_report import make_repair, make_rich_report


def test_card_has_verdict_values_effects_and_limitations() -> None:
    text = model_card(make_report(), PageFacts())

    assert "1 of 1 effect is established: 1 made the model worse." in text
    assert "| cue | 0.5 | probability | lower is better | 100 |" in text
    assert (
        "| skip vendor | cue | +0.2500 probability | +0.1250 to +0.3750 | effect: worse |" in text
    )
    assert "- This is a statement about computation. (not-legal)" in text
    assert "signature was NOT verified" in text


def test_card_escapes_what_others_wrote() -> None:
    limitation = Limitation(id="x", text="[a](javascript:b) <i> |\n# c")

    text = model_card(
        make_report(limitations=(limitation,), effects=(make_effect(intervention="a|b<c>"),)),
        PageFacts(),
    )

    assert "a\\|b\\<c\\>" in text
    assert "\\[a\\](javascript:b) \\<i\\> \\|\N{REPLACEMENT CHARACTER}\\# c" in text


def test_card_of_a_repair_has_the_repaired_models_values() -> None:
    text = model_card(make_rich_report("cue", repair=make_repair("cue")), PageFacts())

    assert "| cue | 0.75 |" in text
    assert "| intervention |" not in text
    assert "the repair makes 1 worse and 1 better" in text


def test_card_of_many_effects_counts_what_it_leaves_out() -> None:
    many = tuple(make_effect(intervention=f"skip {i}") for i in range(MAX_ROWS + 5))

    text = model_card(make_report(effects=many), PageFacts())

    assert "5 more are in the report." in text
    assert text.count("effect: worse") == MAX_ROWS
