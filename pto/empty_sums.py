"""Sums of products over loops that may have no iteration.

In: a traced kernel.  Out: the same, where such a loop runs once at least, over loads that find nothing if it
has no iteration: L0C is written by products alone, so a sum over nothing is one over zeros.
Invariant: only loops that do nothing but add up products of what they load; nothing is read that would not be
read otherwise.  Non-goals: where a sum lies (``lowering/schedule/passes/accumulate.py``).
"""

from __future__ import annotations

from dataclasses import replace

from pto import ir
from pto.bounds import Known, inside, noted, of_launch, surely_runs
from pto.views import edge
from pto.views import sides as sides_of

ZEROS = ((ir.Const(0.0),), (ir.Const(0),))


def is_zero(row: ir.Row) -> bool:
    """Whether a row makes the tile that a sum of products, of floats or of integers, may start from."""
    return row.op == "full" and row.args in ZEROS


def started(kernel: ir.Kernel) -> ir.Kernel:
    """for i in 0 .. n: carry t from zero; x = load a[...]; t + x @ y, where n may be 0
    --> for i in 0 .. max(n, 1), where the loads find nothing at i = n.

    L0C is written by products alone: a sum over nothing is one over zeros.
    """
    return replace(kernel, body=_started(kernel.body, of_launch(kernel), set()))


def _started(block: ir.Block, known: Known, zeros: set[str]) -> ir.Block:
    out: list[ir.Node] = []
    for node in block:
        if isinstance(node, ir.Row):
            known = noted(node, known)
            if is_zero(node):
                zeros.add(node.result(ir.Define).name)
        elif isinstance(node, ir.Loop):
            inner = inside(node, known)
            node = replace(node, body=_started(node.body, inner, zeros))
            summed = node.carry and all(c.init and c.init.name in zeros for c in node.carry)
            if summed and not surely_runs(node, known):
                node = over_zeros(node) or node
        out.append(node)
    return tuple(out)


OF_SUMS = ("let", "load", "part", "add", "matmul")
"""All that a loop may do whose first iteration is one over zeros if it has none."""


def over_zeros(loop: ir.Loop) -> ir.Loop | None:
    """The loop run once at least; None if it does more than to add up products of what it loads."""
    rows = [n for n in loop.body if isinstance(n, ir.Row) and n.op in OF_SUMS]
    made = {r.out.name: r for r in rows if isinstance(r.out, ir.Define)}
    sums = {c.name for c in loop.carry} | {n for n, r in made.items() if r.op in ("add", "matmul")}
    inner: dict[str, set[int]] = {}
    for row in rows:
        refs = [a for a in row.args if isinstance(a, ir.Ref)]
        for k, ref in enumerate(refs[:2] if row.op == "matmul" else []):
            source = made.get(ref.name)
            if source is not None and source.op == "part":
                source = made.get(source.operand(ir.Ref).name)
            if source is None or source.op != "load":
                return None
            side = int(
                (k == 0) != ref.transposed
            )  # the inner dimension: columns, or rows on the right
            inner.setdefault(source.result(ir.Define).name, set()).add(side)
        if row.op == "add" and not {a.name for a in refs} <= sums:
            return None
    if len(rows) < len(loop.body) or not inner:
        return None
    body = (guarded(r, inner.get(getattr(r.out, "name", ""), set()), loop) for r in rows)
    return replace(loop, trips=ir.binary("max", loop.trips, ir.Const(1)), body=tuple(body))


def guarded(row: ir.Row, sides: set[int], loop: ir.Loop) -> ir.Row:
    """A load that finds nothing along its inner dimensions behind the last iteration."""
    if not sides:
        return row
    view, t = row.operand(ir.View), row.result(ir.Define).type
    items = list(view.index)
    for at, side in enumerate(sides_of(view, t.rows, t.cols)):
        if at in sides and side:
            k = side[edge([ir.as_span(items[k]) for k in side])]
            span = ir.as_span(items[k])
            items[k] = replace(span, valid=valid_before_the_end(span, loop))
    return replace(row, args=(ir.View(view.tensor, tuple(items)), *row.args[1:]))


def valid_before_the_end(span: ir.Span, loop: ir.Loop) -> ir.Expr:
    """What a span has of its elements, none where no iteration is left."""
    size, step = ir.Const(span.size), ir.Var(loop.index)
    trips = loop.trips
    if isinstance(trips, ir.Bin) and (trips.op, trips.b) == ("cdiv", size):
        if span.valid == ir.binary("-", trips.a, ir.binary("*", step, size)):
            return span.valid
    there = ir.binary("*", ir.binary("-", trips, step), size)
    return there if span.valid is None else ir.binary("min", span.valid, there)
