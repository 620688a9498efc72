"""Subjects have one name whoever signs."""

from typing import Literal

import pytest

from auditor.attest.report_subjects import report_subjects
from auditor.report.schema import Examples
from auditor.stagelog.digest import sha256
from tests.support.reports import LOG_BYTES, MODEL_BYTES, make_report


def test_a_log_alone_is_the_only_subject() -> None:
    subjects = report_subjects(make_report(), model_format=None)

    assert [subject.name for subject in subjects] == ["stagelog.json"]


@pytest.mark.parametrize(
    ("model_format", "name"), [("safetensors", "model.safetensors"), ("onnx", "model.onnx")]
)
def test_subjects_are_the_files_people_hold(
    model_format: Literal["safetensors", "onnx"], name: str
) -> None:
    subjects = report_subjects(make_report(), model_format=model_format)

    assert [(subject.name, subject.digest) for subject in subjects] == [
        ("stagelog.json", sha256(LOG_BYTES)),
        (name, sha256(MODEL_BYTES)),
    ]


def test_per_example_effects_are_a_subject() -> None:
    examples = sha256(b"examples")
    report = make_report(examples=Examples(digest=examples))

    assert report_subjects(report, model_format="onnx")[2].digest == examples
