"""Results of finished actions, read from their blobs."""

from collections.abc import Mapping
from typing import final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_arrays
from typing_extensions import override

from auditor.audit.failures import require_no_failure
from auditor.errors import InternalError
from auditor.estimators.base import Finished, Floats
from auditor.plan.actions import (
    ActionKey,
    ActionSpec,
    Evaluate,
    Project,
    Sweep,
    key_of,
)
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest

Ids = npt.NDArray[np.int64]


@final
class BlobValues(Finished):
    """Values of evaluations, projections and sweeps; each blob is read once.

    Args:
        blobs: Where results are stored.
        results: The result of every finished action.
    """

    def __init__(self, blobs: BlobStore, results: Mapping[ActionKey, Digest]) -> None:
        self._blobs = blobs
        self._results = results
        self._read: dict[ActionKey, dict[str, Floats]] = {}

    @override
    def has(self, spec: ActionSpec) -> bool:
        return key_of(spec) in self._results

    @override
    def per_example(self, spec: Evaluate | Project) -> Floats:
        return self._arrays(spec)["values"]

    def ids(self, spec: Evaluate) -> Ids:
        """Return the ids of an evaluation's examples, [N]."""
        return self._arrays(spec)["id"].astype(np.int64)

    def cluster(self, spec: Evaluate) -> Ids | None:
        """Return which examples were sampled together, [N]; None if the query names no column."""
        found = self._arrays(spec).get("cluster")
        return None if found is None else found.astype(np.int64)

    def is_metric(self, spec: Evaluate) -> bool:
        """Say whether values are jackknife values of a metric, and not about one example each."""
        return "jackknife" in self._arrays(spec)

    @override
    def per_step(self, spec: Sweep) -> Floats:
        return self._arrays(spec)["steps"]

    def bytes_of(self, spec: ActionSpec) -> memoryview:
        """Return the result blob of a finished action.

        Raises:
            InternalError: If the action is not finished: the plan is broken.
        """
        key = key_of(spec)
        if key not in self._results:
            raise InternalError(
                f"actions.{spec.kind}",
                expected="a finished action",
                found=key,
                remedy="Report this as a bug.",
            )
        return self._blobs.read(self._results[key])

    def _arrays(self, spec: Evaluate | Project | Sweep) -> dict[str, Floats]:
        key = key_of(spec)
        if key not in self._read:
            arrays = load_arrays(bytes(self.bytes_of(spec)))
            require_no_failure(arrays)
            self._read[key] = {name: np.asarray(array) for name, array in arrays.items()}
        return self._read[key]
