"""Recorded groups are executed as they were; a record that cannot be true is not."""

from auditor.audit.regroup import Regroup, Regrouping
from auditor.plan.actions import ActionKey, ActionSpec, Advance, Computed, Recorded, key_of
from auditor.report.execution import Environment, ExecutedGroup, Executions
from auditor.stagelog.digest import Digest, sha256

LOG = sha256(b"log")
HERE = Environment(
    stageaudit="1", torch="2", numpy="2", python="3", device="cpu", device_name="x86_64 AVX2",
    threads=1, deterministic=True,
)  # fmt: skip
FIRST = [Advance(log=LOG, stage=0, start=Recorded(boundary=0), replica=i) for i in range(3)]
SECOND = [Advance(log=LOG, stage=1, start=Computed(key=key_of(spec))) for spec in FIRST]
KNOWN: dict[ActionKey, ActionSpec] = {key_of(spec): spec for spec in (*FIRST, *SECOND)}


def by_stage(spec: ActionSpec) -> Digest:
    return sha256(str(getattr(spec, "stage", None)).encode())


def recorded(
    *groups: list[Advance], lanes: int | None = None, in_one_go: bool = True
) -> Executions:
    return Executions(
        environments=(HERE,),
        groups=tuple(
            ExecutedGroup(
                environment=0,
                lanes=lanes or len(specs),
                keys=tuple(key_of(spec) for spec in specs),
                results=tuple(LOG for _ in specs),
                in_one_go=in_one_go,
            )
            for specs in groups
        ),
    )


def regrouping(executions: Executions | None, *, max_lanes: int | None = None) -> Regrouping:
    return Regrouping(executions, group_key=by_stage, max_lanes=max_lanes)


def first_of(executions: Executions | None, *, max_lanes: int | None = None) -> Regroup:
    return regrouping(executions, max_lanes=max_lanes).next(KNOWN, done=())


def test_recorded_group_runs_in_the_order_of_its_lanes() -> None:
    found = first_of(recorded([FIRST[2], FIRST[0]]))

    assert (found.specs, found.environment, found.whole) == ((FIRST[2], FIRST[0]), HERE, True)


def test_group_with_lanes_of_others_or_interrupted_is_not_whole() -> None:
    assert not first_of(recorded(FIRST[:2], lanes=5)).whole
    assert not first_of(recorded(FIRST[:2], in_one_go=False)).whole


def test_without_a_record_alike_actions_run_together() -> None:
    found = first_of(None)

    assert (found.specs, found.environment, found.whole) == (tuple(FIRST), None, False)


def test_number_of_lanes_goes_before_the_record_but_keeps_its_environment() -> None:
    found = first_of(recorded(FIRST), max_lanes=2)

    assert (found.specs, found.environment, found.whole) == (tuple(FIRST[:2]), HERE, False)


def test_record_of_actions_that_cannot_run_together_is_not_followed() -> None:
    waiting = {key: spec for key, spec in KNOWN.items() if spec not in FIRST[:1]}
    forged = recorded([FIRST[1], SECOND[0]])

    found = regrouping(forged).next(waiting, done={key_of(FIRST[0])})

    assert by_stage(found.specs[0]) == by_stage(found.specs[-1])


def test_group_waits_until_all_of_its_inputs_are_there() -> None:
    waiting = {key: spec for key, spec in KNOWN.items() if spec not in FIRST[:2]}
    done = {key_of(spec) for spec in FIRST[:2]}
    groups = regrouping(recorded(SECOND))

    waits = groups.next(waiting, done=done)
    found = groups.next(
        {key_of(spec): spec for spec in SECOND}, done={key_of(spec) for spec in FIRST}
    )

    assert waits.specs == (FIRST[2],)
    assert found.specs == tuple(SECOND)


def test_needed_are_inputs_and_whoever_ran_beside() -> None:
    wanted = [key_of(SECOND[0])]
    alone = {key_of(FIRST[0]), key_of(SECOND[0])}

    beside = regrouping(recorded(FIRST[:2])).needed(wanted, known=KNOWN)
    anew = regrouping(recorded(FIRST[:2]), max_lanes=1).needed(wanted, known=KNOWN)

    assert beside == alone | {key_of(FIRST[1])}
    assert anew == alone
