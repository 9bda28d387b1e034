"""A scheduled program run on counters only: which rows a core issues, in order, for chosen lengths.

In: a kernel with shifts.  Out: its rows one core after the other, with the values of the loop
counters.  The scheduler uses it to see what a loop does at its edges, the simulator to know what
there is to do; the proof has its own execution and decides every length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pto.arithmetic import Number
from pto.bounds import decided, of_launch
from pto.errors import ScheduleError
from pto.ir import (
    Block,
    Branch,
    Const,
    Kernel,
    Loop,
    Node,
    Row,
    Var,
    all_rows,
    evaluate,
    names_in,
)
from pto.ops import OPS
from pto.text import expr

# Why samples are enough here: nothing rests on them.  What the scheduler chooses by them (barriers
# of V and M, depths of FIFOs) is judged by the proof, which decides every length.  A length that
# matters and is not among them makes a schedule that fails its proof and is not given, never a wrong
# one.  They are chosen such that this does not happen: two rows of a core can only stand in each
# other's way while both are in flight, so what matters is which items meet in that many steps, and
# one long item shows what repeats.

LENGTHS = (0, 1, 2, 5, 2, 1, 0, 2, 0, 5, 0, 0, 1, 1, 5, 5, 0)
"""Trip counts of the inner loops from one work item to the next: every pair of empty, short (odd and
even) and longer ones.  Enough for loops that are not flat, whose items only meet their neighbours."""

RUNS = (
    LENGTHS,
    LENGTHS[::-1],
    (1,) * 12,
    (8, 1, 8, 1, 1, 8, 1, 1, 1, 8, 2, 8, 2, 1, 8, 1, 2, 8, 8),
)
"""Sequences of work items with which a flat loop meets every few boundaries in a row: one, two and
three short items between long ones, and twelve in a row, more than ``LONGEST``."""

LONGEST = 8
"""Steps in flight up to which every sequence of work items that fits in them is run: 255 sequences.
With more steps in flight (a lookahead of 4 over two round trips, say) the longer sequences are left
to ``RUNS`` and to the proof."""

Path = tuple[int, ...]
Counters = dict[str, Number]
Issue = tuple[Path, Row, Counters]


def issued(
    kernel: Kernel, core: str, lengths: Sequence[int] | None = None, period: int = 0
) -> Iterator[Issue]:
    """The rows of ``core`` in the order it issues them; both cores see the same lengths.

    ``lengths``: the trip count of the inner loops in every work item, constant trip counts aside;
    without it ``LENGTHS``, for the constant ones too.  ``period``: after how many steps every ring
    is at the same slot again; a longer constant loop is cut by whole periods.
    """
    yield from _Unrolled(kernel, core, lengths, period).block(kernel.body, (), {}, ())


def in_flight(kernel: Kernel) -> int:
    """Steps that are in flight together."""
    shifts = [r.shift for r in all_rows(kernel.body)]
    return 1 + max(shifts) - min(shifts)


def shortened(trips: int, enough: int, period: int) -> int:
    """A constant trip count, or one that ends like it, of at least ``enough`` steps."""
    return trips if not period or trips <= enough else enough + (trips - enough) % period


def launches(kernel: Kernel) -> Iterator[Sequence[int] | None]:
    """Sequences of trip counts, one per work item, with which rows of a core meet as they may.

    A flat loop ends differently behind every sequence of short items that is in flight together, so
    all of them are run; the last is one item that is long.  If the inner loops are constant, runs
    differ in the number of items only.  None: ``LENGTHS``, for constant trip counts too.
    """
    flat = [n for n in kernel.body if isinstance(n, Loop) and n.flat]
    most = min(in_flight(kernel), LONGEST)
    if flat and all(isinstance(x.trips, Const) for n in flat for x in loops_of(n.body)):
        yield from ((1,) * items for items in (*range(1, most + 1), 2 * LONGEST))
    elif flat:
        yield from RUNS
        for total in range(1, most + 1):
            yield from compositions(total)
    else:
        yield None
    yield (4 * in_flight(kernel),)


def loops_of(block: Block) -> Iterator[Loop]:
    """Every loop below, in the order written."""
    for node in block:
        if isinstance(node, Loop):
            yield node
            yield from loops_of(node.body)
        elif isinstance(node, Branch):
            yield from loops_of((*node.then, *node.orelse))


def compositions(total: int) -> Iterator[tuple[int, ...]]:
    """3 --> (1, 1, 1), (1, 2), (2, 1), (3)"""
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        for rest in compositions(total - first):
            yield (first, *rest)


class _Unrolled:
    """``turn`` holds the iterations of the loops around a node, which pick its length; loops with
    different trip counts take neighbours, so that each is empty beside a full one."""

    def __init__(
        self, kernel: Kernel, core: str, lengths: Sequence[int] | None, period: int
    ) -> None:
        self.core, self.lengths = core, LENGTHS if lengths is None else tuple(lengths)
        self.known = of_launch(kernel)
        self.period, self.enough = period, 4 * in_flight(kernel) if period else 0
        self.exact = lengths is not None
        self.done: dict[Path, int] = {}
        inside = (x.trips for n in kernel.body if isinstance(n, Loop) for x in loops_of(n.body))
        self.number = {trips: k for k, trips in enumerate(dict.fromkeys(inside))}

    def block(self, block: Block, path: Path, scope: Counters, turn: Path) -> Iterator[Issue]:
        for k, node in enumerate(block):
            yield from self._node(node, (*path, k), lambda _: scope, turn)

    def _node(
        self, node: Node, path: Path, scope_at: Callable[[int], Counters | None], turn: Path
    ) -> Iterator[Issue]:
        """One node of one step; ``scope_at(shift)`` are the counters of a row with that shift."""
        if isinstance(node, Row):
            scope = scope_at(node.shift)
            if node.core == self.core and scope is not None:
                yield path, node, scope
        elif isinstance(node, Loop):
            scope = scope_at(0)
            if scope is not None:
                run = self._flat if node.flat else self._loop
                yield from run(node, path, scope, turn)
        else:
            always = decided(node.test, self.known)
            for test, side in ((True, node.then), (False, node.orelse)):
                for k, inner in enumerate(side if always in (None, test) else ()):
                    within = partial(_taken, node, test, scope_at) if always is None else scope_at
                    yield from self._node(inner, (*path, int(test), k), within, turn)

    def _loop(self, loop: Loop, path: Path, counters: Counters, turn: Path) -> Iterator[Issue]:
        """The steps of a loop."""
        trips, (low, high) = self._trips(loop, turn), loop.shifts
        before = self.done.get(path, 0)
        scopes: dict[int, Counters] = {}

        def scope_at(step: int, shift: int) -> Counters | None:
            i = step + shift
            if not 0 <= i < trips:
                return None
            if i not in scopes:
                scopes[i] = {**counters, loop.index: i, loop.total: before + i}
                for inner in (loop, *(x for x in loop.body if isinstance(x, Loop))):
                    if isinstance(inner.trips, Var):
                        within = turn if inner is loop else (*turn, i)
                        scopes[i][inner.trips.name] = self._trips(inner, within)
            return scopes[i]

        for step in range(-high, trips - low):
            for k, node in enumerate(loop.body):
                yield from self._node(node, (*path, k), partial(scope_at, step), (*turn, step))
        self.done[path] = before + trips

    def _flat(self, loop: Loop, path: Path, counters: Counters, turn: Path) -> Iterator[Issue]:
        """The steps of a flat loop (``pto/ir.py``) and of the loop in it."""
        inside = loop.inner
        inner = loop.body[inside]
        assert isinstance(inner, Loop)
        mine = any(r.core == self.core for r in all_rows(inner.body))
        items = [(w, self._trips(inner, (*turn, w))) for w in range(self._trips(loop, turn))]
        empty, full = ([x for x in items if bool(x[1]) == side] for side in (False, True))
        positions: list[tuple[Counters, int]] = []
        done = 0
        for v, (w, n) in enumerate((*empty, *full)):
            trips = n if mine else 1
            item = {**counters, loop.index: w, loop.total: v}
            if isinstance(inner.trips, Var):
                item[inner.trips.name] = n
            if not n:
                scope = {**item, inner.total: done}
                place = {id(row): k for k, row in enumerate(loop.body)}
                for each in loop.alone(r for r in loop.body if isinstance(r, Row)):
                    if each.core == self.core:
                        yield (*path, place[id(each)]), each, scope
                continue
            for i in range(trips):
                positions.append(({**item, inner.index: i, inner.total: done + i}, trips))
            done += trips
        low, high = loop.shifts

        def at(step: int, row: Row, where: str) -> Counters | None:
            """The counters of a row in a step, if it runs there."""
            p = step + (high if OPS[row.op].kind == "scalar" and where == "front" else row.shift)
            if row.core != self.core or not 0 <= p < len(positions):
                return None
            scope, trips = positions[p]
            i = scope[inner.index]
            runs = {"front": i == 0, "inside": True, "behind": i + 1 == trips}
            return scope if runs[where] else None

        for step in range(-high, len(positions) - low):
            for k, node in enumerate(loop.body):
                rows = node.body if isinstance(node, Loop) else (node,)
                where = "front" if k < inside else "inside" if k == inside else "behind"
                for j, row in enumerate(rows):
                    assert isinstance(row, Row)
                    found = at(step, row, where)
                    if found is not None:
                        yield (*path, k, j) if k == inside else (*path, k), row, found

    def _trips(self, loop: Loop, turn: Path) -> int:
        if not turn:
            return len(self.lengths)
        if self.exact and isinstance(loop.trips, Const):
            return shortened(int(loop.trips.value), self.enough, self.period)
        return self.lengths[(sum(turn) + self.number.get(loop.trips, 0)) % len(self.lengths)]


def _taken(
    branch: Branch, wanted: bool, scope_at: Callable[[int], Counters | None], shift: int
) -> Counters | None:
    """The counters of a row behind a branch, if the branch goes its way for them.

    Raises:
        ScheduleError: for a test of more than counters.
    """
    scope = scope_at(shift)
    if scope is None:
        return None
    unknown = [n for n in names_in(branch.test) if n not in scope]
    if unknown:
        message = f"which way 'if {expr(branch.test)}' goes depends on '{unknown[0]}', which only a call has"
        raise ScheduleError(message, branch.loc)
    return scope if bool(evaluate(branch.test, scope.__getitem__)) == wanted else None
