"""What a manifest can say but this version does not compute is refused by name, with a way out."""

from typing import Any

import pytest

from auditor.errors import UnsupportedError
from auditor.stagelog.log import ParameterInfo
from auditor.stagelog.validate import refuse_unsupported, validate
from tests.support.manifests import make_log, make_stage

D = "7" * 64
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": {"kind": "lion"}}, "stages[1].optimizer.kind"),
    ({"optimizer": {"kind": "adam", "amsgrad": True}}, "stages[1].optimizer.amsgrad"),
    ({"optimizer": {"kind": "sgd", "maximize": True}}, "stages[1].optimizer.maximize"),
    ({"loss": {"kind": "mse", "over": "tokens"}}, "stages[1].loss.over"),
    ({"loss": {"kind": "own"}}, "stages[1].loss.kind"),
    ({"precision": "bfloat16"}, "stages[1].precision"),
    ({"precision": "float16"}, "stages[1].precision"),
    ({"precision": "autocast float16 over float64"}, "stages[1].precision"),
    ({"precision": "float64"}, 'parameters["weight"].dtype'),
    ({"stochastic": {"dropout": "not_recorded"}}, "stages[1].stochastic.dropout"),
    ({"stochastic": {"dropout": "seeded"}}, "stages[1].stochastic.dropout"),
    ({"stochastic": {"augmentation": "not_recorded"}}, "stages[1].stochastic.augmentation"),
    ({"parents": ("stage0",)}, "stages[1].parents"),
    (
        {"bindings": {"inputs": {"x": "image"}, "target": "label", "mask": "label"}},
        "stages[1].bindings.mask",
    ),
]


@pytest.mark.parametrize(("changes", "where"), REFUSED, ids=lambda v: str(v)[:50])
def test_what_is_not_treated_is_valid_but_refused_by_name(
    changes: dict[str, Any], where: str
) -> None:
    log = make_log(make_stage(0), make_stage(1, **changes))
    validate(log)

    with pytest.raises(UnsupportedError) as caught:
        refuse_unsupported(log)

    assert caught.value.where == where
    assert len(caught.value.remedy) > 20


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulation": 4},
        {"precision": "autocast float16 over float32", "loss_scale": "recorded"},
        {"optimizer": {"kind": "adamw"}},
        {"optimizer": {"kind": "sgd", "nesterov": True}},
        {"loss": {"kind": "binary_cross_entropy_with_logits", "reduction": "sum"}},
        {"stochastic": {"augmentation": "recorded"}},
    ],
)
def test_what_is_treated_is_accepted(changes: dict[str, Any]) -> None:
    refuse_unsupported(make_log(make_stage(0, **changes)))


def test_several_processes_are_accepted() -> None:
    log = make_log()
    run = log.run.model_copy(update={"world_size": 8})

    refuse_unsupported(log.model_copy(update={"run": run}))


def test_frozen_parameters_may_have_another_precision() -> None:
    half = ParameterInfo(shape=(2,), dtype="float16")
    log = make_log()

    refuse_unsupported(log.model_copy(update={"parameters": {**log.parameters, "half": half}}))
