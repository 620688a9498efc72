"""Which options belong to which loss, and what each needs."""

from collections.abc import Mapping

from auditor.errors import StageLogError
from auditor.stagelog.log import Loss, Stage

OPTIONS: Mapping[str, frozenset[str]] = {
    "cross_entropy": frozenset({"label_smoothing", "class_weights", "ignore_index"}),
    "causal_lm": frozenset({"label_smoothing", "ignore_index"}),
    "binary_cross_entropy_with_logits": frozenset({"pos_weight"}),
    "dpo": frozenset({"label_smoothing", "ignore_index", "beta", "reference"}),
    "graph": frozenset({"graph"}),
}
"""Options of a loss beside its reduction, by kind; a kind that is not here has none."""

NEEDED: Mapping[str, tuple[str, ...]] = {"dpo": ("beta", "reference"), "graph": ("graph",)}


def check_loss(stage: Stage, *, where: str) -> None:
    """Refuse options that a loss does not have, lacks, or that are outside their domain.

    Raises:
        StageLogError: At the first such option.
    """
    loss = stage.loss
    _check_options(loss, where=where)
    for field, weights in (("class_weights", loss.class_weights), ("pos_weight", loss.pos_weight)):
        for position, weight in enumerate(weights or ()):
            if weight < 0:
                raise StageLogError(
                    f"{where}.{field}[{position}]",
                    expected="a number >= 0",
                    found=weight,
                    remedy="Correct the weight.",
                )
    if loss.kind == "causal_lm" and loss.over != "tokens":
        raise StageLogError(
            f"{where}.over",
            expected="tokens, which causal_lm is reduced over",
            found=loss.over,
            remedy='Declare Loss(kind="causal_lm", over="tokens", ignore_index=-100), or '
            '"causal_lm" alone.',
        )
    if loss.kind == "dpo" and not loss.label_smoothing < 1 / 2:
        raise StageLogError(
            f"{where}.label_smoothing",
            expected="a number below 0.5: the part of preferences that are the other way round",
            found=loss.label_smoothing,
            remedy="Correct the number.",
        )


def foreign_options(loss: Loss) -> tuple[str, ...]:
    """Return the options that are set and do not belong to the kind of loss."""
    own = OPTIONS.get(loss.kind, frozenset())
    return tuple(name for name, given in _given(loss).items() if given and name not in own)


def _given(loss: Loss) -> dict[str, bool]:
    return {
        "label_smoothing": loss.label_smoothing != 0,
        "class_weights": loss.class_weights is not None,
        "ignore_index": loss.ignore_index is not None,
        "pos_weight": loss.pos_weight is not None,
        "beta": loss.beta is not None,
        "reference": loss.reference is not None,
        "graph": loss.graph is not None,
    }


def _check_options(loss: Loss, *, where: str) -> None:
    for field in foreign_options(loss):
        owners = [kind for kind, options in OPTIONS.items() if field in options]
        raise StageLogError(
            f"{where}.{field}",
            expected=f"nothing for the loss {loss.kind}",
            found="a value",
            remedy=f"It belongs to {' and '.join(owners)}; leave it out.",
        )
    given = _given(loss)
    for field in NEEDED.get(loss.kind, ()):
        if not given[field]:
            raise StageLogError(
                f"{where}.{field}",
                expected=f"a value, which the loss {loss.kind} needs",
                found="none",
                remedy="Declare it.",
            )
