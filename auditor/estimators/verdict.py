"""The verdicts of an effect: what may be said of it, given all that was measured."""

from scipy.special import stdtrit

from auditor.effects import Verdict
from auditor.estimators.interval import Summary
from auditor.estimators.noise import NoiseSpread


def verdict_of(summary: Summary, *, rerun: NoiseSpread | None, confidence: float) -> Verdict:
    r"""Return the verdict of one effect.

    *Within replay spread*: the interval holds zero. *Not resolved*: there is no interval, or it
    excludes zero by too little to rely on its sign, or the effect is not discovered among many.
    *Within rerun noise*: sd_rerun was measured and zero is within what one more rerun of the
    pipeline may bring,

    .. math:: |\tau| \le t_{O-1}\, sd_{rerun}

    over O reruns. Else *effect*.

    Args:
        summary: The effect's figures, and whether control of false discoveries leaves it.
        rerun: Spread over reruns of the pipeline, if measured.
        confidence: Two-sided, such as 0.9.
    """
    if summary.verdict is not Verdict.EFFECT or summary.value is None:
        return summary.verdict
    if not summary.discovered:
        return Verdict.NOT_RESOLVED
    if rerun is not None:
        quantile = float(stdtrit(rerun.orders - 1, 0.5 + confidence / 2))
        if abs(summary.value) <= quantile * rerun.sd:
            return Verdict.WITHIN_RERUN_NOISE
    return Verdict.EFFECT
