"""Which limitations a report carries."""

from auditor.audit.outside import tools_of
from auditor.effects import Effect, Probe
from auditor.plan.actions import SegmentFinding
from auditor.plan.asked import interventions_of, parts_of
from auditor.plan.request import AuditRequest
from auditor.report.schema import Limitation, Multiplicity
from auditor.report.wording import LIMITATIONS
from auditor.stagelog.log import StageLog


def limitations_of(
    request: AuditRequest,
    log: StageLog,
    *,
    findings: tuple[SegmentFinding, ...],
    effects: tuple[Effect, ...],
    multiplicity: Multiplicity | None,
) -> tuple[Limitation, ...]:
    """Return what the figures must be read with, the most serious first."""
    kinds = {part.kind for one in interventions_of(request, log) for part in parts_of(one)}
    generated = any(stage.generated_by for stage in log.stages) or any(
        dataset.generated_by for dataset in log.datasets.values()
    )
    applies = {
        "REPAIRED_MODEL": request.repair is not None,
        "LOG_INCONSISTENT": any(finding.verdict == "inconsistent" for finding in findings),
        "LOG_NOT_CHECKED": not findings,
        "MODEL_NOT_BOUND": request.model is None,
        "THIS_RUN_ONLY": not request.noise,
        "RERUNS_NOT_MEASURED": set(request.noise) == {"order"},
        "RERUNS_FROM_RECORDED_START": "rerun" in request.noise,
        "MANY_EFFECTS": multiplicity is not None,
        "NO_INTERVAL": any(effect.low is None for effect in effects),
        "INTERVAL_NOT_VALIDATED": any(
            effect.low is not None and not effect.exact_by_construction for effect in effects
        ),
        "EXACT_UP_TO_ROUNDING": any(
            effect.low is not None and effect.exact_by_construction for effect in effects
        ),
        "DERIVATIVE": request.estimator.id == "aa_score" or request.timelines is not None,
        "ALLOCATION_CONVENTION": request.allocation is not None,
        "DROP_REFILLS_BATCHES": any(
            part.kind == "drop" and part.divisor != "kept"
            for one in interventions_of(request, log)
            for part in parts_of(one)
        ),
        "LINEAR_IN_BETWEEN": request.estimator.id == "checkpoint_jump",
        "SKIP_MIXES_DATA_AND_TRAINING": "skip" in kinds,
        "REFERENCE_DECLARED": "replace" in kinds,
        "PROBE_LOCALISES": any(isinstance(query, Probe) for query in request.queries),
        "OUTSIDE_TOOL": bool(tools_of(request)),
        "NOT_ADDITIVE": len(effects) > 1,
        "LATER_STAGES_AS_RECORDED": True,
        "GENERATED_DATA": generated,
        "COMPUTATION_NOT_INTENT": True,
        "SELF_ATTESTED": True,
    }
    return tuple(LIMITATIONS[identifier] for identifier, true in applies.items() if true)
