"""A checkpoint by a model's names; what differs is named with what to do."""

import pytest
import torch
from torch import Tensor

from auditor.errors import AuditorError, InputError, ShapeError, UnsupportedError
from auditor.record.fitted_state import FittedState, fitted_state, merged_infos
from auditor.stagelog.log import ParameterInfo


def info(*shape: int, dtype: str = "float32", tied_to: str | None = None) -> ParameterInfo:
    return ParameterInfo(shape=shape, dtype=dtype, tied_to=tied_to)


INFOS = {
    "bert.embed.weight": info(4, 2),
    "bert.norm.weight": info(2),
    "classifier.weight": info(2, 2),
}
STATE = {
    "bert.embed.weight": torch.ones(4, 2),
    "bert.norm.weight": torch.ones(2),
    "classifier.weight": torch.ones(2, 2),
}


def fit(state: dict[str, Tensor], infos: dict[str, ParameterInfo] = INFOS) -> FittedState:
    return fitted_state(state, infos, prefix="bert.", where="sft")


def test_a_whole_checkpoint_fits_as_it_is() -> None:
    found = fit(STATE)

    assert found.tensors.keys() == INFOS.keys()
    assert (found.missing, found.surplus, found.widened) == ((), (), ())


@pytest.mark.parametrize("prefix", ["module.", "model.", "net._orig_mod."])
def test_a_prefix_that_all_names_share_is_dropped(prefix: str) -> None:
    found = fit({f"{prefix}{name}": value for name, value in STATE.items()})

    assert found.tensors.keys() == INFOS.keys()


def test_names_of_the_bare_model_get_its_prefix() -> None:
    found = fit({"embed.weight": torch.ones(4, 2), "norm.weight": torch.ones(2)})

    assert found.tensors.keys() == {"bert.embed.weight", "bert.norm.weight"}
    assert found.missing == ("classifier.weight",)


def test_a_head_that_the_model_does_not_have_is_left_out_and_named() -> None:
    found = fit({**STATE, "cls.predictions.bias": torch.ones(4)})

    assert found.surplus == ("cls.predictions.bias",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(dtype: torch.dtype) -> None:
    value = torch.tensor([0.1, -3.0], dtype=dtype)

    found = fit({**STATE, "bert.norm.weight": value})

    assert found.tensors["bert.norm.weight"].dtype is torch.float32
    assert found.tensors["bert.norm.weight"].to(dtype).equal(value)
    assert found.widened == (str(dtype).removeprefix("torch."),)


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("classifier.weight", torch.ones(3, 2), ShapeError, "a replaced head"),
        ("bert.embed.weight", torch.ones(5, 2), ShapeError, "resize_token_embeddings"),
        ("bert.norm.weight", torch.ones(2).double(), UnsupportedError, "float64"),
        ("bert.norm.weight", torch.ones(2).to(torch.int8), UnsupportedError, "quantised"),
        ("bert.embed.weight.absmax", torch.ones(2), UnsupportedError, "quantised"),
        ("bert.norm.qweight", torch.ones(2).int(), UnsupportedError, "dequantise"),
    ],
)
def test_what_does_not_fit_is_named(
    name: str, value: Tensor, error: type[AuditorError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        fit({**STATE, name: value})

    assert caught.value.where == f"sft: {name}"


def test_another_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="one architecture"):
        fit({"conv.weight": torch.ones(3)})


TIED = {"wte.weight": info(3, 2), "lm_head.weight": info(3, 2, tied_to="wte.weight")}


@pytest.mark.parametrize("names", [["wte.weight"], ["lm_head.weight"], list(TIED)])
def test_of_tied_names_either_may_be_stored(names: list[str]) -> None:
    found = fitted_state(
        dict.fromkeys(names, torch.ones(3, 2)), TIED, prefix="transformer.", where="sft"
    )

    assert found.tensors.keys() == {"wte.weight"}
    assert found.missing == ()


def test_tied_names_with_other_values_are_refused() -> None:
    state = {"wte.weight": torch.ones(3, 2), "lm_head.weight": torch.zeros(3, 2)}

    with pytest.raises(InputError, match="tie_word_embeddings"):
        fitted_state(state, TIED, prefix="transformer.", where="sft")


def test_a_name_has_one_shape_and_dtype_in_all_stages() -> None:
    assert merged_infos(INFOS, INFOS, where="dpo") == INFOS
    with pytest.raises(ShapeError, match=r"dpo: classifier\.weight"):
        merged_infos(INFOS, {"classifier.weight": info(3, 2)}, where="dpo")
    with pytest.raises(UnsupportedError, match="one dtype"):
        merged_infos(INFOS, {"classifier.weight": info(2, 2, dtype="float64")}, where="dpo")
