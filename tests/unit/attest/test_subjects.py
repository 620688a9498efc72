"""Every subject matches, is allowed to be missing, or the verification fails."""

import pytest

from auditor.attest.statement import Subject
from auditor.attest.subjects import SubjectOutcome, compare_subjects
from auditor.errors import DocumentRefusedError, SubjectError
from auditor.stagelog.digest import Digest, sha256

LOG, MODEL = sha256(b"log"), sha256(b"model")
SUBJECTS = (Subject(name="log", digest=LOG), Subject(name="model", digest=MODEL))
NONE: frozenset[str] = frozenset()


def outcomes(files: dict[str, Digest], allow_missing: frozenset[str] = NONE) -> list[str]:
    compared = compare_subjects(SUBJECTS, files=files, allow_missing=allow_missing)
    return [subject.outcome for subject in compared]


def test_without_files_nothing_is_compared() -> None:
    assert outcomes({}) == [SubjectOutcome.NOT_COMPARED] * 2


def test_all_files_match() -> None:
    assert outcomes({"log": LOG, "model": MODEL}) == [SubjectOutcome.MATCHES] * 2


def test_missing_file_is_an_error() -> None:
    with pytest.raises(SubjectError, match="--allow-missing model"):
        outcomes({"log": LOG})


def test_missing_file_may_be_allowed() -> None:
    assert outcomes({"log": LOG}, frozenset({"model"})) == [
        SubjectOutcome.MATCHES,
        SubjectOutcome.ALLOWED_MISSING,
    ]


def test_present_file_is_compared_even_if_it_may_be_missing() -> None:
    with pytest.raises(SubjectError, match="file model"):
        outcomes({"log": LOG, "model": LOG}, frozenset({"model"}))


def test_allowing_everything_without_files_compares_nothing() -> None:
    assert outcomes({}, frozenset({"log", "model"})) == [SubjectOutcome.NOT_COMPARED] * 2


def test_other_contents_are_an_error() -> None:
    with pytest.raises(SubjectError, match="another version of this file"):
        outcomes({"log": LOG, "model": sha256(b"other")})


def test_file_that_is_no_subject_is_an_error() -> None:
    with pytest.raises(SubjectError, match="does not speak of"):
        outcomes({"log": LOG, "model": MODEL, "readme": sha256(b"readme")})


def test_renamed_file_is_told_its_name() -> None:
    with pytest.raises(SubjectError, match="pass it as model=PATH"):
        outcomes({"log": LOG, "model-v2": MODEL})


def test_names_are_compared_and_not_only_contents() -> None:
    with pytest.raises(SubjectError, match="file log"):
        outcomes({"log": MODEL, "model": LOG})


def test_allowed_name_that_is_no_subject_is_an_error() -> None:
    with pytest.raises(SubjectError, match="--allow-missing modle"):
        outcomes({"log": LOG}, frozenset({"modle"}))


def test_two_subjects_of_one_name_are_refused() -> None:
    twice = (SUBJECTS[0], Subject(name="log", digest=MODEL))

    with pytest.raises(DocumentRefusedError, match="two of one name"):
        compare_subjects(twice, files={}, allow_missing=NONE)
