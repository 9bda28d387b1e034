"""Which tiles of a schedule are split between the vector lanes, and what both lanes have together.

In: a scheduled kernel.  Out: for each buffer whether a lane holds a part of its rows; views and counts of
rows for all lanes at once, ``lane`` being 0.
Non-goals: whether the lanes' regions lie apart (``lowering/hazards``).
"""

from __future__ import annotations

from dataclasses import replace

from pto import ir
from pto.errors import ScheduleError
from pto.ops import OPS
from pto.row_rules import touched
from pto.targets import target_of
from pto.text import statement


def split_buffers(kernel: ir.Kernel) -> dict[str, bool]:
    """Which buffers hold a half of the rows per lane (the others hold the same on both lanes).

    A FIFO twice as high as the slot, or ``lane`` in a view, says so; ops hand it on to operands of
    the same height.  Without a hint a one-row buffer is replicated and any other is split.
    """
    vector = {b.name: b.type for b in kernel.buffers if b.core == "vector"}
    group = {name: name for name in vector}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    hints: list[tuple[str, bool]] = []
    for r in ir.all_rows(kernel.body):
        takes = OPS[r.op].args
        reads = (x for k, x in enumerate(touched(r)[0]) if not takes[k].alike)
        refs = [x for x in (r.out, *reads) if isinstance(x, ir.Ref)]
        tiles = [x.name for x in refs if x.name in vector]
        for x in (r.out, *r.args):
            if isinstance(x, ir.Queue) and tiles:
                hints.append((tiles[0], kernel.fifo(x.name).type.rows != vector[tiles[0]].rows))
            if isinstance(x, ir.View) and tiles:
                hints.append(
                    (tiles[0], any("lane" in ir.names_in(ir.as_span(i).start) for i in x.index))
                )
        if OPS[r.op].kind in ("unary", "binary", "reduce", "select", "expand", "order", "scan"):
            for name in tiles[1:]:
                if vector[name].rows == vector[tiles[0]].rows:
                    group[root(name)] = root(tiles[0])
    known = {root(name): split for name, split in hints}
    return {
        b.name: known.get(root(b.name), b.type.rows > 1) if b.core == "vector" else False
        for b in kernel.buffers
    }


def both_lanes(item: ir.Expr | ir.Span, row: ir.Row, kernel: ir.Kernel) -> ir.Expr | ir.Span:
    """rewrite: ``start + lane * size :+ size``  -->  ``start :+ lanes * size``"""
    span = ir.as_span(item)
    if "lane" not in ir.names_in(span.start):
        return ir.map_exprs(item, lane_zero)
    if ir.linear(span.start)[1].get(ir.Var("lane")) != span.size:
        text = statement(row, kernel)
        raise ScheduleError(f"'{text}' does not split its rows evenly over the lanes", row.loc)
    return replace(ir.map_exprs(span, lane_zero), size=target_of(kernel).lanes * span.size)


def lane_zero(e: ir.Expr) -> ir.Expr:
    return ir.substitute(e, {"lane": ir.Const(0)})
