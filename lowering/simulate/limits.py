"""How far a schedule is from what nothing could pass.

In: a timing.  Out: ``Steady``, what as much work again takes, and ``roof``, what no rows can pass.
Invariant: no order of the rows of a kernel takes less than its busiest pipe, and no rows that compute the
same take less than the roof.  Non-goals: what to change (``lowering/simulate/advice.py``).

Where the steady state of a schedule is that of its busiest pipe, it is the best of all orders, and no search
among them finds a better one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lowering.simulate.costs import cost_of, view_of
from lowering.simulate.l2 import regions
from lowering.simulate.machine import simulate
from lowering.simulate.timing import LANE, Timing
from pto.ir import Row
from pto.ops import OPS
from pto.targets import Costs, Line


@dataclass(frozen=True, slots=True)
class Steady:
    """What as much work again takes, without begin and end.

    ``cycles``: until it is done.  ``busiest``: of these the pipe ``pipe``, the busiest one, works.
    """

    cycles: int
    busiest: int
    pipe: str

    @property
    def over(self) -> float:
        """The part that a better order could save at most."""
        return self.cycles / self.busiest - 1 if self.busiest else 0.0


def steady(timing: Timing) -> Steady:
    """Of the kernel that was simulated, from a second run through twice as many steps of every work item, or
    twice as many items if their steps are constant, or none."""
    again = [2 * n for n in timing.blocks], [*timing.blocks, *timing.blocks]
    runs = (simulate(timing.kernel, items, timing.setup) for items in again)
    twice = next((t for t in runs if t.makespan > timing.makespan), timing)
    busy = {u: twice.pipes[u].busy - timing.pipes[u].busy for u in timing.pipes}
    pipe = max(busy, key=lambda u: busy[u])
    return Steady(twice.makespan - timing.makespan, busy[pipe], pipe)


def roof(timing: Timing) -> dict[str, int]:
    """By unit the cycles of what must be done: every region of a tensor moved once, products and vector work,
    all at the full rate of the unit and without the fixed cycles of a row."""
    kernel, rates = timing.kernel, rates_of(timing.costs)
    found: Counter[str] = Counter()
    spans = [s for s in timing.spans if s.unit.startswith(("cube", LANE))]
    rows = {id(s.row): s.row for s in spans if OPS[s.row.op].kind != "move"}
    times = Counter(id(s.row) for s in spans)
    for number, row in rows.items():
        found[unit_of(row)] += cost_of(row, kernel, rates).occupies * times[number]
    for row in once(timing):
        found[unit_of(row)] += cost_of(row, kernel, rates).occupies
    return dict(found)


def once(timing: Timing) -> Iterator[Row]:
    """A row for each region that a hardware block loads or stores."""
    seen = set()
    for row, region in regions(timing.kernel, timing.blocks):
        key = unit_of(row), view_of(row) is row.out, region
        if key not in seen:
            seen.add(key)
            yield row


def unit_of(row: Row) -> str:
    return f"{LANE if row.core == 'vector' else row.core} {row.pipe}"


def rates_of(costs: Costs) -> Costs:
    """The same table without what a row takes whatever it moves or computes; what a core can have on its way
    at once is a rate, too."""

    def rate(line: Line) -> Line:
        return 0, line[1]

    return replace(
        costs,
        transfer={way: rate(line) for way, line in costs.transfer.items()},
        mad=rate(costs.mad),
        vector={op: rate(line) for op, line in costs.vector.items()},
        reduction={op: (rate(a), rate(b)) for op, (a, b) in costs.reduction.items()},
        column_reduction=rate(costs.column_reduction),
        run={},
        vector_head=0,
        conflict=1,
        zeros=0,
    )
