"""One loop of several, where loops keep what is around them from running ahead.

In: the persistent form.  Out: the same values; a loop whose body is a loop is one with it, and short constant
loops in loops are written out.  Invariant: same rows, in the same order.  Non-goals: the order of rows (skew).

Rows of one innermost loop run ahead of each other (skew); in a loop around it all of them would wait.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lowering.schedule.passes.mentions import names_taken, rewrite_block, rewrite_exprs
from pto import ir
from pto.bounds import Known, bounds, inside, noted, of_launch
from pto.legality import straight
from pto.names import fresh

MOST_TRIPS, MOST_ROWS = 16, 256
"""Iterations that are written out, and rows that they may become: a choice, since schedules are read, proven and
emitted row by row."""


def unnest(kernel: ir.Kernel) -> ir.Kernel:
    """for j in 0 .. 2: x = load t[j]  --> x = load t[0]; x_2 = load t[1]

    Where ``j`` is a loop in the loop of an item.
    """
    taken = names_taken(kernel)

    def visit(loop: ir.Loop, known: Known, keep: bool) -> ir.Loop:
        """``loop`` with the loops in it written out; ``keep``: but for its own."""
        out: list[ir.Node] = []
        named: dict[str, str] = {}
        known = inside(loop, known)
        for node in straight(loop.body):
            if not isinstance(node, ir.Loop):
                known = noted(node, known)
                out.append(renamed(node, named))
                continue
            node = visit(as_one(renamed_loop(node, named), known, taken), known, False)
            if keep or not short(node):
                out.append(node)
            else:
                rows, lasts = written_out(node, taken)
                out += rows
                named |= lasts
        return replace(loop, body=tuple(out), result=tuple(called(r, named) for r in loop.result))

    launch = of_launch(kernel)
    loops = (visit(n, launch, True) if isinstance(n, ir.Loop) else n for n in straight(kernel.body))
    return replace(kernel, body=tuple(loops))


def as_one(loop: ir.Loop, known: Known, taken: set[str]) -> ir.Loop:
    """for j in 0 .. n: for i in 0 .. m: x  --> for i in 0 .. n * m: j = i // m; i = i % m; x

    Where ``m`` does not go by ``j``, neither is negative, and what ``j`` carries is carried through.
    """
    loops = [n for n in loop.body if isinstance(n, ir.Loop)]
    if len(loops) != 1 or loop.body[-1] is not loops[0]:
        return loop
    before = [n for n in straight(loop.body) if isinstance(n, ir.Row)]
    behind = inside(loop, known)
    for row in before:
        behind = noted(row, behind)
    inner = as_one(loops[0], behind, taken)
    made = {loop.index, *(r.out.name for r in before if isinstance(r.out, ir.Scalar))}
    scalars = all(r.op == "let" for r in before) and made.isdisjoint(ir.names_in(inner.trips))
    counts = bounds(loop.trips, known).low >= 0 and bounds(inner.trips, behind).low >= 0
    through = [c.name for c in loop.carry] == [c.init.name for c in inner.carry if c.init]
    back = [r.name for r in loop.result] == [c.last for c in inner.carry]
    if not (scalars and counts and through and back):
        return loop
    index = ir.Var(fresh(inner.index, taken))
    values: dict[str, ir.Expr] = {
        loop.index: ir.binary("//", index, inner.trips),
        inner.index: ir.binary("%", index, inner.trips),
    }
    body = (*before, *inner.body)
    carry = (
        replace(x, init=c.init, last=c.last) for x, c in zip(inner.carry, loop.carry, strict=True)
    )
    trips = ir.binary("*", loop.trips, inner.trips)
    return replace(
        loop,
        index=index.name,
        trips=trips,
        body=rewrite_block(body, partial(ir.substitute, values=values)),
        carry=tuple(carry),
        result=inner.result,
    )


def short(loop: ir.Loop) -> bool:
    """A loop without loops, of a constant number of iterations that can be written out."""
    if any(isinstance(n, ir.Loop) for n in loop.body) or not isinstance(loop.trips, ir.Const):
        return False
    return loop.trips.value <= MOST_TRIPS and loop.trips.value * len(loop.body) <= MOST_ROWS


def written_out(loop: ir.Loop, taken: set[str]) -> tuple[list[ir.Row], dict[str, str]]:
    """The rows of all iterations, and what the values behind the loop are called now."""
    assert isinstance(loop.trips, ir.Const)
    rows: list[ir.Row] = []
    carried = {c.name: c.init.name for c in loop.carry if c.init}
    for i in range(int(loop.trips.value)):
        named = dict(carried)
        scalars: dict[str, ir.Expr] = {loop.index: ir.Const(i)}
        for row in straight(loop.body):
            assert isinstance(row, ir.Row)
            done = renamed(rewrite_exprs(row, partial(ir.substitute, values=scalars)), named)
            made = row.out
            if i and isinstance(made, ir.Define):
                named[made.name] = fresh(made.name, taken)
                done = replace(done, out=replace(made, name=named[made.name]))
            elif i and isinstance(made, ir.Scalar):
                name = fresh(made.name, taken)
                scalars[made.name] = ir.Var(name, ir.names_a_float(row))
                done = replace(done, out=replace(made, name=name))
            rows.append(done)
        ends = (named.get(r.name, r.name) for r in loop.result)
        carried = {c.name: end for c, end in zip(loop.carry, ends, strict=True)}
    return rows, {c.last: carried[c.name] for c in loop.carry}


def renamed(row: ir.Row, names: dict[str, str]) -> ir.Row:
    """``row`` that reads tiles under their new names."""
    args = (called(a, names) if isinstance(a, ir.Ref) else a for a in row.args)
    return replace(row, args=tuple(args))


def called(tile: ir.Ref, names: dict[str, str]) -> ir.Ref:
    return replace(tile, name=names.get(tile.name, tile.name))


def renamed_loop(loop: ir.Loop, names: dict[str, str]) -> ir.Loop:
    """``loop`` the same, with what is in it."""
    body = tuple(
        renamed_loop(n, names) if isinstance(n, ir.Loop) else renamed(n, names)
        for n in straight(loop.body)
    )
    carry = (replace(c, init=called(c.init, names)) if c.init else c for c in loop.carry)
    result = (called(r, names) for r in loop.result)
    return replace(loop, body=body, carry=tuple(carry), result=tuple(result))
