"""Record the demo's training and write its evaluation data, as a user of the library would."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import save_file
from torch import nn

from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.recorder import Recorder
from service.demo.training import Batch, Pipeline, build_optimizer, train_stage

RUN_NAME: Final = "digits-demo"
KINDS: Final[Mapping[str, str]] = {
    "pretrain": "pretrain",
    "vendor": "finetune",
    "finetune": "finetune",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoFolders:
    """Where the demo keeps what it makes."""

    root: Path

    @property
    def log(self) -> Path:
        """The stage log."""
        return self.root / "log"

    @property
    def model(self) -> Path:
        """The final model, as it would be deployed."""
        return self.root / "model.safetensors"

    @property
    def request(self) -> Path:
        """The audit request."""
        return self.root / "request.yaml"

    @property
    def report(self) -> Path:
        """The signed report."""
        return self.root / "report.json"

    @property
    def service(self) -> Path:
        """The embedded service's data."""
        return self.root / "service"

    def evaluation_set(self, name: str) -> Path:
        """An evaluation set."""
        return self.root / name


def record_training(pipeline: Pipeline, folder: Path) -> nn.Module:
    """Train every stage under the recorder and return the final network."""
    model = pipeline.model()
    recorder = Recorder(folder, model, run_name=RUN_NAME)
    for name, batches in pipeline.batches.items():
        data = recorder.dataset(name, pipeline.data.stages[name].columns())
        optimizer = build_optimizer(model)
        with recorder.stage(
            name,
            kind=KINDS[name],
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"image": "image"},
            target="label",
        ) as stage:

            def declare(batch: Batch) -> None:
                stage.batch(data, batch.indices)  # noqa: B023 - called inside this turn of the loop

            train_stage(model, optimizer, batches, before_step=declare)
    return model


def write_evaluation_data(pipeline: Pipeline, folders: DemoFolders) -> None:
    """Write the sets that the queries and the reference use."""
    data = pipeline.data
    for name, examples in {
        "heldout": data.heldout,
        "with-patch": data.treated,
        "without-patch": data.control,
        "reference": data.reference,
    }.items():
        write_evaluation_folder(folders.evaluation_set(name), name=name, columns=examples.columns())


def write_model(model: nn.Module, path: Path) -> None:
    """Write the final network as safetensors."""
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
