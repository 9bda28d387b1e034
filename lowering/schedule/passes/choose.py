"""Choices in loops as rows under tests, so that the loop around them is one of rows, which run ahead.

In: the loops of a program, and rows with cores.  Out: which loops of one step at most become rows of the loop
around them; the test of such rows; which row hands a carry on.  Invariant: where the test is 0, no row of the
choice works, and its results are what its carries start from.
Non-goals: cores and pipes (assign), where tiles lie (groups: a row that works under a test writes over
what its result is elsewhere).

A row under a test waits, sets and signals whether it works or not: rings, FIFOs and counters go on as in a loop
without a choice, and whoever runs ahead need not know how the choice comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pto import ir
from pto.legality import straight
from pto.ops import OPS


def chosen(kernel: ir.Kernel) -> frozenset[int]:
    """The choices, by their ids, that become rows of the loop around them: those of rows only in a loop of an item,
    and beside one, or beside each other, where they would keep items from running on from one to the next.

    The only one of an item without a loop is left out as a whole, which costs nothing; so are those with products."""
    items = [n for n in straight(kernel.body) if isinstance(n, ir.Loop)]
    return frozenset(id(x) for item in items for x in _chosen(item, False))


def _chosen(loop: ir.Loop, inside: bool) -> Iterator[ir.Loop]:
    """Below ``loop``; ``inside``: it is one of an item, or in one."""
    loops = [n for n in straight(loop.body) if isinstance(n, ir.Loop)]
    several = len(loops) > 1 and not any(map(has_products, loops))
    inside = inside or several or not all(map(of_rows, loops))
    for x in loops:
        if inside and of_rows(x):
            yield from (x, *ir.loops_of(x.body))
        else:
            yield from _chosen(x, inside and not x.is_guard or not (x.is_guard or of_rows(x)))


def of_rows(loop: ir.Loop) -> bool:
    """A choice in which there are rows and such choices only."""
    return all(x.is_guard for x in (loop, *ir.loops_of(loop.body)))


def has_products(loop: ir.Loop) -> bool:
    return any(r.op == "matmul" for r in ir.all_rows(loop.body))


def under(loop: ir.Loop, around: ir.Expr | None, out: list[ir.Node]) -> ir.Expr:
    """The test of the rows of a choice; in another one, of which the test is ``around``, it is a scalar that is 0
    where that is, made by a row of ``out``."""
    if around is None:
        return loop.trips
    out.append(
        ir.Row("let", ir.Scalar(loop.index), (loop.trips,), pipe="S", loc=loop.loc, test=around)
    )
    return ir.Var(loop.index)


def maker(rows: Sequence[ir.Node], test: ir.Expr | None, init: str, end: str) -> int | None:
    """Where the row stands that makes the result ``end`` of a choice of these ``rows``, if it may write over
    ``init``: where nobody reads that behind it, and no other pipe reads what it makes."""
    made = [k for k, r in enumerate(rows) if isinstance(r, ir.Row) and _makes(r, end)]
    for k in made:
        row = rows[k]
        assert isinstance(row, ir.Row)
        here = row.test == test and row.other is None and row.pipe in ("V", "M")
        over = OPS[row.op].in_place or row.pipe == "M" or not _reads(row, init)
        behind = [r for r in rows[k + 1 :] if isinstance(r, ir.Row)]
        leaves = any(r.op in ("store", "push") and _reads(r, end) for r in behind)
        if here and over and not leaves and not any(_reads(r, init) for r in behind):
            return k
    return None


def hands_on(rows: Sequence[ir.Node], init: str, end: str) -> bool:
    """The result ``end`` is ``init`` where the choice is not taken: as it is everywhere, or where a choice in it is
    not taken either."""
    made = (r for r in rows if isinstance(r, ir.Row) and _makes(r, end))
    return end == init or any(r.other == ir.Ref(init) for r in made)


def _makes(row: ir.Row, name: str) -> bool:
    return isinstance(row.out, ir.Define) and row.out.name == name


def _reads(row: ir.Row, name: str) -> bool:
    return any(isinstance(a, ir.Ref) and a.name == name for a in (*row.args, row.other))
