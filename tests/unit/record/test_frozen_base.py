"""What has not changed is written once, and a base that others have is named, not held."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.errors import AuditorError, PreconditionError, StageLogError
from auditor.model.tensors import read_tensors
from auditor.record.frozen_base import FrozenBase, save_frozen_base
from auditor.record.recorder import Recorder
from auditor.stagelog.content import check_content
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.validate import validate
from service.cli.main import run as type_command
from tests.support.builders import FixedClock, export_once
from tests.support.cases import quiet

WIDTH = 64


class Adapted(nn.Module):
    """A wide layer, and an adapter of rank 1 that may be added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)
        self.a: nn.Linear | None = None
        self.b: nn.Linear | None = None

    def adapt(self) -> None:
        self.base.requires_grad_(requires_grad=False)
        self.head.requires_grad_(requires_grad=False)
        self.a = nn.Linear(WIDTH, 1, bias=False)
        self.b = nn.Linear(1, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x)
        if self.a is not None and self.b is not None:
            h = h + self.b(self.a(x))
        logits: Tensor = self.head(h.tanh())
        return logits


def train(recorder: Recorder, model: nn.Module, name: str, *, cadence: int | None = None) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, WIDTH, generator=generator)
    label = torch.randint(3, (32,), generator=generator)
    data = recorder.dataset(f"data-{name}", {"x": x, "label": label})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    with recorder.stage(
        name, optimizer=optimizer, loss="cross_entropy", inputs={"x": "x"}, target="label",
        cadence_steps=cadence,
    ) as stage:  # fmt: skip
        for _ in range(6):
            rows = torch.randperm(32, generator=generator)[:8]
            stage.batch(data, rows)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), label[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def held(folder: Path) -> dict[str, int]:
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    return {digest: blobs.size(digest) for digest in blobs.digests()}


def require_sound(folder: Path, *, stages: int) -> Run:
    log, digest, blobs = read_log(folder)
    validate(log)
    check_content(log, blobs)
    run = Run(log, digest, blobs)
    for index in range(stages):
        assert check_segment(run, index, on_block=quiet).verdict == "consistent"
    return run


def test_adapter_stage_costs_what_the_adapter_has(tmp_path: Path) -> None:
    model = Adapted()
    recorder = Recorder(tmp_path, model, run_name="lora", export=export_once, clock=FixedClock())
    train(recorder, model, "base")
    before = held(tmp_path)
    model.adapt()

    train(recorder, model, "adapt", cadence=2)

    stage = recorder.log.stages[1]
    adapter = 2 * WIDTH * 4
    for checkpoint in stage.checkpoints:
        own = [FolderBlobs(tmp_path / BLOBS_FOLDER).size(Digest(str(d)))
               for d in (checkpoint.parameters, checkpoint.optimizer)]  # fmt: skip
        assert own[0] < adapter + 400
        assert own[1] < 2 * adapter + 1000
        assert checkpoint.unchanged == (recorder.log.boundary(1).parameters,)
    assert set(before) <= set(held(tmp_path))
    run = require_sound(tmp_path, stages=2)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in run.final_tensors().items())
    assert set(run.final_tensors()) == set(state)


def test_trained_stage_holds_its_own_parameters(tmp_path: Path) -> None:
    model = Adapted()
    recorder = Recorder(tmp_path, model, run_name="all", export=export_once, clock=FixedClock())

    train(recorder, model, "base")

    assert recorder.log.boundary(1).unchanged is None


def base_file(model: nn.Module, folder: Path) -> FrozenBase:
    file = folder / "base.safetensors"
    save_frozen_base(model, file)
    return FrozenBase(file=file, place="the model hub, revision 7")


def test_base_by_reference_is_not_in_the_log(tmp_path: Path) -> None:
    model = Adapted()
    model.adapt()
    base, folder = base_file(model, tmp_path), tmp_path / "log"
    recorder = Recorder(
        folder, model, run_name="lora", export=export_once, clock=FixedClock(), frozen_base=base
    )
    train(recorder, model, "adapt")
    digest = sha256(base.file.read_bytes())

    log = recorder.log
    assert log.start.unchanged == (digest,)
    assert log.external is not None
    assert log.external[digest].place == "the model hub, revision 7"
    assert digest not in held(folder)
    assert set(read_tensors(FolderBlobs(folder / BLOBS_FOLDER).read(
        Digest(log.start.parameters)), where="start")) == {"a.weight", "b.weight"}  # fmt: skip


def test_log_says_where_its_base_is_and_works_once_it_is_attached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Adapted()
    model.adapt()
    base, folder = base_file(model, tmp_path), tmp_path / "log"
    recorder = Recorder(
        folder, model, run_name="lora", export=export_once, clock=FixedClock(), frozen_base=base
    )
    train(recorder, model, "adapt")
    log, _, blobs = read_log(folder)
    with pytest.raises(PreconditionError, match="the model hub, revision 7"):
        check_content(log, blobs)

    with pytest.raises(SystemExit) as ended:
        type_command(["log", "attach", str(folder), str(base.file)])

    assert ended.value.code in {None, 0}
    assert "attached" in capsys.readouterr().out
    require_sound(folder, stages=1)


def test_another_file_is_not_attached(tmp_path: Path) -> None:
    model = Adapted()
    model.adapt()
    base, folder = base_file(model, tmp_path), tmp_path / "log"
    recorder = Recorder(folder, model, run_name="l", export=export_once, frozen_base=base)
    train(recorder, model, "adapt")
    other = tmp_path / "other"
    other.write_bytes(b"other")

    with pytest.raises(SystemExit) as ended:
        type_command(["log", "attach", str(folder), str(other)])

    assert ended.value.code == 7


def test_base_of_another_model_is_refused(tmp_path: Path) -> None:
    base = base_file(Adapted(), tmp_path)
    save_frozen_base(nn.BatchNorm1d(3), base.file)

    with pytest.raises(StageLogError, match="save_frozen_base"):
        Recorder(tmp_path / "log", Adapted(), run_name="l", frozen_base=base)


def test_base_that_is_no_safetensors_is_our_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"no tensors at all")

    with pytest.raises(AuditorError):
        Recorder(tmp_path / "log", Adapted(), run_name="l", frozen_base=FrozenBase(file=file))


class Wrapped(nn.Module):
    """What adapter libraries make of a model: its base has other names."""

    def __init__(self, inner: Adapted) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


def test_base_under_new_names_is_written_once_for_a_stage(tmp_path: Path) -> None:
    model = nn.Sequential()
    inner = Adapted()
    model.append(inner)
    recorder = Recorder(tmp_path, model, run_name="lora", export=export_once, clock=FixedClock())
    generator = torch.Generator().manual_seed(1)
    columns = {
        "x": torch.randn(32, WIDTH, generator=generator),
        "label": torch.randint(3, (32,), generator=generator),
    }
    data = recorder.dataset("data", columns)

    def train_stage(name: str) -> None:
        own = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        with recorder.stage(
            name, optimizer=own, loss="cross_entropy", inputs={"input": "x"}, target="label",
            cadence_steps=1,
        ) as stage:  # fmt: skip
            for _ in range(5):
                rows = torch.randperm(32, generator=generator)[:8]
                stage.batch(data, rows)
                own.zero_grad()
                loss = nn.functional.cross_entropy(
                    model(columns["x"][rows]), columns["label"][rows]
                )
                loss.backward()  # type: ignore[no-untyped-call]
                own.step()

    train_stage("base")
    inner.adapt()
    model[0] = Wrapped(inner)
    before = sum(held(tmp_path).values())
    train_stage("adapt")

    base = sum(p.numel() * 4 for p in inner.parameters() if not p.requires_grad)
    added = sum(held(tmp_path).values()) - before
    assert added < 2.5 * base  # once, and at most once more as added values; not five times
    require_sound(tmp_path, stages=2)
