"""R_t: resets, carry-over, added, removed and reordered parameters, for any leading axes."""

import pytest
import torch

from auditor.dynamics.state import TrainingState
from auditor.dynamics.transitions import TransitionMap
from auditor.errors import PreconditionError
from auditor.model.layout import ParameterLayout
from auditor.stagelog.log import Transition

BEFORE = ParameterLayout(("a", "b"), ((2,), ()))
AFTER = ParameterLayout(("new", "a"), ((2,), (2,)))
SLOTS = ("initialised", "momentum_buffer")


def make_map(transition: Transition, *, slots: tuple[str, ...] = SLOTS) -> TransitionMap:
    return TransitionMap(
        transition=transition,
        before=BEFORE,
        after=AFTER,
        added={"new": torch.tensor([7.0, 8.0]), "mean": torch.tensor([4.0])},
        slots=slots,
        where="stages[1]",
    )


STATE = TrainingState(
    theta=torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    slots={
        "momentum_buffer": torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        "initialised": torch.tensor([[1.0, 0.5], [1.0, 1.0]]),
    },
    buffers={"old": torch.zeros(2, 1)},
)
KEEP = Transition(optimizer="keep", added=("new", "mean"), removed=("b", "old"))


def test_parameters_move_by_name() -> None:
    after = make_map(KEEP)(STATE)

    assert after.theta.tolist() == [[7.0, 8.0, 1.0, 2.0], [7.0, 8.0, 4.0, 5.0]]
    assert after.buffers["mean"].tolist() == [[4.0], [4.0]]
    assert "old" not in after.buffers


def test_kept_optimizer_moves_along_and_added_parameters_have_none() -> None:
    after = make_map(KEEP)(STATE)

    torch.testing.assert_close(
        after.slots["momentum_buffer"], torch.tensor([[0.0, 0.0, 0.1, 0.2], [0.0, 0.0, 0.4, 0.5]])
    )
    assert after.slots["initialised"].tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_reset_empties_every_slot() -> None:
    after = make_map(KEEP.model_copy(update={"optimizer": "reset"}))(STATE)

    assert not after.slots["momentum_buffer"].any()
    assert not after.slots["initialised"].any()


def test_unused_slots_are_carried_along() -> None:
    after = make_map(KEEP, slots=())(STATE)

    assert sorted(after.slots) == ["initialised", "momentum_buffer"]


def test_state_of_another_optimizer_is_not_kept() -> None:
    with pytest.raises(PreconditionError, match=r"stages\[1\]\.transition\.optimizer"):
        make_map(KEEP, slots=("count", "exp_avg", "exp_avg_sq"))(STATE)


def test_renamed_parameter_keeps_its_value_and_slots() -> None:
    moved = TransitionMap(
        transition=Transition(optimizer="keep", renamed={"new": "a"}, removed=("b", "old")),
        before=BEFORE,
        after=ParameterLayout(("new",), ((2,),)),
        added={},
        slots=SLOTS,
        where="stages[1]",
    )(STATE)

    torch.testing.assert_close(moved.theta, STATE.theta[:, :2])
    torch.testing.assert_close(
        moved.slots["momentum_buffer"], STATE.slots["momentum_buffer"][:, :2]
    )
    torch.testing.assert_close(moved.slots["initialised"], STATE.slots["initialised"][:, :1])
    assert not moved.buffers
