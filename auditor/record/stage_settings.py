"""What a stage is, as its caller declared it."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.stagelog.log import Bindings, Clipping, Loss, StageKind
from auditor.stagelog.record import DigestField, Name, Record

SelfCheck = Literal["replay", "off"]


class StageSettings(Record):
    """What a stage is, as the caller of :meth:`Recorder.stage` declared it."""

    name: Name
    kind: StageKind
    bindings: Bindings
    loss: Loss
    accumulation: Annotated[int, Field(ge=1)]
    accumulated: Literal["microbatches", "step"]
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    ema_from: Literal["stage_start", "first_step"]
    clipping: Clipping | None
    augmentation: Literal["none", "not_recorded"]
    precision: str | None
    cadence_steps: Annotated[int, Field(ge=1)] | None
    self_check: SelfCheck
    generated_by: Name | None
    tokenizer: DigestField | None
    preprocessing: DigestField | None
