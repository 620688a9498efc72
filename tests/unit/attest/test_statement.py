"""What is signed: canonical bytes of an in-toto statement."""

import json

import pytest

from auditor.attest.canonical import parse_canonical
from auditor.attest.statement import Statement, Subject, build_statement
from auditor.errors import InputError
from auditor.report.schema import PREDICATE_TYPE
from auditor.stagelog.digest import sha256
from tests.support.reports import SUBJECTS, make_effect, make_report


def test_statement_has_the_members_of_in_toto_v1() -> None:
    statement = json.loads(build_statement(make_report(), SUBJECTS))

    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["subject"] == [
        {"name": subject.name, "digest": {"sha256": subject.digest}} for subject in SUBJECTS
    ]


def test_statement_reads_back_as_the_report() -> None:
    report = make_report()

    statement = Statement.model_validate_json(build_statement(report, SUBJECTS))

    assert statement.predicate == report
    assert statement.subjects == SUBJECTS


def test_figures_that_were_not_computed_are_absent() -> None:
    report = make_report(effects=(make_effect(sd_rerun=None),))

    effect = json.loads(build_statement(report, SUBJECTS))["predicate"]["effects"][0]

    assert "sd_rerun" not in effect


@pytest.mark.parametrize(
    ("figure", "written"),
    [
        (2.0**53, "9007199254740992.0"),
        (-(2.0**53), "-9007199254740992.0"),
        (1e300, "1e+300"),
        (2.0**53 - 1, 9007199254740991),
        (0.1, 0.1),
    ],
)
def test_figure_is_text_from_2_53_on(figure: float, written: object) -> None:
    report = make_report(effects=(make_effect(value=figure, baselines={"task_vector": figure}),))

    payload = build_statement(report, SUBJECTS)

    effect = parse_canonical(payload, where="payload")["predicate"]["effects"][0]
    assert effect["value"] == effect["baselines"]["task_vector"] == written
    assert type(effect["value"]) is type(written)
    assert Statement.model_validate_json(payload).predicate == report


@pytest.mark.parametrize("text", ["1.0", "inf", "nan", "9007199254740992", "1e300", "x", " 1e+300"])
def test_figure_as_text_has_one_spelling(text: str) -> None:
    payload = build_statement(make_report(), SUBJECTS)
    planted = payload.replace(b'"value":0.25', b'"value":' + json.dumps(text).encode())

    assert planted != payload
    with pytest.raises(ValueError, match="value"):
        Statement.model_validate_json(planted)


@pytest.mark.parametrize("subjects", [(), (SUBJECTS[0], SUBJECTS[0])], ids=["none", "same_name"])
def test_build_statement_refuses_ambiguous_subjects(subjects: tuple[Subject, ...]) -> None:
    with pytest.raises(InputError, match=r"statement\.subject"):
        build_statement(make_report(), subjects)


def test_subject_order_is_kept() -> None:
    subjects = (
        Subject(name="z", digest=sha256(b"z")),
        Subject(name="a", digest=sha256(b"a")),
    )

    statement = Statement.model_validate_json(build_statement(make_report(), subjects))

    assert [subject.name for subject in statement.subjects] == ["z", "a"]
