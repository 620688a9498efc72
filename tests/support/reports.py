"""Valid reports, keys and bundles; a test states only what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from auditor.attest.bundle import sign_report
from auditor.attest.keys import KeyAlgorithm, KeyPair, generate_key, load_signer
from auditor.attest.statement import Subject
from auditor.attest.trust import TrustedKey, TrustFile, trust_key
from auditor.effects import Better, Effect, Verdict
from auditor.estimators.retrain import RetrainSettings
from auditor.report.schema import (
    Cost,
    EstimatorIdentity,
    EvaluationData,
    Limitation,
    LogIdentity,
    ModelIdentity,
    QueryValue,
    Report,
    RunFacts,
    Software,
)
from auditor.stagelog.digest import sha256

LOG_BYTES = b'{"schema":"stageaudit.stagelog.v1"}'
MODEL_BYTES = b"the final model"
SIGNED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_effect(**changes: Any) -> Effect:
    """Return one effect of skipping the vendor's stage."""
    values: dict[str, Any] = {
        "query": "cue",
        "unit": "probability",
        "better": Better.LOWER,
        "intervention": "skip vendor",
        "kind": "skip",
        "stage": "vendor",
        "value": 0.25,
        "low": 0.125,
        "high": 0.375,
        "confidence": 0.9,
        "verdict": Verdict.EFFECT,
        "n": 100,
        "statement": "Had the updates of stage vendor not been executed, cue would be lower.",
        "action_keys": (sha256(b"advance"),),
    }
    return Effect(**(values | changes))


def make_report(**changes: Any) -> Report:
    """Return a report of one effect, dated :data:`SIGNED_AT`."""
    values: dict[str, Any] = {
        "request": sha256(b"request"),
        "log": LogIdentity(
            digest=sha256(LOG_BYTES),
            name="run",
            level=1,
            stages=("clean", "vendor", "tune"),
            consistency_statement="The 3 replayed segments reproduce the recorded checkpoints.",
        ),
        "model": ModelIdentity(digest=sha256(MODEL_BYTES), bound=True, source="artifact"),
        "estimator": EstimatorIdentity(
            id="retrain", settings=RetrainSettings(), resolved_from="retrain"
        ),
        "evaluation_data": (EvaluationData(digest=sha256(b"data"), name="held out", examples=100),),
        "queries": (QueryValue(query="cue", unit="probability", better="lower", value=0.5, n=100),),
        "effects": (make_effect(),),
        "cost": Cost(gradient_examples="123456"),
        "software": Software(stageaudit="0.1.0"),
        "limitations": (Limitation(id="not-legal", text="This is a statement about computation."),),
        "run": RunFacts(created=SIGNED_AT.isoformat(), id="run-1", mode="local"),
    }
    return Report(**(values | changes))


SUBJECTS = (
    Subject(name="stagelog.json", digest=sha256(LOG_BYTES)),
    Subject(name="model.safetensors", digest=sha256(MODEL_BYTES)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A bundle with the key that signed it."""

    bundle: bytes
    pair: KeyPair
    entry: TrustedKey

    @property
    def trust(self) -> TrustFile:
        """A trust file with just that key."""
        return TrustFile(keys=(self.entry,))


def make_trusted(pair: KeyPair, **changes: Any) -> TrustedKey:
    """Return the trust entry of a key."""
    return trust_key(pair.public_pem, name="signer").model_copy(update=changes)


def make_signed(
    *,
    report: Report | None = None,
    subjects: Sequence[Subject] = SUBJECTS,
    algorithm: KeyAlgorithm = KeyAlgorithm.ED25519,
    entry: Mapping[str, Any] | None = None,
) -> Signed:
    """Sign a report with a new key; ``entry`` changes the key's trust entry."""
    pair = generate_key(algorithm=algorithm)
    bundle = sign_report(report or make_report(), subjects, load_signer(pair.private_pem))
    return Signed(bundle=bundle, pair=pair, entry=make_trusted(pair, **(entry or {})))
