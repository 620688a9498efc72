"""Lightning, recorded and audited; truth is Lightning run without the stage."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from auditor.errors import UnsupportedError
from auditor.record.adapters.declaration import StageDeclaration
from tests.support.adapter_runs import memory_recorder, replay_verdicts, retrained_without
from tests.support.builders import export_once
from tests.support.lightning_library import lightning
from tests.support.lightning_module import Classifier, columns, loader

from auditor.record.adapters.lightning import StageCallback  # isort: skip

pytestmark = [
    # Of Lightning about itself and about the loaders that a small test needs.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
STAGES: list[dict[str, Any]] = [
    {"max_epochs": 2},
    {"accumulate_grad_batches": 3, "gradient_clip_val": 0.1, "workers": 2},
]


def fit(module: Any, stage: int, *callbacks: Any, **options: Any) -> None:
    workers = options.pop("workers", 0)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), **{"max_epochs": 1, **options},
    )  # fmt: skip
    trainer.fit(module, loader(stage, workers))


class DropRows(lightning.Callback):
    """Takes the positions out of the batch, and nothing else."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        batch.pop()


def declared(name: str) -> StageDeclaration:
    return StageDeclaration(
        name=name, loss="cross_entropy", inputs={"input": "x"}, target="label", kind="finetune"
    )


def test_two_stages_are_audited_as_lightning_would_retrain_them() -> None:
    module, skipped = Classifier(), Classifier()
    recorder, blobs = memory_recorder(module.network, export=export_once)
    for stage, options in enumerate(STAGES):
        data = recorder.dataset(f"data{stage}", columns(stage))
        callback = StageCallback(recorder, module.network, declared(f"stage{stage}"), dataset=data)
        fit(module, stage, callback, **options)
    fit(skipped, 1, DropRows(), **STAGES[1])

    log, held_out = recorder.log, columns(9)
    report = retrained_without(log, blobs, stages=["stage0"], held_out=held_out, target="label")

    with torch.no_grad():
        factual, without = (
            functional.cross_entropy(m.network(held_out["x"]), held_out["label"]).item()
            for m in (module, skipped)
        )
    assert report.effects[0].value == pytest.approx(factual - without, rel=1e-4)
    assert replay_verdicts(log, blobs) == ["consistent", "consistent"]
    assert [stage.steps for stage in log.stages] == [12, 2]
    assert (log.stages[1].accumulation, log.stages[1].clipping is not None) == (3, True)


def test_manual_optimization_is_refused_before_the_first_step() -> None:
    module = Classifier(manual="yes")
    recorder, _ = memory_recorder(module.network, export=export_once)
    data = recorder.dataset("data", columns(0))
    before = module.network[0].weight.clone()

    with pytest.raises(UnsupportedError, match="automatic_optimization"):
        fit(module, 0, StageCallback(recorder, module.network, declared("only"), dataset=data))

    assert torch.equal(module.network[0].weight, before)


def test_failure_in_the_middle_leaves_the_trainer_without_hooks() -> None:
    module = Classifier()
    recorder, _ = memory_recorder(module.network, export=export_once)
    data = recorder.dataset("data", columns(0))

    class Stop(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    callback = StageCallback(recorder, module.network, declared("only"), dataset=data)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(module, 0, callback, Stop())

    assert not module.network._forward_pre_hooks
