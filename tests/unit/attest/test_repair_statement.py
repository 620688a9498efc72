"""A report that hands out a model is signed as a repair, about that model too."""

import json

import pytest

from auditor.attest.bundle import assemble
from auditor.attest.envelope import sign
from auditor.attest.keys import KeyAlgorithm, generate_key, load_signer
from auditor.attest.report_subjects import report_subjects
from auditor.attest.statement import build_statement
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.effects import Better
from auditor.errors import DocumentRefusedError, SubjectError
from auditor.plan.request import Intervention
from auditor.report.repair import BeforeAfter, Repair, RepairedModel, repair_statement
from auditor.report.schema import PREDICATE_TYPE, REPAIR_PREDICATE_TYPE, ModelIdentity, Report
from auditor.stagelog.digest import canonical_bytes, sha256
from tests.support.reports import (
    LOG_BYTES,
    MODEL_BYTES,
    SUBJECTS,
    make_report,
    make_signed,
    make_trusted,
)

REPAIRED_BYTES = b"the repaired model"
SKIP = Intervention(kind="skip", stage="vendor")


def make_repair() -> Report:
    """Return a report that hands out the model of a skip, about the log's own checkpoint."""
    return make_report(
        model=ModelIdentity(digest=sha256(MODEL_BYTES), bound=False, source="final checkpoint"),
        repair=Repair(
            intervention=SKIP,
            label=SKIP.label,
            statement=repair_statement(SKIP),
            method="retrain",
            fraction=1.0,
            replica=0,
            model=RepairedModel(
                digest=sha256(REPAIRED_BYTES), size_bytes=len(REPAIRED_BYTES), tensors=4
            ),
            queries=(
                BeforeAfter(
                    query="cue",
                    unit="probability",
                    better=Better.LOWER,
                    before=0.5,
                    after=0.25,
                    n=100,
                ),
            ),
        ),
    )


FILES = {
    "stagelog.json": sha256(LOG_BYTES),
    "model.safetensors": sha256(MODEL_BYTES),
    "repaired.safetensors": sha256(REPAIRED_BYTES),
}


def test_subjects_are_the_log_the_model_and_the_repaired_model() -> None:
    subjects = report_subjects(make_repair(), model_format=None)

    assert {subject.name: subject.digest for subject in subjects} == FILES


def test_repair_verifies_as_its_own_predicate_type() -> None:
    report = make_repair()
    signed = make_signed(report=report, subjects=report_subjects(report, model_format=None))

    verification = verify_bundle(signed.bundle, signed.trust, files=FILES)

    assert verification.report == report
    assert verification.checks[5].detail.endswith(REPAIR_PREDICATE_TYPE)


def test_other_repaired_file_is_refused() -> None:
    report = make_repair()
    signed = make_signed(report=report, subjects=report_subjects(report, model_format=None))
    files = {**FILES, "repaired.safetensors": sha256(b"another")}

    with pytest.raises(SubjectError, match=r"repaired\.safetensors"):
        verify_bundle(signed.bundle, signed.trust, files=files)


def test_reader_who_wants_reports_refuses_a_repair() -> None:
    signed = make_signed(report=make_repair())

    with pytest.raises(DocumentRefusedError, match="predicateType"):
        verify_bundle(signed.bundle, signed.trust, files={}, predicate_types=(PREDICATE_TYPE,))


@pytest.mark.parametrize(
    ("report", "claimed"),
    [(make_report(), REPAIR_PREDICATE_TYPE), (make_repair(), PREDICATE_TYPE)],
    ids=["report as repair", "repair as report"],
)
def test_statement_of_another_type_than_its_content_is_refused(
    report: Report, claimed: str
) -> None:
    pair = generate_key(algorithm=KeyAlgorithm.ED25519)
    statement = {**json.loads(build_statement(report, SUBJECTS)), "predicateType": claimed}
    signer = load_signer(pair.private_pem)
    keyid = signer.public_key.keyid
    bundle = assemble(sign(canonical_bytes(statement), signer), keyid=keyid)
    trusted = make_trusted(pair)

    with pytest.raises(DocumentRefusedError, match=r"statement\.predicateType"):
        verify_bundle(bundle, TrustFile(keys=(trusted,)), files={})


@pytest.mark.parametrize(
    ("intervention", "words"),
    [
        (SKIP, "without stage 'vendor'; not"),
        (
            Intervention(kind="fade", stage="vendor", alpha=0.25),
            "without 75 % of every update of stage 'vendor'; not",
        ),
    ],
)
def test_statement_names_what_the_model_was_trained_without(
    intervention: Intervention, words: str
) -> None:
    assert words in repair_statement(intervention)
