"""Schedules of every form of kernel: proven, right on data, and close to their busiest pipe."""

from __future__ import annotations

from math import inf

import pytest

from lowering import native
from lowering.execute import adversarial, inputs, sequential
from lowering.execute.judge import compare, expected
from lowering.schedule import schedule
from lowering.schedule.scheduler import stops_all
from lowering.simulate import Setup, simulate
from lowering.simulate.launch import launch
from lowering.simulate.limits import steady
from pto.errors import CapacityError
from tests.schedule.forms import FORMS, LONG, gathered

LATENCIES = (0, 500, 1000)

QUICK = [
    name if form.quick and name not in LONG else pytest.param(name, marks=pytest.mark.sweep)
    for name, form in FORMS.items()
]

NEAR = 1.10
"""Cycles over those of the busiest pipe."""

BEST = 0.03
"""How far a steady state may be over its busiest pipe, which bounds every order of its rows, also the best one."""


@pytest.mark.parametrize("name", QUICK)
def test_form(name: str) -> None:
    """Proven without a barrier on all pipes, close to its busiest pipe at every latency and no slower than that in its
    steady state, and the same bits in every order: all in one, as what takes time is the schedule."""
    form, kernel = FORMS[name], FORMS[name].made.kernel
    assert FORMS[name].made.proof.ok
    assert not stops_all(kernel)
    for latency in LATENCIES:
        timing = simulate(kernel, form.lengths, Setup("flat", latency))
        assert timing.makespan < NEAR * timing.bound, latency
    assert steady(timing).over <= BEST
    traced = form.trace()
    want = sequential.run(traced, inputs.bind(traced, form.arrays()))
    bound = inputs.bind(kernel, form.arrays())
    got = adversarial.run(kernel, bound, seeds=range(4), block_num=2)
    assert {n: x.tobytes() for n, x in got.items()} == {n: want[n].tobytes() for n in got}


@pytest.mark.sweep
def test_the_table_of_forms() -> None:
    """Printed: cycles and their ratio to the busiest pipe at each latency, states and seconds of the proof."""
    print(
        f"\n{'flat costs':28}" + "".join(f"{f'latency {n}':>18}" for n in LATENCIES) + "   states"
    )
    for name, form in FORMS.items():
        found = [
            simulate(FORMS[name].made.kernel, form.lengths, Setup("flat", n)) for n in LATENCIES
        ]
        cells = (f"{t.makespan:>11,} {t.makespan / t.bound:6.2f}" for t in found)
        print(f"{name:28}{''.join(cells)} {FORMS[name].made.proof.states:>8}")


PUBLISHED = {
    "256 items of 64 pages of 128": (dict(heads=16, q_tile=16, block=128), 256, 1131),
    "64 items of 128 pages of 64": (dict(heads=64, q_tile=64, block=64), 64, 490),
}
"""Static parameters, work items, and the microseconds of the fastest kernel that others have measured."""


@pytest.mark.sweep
def test_the_published_launches() -> None:
    """Printed: decode with pages gathered, on the whole chip by the device's costs, beside what others measured and
    the roof: the launch itself, and all bytes once at the full rate of the memory."""
    print(f"\n{'us':32}{'pages':>6}{'seen':>8}{'now':>8}{'roof':>8}{'ratio':>7}")
    for name, (statics, items, seen) in PUBLISHED.items():
        nearest = inf
        for pages in (2, 3, 4):
            try:
                made = schedule(gathered.trace(pages=pages, **statics)).kernel
            except CapacityError:
                continue
            trips = -(-8192 // (pages * statics["block"]))
            found = launch(made, [trips] * items, Setup("device"))
            rate = found.costs.hbm_bytes_per_second / found.costs.clock_hz
            roof = found.costs.launch + items * 2 * 8192 * 128 * 2 / rate
            ratio = found.makespan / roof
            nearest = min(nearest, ratio)
            us = [1e6 * found.seconds(n) for n in (found.makespan, roof)]
            print(f"{name:32}{pages:>6}{seen:>8}{us[0]:>8.1f}{us[1]:>8.1f}{ratio:>7.2f}")
            assert us[0] < seen
        assert nearest <= 1.15


@pytest.mark.sweep
@pytest.mark.parametrize("name", FORMS)
def test_it_runs_as_emitted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C++ on an asynchronous machine, in 24 orders: no report, the same bits in each, the right numbers."""
    monkeypatch.setenv("CXXFLAGS", "-O1")
    form, kernel = FORMS[name], FORMS[name].made.kernel
    traced = form.trace()
    wanted = expected(traced, inputs.bind(traced, form.arrays()), None, {})
    found = native.run(kernel, inputs.bind(kernel, form.arrays()), seeds=range(24), block_num=2)
    assert not found.reports and not found.differences
    assert all(c.ok for c in compare(found.outputs, wanted))
