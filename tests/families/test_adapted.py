"""Model families through the whole chain: derivatives, recording, replay, audit."""

import pytest

from tests.support.family_chain import (
    recorded_once,
    require_audit,
    require_derivatives,
    require_per_example_gradients,
    require_replay,
)
from tests.support.family_models import ADAPTED


@pytest.mark.parametrize("name", ADAPTED)
def test_family_passes_the_chain(name: str) -> None:
    family = ADAPTED[name]
    recorded = recorded_once(family)

    require_derivatives(family, recorded)
    require_per_example_gradients(family, recorded)
    require_replay(recorded)
    require_audit(family, recorded)
