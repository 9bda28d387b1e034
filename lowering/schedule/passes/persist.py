"""The persistent loop: one launch, every hardware block takes its share of the work items.

In: the traced form, where ``pid0``, ``pid1``, ... say which work item this is.  Out: the same rows
inside a loop over the work items of this block; loop bounds have names, aliases are gone.
"""

from __future__ import annotations

from dataclasses import replace

from lowering.schedule.passes.located import located
from lowering.schedule.passes.mentions import names_taken, rewrite_exprs
from pto.ir import Bin, Block, Const, Expr, Kernel, Loop, Node, Row, Scalar, Var, binary, substitute
from pto.legality import straight
from pto.names import fresh


def persist(kernel: Kernel) -> Kernel:
    """body of work item (pid0, ..) --> for w in 0 .. items of this block: body.

    Hardware block ``block_idx`` of ``block_num`` takes every ``block_num``-th work item, the last
    grid axis fastest (docs/machine.md 16.1).  Loop bounds get names, tests stay
    what is seen to be one, aliases disappear.  What only watches says of which item it is.
    """
    kernel = located(kernel)
    taken = names_taken(kernel)
    index = fresh("w", taken)
    item: Expr = binary("+", Var("block_idx"), binary("*", Var(index), Var("block_num")))
    axes = [a for a, g in enumerate(kernel.grid) if g != Const(1)]
    head: list[Node] = []
    if len(axes) > 1:
        name = fresh("item", taken)
        head.append(Row("let", Scalar(name), (item,)))
        item = Var(name)
    values: dict[str, Expr] = {}
    stride: Expr = Const(1)
    for axis in reversed(range(len(kernel.grid))):
        position = binary("//", item, stride)
        values[f"pid{axis}"] = (
            position if axis == (axes[:1] or [0])[0] else binary("%", position, kernel.grid[axis])
        )
        if kernel.grid[axis] == Const(1):
            values[f"pid{axis}"] = Const(0)
        stride = binary("*", stride, kernel.grid[axis])
    body = _named_trips(kernel.body, values, taken)
    trips = binary("cdiv", binary("-", kernel.items, Var("block_idx")), Var("block_num"))
    return replace(kernel, body=(Loop(index, trips, (*head, *body)),))


def _named_trips(block: Block, values: dict[str, Expr], taken: set[str]) -> Block:
    out: list[Node] = []
    for node in straight(block):
        if isinstance(node, Loop):
            trips = substitute(node.trips, values)
            if isinstance(trips, Bin) and not node.is_guard:
                name = fresh("n", taken)
                out.append(Row("let", Scalar(name), (trips,), loc=node.loc))
                trips = Var(name)
            out.append(replace(node, trips=trips, body=_named_trips(node.body, values, taken)))
        else:
            row = rewrite_exprs(node, lambda e: substitute(e, values))
            if (
                row.op == "let"
                and isinstance(row.out, Scalar)
                and isinstance(row.args[0], Var | Const)
            ):
                values[row.out.name] = row.args[0]
            else:
                out.append(row)
    return tuple(out)
