"""What rows mention: names that are taken, scalars and tiles that are read, expressions to rewrite.

Shared by the passes; the proof and the executors have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pto.ir import (
    Bin,
    Block,
    Const,
    Define,
    Expr,
    Kernel,
    Loop,
    Operand,
    Ref,
    Row,
    Scalar,
    Span,
    Var,
    View,
    names_in,
)
from pto.legality import straight


def names_taken(kernel: Kernel) -> set[str]:
    """Every name that a new value must not have."""
    taken = {p.name for p in kernel.params} | set(kernel.dims) | {n for n, _ in kernel.statics}
    for block in _blocks(kernel.body):
        for node in block:
            if isinstance(node, Loop):
                taken |= (
                    {node.index, node.total}
                    | {c.name for c in node.carry}
                    | {c.last for c in node.carry}
                )
            elif isinstance(node, Row) and isinstance(node.out, Define | Scalar):
                taken.add(node.out.name)
    return taken


def fresh(hint: str, taken: set[str]) -> str:
    """``hint``, numbered if it is taken; the result is taken from now on."""
    name, n = hint, 1
    while name in taken:
        n += 1
        name = f"{hint}_{n}"
    taken.add(name)
    return name


def _blocks(block: Block) -> Iterator[Block]:
    yield block
    for node in straight(block):
        if isinstance(node, Loop):
            yield from _blocks(node.body)


def rewrite_exprs(row: Row, f: Callable[[Expr], Expr]) -> Row:
    """``row`` with every scalar expression in it replaced by ``f`` of it."""

    def item(x: Expr | Span) -> Expr | Span:
        if isinstance(x, Span):
            return Span(f(x.start), x.size, None if x.valid is None else f(x.valid))
        return f(x)

    def view(x: View) -> View:
        return View(x.tensor, tuple(map(item, x.index)))

    def operand(x: Operand) -> Operand:
        if isinstance(x, View):
            return view(x)
        return f(x) if isinstance(x, Const | Var | Bin) else x

    out = view(row.out) if isinstance(row.out, View) else row.out
    return replace(row, out=out, args=tuple(map(operand, row.args)))


def scalars_of(row: Row) -> Iterator[str]:
    """Names of the scalars that a row reads."""
    for x in (*row.args, row.out):
        if isinstance(x, View):
            for i in x.index:
                for e in (i.start, i.valid) if isinstance(i, Span) else (i,):
                    if e is not None:
                        yield from names_in(e)
        elif isinstance(x, Const | Var | Bin):
            yield from names_in(x)
        elif isinstance(x, Ref) and x.index is not None:
            yield from names_in(x.index)
    for flag in (*row.wait, *row.set):
        if flag.index is not None:
            yield from names_in(flag.index)


def count_uses(block: Block) -> dict[str, int]:
    """How often each tile is read, carries and loop results included."""
    uses: dict[str, int] = {}
    for name in tile_uses(block):
        uses[name] = uses.get(name, 0) + 1
    return uses


def tile_uses(block: Block) -> Iterator[str]:
    for node in straight(block):
        if isinstance(node, Loop):
            yield from (c.init.name for c in node.carry if c.init)
            yield from tile_uses(node.body)
            yield from (r.name for r in node.result)
        else:
            yield from (a.name for a in node.args if isinstance(a, Ref))
