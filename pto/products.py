"""Products whose operands are larger than the memories of the cube's unit, as sums of smaller ones.

In: the traced rows of a kernel.  Out: the same, where the inner dimension of every product comes in as few
equal parts as have room in L0A and L0B twice: one is filled while the other is multiplied.
Invariant: a product is the sum of those of its parts in their order, and what is added to a sum of products
is added part after part, as L0C does it; so all executors have one order of additions.
Non-goals: results larger than L0C, which are not cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace

from pto import ir
from pto.loc import Loc
from pto.targets import Target
from pto.types import BOX_ROWS, DTYPE_BYTES, TileType

ZERO = (ir.Const(0.0),)


def cut(body: ir.Block, target: Target, taken: set[str]) -> ir.Block:
    """x = matmul a, b --> t = matmul part a, part b; x = matmul part a, part b, t

    y = add s, x, where ``s`` is a sum of products that nothing else reads --> the same, beginning with s.
    """
    return _Cutter(body, target, taken).block(body, set())


def inner_parts(a: TileType, b_cols: int, target: Target) -> list[tuple[int, int]]:
    """Where the parts of the inner dimension begin, and how long they are."""
    room = min(
        target.spaces[space].capacity_bytes // (2 * DTYPE_BYTES[a.dtype] * size)
        for space, size in (("l0a", a.rows), ("l0b", b_cols))
    )
    count = -(-a.cols // max(room // BOX_ROWS * BOX_ROWS, BOX_ROWS))
    size = -(-a.cols // (count * BOX_ROWS)) * BOX_ROWS
    return [(at, min(size, a.cols - at)) for at in range(0, a.cols, size)]


def read_in(nodes: ir.Block) -> Iterator[str]:
    """The tiles that rows, carries and results read."""
    for node in nodes:
        if isinstance(node, ir.Loop):
            yield from (c.init.name for c in node.carry if c.init)
            yield from read_in(node.body)
            yield from (r.name for r in node.result)
        elif isinstance(node, ir.Row):
            yield from (a.name for a in node.args if isinstance(a, ir.Ref))


class _Cutter:
    def __init__(self, body: ir.Block, target: Target, taken: set[str]) -> None:
        self.target, self.taken, self.uses = target, taken, Counter(read_in(body))
        self.types: dict[str, TileType] = {}
        self.zeros: set[str] = set()

    def block(self, block: ir.Block, sums: set[str]) -> ir.Block:
        """``sums``: what is a sum of products so far; those of this block are added."""
        out: list[ir.Node] = []
        large: dict[str, ir.Row] = {}  # not written yet: what reads them may begin with another sum
        parts: dict[tuple[object, ...], str] = {}
        for node in block:
            read = set(read_in((node,)))
            start = self.begins_with(node, large, sums)
            for name in [n for n in large if n in read]:
                product = large.pop(name)
                if start and isinstance(node, ir.Row):
                    out += self.parted(replace(product, out=node.out), ir.Ref(start), parts)
                else:
                    out += self.parted(product, None, parts)
            if isinstance(node, ir.Loop):
                out.append(self.loop(node, sums))
                continue
            if isinstance(node, ir.Row):
                self.note(node, sums)
                if node.op == "matmul" and len(self.parts_of(node)) > 1:
                    large[node.result(ir.Define).name] = node
                    continue
                if start:
                    sums.add(node.result(ir.Define).name)
                    continue
            out.append(node)
        return (*out, *(x for product in large.values() for x in self.parted(product, None, parts)))

    def note(self, row: ir.Row, sums: set[str]) -> None:
        if isinstance(row.out, ir.Define):
            self.types[row.out.name] = row.out.type
            if row.op == "matmul":
                sums.add(row.out.name)
            elif row.op == "full" and row.args == ZERO:
                self.zeros.add(row.out.name)

    def loop(self, loop: ir.Loop, sums: set[str]) -> ir.Loop:
        self.types |= {name: c.type for c in loop.carry for name in (c.name, c.last)}
        mine = [
            c
            for c in loop.carry
            if self.uses[c.name] == 1 and c.init and c.init.name in {*self.zeros, *sums}
        ]
        body = self.block(loop.body, {*sums, *(c.name for c in mine)})
        sums |= {c.last for c in mine}
        return replace(loop, body=body)

    def begins_with(self, node: ir.Node, large: dict[str, ir.Row], sums: set[str]) -> str:
        """The sum to which ``node`` adds a large product, if nothing else reads either."""
        if not isinstance(node, ir.Row) or node.op != "add":
            return ""
        names = [a.name for a in node.args if isinstance(a, ir.Ref)]
        if len(names) < 2 or any(self.uses[n] > 1 for n in names):
            return ""
        for start, product in (names, names[::-1]):
            fresh_product = product in large and len(large[product].args) == 2
            if fresh_product and start in sums and start not in large:
                return start
        return ""

    def parts_of(self, row: ir.Row) -> list[tuple[int, int]]:
        b = self.types[row.operand(ir.Ref, 1).name]
        cols = b.rows if row.operand(ir.Ref, 1).transposed else b.cols
        return inner_parts(self.types[row.operand(ir.Ref).name], cols, self.target)

    def parted(
        self, row: ir.Row, start: ir.Ref | None, known: dict[tuple[object, ...], str]
    ) -> Iterator[ir.Row]:
        a, b = row.operand(ir.Ref), row.operand(ir.Ref, 1)
        made: tuple[ir.Operand, ...] = (start,) if start else row.args[2:]
        *_, last = places = self.parts_of(row)
        for at in places:
            left = yield from self.part(a, at, True, row.loc, known)
            right = yield from self.part(b, at, b.transposed, row.loc, known)
            out = row.result(ir.Define)
            if at != last:
                out = ir.Define(self.fresh(f"{out.name}_sum"), out.type)
            yield replace(row, out=out, args=(left, right, *made))
            made = (ir.Ref(out.name),)

    def part(
        self,
        ref: ir.Ref,
        at: tuple[int, int],
        of_cols: bool,
        loc: Loc | None,
        known: dict[tuple[object, ...], str],
    ) -> Generator[ir.Row, None, ir.Ref]:
        """Yields the row of a part that is not there yet; returns its operand."""
        t, (begin, size), key = self.types[ref.name], at, (ref.name, at, of_cols)
        if key not in known:
            name = known[key] = self.fresh(f"{ref.name}_part")
            rows, cols = (t.rows, size) if of_cols else (size, t.cols)
            place = (0, begin) if of_cols else (begin, 0)
            args = ir.Ref(ref.name), ir.Const(place[0]), ir.Const(place[1])
            yield ir.Row("part", ir.Define(name, TileType(t.dtype, rows, cols)), args, loc=loc)
        return ir.Ref(known[key], None, ref.transposed)

    def fresh(self, hint: str) -> str:
        name, n = hint, 1
        while name in self.taken:
            n += 1
            name = f"{hint}_{n}"
        self.taken.add(name)
        return name
