"""Evaluation sets and metrics come from strangers: opened in a parse child, once a content."""

from collections.abc import Sequence
from functools import lru_cache
from typing import final

from auditor.stagelog.digest import Digest
from service.sandbox import Sandbox

_REMEMBERED = 1024


@final
class EvaluationSets:
    """What is known about evaluation sets and metric graphs.

    Content never changes, so answers are remembered.

    Args:
        sandbox: Opens them.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.blobs_named_by = lru_cache(maxsize=_REMEMBERED)(self._blobs_named_by)
        self.check_content = lru_cache(maxsize=_REMEMBERED)(self._check_content)
        self.check_metric = lru_cache(maxsize=_REMEMBERED)(self._check_metric)

    def _blobs_named_by(self, digest: Digest, manifest_bytes: int) -> Sequence[Digest]:
        """Return the shards that a manifest names."""
        with self._sandbox.child(mapped_bytes=manifest_bytes) as child:
            return child.evaluation_set(digest).blobs

    def _check_content(self, digest: Digest, mapped_bytes: int) -> None:
        """Refuse an evaluation set whose shards contradict its manifest."""
        with self._sandbox.child(mapped_bytes=mapped_bytes) as child:
            child.evaluation_set_content(digest)

    def _check_metric(self, digest: Digest, mapped_bytes: int) -> None:
        """Refuse a metric's graph that is none."""
        with self._sandbox.child(mapped_bytes=mapped_bytes) as child:
            child.metric(digest)
