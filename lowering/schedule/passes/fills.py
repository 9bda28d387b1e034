"""Which zeros of partial loads count: the others are never written.

In: the persistent form.  Out: for every partial load the dimensions whose missing elements have to be zero.
A missing element counts where a stored element could be made of it: an operand that sums or compares over
it (the inner dimension of a product, a row reduction, an order of rows), or a store that keeps more than the load had.
An element-wise op keeps it in its place, and so does a sum of what lies in front, rows of a left operand go to rows of the product, columns of a right
one to columns; ``where`` and ``pad`` with the same count take it away.
Invariant: what is not filled may be anything, NaN too, and no stored element changes.  Counts are compared
as they are written; two ways to write the same one cost a fill, no more.
Non-goals: the verdict (``lowering/values/padding.py`` judges what comes of it), how a fill is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pto import ir
from pto.legality import straight
from pto.ops import OPS
from pto.types import TileType
from pto.views import counts

DIMS = ("rows", "cols")


@dataclass(frozen=True, slots=True)
class Missing:
    """Elements of one dimension that a load did not find: all behind the first ``count``."""

    load: str
    dim: str
    count: ir.Expr


Side = frozenset[Missing]
NONE: Side = frozenset()


@dataclass(frozen=True, slots=True)
class Edges:
    """What may be missing behind the rows and behind the columns of a tile that are known."""

    rows: Side = NONE
    cols: Side = NONE

    def __or__(self, other: Edges) -> Edges:
        return Edges(self.rows | other.rows, self.cols | other.cols)

    def seen(self, ref: ir.Ref) -> Edges:
        """Of an operand, which may be the transpose."""
        return self.turned if ref.transposed else self

    @property
    def turned(self) -> Edges:
        """Of the transpose."""
        return Edges(self.cols, self.rows)


def zeros_that_count(kernel: ir.Kernel) -> Mapping[str, frozenset[str]]:
    """Name of a partial load -> those of ``DIMS`` that need zeros behind what exists."""
    found = _Search()
    found.block(kernel.body)
    return {name: frozenset(dims) for name, dims in found.needed.items()}


class _Search:
    def __init__(self) -> None:
        self.needed: dict[str, set[str]] = {}
        self.edges: dict[str, Edges] = {}
        self.types: dict[str, TileType] = {}

    def need(self, missing: Side) -> None:
        for m in missing:
            self.needed.setdefault(m.load, set()).add(m.dim)

    def block(self, block: ir.Block) -> None:
        for node in straight(block):
            if isinstance(node, ir.Loop):
                self.loop(node)
            else:
                self.row(node)

    def loop(self, loop: ir.Loop) -> None:
        """Until nothing new is carried.  A count that is made inside means another in the next
        iteration, so what it leaves open is filled."""
        inside = {r.out.name for r in ir.all_rows(loop.body) if isinstance(r.out, ir.Scalar)}
        inside.add(loop.index)
        now = [self.edges[c.init.name] if c.init else Edges() for c in loop.carry]
        for c in loop.carry:
            self.types[c.name] = self.types[c.last] = c.type
        while True:
            self.edges.update({c.name: e for c, e in zip(loop.carry, now, strict=True)})
            self.block(loop.body)
            made = [self.outlasting(self.edges[r.name], inside) for r in loop.result]
            then = [a | b for a, b in zip(now, made, strict=True)]
            if then == now:
                break
            now = then
        self.edges.update({c.last: e for c, e in zip(loop.carry, now, strict=True)})

    def outlasting(self, edges: Edges, inside: set[str]) -> Edges:
        """What is still the same behind the iteration; the rest is filled."""
        sides = []
        for side in (edges.rows, edges.cols):
            ends = frozenset(m for m in side if not inside.isdisjoint(ir.names_in(m.count)))
            self.need(ends)
            sides.append(side - ends)
        return Edges(*sides)

    def row(self, row: ir.Row) -> None:
        if OPS[row.op].kind == "scalar":
            return
        if row.op == "store":
            self.store(row)
            return
        if row.out is None:  # what is told is all of a tile
            for ref in (a for a in row.args if isinstance(a, ir.Ref)):
                self.need(self.edges[ref.name].rows | self.edges[ref.name].cols)
            return
        out = row.result(ir.Define)
        self.types[out.name] = out.type
        self.edges[out.name] = self.made(row, out)

    def made(self, row: ir.Row, out: ir.Define) -> Edges:
        if row.op == "gather":  # fills what does not exist
            return Edges()
        if row.op == "load":
            return loaded(out.name, counts(row.operand(ir.View), out.type.rows, out.type.cols))
        if row.op == "matmul":
            return self.product(row)
        if row.op == "transpose":
            return self.edges[row.operand(ir.Ref).name].turned
        if row.op in ("where", "pad"):
            edges, padded = self.edges[row.operand(ir.Ref).name], row.op == "pad"
            return kept(edges, row.scalar(1) if padded else None, row.scalar(1 + padded))
        return self.computed(row, out.type)

    def store(self, row: ir.Row) -> None:
        """Nothing is left open where a store ends with its load."""
        name = row.operand(ir.Ref).name
        t = self.types[name]
        rows, cols = counts(row.result(ir.View), t.rows, t.cols)
        left = kept(self.edges[name], rows, cols)
        self.need(left.rows | left.cols)
        for scale in (a for a in row.scales if isinstance(a, ir.Ref)):
            self.need(kept(self.edges[scale.name], cols, None).rows)

    def product(self, row: ir.Row) -> Edges:
        a, b = row.operand(ir.Ref), row.operand(ir.Ref, 1)
        left, right = (self.edges[x.name].seen(x) for x in (a, b))
        self.need(left.cols | right.rows)
        made = Edges(left.rows, right.cols)
        return made | self.edges[row.operand(ir.Ref, 2).name] if len(row.args) > 2 else made

    def computed(self, row: ir.Row, out: TileType) -> Edges:
        """Element by element; what is repeated along a dimension, or reduced, goes everywhere in it."""
        made = Edges()
        for ref in (a for a in row.args if isinstance(a, ir.Ref)):
            t, edges = self.types[ref.name], self.edges[ref.name]
            sides = []
            sizes = (t.rows, out.rows), (t.cols, out.cols)
            reduced = (OPS[row.op].mixes == "rows", OPS[row.op].mixes == "cols")
            for side, (size, wanted), mixes in zip(
                (edges.rows, edges.cols), sizes, reduced, strict=True
            ):
                stays = size == wanted and not mixes
                self.need(NONE if stays else side)
                sides.append(side if stays else NONE)
            made |= Edges(*sides)
        return made


def loaded(name: str, counts: tuple[ir.Expr | None, ir.Expr | None]) -> Edges:
    """The edges of a load."""
    sides = (
        NONE if count is None else frozenset({Missing(name, dim, count)})
        for dim, count in zip(DIMS, counts, strict=True)
    )
    return Edges(*sides)


def kept(edges: Edges, rows: ir.Expr | None, cols: ir.Expr | None) -> Edges:
    """What is still open where only the first ``rows`` and ``cols`` count (None: all)."""
    return Edges(
        frozenset(m for m in edges.rows if m.count != rows),
        frozenset(m for m in edges.cols if m.count != cols),
    )
