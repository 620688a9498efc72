"""Carry a repair out by audits, after a search for the level of a fade where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from auditor.audit.fade_search import Candidate, candidate_of, chosen, closest, next_levels
from auditor.plan.repair import Goal, RepairRequest
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import FADE_LEVELS, FADE_RESOLUTION
from auditor.report.repair import Repair
from service.cli.asking import Answer, Asker
from service.cli.output import notice
from service.cli.repair_flags import RepairAsked


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        goals: What had to hold.
        answer: The signed repair; None when a search found nothing to carry out.
        candidates: Levels that a search tried, the gentlest first.
        best: The level that was carried out or, when none meets the goals, the closest one.
    """

    goals: tuple[Goal, ...]
    answer: Answer | None
    candidates: tuple[Candidate, ...] = field(default=())
    best: Candidate | None = None

    @property
    def repair(self) -> Repair | None:
        """What was done, if anything."""
        return None if self.answer is None else self.answer.report.repair

    @property
    def holds(self) -> bool:
        """Whether a model meets all goals."""
        if self.repair is None:
            return self.best is not None and self.best.meets_all(self.goals)
        return all(outcome.met for outcome in self.repair.goals)


def carry_out(asker: Asker, request: AuditRequest, *, asked: RepairAsked) -> Outcome:
    """Carry out what is asked; a fade without a level is searched for first."""
    goals = asked.goals
    if asked.search is None:
        repair = RepairRequest(intervention=0, goals=goals)
        answer = asker.ask(request.model_copy(update={"repair": repair}))
        return Outcome(goals=goals, answer=answer)
    tried = _search(asker, request, stage=asked.search, goals=goals)
    found = chosen(tried, goals)
    if found not in tried:  # no level does, or the recorded model does
        return Outcome(
            goals=goals, answer=None, candidates=tried, best=found or closest(tried, goals)
        )
    answer = asker.ask(
        request.model_copy(
            update={
                "interventions": tuple(_fade(asked.search, level.alpha) for level in tried),
                "repair": RepairRequest(intervention=tried.index(found), goals=goals),
            }
        )
    )
    return Outcome(goals=goals, answer=answer, candidates=tried, best=found)


def _search(
    asker: Asker, request: AuditRequest, *, stage: str, goals: Sequence[Goal]
) -> tuple[Candidate, ...]:
    """Return every level that was tried, the gentlest first."""
    tried: list[Candidate] = []
    while levels := next_levels(tried, goals, grid=FADE_LEVELS, resolution=FADE_RESOLUTION):
        fades = [_fade(stage, level) for level in levels]
        report = asker.ask(request.model_copy(update={"interventions": tuple(fades)})).report
        tried += [
            candidate_of(report, level, label=fade.label)
            for level, fade in zip(levels, fades, strict=True)
        ]
        notice("tried " + ", ".join(f"{level:g}" for level in levels))
    return tuple(sorted(tried, key=lambda candidate: -candidate.alpha))


def _fade(stage: str, alpha: float) -> Intervention:
    return Intervention(kind="fade", stage=stage, alpha=alpha)
