"""A scheduled program run on counters only: which rows a core issues, in order, for chosen lengths.

In: a kernel with shifts.  Out: its rows one core after the other, with the values of the loop
counters.  The scheduler uses it to see what a loop does at its edges; the proof has its own
execution and decides every length.
"""

from __future__ import annotations

from collections.abc import Iterator

from pto.ir import Kernel, Loop, Number, Row, Var

LENGTHS = (0, 1, 2, 5, 2, 1, 0, 2, 0, 5, 0, 0, 1, 1, 5, 5)
"""Trip counts of the inner loops from one work item to the next: every pair of empty, short and
longer than any lookahead, odd and even."""

Path = tuple[int, ...]
Counters = dict[str, Number]
Issue = tuple[Path, Row, Counters]


def issued(kernel: Kernel, core: str) -> Iterator[Issue]:
    """The rows of ``core`` in the order it issues them; both cores see the same lengths."""
    done: dict[Path, int] = {}
    for k, node in enumerate(kernel.body):
        if isinstance(node, Loop):
            yield from _loop(node, core, (k,), {}, done, ())
        elif isinstance(node, Row) and node.core == core:
            yield (k,), node, {}


def _loop(
    loop: Loop, core: str, path: Path, counters: Counters, done: dict[Path, int], turn: Path
) -> Iterator[Issue]:
    """Steps of a loop; ``turn`` holds the iterations of the loops around, which pick its length."""
    trips = LENGTHS[sum(turn) % len(LENGTHS)] if turn else len(LENGTHS) + 1
    low, high = loop.shifts
    before = done.get(path, 0)
    scopes: dict[int, Counters] = {}
    for step in range(-high, trips - low):
        for k, node in enumerate(loop.body):
            i = step + (node.shift if isinstance(node, Row) else 0)
            if not 0 <= i < trips:
                continue
            if i not in scopes:
                scopes[i] = {**counters, loop.index: i, loop.total: before + i}
                if isinstance(loop.trips, Var):
                    scopes[i][loop.trips.name] = trips
            if isinstance(node, Row):
                if node.core == core:
                    yield (*path, k), node, scopes[i]
            elif isinstance(node, Loop):
                yield from _loop(node, core, (*path, k), scopes[i], done, (*turn, i))
    done[path] = before + trips
    if isinstance(loop.trips, Var):
        counters[loop.trips.name] = trips
