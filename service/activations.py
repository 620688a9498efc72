"""The size of graphs' activations, asked of a parse child, once a log."""

from collections.abc import Mapping
from functools import lru_cache
from typing import final

from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog
from service.sandbox import Sandbox

_REMEMBERED = 1024


@final
class Activations:
    """Bytes of one example's activations by graph, of logs whose content was checked.

    Content never changes, so answers are remembered.

    Args:
        sandbox: Opens the graphs, which come from strangers.
        blobs: Holds the manifests.
    """

    def __init__(self, sandbox: Sandbox, blobs: BlobStore) -> None:
        self._sandbox = sandbox
        self._blobs = blobs
        self.of = lru_cache(maxsize=_REMEMBERED)(self._of)

    def _of(self, log: str) -> Mapping[str, int]:
        data = self._blobs.read(Digest(log))
        manifest = StageLog.model_validate_json(bytes(data))
        graphs = {Digest(graph.onnx) for graph in manifest.graphs.values()}
        mapped = len(data) + sum(len(self._blobs.read(graph)) for graph in graphs)
        with self._sandbox.child(mapped_bytes=mapped) as child:
            return child.activations(Digest(log))
