"""Products larger than the memories of the cube's unit, cut to what they hold.

In: the traced rows of a kernel.  Out: the same, where the inner dimension of every product comes in as few
equal parts as have room in L0A and L0B twice: one is filled while the other is multiplied; and where a sum of
products that is only stored, as it is or as the way out of L0C converts it, comes in blocks of rows and columns
of which L0C holds two: one is stored while the next is multiplied.
Invariant: a product is the sum of those of its parts in their order, and what is added to a sum of products
is added part after part, as L0C does it; so all executors have one order of additions.
Non-goals: a sum over a loop that L0C does not hold, and results that the vector core reads, in blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from pto import ir
from pto.empty_sums import is_zero
from pto.loc import Loc
from pto.names import fresh
from pto.ops import SUM_OF
from pto.row_rules import corner, in_boxes, seen
from pto.targets import Target
from pto.types import BOX_ROWS, DTYPE_BYTES, TileType, box_unit


def cut(body: ir.Block, target: Target, taken: set[str]) -> ir.Block:
    """x = matmul a, b --> t = matmul part a, part b; x = matmul part a, part b, t

    y = add s, x, where ``s`` is a sum of products that nothing else reads --> the same, beginning with s.
    """
    blocks = _Blocks(body, target, taken)
    return _Cutter(blocks.body, target, taken, blocks.apart).block(blocks.body, set())


def inner_parts(a: TileType, b_cols: int, target: Target) -> list[tuple[int, int]]:
    """Where the parts of the inner dimension begin, and how long they are."""
    room = min(
        target.spaces[space].capacity_bytes // (2 * DTYPE_BYTES[a.dtype] * size)
        for space, size in (("l0a", a.rows), ("l0b", b_cols))
    )
    unit = box_unit(a.dtype)
    count = -(-a.cols // max(room // unit * unit, unit))
    size = -(-a.cols // (count * unit)) * unit
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


@dataclass(frozen=True, slots=True)
class Corner:
    """Where a block of a tile begins, and its size."""

    row: int
    col: int
    rows: int
    cols: int


def corners(t: TileType, most: int, whole_rows: bool = False) -> list[Corner]:
    """Blocks of at most so many bytes, halved along the longer side, or of ``whole_rows``; each a product of whole
    boxes."""
    rows, cols = t.rows, t.cols
    unit = max((box_unit(x) for x, added in SUM_OF.items() if added == t.dtype), default=BOX_ROWS)
    while rows * cols * DTYPE_BYTES[t.dtype] > most:
        if cols >= rows and cols % (2 * unit) == 0 and not whole_rows:
            cols //= 2
        elif rows % (2 * unit) == 0:
            rows //= 2
        else:
            break
    every = [(r, c) for r in range(0, t.rows, rows) for c in range(0, t.cols, cols)]
    return [Corner(r, c, rows, cols) for r, c in every]


class _Blocks:
    """Sums of products that are only stored, block after block.  ``apart``: products of blocks."""

    def __init__(self, body: ir.Block, target: Target, taken: set[str]) -> None:
        self.taken, self.uses, self.target = taken, Counter(read_in(body)), target
        self.made: dict[str, ir.Row] = {}
        self.where: dict[str, int] = {}
        """In which block each is made, by its id."""
        self.stores: list[tuple[ir.Row, int]] = []
        self.carries: dict[str, TileType] = {}
        self.note(body)
        capacity = target.spaces["l0c"].capacity_bytes
        self.split: dict[str, list[tuple[str, Corner]]] = {}
        self.groups: dict[str, list[str]] = {}
        """By the name that is stored: all that the sum is made of."""
        for row, where in self.stores:
            if len(row.result(ir.View).spans) == 2:
                names, name = list[str](), row.operand(ir.Ref).name
                of_columns = any(isinstance(a, ir.Ref) for a in row.scales)
                blocks = corners(self.held_as(name), capacity // 2, of_columns)
                if len(blocks) > 1 and self.is_sum(name, names, where):
                    self.groups[name] = names
                    for n in names:
                        self.split[n] = [(fresh(f"{n}_block", taken), at) for at in blocks]
        self.apart: set[str] = set()
        self.body = self.block(body) if self.split else body

    def note(self, block: ir.Block) -> None:
        for node in block:
            if isinstance(node, ir.Loop):
                self.note(node.body)
                self.carries |= {n: c.type for c in node.carry for n in (c.name, c.last)}
            elif isinstance(node, ir.Row) and isinstance(node.out, ir.Define):
                self.made[node.out.name], self.where[node.out.name] = node, id(block)
            elif isinstance(node, ir.Row) and node.op == "store":
                self.stores.append((node, id(block)))

    def type_of(self, name: str) -> TileType:
        if name in self.carries:
            return self.carries[name]
        return self.made[name].result(ir.Define).type

    def is_drained(self, row: ir.Row) -> bool:
        """Whether the way out of L0C does a conversion."""
        if row.op != "astype":
            return False
        given = self.type_of(row.operand(ir.Ref).name).dtype
        return row.result(ir.Define).type.dtype in self.target.drains_alike.get(given, ())

    def held_as(self, name: str) -> TileType:
        """The type of what is stored before the way out of L0C converts it."""
        row = self.made.get(name)
        if row is None or not self.is_drained(row):
            return self.type_of(name)
        return self.type_of(row.operand(ir.Ref).name)

    def is_sum(self, name: str, found: list[str], where: int) -> bool:
        """A sum of products made in one block that nothing else reads; ``found``: what it is made of.  What is
        carried lies in L0C as a whole."""
        found.append(name)
        row = self.made.get(name)
        if row is None or self.uses[name] != 1 or self.where[name] != where:
            return False
        if self.is_drained(row):
            return self.is_sum(row.operand(ir.Ref).name, found, where)
        if row.op not in ("add", "matmul"):
            return is_zero(row)
        parts = [a.name for a in row.args[2 * (row.op == "matmul") :] if isinstance(a, ir.Ref)]
        two = row.op == "matmul" or len(parts) == 2
        return two and all(self.is_sum(n, found, where) for n in parts)

    def block(self, block: ir.Block) -> ir.Block:
        out: list[ir.Node] = []
        held: dict[str, ir.Row] = {}
        for node in block:
            if isinstance(node, ir.Loop):
                out.append(replace(node, body=self.block(node.body)))
            elif not isinstance(node, ir.Row):
                out.append(node)
            elif node.op == "store" and (name := node.operand(ir.Ref).name) in self.groups:
                mine = [held[n] for n in self.groups[name][::-1]]
                for k, (stored, at) in enumerate(self.split[name]):
                    for row in mine:
                        out += self.row(row, k)
                    view = region(node.result(ir.View), at)
                    out.append(replace(node, out=view, args=(ir.Ref(stored), *node.args[1:])))
            elif isinstance(node.out, ir.Define) and node.out.name in self.split:
                held[node.out.name] = node
            else:
                out.append(node)
        return tuple(out)

    def row(self, row: ir.Row, k: int) -> Iterator[ir.Row]:
        """Of one block of a sum."""
        out = row.result(ir.Define)
        block, at = self.split[out.name][k]
        args = list(row.args)
        for n, a in enumerate(args):
            if isinstance(a, ir.Ref) and (row.op != "matmul" or n > 1):
                args[n] = ir.Ref(self.split[a.name][k][0])
        if row.op == "matmul":
            self.apart.add(block)
            a, b = row.operand(ir.Ref), row.operand(ir.Ref, 1)
            t, u = self.type_of(a.name), self.type_of(b.name)
            left = Corner(at.row, 0, at.rows, seen(a, t).cols)
            right = Corner(0, at.col, seen(b, u).rows, at.cols)
            args[0] = yield from self.part(a, left, row)
            args[1] = yield from self.part(b, right, row)
        made = ir.Define(block, TileType(out.type.dtype, at.rows, at.cols))
        yield replace(row, out=made, args=tuple(args))

    def part(self, ref: ir.Ref, at: Corner, row: ir.Row) -> Generator[ir.Row, None, ir.Ref]:
        """``at``: of the operand as the product sees it."""
        t = self.type_of(ref.name)
        if ref.transposed:
            at = Corner(at.col, at.row, at.cols, at.rows)
        if (at.rows, at.cols) == (t.rows, t.cols):
            return ref
        name = fresh(f"{ref.name}_part", self.taken)
        out = ir.Define(name, TileType(t.dtype, at.rows, at.cols))
        args = ir.Ref(ref.name), ir.Const(at.row), ir.Const(at.col)
        yield ir.Row("part", out, args, loc=row.loc)
        return ir.Ref(name, None, ref.transposed)


def region(view: ir.View, at: Corner) -> ir.View:
    """The region of a block of the tile that is stored to ``view``."""
    places = iter(((at.row, at.rows), (at.col, at.cols)))

    def cut(item: ir.Expr | ir.Span) -> ir.Expr | ir.Span:
        if not isinstance(item, ir.Span):
            return item
        begin, size = next(places)
        off = ir.Const(begin)
        valid = None if item.valid is None else ir.binary("-", item.valid, off)
        return replace(item, start=item.at(off), size=size, valid=valid)

    return ir.View(view.tensor, tuple(cut(item) for item in view.index))


class _Cutter:
    """``apart``: products whose parts are no other's: they are stored while the next is multiplied."""

    def __init__(self, body: ir.Block, target: Target, taken: set[str], apart: set[str]) -> None:
        self.target, self.taken, self.uses = target, taken, Counter(read_in(body))
        self.apart = apart
        self.wholes: dict[str, tuple[str, int, int]] = {}
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
                product, known = large.pop(name), {} if name in self.apart else parts
                if start and isinstance(node, ir.Row):
                    out += self.parted(replace(product, out=node.out), ir.Ref(start), known)
                else:
                    out += self.parted(product, None, known)
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
        out += (x for product in large.values() for x in self.parted(product, None, parts))
        return tuple(out)

    def note(self, row: ir.Row, sums: set[str]) -> None:
        if isinstance(row.out, ir.Define):
            self.types[row.out.name] = row.out.type
            if row.op == "part":
                whole, at = row.operand(ir.Ref).name, corner(row)
                if in_boxes(self.types[whole], row.out.type, at):
                    self.wholes[row.out.name] = whole, *at
            if row.op == "matmul":
                sums.add(row.out.name)
            elif is_zero(row):
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
        a, b = (
            seen(ref, self.types[ref.name]) for ref in (row.operand(ir.Ref), row.operand(ir.Ref, 1))
        )
        return inner_parts(a, b.cols, self.target)

    def parted(
        self, row: ir.Row, start: ir.Ref | None, known: dict[tuple[object, ...], str]
    ) -> Iterator[ir.Row]:
        a, b = row.operand(ir.Ref), row.operand(ir.Ref, 1)
        made: tuple[ir.Operand, ...] = (start,) if start else row.args[2:]
        *_, last = places = self.parts_of(row)
        for at in places:
            left = yield from self.part(a, at, not a.transposed, row.loc, known)
            right = yield from self.part(b, at, b.transposed, row.loc, known)
            out = row.result(ir.Define)
            if at != last:
                out = ir.Define(fresh(f"{out.name}_sum", self.taken), out.type)
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
            name = known[key] = fresh(f"{ref.name}_part", self.taken)
            rows, cols = (t.rows, size) if of_cols else (size, t.cols)
            place = (0, begin) if of_cols else (begin, 0)
            whole, row_at, col_at = self.wholes.get(ref.name, (ref.name, 0, 0))
            place = place[0] + row_at, place[1] + col_at
            args = ir.Ref(whole), ir.Const(place[0]), ir.Const(place[1])
            yield ir.Row("part", ir.Define(name, TileType(t.dtype, rows, cols)), args, loc=loc)
        return ir.Ref(known[key], None, ref.transposed)
