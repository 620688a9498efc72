"""Identify, timeline, remove: an audit and a repair beside exact retraining in plain torch.

Effects and models come from the stage log through the library; everything called *exact* is the
same training loop run again, without what was taken out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load
from torch import nn

from auditor.audit.local import LocalProgress, run_audit
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.effects import Effect
from auditor.errors import InternalError
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.finer import TimelineRequest
from auditor.plan.repair import RepairRequest
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import EstimatorSettings
from auditor.report.finer import TimelineWindow
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest
from benchmarks.fidelity.interventions import Asked, asked_of
from benchmarks.fidelity.recording import REQUEST_SEED, Recorded, record
from benchmarks.fidelity.truth import all_values, boundaries_of, counterfactual
from benchmarks.fidelity.workload import Workload
from examples.spurious.pipeline import ACCURACY, CUE
from examples.spurious.timeline import WINDOWS

REPAIRED_FILE = "repaired.safetensors"
CHEAP_FRACTION = 0.25


@dataclass(frozen=True, kw_only=True)
class Row:
    """What taking something out does to the cue: as the audit says, and exactly."""

    asked: Asked
    effect: Effect
    exact: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, judged in plain torch: how far the cue moves its class, and accuracy."""

    cue: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that the experiment found.

    Attributes:
        rows: Every intervention.
        found: The source whose removal the audit says lowers the cue most.
        windows: When the cue was learned.
        before: The model as trained.
        repaired: Without the source, from the log.
        cheap: The same on a quarter of every batch.
        exact: Trained without the source, in plain torch.
        statement: What the repair says of itself.
    """

    rows: tuple[Row, ...]
    found: Asked
    windows: tuple[TimelineWindow, ...]
    before: Model
    repaired: Model
    cheap: Model
    exact: Model
    statement: str


Say = Callable[[str], None]
"""Told what is being done."""
Progress = Callable[[LocalProgress], None]
"""Told how far an audit is."""


def run_experiment(
    workload: Workload, folder: Path, *, estimator: EstimatorSettings, say: Say, progress: Progress
) -> Outcome:
    """Train and record a pipeline, audit it, and take the source of the cue out.

    Args:
        workload: A pipeline of :func:`examples.spurious.pipeline.spurious_pipeline`.
        folder: An empty folder for the log, the results and the repaired model.
        estimator: What the audit estimates with.
        say: Told what comes next.
        progress: Told how far an audit is.
    """
    say("training every stage, and again under the recorder")
    boundaries = boundaries_of(workload)
    recorded = record(workload, folder / "recorded", final_point=boundaries[-1])
    auditor = _Auditor(recorded, folder, progress=progress)

    say(f"auditing {len(recorded.interventions)} interventions, and every step for the timeline")
    report = auditor.ask(tuple(recorded.interventions.values()), estimator=estimator)

    say("retraining each of them in plain torch, to compare")
    models = {
        asked: counterfactual(workload, boundaries, asked=asked, feeds=recorded.feeds)
        for asked in asked_of(workload)
    }
    before = _judged(workload, boundaries[-1].model)
    rows = _rows(report, recorded, before=before, models={
        asked: _judged(workload, model) for asked, model in models.items()
    })  # fmt: skip
    found = max((row for row in rows if row.asked.kind == "drop"), key=lambda row: row.effect.value)

    say(f"repairing: {found.asked.key}")
    chosen = recorded.interventions[found.asked.key]
    repair = auditor.repair(chosen, estimator=RetrainSettings())
    cheap = auditor.repair(
        chosen, estimator=SubsampledReplaySettings(fraction=CHEAP_FRACTION, replicas=2)
    )
    (folder / REPAIRED_FILE).write_bytes(repair.model)
    return Outcome(
        rows=rows,
        found=found.asked,
        windows=report.timelines[0].windows,
        before=before,
        repaired=_judged(workload, _loaded(workload, repair.model)),
        cheap=_judged(workload, _loaded(workload, cheap.model)),
        exact=_judged(workload, models[found.asked]),
        statement=repair.statement,
    )


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A repaired model's file, safetensors, and what the repair says of itself."""

    model: bytes
    statement: str


class _Auditor:
    """Asks about one recorded run; what was computed once is not computed again."""

    def __init__(self, recorded: Recorded, folder: Path, *, progress: Progress) -> None:
        self._progress = progress
        self._recorded = recorded
        self._blobs: LayeredBlobs = recorded.blobs(folder / "results")
        self._index = FolderIndex(folder / "index")

    def ask(
        self, interventions: tuple[Intervention, ...], *, estimator: EstimatorSettings
    ) -> Report:
        """Return the report on interventions, with a timeline of the cue."""
        timeline = TimelineRequest(windows=WINDOWS, queries=(CUE,))
        request = self._request(interventions, estimator=estimator)
        return self._run(request.model_copy(update={"timelines": timeline}))

    def repair(self, intervention: Intervention, *, estimator: EstimatorSettings) -> Repaired:
        """Return the model without what an intervention takes out."""
        request = self._request((intervention,), estimator=estimator)
        found = self._run(request.model_copy(update={"repair": RepairRequest(intervention=0)}))
        if found.repair is None:
            raise InternalError(
                "report.repair", expected="a repair", found="none", remedy="Report this as a bug."
            )
        return Repaired(
            model=bytes(self._blobs.read(Digest(found.repair.model.digest))),
            statement=found.repair.statement,
        )

    def _request(
        self, interventions: tuple[Intervention, ...], *, estimator: EstimatorSettings
    ) -> AuditRequest:
        return AuditRequest(
            log=self._recorded.log,
            interventions=interventions,
            queries=self._recorded.queries,
            estimator=estimator,
            seed=REQUEST_SEED,
        )

    def _run(self, request: AuditRequest) -> Report:
        return run_audit(
            request, blobs=self._blobs, index=self._index, device="cpu", on_progress=self._progress
        )


def _judged(workload: Workload, model: nn.Module) -> Model:
    values = all_values(workload, model)
    return Model(cue=float(values[CUE].mean()), accuracy=float(values[ACCURACY].mean()))


def _loaded(workload: Workload, file: bytes) -> nn.Module:
    model = workload.build()
    model.load_state_dict(load(file))
    return model


def _rows(
    report: Report, recorded: Recorded, *, before: Model, models: Mapping[Asked, Model]
) -> tuple[Row, ...]:
    effects = {effect.intervention: effect for effect in report.effects if effect.query == CUE}
    rows = []
    for asked, model in models.items():
        label = recorded.interventions[asked.key].label
        if label not in effects:
            raise InternalError(
                label,
                expected="an effect on the cue",
                found="none in the report",
                remedy="Look at not_computed of the report.",
            )
        rows.append(Row(asked=asked, effect=effects[label], exact=before.cue - model.cue))
    return tuple(rows)
