"""Does a schedule compute what was traced?  Checked on every schedule, by running both on symbols.

In: a kernel before and after scheduling.  Out: nothing, or where they differ; for a schedule that was
made here that is an ``AssertionError``, a bug of ours.
The proof of ``hazards/`` is about order; it cannot see a value that is well ordered and wrong,
such as a slot that is overwritten one stage too early.  Here every value is a number that stands
for the expression that made it, so two values are equal exactly if they were made alike from the
same inputs, and both programs must store the same values in the same places, for made-up trip
counts that include 0, 1 and more than any ring is deep.

Invariants used: padding, copies, moves and hand-overs keep a value; a product accumulated in L0C is
the product added; adding a product to zero is the product; and what commutes does.
Non-goals: order between pipes, bounds, rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lowering.tokens import run_schedule
from lowering.world import TRIPS, UNDEFINED, World, normal, view_text
from pto.ir import (
    Bin,
    Block,
    Const,
    Define,
    Expr,
    Kernel,
    Loop,
    Ref,
    Row,
    Scalar,
    Var,
    View,
    Word,
    names_in,
)
from pto.ir import substitute as with_values
from pto.legality import straight

Place = object
KEPT = ("pad", "copy")
"""Ops that hand on the value of their first operand."""

COMMUTES = ("mul", "maximum", "minimum")
"""Ops of which either operand may come first, beside ``add``."""


@dataclass
class Meanings(World):
    """Numbers for expressions, equal for both ways to write the same value."""

    products: set[int] = field(default_factory=set)
    stores: dict[Place, tuple[Row, int]] = field(default_factory=dict)
    """What is stored where, and by which row."""

    def result(self, row: Row, args: Iterable[object]) -> int:
        """The number of what a row makes; a store is noted by its place."""
        if row.op != "store":
            return super().result(row, args)
        place, value, *_ = args
        self.stores[place] = row, self.value(value)
        return UNDEFINED

    def made(self, op: str, args: Iterable[object]) -> int:
        """The number of ``op(args)``."""
        found = list(args)
        if op in KEPT:
            return self.value(found[0])
        if op == "matmul":
            product = self.token((op, self.value(found[0]), self.value(found[1])))
            self.products.add(product)
            adds = len(found) > 2 and not (len(found) > 3 and found[3] == Const(0))
            return self.total(product, self.value(found[2])) if adds else product
        if op == "add" and isinstance(found[1], tuple):
            return self.total(self.value(found[0]), self.value(found[1]))
        if op in COMMUTES and isinstance(found[1], tuple):
            return self.token((op, *sorted(map(self.value, found[:2]))))
        return self.token((op, *found))

    def value(self, operand: object) -> int:
        """The number of a tile operand, (number, is transposed)."""
        assert isinstance(operand, tuple)
        number, transposed = operand
        assert isinstance(number, int)
        return self.token(("T", number)) if transposed else number

    def total(self, x: int, y: int) -> int:
        zero = self.token(("full", Const(0.0)))
        if x == zero and y in self.products:
            return y
        if y == zero and x in self.products:
            return x
        return self.token(("add", *sorted((x, y))))


class Traced:
    """Runs a program that has values instead of slots; scalars are expressions."""

    def __init__(self, world: Meanings) -> None:
        self.world = world
        self.tiles: dict[str, int] = {}

    def block(self, block: Block, scalars: dict[str, Expr]) -> None:
        for node in straight(block):
            if isinstance(node, Row):
                self.row(node, scalars)
            else:
                self.loop(node, scalars)

    def loop(self, loop: Loop, scalars: dict[str, Expr]) -> None:
        now = [self.tiles[c.init.name] if c.init else UNDEFINED for c in loop.carry]
        for i in range(self.world.count(with_values(loop.trips, scalars))):
            self.tiles.update({c.name: t for c, t in zip(loop.carry, now, strict=True)})
            self.block(loop.body, {**scalars, loop.index: Const(i)})
            now = [self.tiles[r.name] for r in loop.result]
        self.tiles.update({c.last: t for c, t in zip(loop.carry, now, strict=True)})

    def row(self, row: Row, scalars: dict[str, Expr]) -> None:
        operands = [self.operand(a, scalars) for a in row.args]
        if row.op == "let" and isinstance(row.out, Scalar):
            (value,) = operands
            assert isinstance(value, Const | Var | Bin)
            scalars[row.out.name] = value
            return
        where = [view_text(row.out, scalars)] if isinstance(row.out, View) else []
        number = self.world.result(row, [*where, *operands])
        if isinstance(row.out, Scalar):
            scalars[row.out.name] = Var(f"%{number}")
        elif isinstance(row.out, Define):
            self.tiles[row.out.name] = number

    def operand(self, a: object, scalars: dict[str, Expr]) -> object:
        if isinstance(a, Ref):
            return self.tiles[a.name], a.transposed
        if isinstance(a, View):
            return view_text(a, scalars)
        if isinstance(a, Word):
            return a.name
        assert isinstance(a, Const | Var | Bin)
        return normal(with_values(a, scalars))


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
    """
    for trips in TRIPS:
        world = Meanings(trips, after)
        run_schedule(after, world)
        scheduled, world.stores = world.stores, {}
        Traced(world).block(before.body, {})
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
    elif isinstance(made, Const | Var | Bin):
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
