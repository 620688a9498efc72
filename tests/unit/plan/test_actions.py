"""Keys name what is computed and nothing else."""

from pydantic import TypeAdapter

from auditor.effects import Query
from auditor.plan.actions import (
    ActionSpec,
    Advance,
    Computed,
    Evaluate,
    Recorded,
    dependencies,
    key_of,
)
from auditor.plan.chains import boundary_as_final, chain_from
from auditor.plan.groups import GroupKeys
from auditor.plan.request import Intervention
from auditor.stagelog.digest import canonical_bytes, digest_of
from auditor.stagelog.log import Transition
from tests.support.manifests import LOG_DIGEST, make_log, make_stage

group_key = GroupKeys(lambda _digest: make_log())
SKIP = Intervention(kind="skip", stage="stage0")


def chain(*, replica: int, fraction: float = 0.5, intervention: Intervention | None = SKIP):
    return chain_from(
        make_log(),
        LOG_DIGEST,
        0,
        interventions={} if intervention is None else {0: intervention},
        fraction=fraction,
        replica=replica,
        seed=7,
    )


def test_key_survives_the_wire():
    spec = chain(replica=3)[1]

    read = TypeAdapter(ActionSpec).validate_json(canonical_bytes(spec))

    assert key_of(read) == key_of(spec)


def test_replicas_share_the_skipped_stage_and_differ_after_it():
    one, other = chain(replica=0), chain(replica=1)

    assert key_of(one[0]) == key_of(other[0])
    assert key_of(one[1]) != key_of(other[1])


def test_exact_chains_do_not_depend_on_replica_or_seed():
    one, other = chain(replica=0, fraction=1.0), chain(replica=1, fraction=1.0)

    assert [key_of(spec) for spec in one] == [key_of(spec) for spec in other]


def test_drawn_references_keep_their_seed_in_exact_chains():
    drop = Intervention.model_validate({
        "kind": "drop",
        "stage": "stage0",
        "where": {"columns": {"source": ("vendor",)}},
    })

    first, *later = chain(replica=0, fraction=1.0, intervention=drop)

    assert first.seed == 7
    assert {spec.seed for spec in later} == {0}


def test_chain_links_each_stage_to_the_one_before():
    first, second, third = chain(replica=0)

    assert first.start == Recorded(boundary=0)
    assert second.start == Computed(key=key_of(first))
    assert dependencies(third) == (key_of(second),)
    assert dependencies(first) == ()


def test_replicas_and_interventions_of_a_stage_form_one_group():
    fade = Intervention(kind="fade", stage="stage0", alpha=0.5)
    lanes = [chain(replica=r, intervention=i)[0] for r in range(3) for i in (fade, None)]

    assert len({group_key(spec) for spec in lanes}) == 1


def test_skipped_stages_wait_for_no_training():
    assert group_key(chain(replica=0)[0]) != group_key(chain(replica=0, intervention=None)[0])


def test_boundary_is_its_checkpoint_while_parameters_stay():
    assert boundary_as_final(make_log(), LOG_DIGEST, 1) == ((), Recorded(boundary=1))


def test_boundary_passes_later_transitions_when_parameters_are_added():
    grown = make_stage(2, transition=Transition(added=("weight",), added_values="7" * 64))
    log = make_log(make_stage(0), make_stage(1), grown)

    actions, state = boundary_as_final(log, LOG_DIGEST, 1)

    assert [spec.stage for spec in actions] == [1, 2]
    assert all(isinstance(spec, Advance) for spec in actions)
    assert state == Computed(key=key_of(actions[-1]))


def test_queries_about_the_same_examples_are_evaluated_together():
    def asked(**changes: object) -> str:
        query = Query.model_validate({
            "name": "q", "kind": "loss", "better": "lower", "data": "5" * 64, **changes
        })  # fmt: skip
        return group_key(Evaluate(log=LOG_DIGEST, state=Recorded(boundary=1), query=query))

    compared = {"kind": "accuracy_gap", "group": "clinic"}
    assert asked(kind="margin", output=1, target="other") == asked()
    assert asked(**compared) == asked()
    others = [
        asked(data="6" * 64),
        asked(inputs={"image": "noisy"}),
        asked(where={"column": "source", "equals": "a"}),
        asked(**compared, groups=("a", "b")),
    ]
    assert len({asked(), *others}) == 5


def test_key_is_the_digest_of_the_canonical_bytes():
    for spec in chain(replica=3, intervention=Intervention(kind="fade", stage="stage0", alpha=0.1)):
        assert key_of(spec) == digest_of(spec)
