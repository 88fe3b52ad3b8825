"""Orders and results survive JSON; the beacon survives everything."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from convbench.case import Case
from convbench.measures.latency.timing.beacon import CONTROL, NOBODY, Beacon
from convbench.measures.latency.timing.noise import Disturbance
from convbench.measures.latency.timing.order import Order
from convbench.measures.latency.timing.result import Column, ProcessTiming, TargetTiming
from convbench.statistics import Interval
from convbench.target.packed import Packed


def test_the_beacon_shows_who_was_at_work_last(tmp_path: Path) -> None:
    path = tmp_path / "beacon"
    Beacon.create(path)
    assert Beacon.read(path) == NOBODY
    beacon = Beacon(path)
    for owner in (3, CONTROL, 70_000):
        beacon.mark(owner)
        assert Beacon.read(path) == owner


def test_no_beacon_is_marked_in_vain() -> None:
    Beacon(None).mark(3)


finite = st.floats(allow_nan=False, allow_infinity=False)
share = st.none() | finite
intervals = st.builds(Interval, finite, finite, finite)
columns = st.builds(Column, intervals, finite, finite, st.integers(), finite, st.none() | intervals)
targets = st.builds(
    TargetTiming,
    status=st.sampled_from(["ok", "oom"]),
    error=st.none() | st.text(),
    eager=st.none() | columns,
    device=st.none() | columns,
    disturbance=st.none() | st.builds(Disturbance, share, finite, finite, share, finite),
    first_ms=share,
    kernels=st.lists(st.text(), max_size=2).map(tuple),
    notes=st.lists(st.text(), max_size=2).map(tuple),
)
processes = st.builds(
    ProcessTiming,
    st.dictionaries(st.integers(0, 9), targets, max_size=2),
    control=st.none() | targets,
    deferred=st.lists(st.integers(0, 9), max_size=2).map(tuple),
)


@given(processes)
def test_a_result_is_restored_from_json(timing: ProcessTiming) -> None:
    assert ProcessTiming.from_json(json.loads(json.dumps(timing.to_json()))) == timing


def test_an_order_is_restored_from_json() -> None:
    cases = {3: Case("MRFA", dim=32, options=(("kernels", [3, 5]),)), 0: Case("Conv3x3", shapes=((1, 3, 8, 8),))}
    order = Order(
        {index: Packed(case) for index, case in cases.items()},
        None,
        2,
        1.5,
        0.01,
        0.02,
        7,
        "warm",
        True,
        Path("beacon"),
        True,
    )
    again = Order.from_request(json.loads(json.dumps(order.to_request())))
    assert again == order
    assert list(again.cases) == [3, 0]
