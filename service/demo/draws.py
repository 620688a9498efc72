"""Which rows of the reference ``replace`` draws: a rule of the request, not a result."""

from pathlib import Path

import torch
from torch import Tensor

from auditor.dynamics.interventions import intervened_examples
from auditor.dynamics.run import Run
from auditor.edge.folder import FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.plan.request import AuditRequest
from service.cli.local_audit import LocalPlaces


def reference_rows(
    request: AuditRequest, *, log: Path, reference: Path, scratch: Path
) -> dict[str, Tensor]:
    """Return the rows [steps, B] that each replaced stage uses at each step.

    Args:
        request: Its seed and interventions decide.
        log: The log folder.
        reference: The folder of the reference.
        scratch: An empty folder.
    """
    blobs = LayeredBlobs(FolderBlobs(scratch))
    places = LocalPlaces(blobs, scratch=scratch)
    digest = places.log(log)
    places.evaluation_set(reference)
    manifest, _, _ = read_log(log)
    run = Run(manifest, digest, blobs, device="cpu")
    rows: dict[str, Tensor] = {}
    for index, stage in enumerate(manifest.stages):
        for intervention in request.interventions:
            if (
                not isinstance(intervention, str)
                and intervention.kind == "replace"
                and intervention.stage == stage.name
            ):
                drawn = intervened_examples(
                    run, index, intervention=intervention, seed=request.seed
                )
                rows[stage.name] = torch.from_numpy(drawn.index).reshape(stage.steps, -1)
    return rows
