"""How the actions of a report were executed: what their bits depend on beside their keys.

float32 sums differ in the last digits between numbers of lanes, threads, devices and versions of
libraries, so whoever wants the same bits again must execute the same groups in the same places.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from auditor.stagelog.record import DigestField, Record

EXECUTION_SCHEMA: Final = "stageaudit.execution.v1"


class Environment(Record):
    """Software and hardware that a group ran on.

    ``device_name`` is the model of a GPU, or a processor's family and vector instructions;
    ``deterministic`` says whether torch was told to use deterministic algorithms only.
    """

    stageaudit: str
    torch: str
    numpy: str
    python: str
    device: str
    device_name: str
    threads: Annotated[int, Field(ge=1)]
    deterministic: bool


class GroupExecution(Record):
    """One execution of a group, as its worker stores it: keys and results in the order of lanes.

    ``in_one_go`` is false where lanes went on from saved states, or without others that were
    cancelled: then the lanes that ended together are not those that began.
    """

    schema_: Annotated[Literal["stageaudit.execution.v1"], Field(alias="schema")] = EXECUTION_SCHEMA
    environment: Environment
    keys: tuple[DigestField, ...]
    results: tuple[DigestField, ...]
    in_one_go: bool


class ExecutedGroup(Record):
    """What a report says of one group: those of its lanes that the report rests on, in order.

    ``lanes`` counts all, so that it exceeds ``keys`` where a service computed actions of other
    audits beside. ``environment`` is a place in :attr:`Executions.environments`.
    """

    environment: Annotated[int, Field(ge=0)]
    lanes: Annotated[int, Field(ge=1)]
    keys: tuple[DigestField, ...]
    results: tuple[DigestField, ...]
    in_one_go: bool = True

    @model_validator(mode="after")
    def _one_result_a_key(self) -> "ExecutedGroup":
        if len(self.keys) != len(self.results) or len(self.keys) > self.lanes:
            raise ValueError("a group has one result a key, and at least as many lanes")
        return self


class Executions(Record):
    """The groups that a report's actions ran in; of ``unknown`` further actions it is not known."""

    environments: tuple[Environment, ...]
    groups: tuple[ExecutedGroup, ...]
    unknown: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _environments_are_listed(self) -> "Executions":
        if any(group.environment >= len(self.environments) for group in self.groups):
            raise ValueError("a group names an environment that is not listed")
        return self
