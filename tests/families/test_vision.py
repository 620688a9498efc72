"""Model families through the whole chain: derivatives, recording, replay, audit."""

import pytest

from tests.support.families import in_double
from tests.support.family_chain import (
    recorded_once,
    require_audit,
    require_derivatives,
    require_per_example_gradients,
    require_replay,
)
from tests.support.family_models import VISION

AMPLIFYING = {"resnet18"}
"""Families whose effects move by a tenth when float32 rounds otherwise, as on another processor."""


@pytest.mark.parametrize("name", VISION)
def test_family_passes_the_chain(name: str) -> None:
    family = VISION[name]
    recorded = recorded_once(family)

    require_derivatives(family, recorded)
    require_per_example_gradients(family, recorded)
    require_replay(recorded)
    if name in AMPLIFYING:
        family = in_double(family)
        recorded = recorded_once(family)
    require_audit(family, recorded)
