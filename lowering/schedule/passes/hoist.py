"""Loads that no iteration changes, once in front of their loop.

In: the persistent form.  Out: the same values; a load that is the same in every iteration of a loop, or for
every work item of a block, stands in front of it.  What a choice leaves out is not loaded.  Invariant: what is loaded exists, whether the loop runs
or not.  Non-goals: whether the tile has room (place).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pto import ir
from pto.bounds import Known, inside, noted, of_launch, surely_runs
from pto.legality import straight
from pto.ops import LOADS


def hoist(kernel: ir.Kernel) -> ir.Kernel:
    """for i in 0 .. n: x = load t[b]  --> x = load t[b]; for i in 0 .. n"""
    written = {r.result(ir.View).tensor for r in ir.all_rows(kernel.body) if r.op == "store"}

    def visit(block: ir.Block, known: Known, places: frozenset[str]) -> ir.Block:
        out: list[ir.Node] = []
        for node in straight(block):
            if not isinstance(node, ir.Loop):
                known = noted(node, known)
                if node.op == "let" and is_place(node.args[0], places):
                    places |= {node.result(ir.Scalar).name}
                out.append(node)
                continue
            item = {node.index} if node in kernel.body else ()
            body = visit(node.body, inside(node, known), places.union(item))
            own = {node.index, *scalars_in(body)}
            sure = surely_runs(node, known)
            moved = [
                r
                for r in body
                if isinstance(r, ir.Row) and r.op in LOADS
                if all(
                    view.tensor not in written
                    and own.isdisjoint(names_of(view))
                    and (sure or not node.is_guard and always_there(view, places))
                    for view in r.args
                    if isinstance(view, ir.View)
                )
            ]
            out += moved
            out.append(replace(node, body=tuple(n for n in body if n not in moved)))
        return tuple(out)

    launch = frozenset({*kernel.dims, "block_idx", "block_num"})
    return replace(kernel, body=visit(kernel.body, of_launch(kernel), launch))


def scalars_in(block: ir.Block) -> Iterator[str]:
    """Scalars and counters of a block."""
    for node in block:
        if isinstance(node, ir.Loop):
            yield node.index
            yield from scalars_in(node.body)
        elif isinstance(node, ir.Row) and isinstance(node.out, ir.Scalar):
            yield node.out.name


def names_of(view: ir.View) -> set[str]:
    return {n for e in ir.exprs_of(view) for n in ir.names_in(e)}


def always_there(view: ir.View, places: frozenset[str]) -> bool:
    """What the work item is about, or the same for all of them: it need not be guarded by a loop that may be
    empty, as ``t[n - 1]`` must be in one over ``n``."""
    starts = (x.start if isinstance(x, ir.Span) else x for x in view.index)
    return all(is_place(x, places) for x in starts)


def is_place(e: object, places: frozenset[str]) -> bool:
    """A number, a work item, or a multiple or part of one."""
    match e:
        case ir.Const(value):
            return value >= 0
        case ir.Var(name):
            return name in places
        case ir.Bin("+", ir.Var("block_idx"), b):
            return is_place(b, places)
        case ir.Bin("*" | "//" | "%", a, b):
            return is_place(a, places) and is_place(b, places)
    return False
