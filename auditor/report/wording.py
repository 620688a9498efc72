"""The sentences a report uses; they say what was computed and nothing more."""

from collections.abc import Sequence

from auditor.effects import Effect, Verdict
from auditor.plan.actions import SegmentFinding
from auditor.plan.request import Intervention, Joint
from auditor.plan.segment_sample import detection_probability
from auditor.report.schema import Limitation

_SUPPOSITION = {
    "skip": "the updates of {stage} not been executed",
    "fade": "the updates of {stage} been scaled by {alpha:g}",
    "replace": "{stage} used the reference data instead, at equal steps, schedule and optimizer",
    "drop": "the selected examples of {stage} not been used",
    "change": "{stage} been executed with {changes}",
}


def effect_statement(
    intervention: Intervention | Joint,
    *,
    query: str,
    unit: str,
    value: float | None,
    interval: tuple[float, float] | None,
    confidence: float,
) -> str:
    """Return the sentence that states one effect, or that there is no figure."""
    parts = intervention.parts if isinstance(intervention, Joint) else (intervention,)
    supposition = ", and ".join(_supposition(part) for part in parts)
    if value is None:
        return (
            f"What {query} would be had {supposition} was not computed: the computation diverges. "
            "Nothing follows from that about the effect."
        )
    direction = "lower" if value >= 0 else "higher"
    if interval is None:
        certainty = "no interval was computed"
    else:
        # The sentence speaks of the size of the change, so a negative effect swaps the ends.
        low, high = interval if value >= 0 else (-interval[1], -interval[0])
        certainty = f"{confidence:.0%} interval {low:.4g} to {high:.4g}"
    return (
        f"Had {supposition}, with all later data, order, hyperparameters and checkpoint choices "
        f"as recorded, {query} would be {direction} by {abs(value):.4g} {unit} "
        f"({certainty}; this recorded run). This is a statement about computation, not about "
        "intent, negligence or legal responsibility."
    )


def _supposition(intervention: Intervention) -> str:
    stage = f"stage {intervention.stage!r}"
    if intervention.steps is not None:
        window = intervention.steps
        stage = f"steps {window.first_step} to {window.end_step - 1} of {stage}"
    changes = " and ".join(
        f"{name} times {change.scale:g}" if change.value is None else f"{name} {change.value:g}"
        for name, change in sorted((intervention.hyperparameters or {}).items())
    )
    return _SUPPOSITION[intervention.kind].format(
        stage=stage, alpha=intervention.alpha or 0, changes=changes
    )


def consistency_statement(findings: tuple[SegmentFinding, ...]) -> str:
    """Return what may be said about a log after replaying its segments."""
    if not findings:
        return "No segment of the log was replayed: its consistency was not checked."
    wrong = [finding for finding in findings if finding.verdict == "inconsistent"]
    if wrong:
        worst = max(wrong, key=lambda finding: finding.deviation)
        return (
            f"INCONSISTENT: replaying stage {worst.stage} ends {worst.deviation:.2g} away from the "
            f"recorded checkpoints (tolerance {worst.tolerance:.2g}, parameter {worst.worst}). "
            f"{_first_wrong(wrong)}"
            "The log does not describe the training that made its checkpoints."
        )
    unresolved = [finding for finding in findings if finding.verdict == "not resolvable"]
    resolved = [finding for finding in findings if finding.verdict == "consistent"]
    parts = []
    if resolved:
        deviation = max(finding.deviation for finding in resolved)
        tolerance = max(finding.tolerance for finding in resolved)
        parts.append(
            f"The {sum(finding.checkpoints for finding in resolved)} replayed segments reproduce "
            f"the recorded checkpoints within {deviation:.2g} (relative to the largest "
            f"parameter); changes whose effect is smaller than {tolerance:.2g}, training outside "
            "the recorded steps and a forger who recomputes are not excluded."
        )
        parts += _resolution(resolved)
    parts += _sampled(findings)
    if unresolved:
        parts.append(
            f"{len(unresolved)} stages amplify rounding too much to be checked; record "
            "checkpoints every n steps."
        )
    return " ".join(parts)


def _first_wrong(wrong: list[SegmentFinding]) -> str:
    """Name the first steps that do not lead to their checkpoint."""
    known = [finding for finding in wrong if finding.inconsistent_steps is not None]
    if not known:
        return ""
    first = min(known, key=lambda finding: finding.inconsistent_steps or (0, 0))
    begin, end = first.inconsistent_steps or (0, 0)
    return (
        f"The first steps that do not lead to their checkpoint are {begin} to {end - 1} "
        f"(stage {first.stage}). "
    )


def _resolution(resolved: list[SegmentFinding]) -> list[str]:
    """Say what a change must be to have been seen, and what was only bounded."""
    parts = []
    states = [f.detectable_state for f in resolved if f.detectable_state is not None]
    updates = [f.detectable_update for f in resolved if f.detectable_update is not None]
    if states and updates:
        parts.append(
            f"A checkpoint changed by more than {max(states):.2g} of the largest parameter would "
            f"have been seen, and one step whose update (rate, batch or data) is off by more than "
            f"the part {max(updates):.2g} of an average one, unless later steps undo it."
        )
    left_out = sum(finding.rounding_coordinates for finding in resolved)
    if left_out:
        parts.append(
            f"{left_out} coordinates have gradients of rounding noise that Adam magnifies (such as "
            "biases of attention keys): bounded by the sum of the steps, not compared."
        )
    return parts


def _sampled(findings: tuple[SegmentFinding, ...]) -> list[str]:
    """Say how likely the sample was to hold a wrong segment."""
    counts = [(f.checkpoints, f.segments or f.checkpoints) for f in findings]
    if all(drawn == total for drawn, total in counts):
        return []
    least = min(detection_probability(total, drawn=drawn) for drawn, total in counts)
    return [
        f"{sum(drawn for drawn, _ in counts)} of {sum(total for _, total in counts)} segments were "
        f"drawn at random: one wrong segment is found with probability {least:.2g} or more."
    ]


def disagreement_text(one: Effect, other: Effect) -> str:
    """Return why two interventions on one stage may tell different stories."""
    return (
        f"{one.kind} says {one.known_value:+.3g}, {other.kind} says {other.known_value:+.3g} "
        f"{one.unit}. "
        "Skipping a stage removes its data and its amount of training together; replacing or "
        "dropping data keeps the amount of training, so it answers what the data did."
    )


NEARLY = 0.1
"""Part of a joint effect within which figures are said to be about equal, or about none."""


def joint_text(stages: Sequence[str], joint: Effect, single: Sequence[Effect]) -> str:
    """Return a joint effect beside the sum of single ones, and what their sizes say.

    Args:
        stages: Of the parts.
        joint: The joint effect, which was computed.
        single: Effects of the parts on their own, which were computed.
    """
    whole, values = joint.value or 0.0, [effect.value or 0.0 for effect in single]
    text = (
        f"joint effect of {{{', '.join(stages)}}} {whole:+.3g}, sum of single effects "
        f"{sum(values):+.3g}"
    )
    near = NEARLY * abs(whole)
    resolved = all(effect.verdict is Verdict.EFFECT for effect in (joint, *single))
    if resolved and all(abs(value - whole) <= near for value in values):
        which = "neither" if len(values) == 2 else "none"
        return f"{text}: each is necessary, {which} alone sufficient"
    return f"{text}: single effects do not add up" if abs(sum(values) - whole) > near else text


LIMITATIONS = {
    limitation.id: limitation
    for limitation in (
        Limitation(
            id="COMPUTATION_NOT_INTENT",
            text="Effects are statements about computation, not about intent, negligence or "
            "legal responsibility.",
        ),
        Limitation(
            id="REPAIRED_MODEL",
            text="A repaired model is an approximate model of other training; it is not certified "
            "unlearning, not erasure under GDPR Art. 17; re-validate before release.",
        ),
        Limitation(
            id="THIS_RUN_ONLY",
            text="Effects are for this recorded run and order of later batches (E1). How they "
            "would vary over batch orders (sd_order) and over reruns of the pipeline (sd_rerun) "
            "was not measured; the latter can be many times larger than the intervals.",
        ),
        Limitation(
            id="RERUNS_NOT_MEASURED",
            text="Effects are for this recorded run and order of later batches (E1); sd_order says "
            "how they vary over orders of the later batches. How they would vary over reruns of "
            "the pipeline (sd_rerun) was not measured; it can be many times larger.",
        ),
        Limitation(
            id="RERUNS_FROM_RECORDED_START",
            text="Effects are for this recorded run and order of later batches (E1); sd_rerun says "
            "how they vary over reruns of the pipeline. Reruns vary the batch order from the "
            "recorded initial state; another initialisation is not included.",
        ),
        Limitation(
            id="MANY_EFFECTS",
            text="Among this many effects some intervals exclude zero by chance: the verdict "
            "'effect' is given to those that control of the false discovery rate leaves, the "
            "intervals are those of single effects.",
        ),
        Limitation(
            id="LATER_STAGES_AS_RECORDED",
            text="Later data, order, hyperparameters and checkpoint choices are as recorded; what "
            "people or pipelines would have done differently after the intervention is not "
            "modelled.",
        ),
        Limitation(
            id="GENERATED_DATA",
            text="Some later data was generated by an earlier stage's model and is used as "
            "recorded, so every figure is a controlled direct effect.",
        ),
        Limitation(
            id="NOT_ADDITIVE",
            text="Effects of several stages do not add up; no share or percentage can be formed "
            "from them.",
        ),
        Limitation(
            id="ALLOCATION_CONVENTION",
            text="Shapley values are an allocation convention, not a causal finding: they share "
            "out among stages what those did together after a declared context.",
        ),
        Limitation(
            id="DROP_REFILLS_BATCHES",
            text="Where examples were dropped, others that the stage used fill its batches: it "
            "trains equally long on less data.",
        ),
        Limitation(
            id="SKIP_MIXES_DATA_AND_TRAINING",
            text="A skip mixes a stage's data with its amount of training. Which stage planted a "
            "behaviour is answered by replace or drop.",
        ),
        Limitation(
            id="REFERENCE_DECLARED",
            text="Replace depends on the reference data, which the requester declared.",
        ),
        Limitation(
            id="PROBE_LOCALISES",
            text="A probe localises a cue that was supplied; it does not discover unknown ones.",
        ),
        Limitation(
            id="OUTSIDE_TOOL",
            text="Some values were measured by a tool of the requester, which is named with its "
            "digest. What it measures, and that it is deterministic, was not checked.",
        ),
        Limitation(
            id="INTERVAL_NOT_VALIDATED",
            text="Intervals were calibrated on other runs; not validated for this one.",
        ),
        Limitation(
            id="EXACT_UP_TO_ROUNDING",
            text="Exact effects are retrained or read from a checkpoint and have no error of "
            "estimation. Rounding is not in their interval: where a training amplifies it, another "
            "device, library version or group of lanes gives another figure.",
        ),
        Limitation(
            id="NO_INTERVAL",
            text="The estimator has no error bar of its own: figures without an interval are not "
            "resolved.",
        ),
        Limitation(
            id="DERIVATIVE",
            text="AA-Score is a derivative at the recorded training. For nonlinear training it can "
            "differ from the effect of a whole stage in size and in sign.",
        ),
        Limitation(
            id="LINEAR_IN_BETWEEN",
            text="checkpoint_jump carries the displacement of a stage linearly through the later "
            "ones, and keeps the recorded final buffers. Through long or stiff later training it "
            "can differ from the effect in size and in sign.",
        ),
        Limitation(
            id="MODEL_NOT_BOUND",
            text="No model artifact was compared: the figures are about the log's final "
            "checkpoint, not about a file that is deployed.",
        ),
        Limitation(
            id="LOG_NOT_CHECKED",
            text="The log's consistency was not checked by replay.",
        ),
        Limitation(
            id="LOG_INCONSISTENT",
            text="Replay does not reproduce the recorded checkpoints: the figures describe the "
            "log, not the training that made the model.",
        ),
        Limitation(
            id="SELF_ATTESTED",
            text="The figures were computed and signed by one operator; nobody else reproduced "
            "them.",
        ),
    )
}
"""Every limitation a report can carry, by id."""
