"""A model on disk is compared with torch when it is written and when it is used."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.errors import ArtifactMissingError, InputError, StageLogError
from auditor.model.tensors import read_tensors
from auditor.record.exported_model import (
    GRAPH_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    export_model,
    read_exported_model,
    require_reference,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Tied(nn.Module):
    """A model whose output weights are its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.mix = nn.Linear(3, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(self.embed(ids))))


@pytest.fixture(scope="module")
def net() -> Tied:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tied().train()


@pytest.fixture(scope="module")
def folder(net: Tied, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported")
    export_model(path, net, (torch.tensor([[0, 1], [2, 4]]),), input_names=["ids"], task="language")
    return path


def test_names_order_and_ties_are_the_modules(net: Tied, folder: Path) -> None:
    model, graph = read_exported_model(folder)

    assert (model.architecture, model.task, model.inputs) == ("Tied", "language", ("ids",))
    assert model.order == ("embed.weight", "mix.weight", "mix.bias")
    assert model.parameters["out.weight"].tied_to == "embed.weight"
    assert graph == (folder / GRAPH_FILE).read_bytes()
    assert net.training


def test_reference_and_weights_are_torchs_own(net: Tied, folder: Path) -> None:
    reference = read_tensors((folder / REFERENCE_FILE).read_bytes(), where="reference")
    weights = read_tensors((folder / WEIGHTS_FILE).read_bytes(), where="weights")

    with torch.no_grad():
        assert reference["output"].equal(net(reference["ids"]))
    assert weights.keys() == {"embed.weight", "mix.weight", "mix.bias"}
    assert weights["mix.bias"].equal(net.mix.bias)


def test_the_checkpoint_of_the_export_reproduces_its_outputs(folder: Path) -> None:
    weights = read_tensors((folder / WEIGHTS_FILE).read_bytes(), where="weights")

    assert require_reference(folder, weights) <= 1e-6


def test_another_checkpoint_is_found_and_causes_are_named(folder: Path) -> None:
    weights = read_tensors((folder / WEIGHTS_FILE).read_bytes(), where="weights")

    with pytest.raises(StageLogError, match="in order: weights of another checkpoint"):
        require_reference(folder, {**weights, "mix.bias": weights["mix.bias"] + 0.01})


def test_a_graph_that_is_not_the_models_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in (GRAPH_FILE, MODEL_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / GRAPH_FILE).write_bytes((folder / GRAPH_FILE).read_bytes() + b" ")

    with pytest.raises(InputError, match=r"graph\.onnx"):
        read_exported_model(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match=r"model\.json"):
        read_exported_model(tmp_path)


def test_a_module_that_returns_no_tensor_is_refused(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * self.scale, x

    with pytest.raises(InputError, match="one tensor"):
        export_model(tmp_path, Pair(), (torch.ones(2, 2),), input_names=["x"])
