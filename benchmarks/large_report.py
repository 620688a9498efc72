"""A report of thousands of effects, constructed by the schema from a seed; no audit made it."""

import random

from auditor.effects import Better, Effect, SelfCheck, Verdict
from auditor.estimators.retrain import RetrainSettings
from auditor.report.schema import (
    Cost,
    EstimatorIdentity,
    EvaluationData,
    LogIdentity,
    ModelIdentity,
    Multiplicity,
    QueryValue,
    Report,
    RunFacts,
    Software,
)
from auditor.report.wording import LIMITATIONS
from auditor.stagelog.digest import sha256

KINDS = ("skip", "fade", "replace", "drop", "change")
QUERIES = 20
REFERENCE = sha256(b"reference")
SUFFIXES = {
    "skip": "",
    "fade": " alpha=0.5",
    "replace": f" by={REFERENCE[:12]}",
    "drop": " source=vendor-b",
    "change": " lr*0.5",
}


def large_report(effects: int, *, seed: int) -> Report:
    """Return a report of ``effects`` rows: 20 queries against five interventions in each stage."""
    draw = random.Random(seed)  # noqa: S311 - figures of a constructed report
    stages = tuple(f"stage-{i:03}" for i in range(-(-effects // (QUERIES * len(KINDS)))))
    queries = tuple(
        QueryValue(
            query=f"loss of slice {number:02}",
            unit="nat",
            better=draw.choice(("lower", "higher")),
            value=draw.uniform(0.1, 3.0),
            n=1000,
        )
        for number in range(QUERIES)
    )
    rows = [
        _effect(query, stage, kind, draw=draw)
        for query in queries
        for stage in stages
        for kind in KINDS
    ][:effects]
    return Report(
        request=sha256(b"request"),
        log=LogIdentity(
            digest=sha256(b"log"),
            name="constructed, not audited",
            level=2,
            stages=stages,
            consistency_statement="Constructed by a benchmark: no log was replayed.",
        ),
        model=ModelIdentity(digest=sha256(b"model"), bound=True, source="artifact"),
        estimator=EstimatorIdentity(
            id="retrain", settings=RetrainSettings(), resolved_from="retrain"
        ),
        evaluation_data=(EvaluationData(digest=REFERENCE, name="clean data", examples=1000),),
        queries=queries,
        effects=tuple(rows),
        cost=Cost(gradient_examples="123456789"),
        software=Software(stageaudit="0.1.0"),
        limitations=tuple(LIMITATIONS.values())[:12],
        multiplicity=Multiplicity(
            method="benjamini-hochberg",
            q=0.1,
            tested=len(rows),
            discovered=sum(row.verdict is Verdict.EFFECT for row in rows),
        ),
        run=RunFacts(created="2026-03-01T12:00:00+00:00", id="constructed", mode="local"),
    )


def _effect(query: QueryValue, stage: str, kind: str, *, draw: random.Random) -> Effect:
    value, half = draw.gauss(0.0, 0.3), abs(draw.gauss(0.1, 0.05)) + 0.01
    verdict = Verdict.EFFECT if abs(value) > half else Verdict.WITHIN_REPLAY_SPREAD
    return Effect(
        query=query.query,
        unit=query.unit,
        better=Better(query.better),
        intervention=f"{kind} {stage}{SUFFIXES[kind]}",
        kind=kind,
        stage=stage,
        value=value,
        low=value - half,
        high=value + half,
        confidence=0.9,
        spread=half / 3,
        sd_order=half / 2,
        sd_rerun=half,
        p_value=draw.random(),
        self_check=SelfCheck(kind="factual_replay", deviation=draw.gauss(0.0, 0.01)),
        baselines={"task_vector": draw.gauss(0.0, 0.3)},
        verdict=verdict,
        n=query.n,
        statement=f"Had the updates of stage {stage!r} been otherwise, {query.query} would differ.",
        action_keys=tuple(sha256(draw.randbytes(16)) for _ in range(4)),
    )
