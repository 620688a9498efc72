"""Binding of what is deployed: bit for bit, by a replayed derivation, or by values."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from auditor.audit.bind import bind_model
from auditor.dynamics.run import Run
from auditor.effects import Query
from auditor.errors import PreconditionError, UnsupportedError
from auditor.model.derivation import derive
from auditor.model.tensors import write_tensors
from auditor.plan.derivation import (
    Cast,
    DerivationStep,
    FoldBatchNorm,
    MergeLora,
    Rename,
    SameValues,
    derivation_text,
)
from tests.support.builders import RecordedRun, make_stage_log

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=1, dtype=torch.float32)


def final(run: RecordedRun) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in run.model.state_dict().items()}


def bind(run: RecordedRun, tensors: Tensors, *steps: DerivationStep) -> float | None:
    queries = tuple(
        Query(name=kind, kind=kind, better="lower", data=run.evaluation, target="label")
        for kind in ("loss", "accuracy")
    )
    finding = bind_model(
        Run(run.log, run.digest, run.blobs),
        run.blobs.write(write_tensors(tensors)),
        blobs=run.blobs,
        derivation=steps,
        queries=queries,
    )
    assert finding.bound
    assert finding.derivation == (derivation_text(steps) if steps else None)
    return finding.deviation


def test_equal_file_is_bound_bit_for_bit(run: RecordedRun) -> None:
    assert bind(run, final(run)) is None


def test_undeclared_cast_is_not_bound(run: RecordedRun) -> None:
    cast = {name: tensor.bfloat16() for name, tensor in final(run).items()}

    with pytest.raises(PreconditionError, match="declare `derivation`"):
        bind(run, cast)


def test_declared_cast_is_bound_bit_for_bit(run: RecordedRun) -> None:
    cast = {name: tensor.bfloat16() for name, tensor in final(run).items()}

    assert bind(run, cast, Cast(dtype="bfloat16")) is None


def test_cast_with_one_other_value_is_not_bound(run: RecordedRun) -> None:
    cast = {name: tensor.bfloat16() for name, tensor in final(run).items()}
    cast["0.weight"][0, 0] *= 1.01

    with pytest.raises(PreconditionError, match=r"0\.weight"):
        bind(run, cast, Cast(dtype="bfloat16"))


def test_renamed_file_is_bound(run: RecordedRun) -> None:
    renamed = {name.replace("0.", "body.", 1): t for name, t in final(run).items()}

    assert bind(run, renamed, Rename(prefix="0.", to="body.")) is None


def test_values_within_the_tolerance_bind(run: RecordedRun) -> None:
    near = {name: tensor.bfloat16() for name, tensor in final(run).items()}

    deviation = bind(run, near, SameValues(tolerance=0.05))

    assert deviation is not None
    assert 0 < deviation <= 0.05
    with pytest.raises(PreconditionError, match="query loss"):
        bind(run, near, SameValues(tolerance=deviation / 10))


def test_values_need_the_names_of_the_log(run: RecordedRun) -> None:
    with pytest.raises(PreconditionError, match="names"):
        bind(run, {"other": torch.zeros(2)}, SameValues(tolerance=1.0))


def test_values_and_replay_do_not_mix(run: RecordedRun) -> None:
    with pytest.raises(UnsupportedError):
        bind(run, final(run), Cast(dtype="bfloat16"), SameValues(tolerance=1.0))


def lora(generator: torch.Generator) -> Tensors:
    """A linear layer adapted as PEFT names it."""
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {
        "q.base_layer.weight": draw(6, 5),
        "q.base_layer.bias": draw(6),
        "q.lora_A.default.weight": draw(2, 5),
        "q.lora_B.default.weight": draw(6, 2),
        "head.weight": draw(3, 6),
    }


def test_merged_adapters_compute_what_the_adapted_layer_did() -> None:
    generator = torch.Generator().manual_seed(0)
    before = lora(generator)
    x = torch.randn(4, 5, generator=generator)
    adapted = (
        nn.functional.linear(x, before["q.base_layer.weight"], before["q.base_layer.bias"])
        + 0.5 * (x @ before["q.lora_A.default.weight"].T) @ before["q.lora_B.default.weight"].T
    )

    after = derive(before, (MergeLora(scale=0.5),))

    assert set(after) == {"q.weight", "q.bias", "head.weight"}
    torch.testing.assert_close(nn.functional.linear(x, after["q.weight"], after["q.bias"]), adapted)


def test_folded_norm_is_what_torch_folds() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    model(torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1)))
    model.eval()
    fused = fuse_conv_bn_eval(model[0], model[1])

    after = derive(model.state_dict(), (FoldBatchNorm(pairs={"0": "1"}),))

    assert set(after) == {"0.weight", "0.bias"}
    torch.testing.assert_close(after["0.weight"], fused.weight.detach())
    assert fused.bias is not None
    torch.testing.assert_close(after["0.bias"], fused.bias.detach())


def test_arithmetic_done_in_another_order_is_within_rounding(run: RecordedRun) -> None:
    """The deployed file was made by adding the product, computed in float64, afterwards."""
    tensors = final(run)
    a, b = torch.randn(2, 4), torch.randn(5, 2)

    names = {"0.lora_A.weight": a, "0.lora_B.weight": b}
    merged = derive({**tensors, **names}, (MergeLora(scale=0.3),))
    exact = tensors["0.weight"].double() + 0.3 * (b.double() @ a.double())

    difference = (merged["0.weight"].double() - exact).abs().max() / exact.abs().max()
    assert float(difference) < 4 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    "step",
    [MergeLora(scale=1.0), FoldBatchNorm(pairs={"0": "9"}), Rename(prefix="none.")],
    ids=lambda step: step.kind,
)
def test_derivation_without_anything_to_act_on_is_refused(
    run: RecordedRun, step: DerivationStep
) -> None:
    with pytest.raises(PreconditionError):
        bind(run, final(run), step)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors: tensors.pop("q.lora_B.default.weight"),
        lambda tensors: tensors.pop("q.base_layer.weight"),
    ],
)
def test_half_an_adapter_is_refused(spoil: Callable[[Tensors], Tensor]) -> None:
    tensors = lora(torch.Generator().manual_seed(0))
    spoil(tensors)

    with pytest.raises(PreconditionError):
        derive(tensors, (MergeLora(scale=1.0),))
