"""Does a schedule compute what was traced?  Checked on every schedule, by running both on symbols.

In: a kernel before and after scheduling.  Out: nothing, or where they differ; for a schedule that was
made here that is an ``AssertionError``, a bug of ours.
The proof of ``hazards/`` is about order; it cannot see a value that is well ordered and wrong,
such as a slot that is overwritten one stage too early.  Here every value is a number that stands
for the expression that made it, so two values are equal exactly if they were made alike from the
same inputs, and both programs must store the same values in the same places, for made-up trip
counts (``lowering/values/world.py`` says how far these reach).

Invariants used: copies, moves and hand-overs keep a value; a product accumulated in L0C is the
product added; adding a product to zero is the product; and what commutes does.  A tile of several rows
is split: each lane has its half, so a place is what every lane has of it.  What was loaded in part is
what was traced but for its unknown edges, and stored as it is where these are left out
(``lowering/values/padding.py``).
Non-goals: order between pipes, bounds, rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from lowering.values.padding import NOWHERE, Unknown, element_wise, product, reduced
from lowering.values.tokens import Log, Scheduled
from lowering.values.world import UNDEFINED, World, normal, worlds
from pto.ir import (
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
    binary,
    loops_of,
    names_in,
)
from pto.ir import substitute as with_values
from pto.legality import straight
from pto.ops import OPS
from pto.row_rules import filled
from pto.targets import target_of
from pto.types import TileType

Place = object
Index = tuple[Expr, int, Expr | None]
"""Start, size (0: it is no span) and how much is valid."""


@dataclass
class Meanings(World):
    """Numbers for expressions, equal for both ways to write the same value."""

    products: set[int] = field(default_factory=set)
    stores: dict[Place, tuple[Row, int]] = field(default_factory=dict)
    """What is stored where, and by which row."""
    parts: dict[int, tuple[int, Unknown]] = field(default_factory=dict)
    """What is known in part: its number if all were known, and what is not."""

    @property
    def lanes(self) -> int:
        return target_of(self.kernel).lanes

    def scalar(self, e: Expr, values: Mapping[str, Expr]) -> Expr:
        return e if isinstance(e, Const) else normal(with_values(e, values))

    def place(self, view: View, values: Mapping[str, Expr], core: str = "") -> tuple[object, ...]:
        """What every lane has of a view.  Only rows of the vector core say that themselves; of others
        each lane has its part of the rows, if there are several."""
        spans = [axis for axis, item in enumerate(view.index) if isinstance(item, Span)]
        whole = [self._index(item, values) for item in view.index]
        lanes = range(self.lanes)
        if core == "vector":
            return view.tensor, *(tuple([share(x, lane) for x in whole]) for lane in lanes)
        split = spans[0] if len(spans) > 1 and whole[spans[0]][1] > 1 else None
        if split is None:
            return view.tensor, *[tuple(whole)] * self.lanes
        ways = [part(whole[split], lane, self.lanes) for lane in lanes]
        return view.tensor, *((*whole[:split], each, *whole[split + 1 :]) for each in ways)

    def _index(self, item: Expr | Span, values: Mapping[str, Expr]) -> Index:
        if not isinstance(item, Span):
            return self.scalar(item, values), 0, None
        valid = None if item.valid is None else self.scalar(item.valid, values)
        return self.scalar(item.start, values), item.size, valid

    def result(self, row: Row, args: Sequence[object]) -> int:
        """The number of what a row makes; a store is noted by its place."""
        if row.op == "store":
            self.stores[args[0]] = row, self.stored(row, args)
            return UNDEFINED
        if row.op == "load":
            token = super().result(row, [a for a in args if not isinstance(a, str)])
            return self.part(token, self.left_open(row, args[0]), row)
        if row.op == "pad":
            return self.padded(row, args)
        if row.op == "iota":
            args = [self.starts(row, args[0])]
        tiles = [k for k, a in enumerate(row.args[: len(args)]) if isinstance(a, Ref)]
        numbers = {k: self.value(args[k]) for k in tiles}
        if row.core and not self.parts.keys().isdisjoint(numbers.values()):
            known = [self.known(numbers[k]) for k in tiles]
            unknown = self.spread(row, args, [u for _, u in known])
            if unknown is not None:
                whole = dict(zip(tiles, (n for n, _ in known), strict=True))
                args = [(whole[k], False) if k in whole else a for k, a in enumerate(args)]
                return self.part(super().result(row, args), unknown, row)
        return super().result(row, args)

    # what is not known

    def value(self, operand: object) -> int:
        """A transpose has the edges of what it turns, turned."""
        assert isinstance(operand, tuple)
        whole, unknown = self.known(operand[0])
        if not operand[1] or unknown == NOWHERE:
            return super().value(operand)
        return self.part(super().value((whole, True)), unknown.turned)

    def known(self, number: int) -> tuple[int, Unknown]:
        """(its number if all were known, what is not)."""
        return self.parts.get(number, (number, NOWHERE))

    def part(self, whole: int, unknown: Unknown, row: Row | None = None) -> int:
        """``whole``, but for what is unknown."""
        if unknown == NOWHERE:
            return whole
        number = self.token(("a part of", whole, unknown))
        if row is not None:
            self.rows.setdefault(number, row)
        self.parts[number] = whole, unknown
        return number

    def left_open(self, row: Row, place: object) -> Unknown:
        """What a load of a core leaves as it was."""
        if not row.core:
            return NOWHERE
        fills, sides = filled(row), self.ends(self.type_of(row.out), place)
        made = []
        for dim, counts in zip(("rows", "cols"), sides, strict=True):
            whole = counts[0] if row.core == "cube" else None
            is_open = dim not in fills and any(c is not None for c in counts)
            made.append(frozenset({(whole, *counts)} if is_open else ()))
        return Unknown(*made)

    def ends(self, t: TileType, place: object) -> tuple[Sequence[Expr | None], ...]:
        """How many rows, and how many columns, of a view exist on every lane."""
        assert isinstance(place, tuple)
        rows, cols = [], []
        for lane in place[1:]:
            counts = [valid for _, size, valid in lane if size]
            if len(counts) == 1:
                counts = [None, *counts] if t.rows == 1 else [*counts, None]
            rows.append(counts[0])
            cols.append(counts[1])
        return rows, cols

    def type_of(self, x: object) -> TileType:
        assert isinstance(x, Ref)
        return self.kernel.buffer(x.name).type

    def stored(self, row: Row, args: Sequence[object]) -> int:
        """The number of what a store keeps."""
        number = self.value(args[1])
        whole, unknown = self.known(number)
        if unknown != NOWHERE:
            left = unknown.within(*self.ends(self.type_of(row.args[0]), args[0]))
            number = whole if left == NOWHERE else number
        return self.rounded(row, number, args[2 : 1 + len(row.args)])

    def rounded(self, row: Row, number: int, scales: Sequence[object]) -> int:
        """What leaves the accumulator for a tensor of another type is converted on its way."""
        to = self.kernel.param(row.result(View).tensor).dtype
        if scales:
            return self.token(("drained", (number, False), *scales, to))
        if row.core != "cube" or self.type_of(row.args[0]).dtype == to:
            return number
        return self.token(("astype", (number, False), to))

    def padded(self, row: Row, args: Sequence[object]) -> int:
        """What is unknown is known behind a padding by the same counts; other counts make another tile."""
        x, t = self.value(args[0]), self.type_of(row.args[0])
        whole, unknown = self.known(x)
        sides = []
        for count, size, side in zip(
            cast("Sequence[Expr]", args[1:]),
            (t.rows, t.cols),
            (unknown.rows, unknown.cols),
            strict=True,
        ):
            if isinstance(count, Const) and count.value >= size:
                sides.append(side)
            elif side and all(c[1:] == self.on_lanes(count) for c in side):
                sides.append(frozenset())
            else:
                return self.token(("pad", x, *args[1:]))
        return self.part(whole, Unknown(*sides), row)

    def on_lanes(self, count: object) -> tuple[Expr, ...]:
        assert isinstance(count, Expr)
        return tuple(on(lane, count) for lane in range(self.lanes))

    def starts(self, row: Row, start: object) -> tuple[Expr, ...]:
        """What a row of numbers begins with on every lane."""
        assert isinstance(start, Expr)
        share = 0 if row.core else row.result(Define).type.rows // self.lanes
        return tuple(
            normal(binary("+", on(lane, start), Const(lane * share))) for lane in range(self.lanes)
        )

    def spread(self, row: Row, args: Sequence[object], of: Sequence[Unknown]) -> Unknown | None:
        """What is unknown of the result, None: it goes everywhere."""
        if row.op == "matmul":
            adds = len(args) < 4 or args[3] != Const(0)
            return product(*(of if adds else of[:2]))
        if row.op == "where":
            return of[0].within([None] * self.lanes, self.on_lanes(args[1]))
        if OPS[row.op].kind == "reduce":
            return reduced(of[0])
        types = [self.type_of(a) for a in row.args[: len(args)] if isinstance(a, Ref)]
        return element_wise(self.type_of(row.out), list(zip(types, of, strict=True)))

    def made(self, op: str, args: Sequence[object]) -> int:
        """The number of ``op(args)``."""
        if op in OF_OP:
            return OF_OP[op](self, args)
        if OPS[op].commutes and isinstance(args[1], tuple):
            return self.token((op, *sorted(map(self.value, args[:2]))))
        return self.token((op, *args))

    def copy(self, args: Sequence[object]) -> int:
        return self.value(args[0])

    def matmul(self, args: Sequence[object]) -> int:
        product = self.token(("matmul", self.value(args[0]), self.value(args[1])))
        self.products.add(product)
        adds = len(args) > 2 and not (len(args) > 3 and args[3] == Const(0))
        return self.total(product, self.value(args[2])) if adds else product

    def add(self, args: Sequence[object]) -> int:
        if isinstance(args[1], tuple):
            return self.total(self.value(args[0]), self.value(args[1]))
        return self.token(("add", *args))

    def total(self, x: int, y: int) -> int:
        zeros = [self.token(("full", Const(zero))) for zero in (0.0, 0)]
        if x in zeros and y in self.products:
            return y
        if y in zeros and x in self.products:
            return x
        return self.token(("add", *sorted((x, y))))


OF_OP: Mapping[str, Callable[[Meanings, Sequence[object]], int]] = {
    "copy": Meanings.copy,
    "matmul": Meanings.matmul,
    "add": Meanings.add,
}
"""Ops of which one value can be written in several ways."""


def share(index: Index, lane: int) -> Index:
    """An index of the vector core on one lane."""
    start, size, valid = index
    return on(lane, start), size, None if valid is None else on(lane, valid)


@lru_cache(1 << 14)
def part(index: Index, lane: int, lanes: int) -> Index:
    """What a lane has of a span that is split; of what is normal, the normal form."""
    start, size, valid = index
    size //= lanes
    first = binary("+", start, Const(lane * size))
    return first, size, None if valid is None else binary("+", valid, Const(-lane * size))


def on(lane: int, e: Expr) -> Expr:
    """``e`` on one lane."""
    return e if isinstance(e, Const) else _on(lane, e)


@lru_cache(1 << 14)
def _on(lane: int, e: Expr) -> Expr:
    """Remembered, as ``normal`` is."""
    return normal(with_values(e, {"lane": Const(lane)}))


class Traced:
    """Runs a program that has values instead of slots; scalars are expressions."""

    def __init__(self, world: World, tensors: dict[str, int]) -> None:
        self.world, self.tensors = world, tensors
        self.tiles: dict[str, int] = {}
        self.log: Log = {}

    def block(self, block: Block, scalars: dict[str, Expr], at: tuple[int, ...] = ()) -> None:
        """``at``: the iterations of the loops around."""
        for node in block:
            if isinstance(node, Row):
                self.row(node, scalars, at)
            elif isinstance(node, Loop):
                self.loop(node, scalars, at)
            else:
                way = self.world.truth(with_values(node.test, scalars))
                self.block(node.then if way else node.orelse, scalars, at)

    def loop(self, loop: Loop, scalars: dict[str, Expr], at: tuple[int, ...]) -> None:
        now = [self.tiles[c.init.name] if c.init else UNDEFINED for c in loop.carry]
        for i in range(self.world.count(with_values(loop.trips, scalars))):
            self.tiles.update({c.name: t for c, t in zip(loop.carry, now, strict=True)})
            self.block(loop.body, {**scalars, loop.index: Const(i)}, (*at, i))
            now = [self.tiles[r.name] for r in loop.result]
        self.tiles.update({c.last: t for c, t in zip(loop.carry, now, strict=True)})

    def row(self, row: Row, scalars: dict[str, Expr], at: tuple[int, ...]) -> None:
        if row.op == "let":
            scalars[row.result(Scalar).name] = self.world.scalar(row.scalar(), scalars)
            return
        operands = [self.operand(a, scalars) for a in row.args]
        if row.op == "move":
            number = self.world.value(operands[0])
        else:
            where = [self.world.operand(row.out, scalars)] if isinstance(row.out, View) else []
            states = self.world.states(row, self.tensors)
            number = self.log[id(row), at] = self.world.result(row, [*where, *operands, *states])
        if isinstance(row.out, Scalar):
            scalars[row.out.name] = Var(f"%{number}", row.out.is_float)
        elif isinstance(row.out, View):
            self.tensors[row.out.tensor] = number
        elif isinstance(row.out, Define):
            self.tiles[row.out.name] = number

    def operand(self, a: Operand, scalars: dict[str, Expr]) -> object:
        if isinstance(a, Ref):
            return self.tiles[a.name], a.transposed
        return self.world.operand(a, scalars)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a schedule stores another value than was traced: the store, and the rows of either program
    where the values part ways (None: there is none)."""

    store: Row
    scheduled: Row | None
    traced: Row | None


def difference(before: Kernel, after: Kernel) -> Difference | None:
    """The first value of ``after``, which is scheduled, that ``before`` does not store there; ``before``
    has the work-item loop and no cores yet.

    Raises:
        ScheduleError: for a schedule that gets stuck.
        LegalityError: for a branch in ``before``.
    """
    for block in (before.body, *(loop.body for loop in loops_of(before.body))):
        list(straight(block))  # what was traced has no branches
    cores = Scheduled(after)
    for trips in worlds(after):
        world = Meanings(trips, after)
        cores.run(world)
        scheduled, world.stores = world.stores, {}
        Traced(world, world.start()).block(before.body, {})
        for place, (row, want) in world.stores.items():
            mine, found = scheduled.pop(place, (row, UNDEFINED))
            if found != want:
                return Difference(mine, *parting(world, found, want))
        for row, _ in scheduled.values():
            return Difference(row, row, None)
    return None


def parting(world: World, a: int, b: int) -> tuple[Row | None, Row | None]:
    """The rows that make two tokens, followed to the earliest operands that were made alike and still
    differ."""
    made = {token: how for how, token in world.numbers.items() if isinstance(how, tuple)}
    rows = world.rows.get(a), world.rows.get(b)
    while a and b:
        here = world.rows.get(a), world.rows.get(b)
        rows = here if None not in here else rows
        first, second = (set(tokens_in(made.get(t))) for t in (a, b))
        mine, others = sorted(first - second), sorted(second - first)
        alike = ((x, y) for x in mine for y in others if _op(made, x) == _op(made, y) != "")
        only = (mine[0], others[0]) if len(mine) == len(others) == 1 else None
        pair = next(alike, only)
        if pair is None or _op(made, a) != _op(made, b):
            return rows
        a, b = pair
    return world.rows.get(a), world.rows.get(b)


def _op(made: Mapping[int, tuple[object, ...]], token: int) -> object:
    return made[token][0] if token in made else ""


def tokens_in(made: object) -> Iterator[int]:
    """The tokens of the operands from which a value was made."""
    if isinstance(made, tuple):
        for x in made:
            yield from tokens_in(x)
    elif isinstance(made, Expr):
        yield from (int(n[1:]) for n in names_in(made) if n.startswith("%"))
    elif isinstance(made, int) and not isinstance(made, bool):
        yield made


def same_values(before: Kernel, after: Kernel) -> None:
    """``difference``, of a schedule that was made here.

    Raises:
        AssertionError: if there is one.
    """
    found = difference(before, after)
    assert found is None, (
        f"{after.name}: the schedule stores another value than was traced: {found}"
    )
