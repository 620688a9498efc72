"""From the stored executions of groups to what a report says of them; no torch."""

from collections.abc import Mapping

from auditor.plan.actions import ActionKey
from auditor.report.execution import Environment, ExecutedGroup, Executions, GroupExecution
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest

ACTIONS_LIMIT = 20_000
"""Actions above which a report does not list them: a bundle has at most 16 MiB."""


def executions_of(executions: Mapping[ActionKey, Digest | None], *, blobs: BlobStore) -> Executions:
    """Return the groups that some actions ran in.

    Args:
        executions: The stored :class:`GroupExecution` of every action; None where it is not known,
            as for results of earlier versions.
        blobs: Where they are.
    """
    if len(executions) > ACTIONS_LIMIT:
        return Executions(environments=(), groups=(), unknown=len(executions))
    environments: dict[Environment, int] = {}
    groups: list[ExecutedGroup] = []
    for digest in dict.fromkeys(executions.values()):
        if digest is None or not blobs.has(digest):
            continue
        ran = GroupExecution.model_validate_json(bytes(blobs.read(digest)))
        own = {
            key: result
            for key, result in zip(ran.keys, ran.results, strict=True)
            if executions.get(ActionKey(key)) == digest
        }
        groups.append(
            ExecutedGroup(
                environment=environments.setdefault(ran.environment, len(environments)),
                lanes=len(ran.keys),
                keys=tuple(own),
                results=tuple(own.values()),
                in_one_go=ran.in_one_go,
            )
        )
    known = sum(len(group.keys) for group in groups)
    return Executions(
        environments=tuple(environments), groups=tuple(groups), unknown=len(executions) - known
    )
