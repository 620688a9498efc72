"""A report with everything a page can show; all its words can be chosen at once."""

from typing import Any

from auditor.effects import Better, QueryKind, SelfCheck, Tool, ToolFile, Verdict
from auditor.estimators.auto import AutoSettings
from auditor.estimators.dossier import Regime
from auditor.plan.repair import Goal
from auditor.plan.request import Intervention
from auditor.report.finer import (
    AllocatedValue,
    Allocation,
    JointEffect,
    StageSum,
    Timeline,
    TimelineWindow,
)
from auditor.report.history import AuditHistory, LoggedAudit
from auditor.report.repair import BeforeAfter, GoalOutcome, Repair, RepairedModel
from auditor.report.schema import (
    Choice,
    Diagnosis,
    Disagreement,
    EstimatorIdentity,
    EvaluationData,
    Extreme,
    Extremes,
    Limitation,
    LogIdentity,
    Multiplicity,
    NotComputed,
    Person,
    QueryValue,
    Report,
    RunFacts,
)
from auditor.report.validation import Validation
from auditor.stagelog.digest import sha256
from tests.support.reports import make_effect, make_report


def make_rich_report(word: str = "cue", **changes: Any) -> Report:
    """Return a report whose names and sentences are all ``word``, which must be a name.

    ``word`` is query, stage, source, intervention and whatever else somebody else has written.
    """
    queries = tuple(
        QueryValue(
            query=name, kind=kind, group=word, unit=word[:20], better=better, value=value, n=120
        )
        for name, kind, better, value in (
            (word, QueryKind.MARGIN, "lower", 3.25),
            (f"{word[:120]} gap", QueryKind.ACCURACY_GAP, "higher", 0.0625),
        )
    )
    values: dict[str, Any] = {
        "log": LogIdentity(
            digest=sha256(b"log"),
            name=word,
            level=2,
            stages=(word, f"{word[:120]} 2"),
            consistency_statement=word,
        ),
        "estimator": EstimatorIdentity(
            id="auto",
            settings=AutoSettings(),
            resolved_from="auto",
            choices=(
                Choice(intervention=word, answered_by=word, within_tolerance=True, tolerance=0.05),
            ),
        ),
        "evaluation_data": (EvaluationData(digest=sha256(b"data"), name=word, examples=120),),
        "queries": queries,
        "effects": tuple(_effects(queries, word)),
        "disagreements": (Disagreement(query=word, stage=word, text=word),),
        "joints": (
            JointEffect(
                query=word,
                intervention=word,
                stages=(word,),
                value=1.5,
                single_sum=2.5,
                text=word,
            ),
        ),
        "allocations": (
            Allocation(
                query=word,
                unit=word,
                context=(word,),
                values=(
                    AllocatedValue(stage=word, value=1.25, low=1.0, high=1.5),
                    AllocatedValue(stage=f"{word[:120]} 2", value=-0.5, low=-0.5, high=-0.5),
                ),
                total=0.75,
                confidence=0.9,
            ),
        ),
        "timelines": (_timeline(word),),
        "extremes": (
            Extremes(
                query=word,
                intervention=word,
                raised=(Extreme(id=word, effect=2.5), Extreme(id=7, effect=1.25)),
                lowered=(Extreme(id=9, effect=-0.75),),
            ),
        ),
        "tools": (
            Tool(
                name=word,
                version=word,
                command=("x", "{checkpoint}", "{values}"),
                files=(ToolFile(name=word, digest=sha256(b"tool")),),
            ),
        ),
        "not_computed": (NotComputed(what=word, why=word),),
        "limitations": (Limitation(id=word, text=word),),
        "diagnoses": (Diagnosis(id="CONSTANT_QUERY", text=word, query=word),),
        "multiplicity": Multiplicity(method="benjamini-hochberg", q=0.1, tested=8, discovered=3),
        "people": (Person(role="validator", name=word, organisation=word),),
        "purpose": word,
        "run": RunFacts(
            created=word, id=word, mode="service", operator=word, history=_history(word)
        ),
        "validation": Validation(
            table=sha256(b"table"),
            measured=word,
            trainings=9,
            effects=90,
            exact=20,
            intervals=70,
            covered=65,
            called=30,
            wrong_sign=1,
            regime=Regime(
                optimizers=(word,),
                losses=(word,),
                stages=2,
                steps=40,
                parameters=1234,
                effective_rate=0.5,
            ),
            outside=(word,),
            statement=word,
        ),
    }
    return make_report(**(values | changes))


def make_repair(word: str = "cue") -> Repair:
    """Return a repair that makes one query better and one worse, and misses a goal."""
    goal = Goal(query=word, of="value", relation="<", bound=0.5)
    return Repair(
        intervention=Intervention(kind="skip", stage=word),
        label=word,
        statement=word,
        method="retrain",
        fraction=1.0,
        replica=0,
        model=RepairedModel(digest=sha256(b"repaired"), size_bytes=1024, tensors=4),
        queries=(
            BeforeAfter(
                query=word, unit=word[:20], better=Better.LOWER, before=3.25, after=0.75, n=120
            ),
            BeforeAfter(
                query=f"{word[:120]} gap",
                unit=word[:20],
                better=Better.HIGHER,
                before=0.0625,
                after=0.03125,
                n=120,
            ),
        ),
        goals=(GoalOutcome(goal=goal, found=0.75, met=False),),
    )


def _effects(queries: tuple[QueryValue, ...], word: str) -> list[Any]:
    """Return rows of every kind and verdict: harm, gain, neither, exact, without any figure."""
    found = []
    for query, factor in zip(queries, (1.0, 0.01), strict=True):
        own = {"query": query.query, "unit": query.unit, "better": Better(query.better)}
        own |= {"statement": word, "stage": word, "confidence": 0.9}
        for kind, value, verdict in (
            ("skip", 1.25, Verdict.EFFECT),
            ("replace", -0.75, Verdict.EFFECT),
            ("drop", 0.125, Verdict.WITHIN_REPLAY_SPREAD),
        ):
            found.append(
                make_effect(
                    **own,
                    kind=kind,
                    intervention=word,
                    value=value * factor,
                    low=(value - 0.5) * factor,
                    high=(value + 0.25) * factor,
                    spread=0.0625 * factor,
                    self_check=SelfCheck(kind="factual_replay", deviation=-0.03125 * factor),
                    sd_order=0.125 * factor,
                    sd_rerun=0.375 * factor,
                    p_value=0.015625,
                    sampling_error=0.25 * factor,
                    population_low=(value - 0.75) * factor,
                    population_high=(value + 0.5) * factor,
                    baselines={"task_vector": 1.75 * factor},
                    verdict=verdict,
                )
            )
        found.append(
            make_effect(
                **own,
                kind="change",
                intervention=word,
                value=0.5 * factor,
                low=0.5 * factor,
                high=0.5 * factor,
                exact_by_construction=True,
                verdict=Verdict.EFFECT,
            )
        )
        found.append(
            make_effect(
                **own,
                kind="fade",
                intervention=word,
                value=None,
                low=None,
                high=None,
                verdict=Verdict.NOT_RESOLVED,
            )
        )
    return found


def _history(word: str) -> AuditHistory:
    audits = tuple(
        LoggedAudit(
            number=number, id=word, created=word, outcome=outcome, request=sha256(b"request")
        )
        for number, outcome in enumerate(("failed", "this one"), start=1)
    )
    return AuditHistory(
        number=2, succeeded=0, failed=1, cancelled=0, under_way=0, audits=audits, statement=word
    )


def _timeline(word: str) -> Timeline:
    second = f"{word[:120]} 2"
    return Timeline(
        query=word,
        unit=word,
        curvature="exact",
        windows=(
            TimelineWindow(stage=word, first_step=0, end_step=20, value=-0.5, learning_rate=0.125),
            TimelineWindow(stage=word, first_step=20, end_step=30, value=1.0, learning_rate=0.25),
            TimelineWindow(
                stage=second, first_step=30, end_step=40, value=0.25, learning_rate=0.0625
            ),
        ),
        stages=(StageSum(stage=word, value=0.5), StageSum(stage=second, value=0.25)),
    )
