"""Factors of the interval's parts, each with where it comes from."""

DEVIATION_FACTOR = 1.0
"""Of the distance between the mean factual replay and the recorded run.

Decisions, 4: replicas' spread alone covered 6-56 % at nominal 90 %, with this part 81-100 %
(exact retraining of the prototypes' workloads).
"""

RESOLUTION_FACTOR = 1.0
"""Of the difference between two resolutions, b and b/2 examples a step.

Heat biases the mean effect by a (1/b - 1/B) to first order (estimators, "Heat"), so the difference
between the two resolutions is a/b, and the bias that is left at b at most that.
"""

SINGLE_FACTOR = 2.0
"""Of those distances where one replica at two resolutions is all there is.

On eight workloads with exact retraining (``benchmarks.fidelity``) intervals from the distances as
they are covered 50 % on the worst workload, twice as wide ones at least 85 % on each.
"""

SINGLE_DEGREES = 3
"""Degrees of freedom of an interval from two resolutions of one replica: two distances."""

POOLED_DEGREES = 4
"""Degrees of freedom that the scales of other effects on the query lend to that of one effect.

On ten workloads with exact retraining (``benchmarks.fidelity``), at a quarter and an eighth of the
examples, intervals are half as wide with them as without, and cover 90 % on the worst.
"""

POOLED_FROM = 4
"""How many other effects a pool takes: the mean square of fewer says too little."""

SIGN_LEVEL = 0.02
"""p-value up to which an interval that excludes zero is called an effect.

Were an effect zero, its sign would then be called, and wrong, once in a hundred times each. On
twelve workloads with exact retraining (``benchmarks.fidelity``), where most true effects are near
zero, 90 % intervals that exclude it were on the wrong side in 2 to 3 % of cases, at this level in
1 %. Intervals stay what they are.
"""

MULTIPLICITY_ABOVE = 20
"""Above how many effects of one request the rate of false discoveries is controlled.

At 90 % two false effects among 20 without any are expected, which a reader sees through; among
hundreds they are what a reader sees first.
"""
