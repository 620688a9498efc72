"""Names of the precisions in which a stage trains, as its log says them."""

PLAIN = ("float32", "float64")
"""Parameters and operations have one precision."""

AUTOCAST = {
    "autocast bfloat16 over float32": "bfloat16",
    "autocast float16 over float32": "float16",
}
"""Operations in the lower precision that autocast chooses, over float32 parameters."""

PRECISIONS = (*PLAIN, *AUTOCAST)


def lower_precision(precision: str) -> str | None:
    """Return what autocast casts to; None in a stage without autocast."""
    return AUTOCAST.get(precision)


def parameter_precision(precision: str) -> str:
    """Return the dtype of a stage's trained parameters."""
    return "float32" if precision in AUTOCAST else precision
