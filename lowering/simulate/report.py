"""What a simulation says to a person, in lines of at most ``WIDTH`` columns.

In: a ``Timing`` of one hardware block, or a ``Launch`` of all.  Out: lines.  Non-goals: pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lowering.simulate.advice import notes
from lowering.simulate.l2 import Traffic
from lowering.simulate.launch import HBM, SIGNALS, Launch
from lowering.simulate.limits import roof, steady
from lowering.simulate.timing import Setup, Timing, Usage, latency_of, shown
from pto.targets import Costs

WIDTH, ROW, MOST_ROWS = 100, 38, 8
"""Columns of the report and of a statement in it; rows of the critical path."""

HAIR = 0.001
"""What a steady state may be over its busiest pipe and be called as fast: an item more or less."""


def setup_facts(setup: Setup, costs: Costs) -> dict[str, Any]:
    depth = setup.queue_depth or costs.queue_depth
    return {
        "costs": costs.name,
        "latency": latency_of(setup, costs),
        "queue_depth": depth,
        "clock_hz": costs.clock_hz,
    }


def _told_setup(setup: Setup, costs: Costs) -> Iterator[str]:
    facts = setup_facts(setup, costs)
    yield f"costs {costs.name}: {costs.about}"
    latency = f"latency between the cores {facts['latency']:,} cycles"
    deeper = "" if setup.queue_depth else _deeper(costs)
    yield f"{latency}; queues of {facts['queue_depth']} entries{deeper}"


def _deeper(costs: Costs) -> str:
    return "".join(f", {pipe} {depth}" for pipe, depth in costs.queue_depths.items())


def told(timing: Timing, later: Mapping[int, int]) -> Iterator[str]:
    yield from _told_setup(timing.setup, timing.costs)
    yield ""
    yield f"makespan {_time(timing, timing.makespan)}"
    ratio = _ratio(timing.makespan, timing.bound)
    yield f"bound    {_time(timing, timing.bound)}   {shown(timing.bound_pipe)}; {ratio}"
    yield from _limits(timing)
    if later:
        found = "; ".join(f"{c:,}: {cycles:,} cycles" for c, cycles in later.items())
        yield f"makespan with a latency of {found}"
    yield ""
    yield f"{'':13}{'busy':>11}{'':10}stalls, in cycles"
    for name, unit in timing.shown.items():
        yield _usage(name, timing.pipes[unit], timing.makespan)
    yield ""
    yield f"{'critical path':{ROW + 13}}{'after':21}{'times':>6}{'cycles':>10}"
    path = timing.critical_path()
    for step in path[:MOST_ROWS]:
        text, why = _clipped(step.row, ROW - 2), _clipped(step.waited_for, 20)
        share = _percent(step.cycles, timing.makespan)
        counts = f"{step.times:6}{step.cycles:10,}{share}"
        yield f"{shown(step.pipe):13}{text:{ROW}}{why:21}{counts}"
    if path[MOST_ROWS:]:
        rest = sum(step.cycles for step in path[MOST_ROWS:])
        what = f"{len(path) - MOST_ROWS} more"
        yield f"{what:{ROW + 40}}{rest:10,}{_percent(rest, timing.makespan)}"


def _limits(timing: Timing) -> Iterator[str]:
    """How far the order of the rows, and the rows themselves, are from the best possible."""
    again, least = steady(timing), roof(timing)
    if again.busiest:
        all_of_it = f"{shown(again.pipe)} is busy for all of it: no order is faster"
        over = f"{_percent(again.cycles - again.busiest, again.busiest).strip()} over {shown(again.pipe)}"
        told = over if again.over > HAIR else all_of_it
        yield f"again    {_time(timing, again.cycles)}   {told}"
    if least:
        unit = max(least, key=lambda u: least[u])
        ratio = f"makespan / roof = {timing.makespan / least[unit]:.2f}"
        yield f"roof     {_time(timing, least[unit])}   {shown(unit)}, at its full rate; {ratio}"


def _usage(name: str, usage: Usage, makespan: int) -> str:
    """One line: as many of the stalls as there is room for."""
    line = f"{name:13}{usage.busy:11,}{_percent(usage.busy, makespan)}   "
    told = [f"{cause} {cycles:,}" for cause, cycles in usage.stall.items()]
    for k in range(len(told), -1, -1):
        left = f", {len(told) - k} more" if k < len(told) else ""
        if len(line + ", ".join(told[:k]) + left) <= WIDTH - 2:
            return line + ", ".join(told[:k]) + left
    return line


def _time(result: Timing | Launch, cycles: int) -> str:
    return f"{cycles:12,} cycles{result.seconds(cycles) * 1e6:12,.2f} us"


def _ratio(makespan: int, bound: int) -> str:
    return f"makespan / bound = {makespan / bound:.2f}" if bound else "nothing runs"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):6.1f} %"


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _told_l2(traffic: Traffic, costs: Costs) -> str:
    kinds = (("loads", traffic.loaded), ("stores", traffic.stored))
    parts = (f"{100 * had / total:.1f} % of {what}" for what, (total, had) in kinds if total)
    return f"L2 has {' and '.join(parts)}; it holds {costs.l2_bytes >> 20} MiB"


def told_launch(found: Launch) -> Iterator[str]:
    costs = found.costs
    yield from _told_setup(found.setup, costs)
    yield f"HBM {costs.hbm_bytes_per_second / 1e12:.3g} TB/s, shared by the blocks that run"
    if found.traffic:
        yield _told_l2(found.traffic, costs)
    if found.launched:
        sizes = found.launched.sizes
        told = [f"{name} {sizes[name]}" for name in found.kernel.dims if name in sizes]
        yield f"sizes: {', '.join(told)}"
    yield from (f"note: {note}" for note in notes(found))
    yield ""
    yield f"makespan {_time(found, found.makespan)}   {_ratio(found.makespan, found.bound)}"
    sent = f"{found.signals:,} through one scheduler"
    whole = {HBM: f"{found.tensor_bytes:,} bytes", SIGNALS: sent}
    for name, cycles in sorted(found.bounds.items(), key=lambda b: -b[1]):
        what = whole.get(name, "of the busiest block")
        yield f"bound    {_time(found, cycles)}   {shown(name)}, {what}"
    yield ""
    yield f"{'hardware blocks':18}{'work items':>12}{'blocks in them':>16}{'end':>14}"
    for items, timing in sorted(found.timings.items(), key=lambda x: -x[1].makespan):
        count = found.dealt.count(items)
        yield f"{count:15}{len(items):15}{sum(items):16}{timing.makespan:14,}"
    idle = len(found.ends) * found.makespan - sum(found.ends)
    yield f"idle at the end: {_percent(idle, len(found.ends) * found.makespan).strip()} of the launch"
