"""Fair shares of tenants: the bound of the algorithm, and simulated days of uneven tenants."""

import itertools
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.stagelog.digest import sha256
from service.scheduler.fair_share import FairShare
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.ready import ReadyAction
from tests.support.ready_list import next_group

KEY = sha256(b"any")


@dataclass
class Device:
    """One device that serves groups one after the other; a clock that jumps from end to end."""

    shares: FairShare
    max_lanes: int = 1
    now: float = 0.0
    waiting: dict[int, tuple[ReadyAction, float]] = field(default_factory=dict)
    served: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    longest: float = 0.0
    expected: GroupSeconds = field(default_factory=GroupSeconds)
    _numbers: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]

    def submit(self, tenant: str, seconds: float, *, group: str = "g") -> int:
        number = next(self._numbers)
        action = ReadyAction(
            id=number, tenant=tenant, kind="advance", group_key=sha256(group.encode()),
            priority=1, deadline=1e9, height=0, ready_since=self.now, max_lanes=None,
        )  # fmt: skip
        self.waiting[number] = (action, seconds)
        return number

    def waits_for(self, tenant: str) -> int:
        return sum(action.tenant == tenant for action, _ in self.waiting.values())

    def serve(self) -> tuple[int, ...]:
        """Serve one group to its end and return what was in it."""
        group = next_group(
            [action for action, _ in self.waiting.values()],
            lanes_of=lambda _head: self.max_lanes,
            now=self.now,
            start_of=self.shares.start_of,
        )
        if not group:
            self.shares.level()
            self.now += 1.0
            return ()
        lanes = len(group)
        charge = self.shares.serve(
            [action.tenant for action in group],
            seconds=self.expected.of("advance", KEY, lanes=lanes),
        )
        seconds = sum(self.waiting.pop(action.id)[1] for action in group)
        self.shares.correct(charge, seconds=seconds)
        self.expected.learn("advance", KEY, lanes=lanes, seconds=seconds)
        for action in group:
            self.served[action.tenant] += seconds / lanes
        self.now += seconds
        self.longest = max(self.longest, seconds)
        return tuple(action.id for action in group)


@given(
    weights=st.lists(st.floats(0.25, 8), min_size=2, max_size=5),
    costs=st.lists(st.floats(0.1, 10), min_size=40, max_size=40),
)
def test_tenants_that_always_wait_are_given_time_by_their_weights(
    weights: list[float], costs: list[float]
) -> None:
    """|W_i / w_i - W_j / w_j| <= l_i / w_i + l_j / w_j, the bound of the paper."""
    by_name = {f"t{number}": weight for number, weight in enumerate(weights)}
    device = Device(FairShare(by_name))
    for name in by_name:
        for cost in costs:
            device.submit(name, cost)

    for _ in range(len(costs)):
        device.serve()
        for one, other in itertools.combinations(by_name, 2):
            apart = device.served[one] / by_name[one] - device.served[other] / by_name[other]
            bound = max(costs) * (1 / by_name[one] + 1 / by_name[other])
            assert abs(apart) <= bound + 1e-9


def test_a_thousand_audits_delay_another_tenant_by_one_group() -> None:
    device = Device(FairShare(), max_lanes=8)
    for _ in range(1000):
        device.submit("busy", 1.0)
    for _ in range(20):
        device.serve()

    gate = device.submit("quiet", 1.0, group="other")

    assert device.serve() == (gate,)


def test_waiting_brings_no_credit() -> None:
    device = Device(FairShare())
    for _ in range(100):
        device.submit("busy", 1.0)
    for _ in range(50):
        device.serve()

    for _ in range(50):
        device.submit("back", 1.0)
    for _ in range(40):
        device.serve()

    assert device.served["back"] == pytest.approx(20, abs=1)
    assert device.served["busy"] == pytest.approx(50 + 20, abs=1)


def test_riders_pay_their_own_lanes() -> None:
    shares = FairShare()

    charge = shares.serve(["a", "b", "b"], seconds=6.0)
    shares.correct(charge, seconds=3.0)

    assert charge.seconds == {"a": 2.0, "b": 4.0}
    assert (shares.start_of("a"), shares.start_of("b"), shares.start_of("c")) == (1.0, 2.0, 0.0)


def test_an_abandoned_group_costs_nothing() -> None:
    shares = FairShare()

    shares.correct(shares.serve(["a"], seconds=5.0), seconds=0.0)

    assert shares.start_of("a") == 0.0


def test_a_group_that_is_taken_back_leaves_no_trace() -> None:
    shares = FairShare()
    shares.serve(["busy"], seconds=1.0)
    shares.serve(["little"], seconds=0.25)
    ahead = shares.serve(["busy"], seconds=1.0)

    shares.undo(ahead)

    assert (shares.start_of("new"), shares.start_of("little"), shares.start_of("busy")) == (
        0.0, 0.25, 1.0,
    )  # fmt: skip


def test_after_an_idle_time_everybody_is_level() -> None:
    shares = FairShare({"a": 2.0})
    shares.serve(["a"], seconds=8.0)

    shares.level()

    assert shares.start_of("a") == shares.start_of("b") == 4.0


@pytest.mark.parametrize("seed", range(3))
def test_thirty_tenants_with_heavy_tails_share_fairly_and_none_starves(seed: int) -> None:
    """Ten ask for more than there is, in bursts with a heavy tail; twenty ask for little."""
    generator = np.random.Generator(np.random.PCG64(seed))
    device = Device(FairShare(), max_lanes=8)
    heavy, light = [f"heavy{n}" for n in range(10)], [f"light{n}" for n in range(20)]
    arrivals = deque(
        sorted((float(t), name) for name in light for t in generator.uniform(0, 900, size=10))
    )
    submitted: dict[int, float] = {}
    waits: list[float] = []
    while device.now < 900:
        for name in heavy:
            if device.waits_for(name) < 8:
                for _ in range(8 + min(60, int(3 * generator.pareto(1.2)))):
                    group = f"g{generator.integers(3)}"
                    device.submit(name, float(generator.uniform(0.2, 1.0)), group=group)
        while arrivals and arrivals[0][0] <= device.now:
            at, name = arrivals.popleft()
            submitted[device.submit(name, 0.5, group=name)] = at
        begun = device.now
        waits += [begun - submitted[n] for n in device.serve() if n in submitted]

    served = np.array([device.served[name] for name in heavy])
    jain = served.sum() ** 2 / (len(served) * (served**2).sum())
    assert jain > 0.99
    assert len(waits) > 190
    # A light audit waits for the group on the device, at worst for one of every other that waits.
    assert np.median(waits) <= device.longest
    assert max(waits) <= (len(heavy) + 1) * device.longest
