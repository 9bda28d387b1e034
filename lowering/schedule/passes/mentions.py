"""What rows mention: names that are taken, scalars and tiles that are read, expressions to rewrite.

Shared by the passes; the proof and the executors have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pto import ir
from pto.legality import straight


def names_taken(kernel: ir.Kernel) -> set[str]:
    """Every name that a new value must not have."""
    taken = {p.name for p in kernel.params} | set(kernel.dims) | {n for n, _ in kernel.statics}
    for loop in ir.loops_of(kernel.body):
        taken |= {loop.index, loop.total, *(n for c in loop.carry for n in (c.name, c.last))}
    made = (r.out for r in ir.all_rows(kernel.body))
    return taken | {x.name for x in made if isinstance(x, ir.Define | ir.Scalar)}


def rewrite_exprs(row: ir.Row, f: Callable[[ir.Expr], ir.Expr]) -> ir.Row:
    """``row`` with every scalar expression in it replaced by ``f`` of it."""
    args = tuple(ir.map_exprs(a, f) for a in row.args)
    test = None if row.test is None else f(row.test)
    return replace(row, out=ir.map_exprs(row.out, f), args=args, test=test)


def rewrite_block(block: ir.Block, f: Callable[[ir.Expr], ir.Expr]) -> ir.Block:
    """``block`` with every scalar expression in it replaced by ``f`` of it."""
    return tuple(
        replace(n, trips=f(n.trips), body=rewrite_block(n.body, f))
        if isinstance(n, ir.Loop)
        else rewrite_exprs(n, f)
        for n in straight(block)
    )


def scalars_of(row: ir.Row) -> Iterator[str]:
    """Names of the scalars that a row reads."""
    for x in (*row.args, row.out, *row.tests, *row.wait, *row.set):
        yield from (n for e in ir.exprs_of(x) for n in ir.names_in(e))


def named(mentioned: Iterable[ir.Operand | ir.Output | None]) -> Iterator[str]:
    """Names of the tiles, scalars and tensors among what a row mentions."""
    for x in mentioned:
        if isinstance(x, ir.Ref | ir.Define | ir.Scalar):
            yield x.name
        elif isinstance(x, ir.View):
            yield x.tensor


def count_uses(block: ir.Block) -> dict[str, int]:
    """How often each tile is read, carries and loop results included."""
    uses: dict[str, int] = {}
    for name in tile_uses(block):
        uses[name] = uses.get(name, 0) + 1
    return uses


def tile_uses(block: ir.Block) -> Iterator[str]:
    for node in straight(block):
        if isinstance(node, ir.Loop):
            yield from (c.init.name for c in node.carry if c.init)
            yield from tile_uses(node.body)
            yield from (r.name for r in node.result)
        else:
            yield from (a.name for a in (*node.args, node.other) if isinstance(a, ir.Ref))
