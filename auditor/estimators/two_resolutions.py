r"""Reading replays at b and b / 2 examples a step: paired with the factual run, extrapolated to B.

Two corrections, both from what the replays themselves show:

*Pairing.* Replays on the same sub-samples err alike, and how far the factual replay ends from the
recorded run is known for every example. A part w of that is subtracted; w is what the factual
difference between the two resolutions explains of the counterfactual one (least squares over
examples), between 0 and 1. Where a strong effect makes the two runs unlike, w is near 0.

*Heat.* Noise of fewer examples biases the mean effect by about a (1/b - 1/B). With
:math:`e_b` and :math:`e_{b/2}` the mean effects, :math:`e_b + (1 - b/B)(e_b - e_{b/2})` is without
that term. Only the mean is moved: extrapolating single examples would amplify their noise.
"""

from dataclasses import dataclass

import numpy as np

from auditor.estimators.base import Floats, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Replays:
    """Values at the ends of replays at one resolution, [K, N] each.

    Args:
        counterfactual: With the intervention.
        factual: Without, on the same sub-samples.
    """

    counterfactual: Floats
    factual: Floats


def read_two_resolutions(
    recorded: Floats, fine: Replays, coarse: Replays, *, fraction: float
) -> Sample:
    """Return effects, deviations and how far the two resolutions are apart, [K, N] each.

    Args:
        recorded: Values at the recorded final state, [N].
        fine: Replays at b examples a step.
        coarse: Replays at b / 2.
        fraction: b / B.
    """
    weight = pairing_weight(fine, coarse)
    at_fine = recorded + weight * (fine.factual - recorded) - fine.counterfactual
    at_coarse = recorded + weight * (coarse.factual - recorded) - coarse.counterfactual
    moved = at_fine - at_coarse  # [K, N]
    return Sample(
        effects=at_fine + (1 - fraction) * moved.mean(),
        # As it was before either correction: how well they do their work is not known.
        deviations=recorded - fine.factual,
        resolution=moved,
    )


def pairing_weight(fine: Replays, coarse: Replays) -> float:
    """Return the part of the factual replay's error that the counterfactual shares, in [0, 1]."""
    factual = coarse.factual - fine.factual
    counterfactual = coarse.counterfactual - fine.counterfactual
    power = float((factual * factual).sum())
    if power == 0:
        return 0.0
    return float(np.clip((factual * counterfactual).sum() / power, 0.0, 1.0))
