"""Every estimator: one row each, all that has to be written beside its own file."""

from typing import Final

from pydantic import ValidationError

from auditor.errors import InputError
from auditor.estimators.aa_score import AA_SCORE
from auditor.estimators.auto import AUTO, AutoSettings
from auditor.estimators.base import Estimator
from auditor.estimators.checkpoint_delta import CHECKPOINT_DELTA, CheckpointDelta
from auditor.estimators.checkpoint_jump import CHECKPOINT_JUMP
from auditor.estimators.coarse_replay import COARSE_REPLAY
from auditor.estimators.kind import AnyKind
from auditor.estimators.retrain import RETRAIN
from auditor.estimators.settle import SETTLE
from auditor.estimators.subsampled_replay import SUBSAMPLED_REPLAY
from auditor.estimators.task_vector import TASK_VECTOR, TaskVector
from auditor.plan.settings import RECOMMENDED, EstimatorSettings
from auditor.stagelog.strict_json import refusal

KINDS: Final[tuple[AnyKind, ...]] = (
    AUTO,
    SUBSAMPLED_REPLAY,
    RETRAIN,
    AA_SCORE,
    CHECKPOINT_DELTA,
    TASK_VECTOR,
    CHECKPOINT_JUMP,
    COARSE_REPLAY,
    SETTLE,
)
"""In the order in which ``stageaudit estimators`` lists them."""

DEFAULT: Final = AutoSettings()
"""What ``default`` stands for in this version."""

BASELINES: dict[str, Estimator] = {
    "checkpoint_delta": CheckpointDelta(),
    "task_vector": TaskVector(),
}
"""The free baselines that stand beside every effect."""


def kind_of(settings: EstimatorSettings) -> AnyKind:
    """Return the kind of estimator that settings name.

    Raises:
        InputError: If there is none of this name.
    """
    identifier = DEFAULT.id if settings.id == RECOMMENDED.id else settings.id
    for kind in KINDS:
        if kind.id == identifier:
            return kind
    raise InputError(
        "estimator.id",
        expected=f"{RECOMMENDED.id} or one of " + ", ".join(kind.id for kind in KINDS),
        found=settings.id,
        remedy="Correct the name; `stageaudit estimators` says what each answers.",
    )


def resolved(settings: EstimatorSettings) -> EstimatorSettings:
    """Return an estimator's own settings, with its defaults where a request leaves them out.

    Raises:
        InputError: If there is no such estimator, or it has no such settings.
    """
    kind = kind_of(settings)
    own: type[EstimatorSettings] = kind.settings
    if isinstance(settings, own):
        return settings
    try:
        return own.model_validate({**settings.model_dump(), "id": kind.id})
    except ValidationError as error:
        raise _refused(error) from error


def estimator_for(settings: EstimatorSettings) -> Estimator:
    """Return the estimator that settings describe."""
    return kind_of(settings).build(resolved(settings))


def _refused(error: ValidationError) -> InputError:
    """Return our error for the first setting that does not hold."""
    found = refusal(error, where="")
    where = f"estimator.{found.where}" if found.where else "estimator"
    return InputError(where, expected=found.expected, found=found.found, remedy=found.remedy)
