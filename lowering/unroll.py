"""A scheduled program run on counters only: which rows a core issues, in order, for chosen lengths.

In: a kernel with shifts.  Out: its rows one core after the other, with the values of the loop
counters.  The scheduler uses it to see what a loop does at its edges, the simulator to know what
there is to do; the proof has its own execution and decides every length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from lowering.walk import Entry, Issues, Walk
from pto import ir
from pto.arithmetic import Number
from pto.bounds import decided, of_launch
from pto.errors import ScheduleError
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

Lengths = Sequence[int] | Sequence[frozenset[int]] | None
"""Of each work item how often its inner loops run; or which of them, by their numbers, do so once, and no others.
None: ``LENGTHS``, for constant trip counts too."""

LONGEST = 8
"""Steps in flight up to which every sequence of work items that fits in them is run: 255 sequences.
With more steps in flight (a lookahead of 4 over two round trips, say) the longer sequences are left
to ``RUNS`` and to the proof."""


class Counters(dict[str, Number]):
    """Values of loop counters; ``at``: the iterations of the loops around."""

    __slots__ = ("at",)

    def __init__(self, counters: Mapping[str, Number] | None = None, at: ir.Path = ()) -> None:
        super().__init__(counters or {})
        self.at = at


Issue = tuple[ir.Path, ir.Row, Counters]
Issued = Issues[Counters]
"""Rows as they are issued: with the counters of their iteration."""


def issued(
    kernel: ir.Kernel, core: str, lengths: Lengths = None, period: int = 0
) -> Iterator[Issue]:
    """The rows of ``core`` in the order it issues them: ``Unrolled``, for one choice of lengths."""
    for run, scope in Unrolled(kernel, core).runs(lengths, period):
        yield from ((entry.path, entry.row, scope) for entry in run)


def in_flight(kernel: ir.Kernel) -> int:
    """Steps that are in flight together."""
    shifts = [r.shift for r in ir.all_rows(kernel.body)]
    return 1 + max(shifts) - min(shifts)


def shortened(trips: int, enough: int, period: int) -> int:
    """A constant trip count, or one that ends like it, of at least ``enough`` steps."""
    return trips if not period or trips <= enough else enough + (trips - enough) % period


def launches(kernel: ir.Kernel) -> Iterator[Sequence[int] | None]:
    """Sequences of trip counts, one per work item, with which rows of a core meet as they may.

    A flat loop ends differently behind every sequence of short items that is in flight together, so
    all of them are run; the last is one item that is long.  If the inner loops are constant, runs
    differ in the number of items only.  None: ``LENGTHS``, for constant trip counts too.
    """
    flat = [n for n in kernel.body if isinstance(n, ir.Loop) and n.flat]
    most = min(in_flight(kernel), LONGEST)
    if flat and all(isinstance(x.trips, ir.Const) for n in flat for x in ir.loops_of(n.body)):
        yield from ((1,) * items for items in (*range(1, most + 1), 2 * LONGEST))
    elif flat:
        yield from RUNS
        for total in range(1, most + 1):
            yield from compositions(total)
    else:
        yield None
    yield (4 * in_flight(kernel),)


def pairs_of_loops(kernel: ir.Kernel) -> Sequence[frozenset[int]]:
    """Which loops run in each of some items in a row: each one behind each other one, of its item and of the one
    before, without any between the two.  What a row of the first leaves unfinished, a row of the second may meet."""
    ways = dict.fromkeys(_ways_in(kernel.body, numbers_of(kernel), frozenset()))
    return [way for a, b in product(ways, repeat=2) for way in (a, b, a | b)]


def _ways_in(
    block: ir.Block, numbers: Mapping[ir.Expr, int], around: frozenset[int]
) -> Iterator[frozenset[int]]:
    """Of every loop in the work items the numbers of those that must run for it to be reached, with its own; and
    none."""
    yield around
    for node in block:
        if isinstance(node, ir.Loop):
            inside = around | {numbers[node.trips]} if node.trips in numbers else around
            yield from _ways_in(node.body, numbers, inside)


def numbers_of(kernel: ir.Kernel) -> dict[ir.Expr, int]:
    """Of the trip counts in work items; equal ones have one."""
    inside = (x.trips for n in kernel.body if isinstance(n, ir.Loop) for x in ir.loops_of(n.body))
    return {trips: k for k, trips in enumerate(dict.fromkeys(inside))}


def compositions(total: int) -> Iterator[tuple[int, ...]]:
    """3 --> (1, 1, 1), (1, 2), (2, 1), (3)"""
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        for rest in compositions(total - first):
            yield (first, *rest)


class Unrolled:
    """A core of a kernel, to be run for many lengths, one after the other; of the rows those that are
    ``wanted`` (None: all).

    The domain of counters.  The iterations of the loops around a node, ``at`` of its scope, pick its
    length; loops with different trip counts take neighbours, so that each is empty beside a full one.
    """

    def __init__(
        self, kernel: ir.Kernel, core: str, wanted: Callable[[ir.Row], bool] | None = None
    ) -> None:
        self.known, self.far = of_launch(kernel), 4 * in_flight(kernel)
        numbers = numbers_of(kernel)
        loops = list(ir.loops_of(kernel.body))
        self.number = {id(x): numbers.get(x.trips, 0) for x in loops}
        told = {id(n) for x in loops for n in x.body}
        self.named = {id(x): tuple(_named(x, id(x) in told)) for x in loops}
        self.walk = Walk(kernel.body, core, self, wanted)

    def runs(self, lengths: Lengths = None, period: int = 0) -> Iterator[Issued]:
        """The rows in the order in which they are issued; both cores see the same lengths.

        ``lengths``: the trip count of the inner loops in every work item, constant trip counts aside.  ``period``: after how many steps every ring
        is at the same slot again; a longer constant loop is cut by whole periods.
        """
        self.exact, self.lengths = lengths is not None, LENGTHS if lengths is None else lengths
        self.period, self.enough = period, self.far if period else 0
        return self.walk.runs(Counters())

    def trips(self, loop: ir.Loop, scope: Counters, ahead: Sequence[Entry] = ()) -> int:
        return self._length(loop, scope.at)

    def _length(self, loop: ir.Loop, at: ir.Path) -> int:
        if not at:
            return len(self.lengths)
        if self.exact and isinstance(loop.trips, ir.Const):
            return shortened(int(loop.trips.value), self.enough, self.period)
        number, lengths = self.number[id(loop)], self.lengths
        mine = lengths[at[0] % len(lengths)]
        if isinstance(mine, frozenset):
            return int(number in mine)
        length = lengths[(sum(at) + number) % len(lengths)]
        assert isinstance(length, int)
        return min(length, 1) if loop.is_guard else length

    def holds(self, branch: ir.Branch, scope: Counters) -> bool:
        """Which way a branch goes.

        Raises:
            ScheduleError: for a test of more than counters.
        """
        always = decided(branch.test, self.known)
        if always is not None:
            return always
        unknown = [n for n in ir.names_in(branch.test) if n not in scope]
        if unknown:
            message = f"which way 'if {expr(branch.test)}' goes depends on '{unknown[0]}', which only a call has"
            raise ScheduleError(message, branch.loc)
        return bool(ir.evaluate(branch.test, scope.__getitem__))

    def inside(self, loop: ir.Loop, scope: Counters, i: int, total: int) -> Counters:
        """A trip count that is a name is known, too: that of the loop, and those in its body."""
        found = Counters(scope, (*scope.at, i))
        found[loop.index], found[loop.total] = i, total
        for inner, name in self.named[id(loop)]:
            found[name] = self._length(inner, scope.at if inner is loop else found.at)
        return found

    def count(self, scope: Counters, counters: Mapping[str, int]) -> None:
        scope.update(counters)


def _named(loop: ir.Loop, told: bool) -> Iterator[tuple[ir.Loop, str]]:
    """The loop, unless the one around has told of it, and those in its body whose trip counts are names."""
    for x in (*[loop] * (not told), *loop.body):
        if isinstance(x, ir.Loop) and isinstance(x.trips, ir.Var):
            yield x, x.trips.name
