"""What a user declares about a stage, when a library knows the rest."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, final

from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.record.encodings import Declared
from auditor.record.preprocessing import Preprocessing
from auditor.record.recorder import Recorder
from auditor.record.stage import StageRecorder
from auditor.record.stage_settings import SelfCheck
from auditor.stagelog.log import Clipping, Loss, StageKind


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StageDeclaration:
    """The arguments of :meth:`auditor.record.recorder.Recorder.stage`, as there.

    Attributes:
        name: Name in the log and in reports.
        loss: A kind or the whole description.
        inputs: Name of each argument of ``model.forward``, in order, and its column.
        target: Column of the loss's target.
        kind: What the stage is for.
        weight: Column of per-example weights of the loss.
        output: Which output of the model the loss takes.
        accumulation: Backward passes of a step, in all processes together.
        accumulated: How a mean loss is accumulated.
        clipping: Gradient clipping before the step.
        precision: The parameters' by default.
        cadence_steps: Keep a checkpoint every so many steps.
        self_check: Whether the stage is replayed when it closes.
        tokenizer: Folder of the tokenizer that made the columns, or its digest.
        preprocessing: How the columns were made from images.
    """

    name: str
    loss: Loss | str
    inputs: Mapping[str, str]
    target: str
    kind: StageKind | str = StageKind.OTHER
    weight: str | None = None
    output: int = 0
    accumulation: int = 1
    accumulated: Literal["microbatches", "step"] = "microbatches"
    clipping: Clipping | None = None
    precision: str | None = None
    cadence_steps: int | None = None
    self_check: SelfCheck = "replay"
    tokenizer: Declared = None
    preprocessing: Declared | Preprocessing = None

    def open(
        self, recorder: Recorder, optimizer: TorchOptimizer
    ) -> AbstractContextManager[StageRecorder]:
        """Return the stage, to be entered."""
        return recorder.stage(
            self.name,
            optimizer=optimizer,
            loss=self.loss,
            inputs=self.inputs,
            target=self.target,
            kind=self.kind,
            weight=self.weight,
            output=self.output,
            accumulation=self.accumulation,
            accumulated=self.accumulated,
            clipping=self.clipping,
            precision=self.precision,
            cadence_steps=self.cadence_steps,
            self_check=self.self_check,
            tokenizer=self.tokenizer,
            preprocessing=self.preprocessing,
        )
