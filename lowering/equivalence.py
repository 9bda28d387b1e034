"""Does a schedule compute what was traced?  Checked on every schedule, by running both on symbols.

In: a kernel before and after scheduling.  Out: nothing, or an ``AssertionError``: a bug of ours.
The proof of ``hazards/`` is about order; it cannot see a value that is well ordered and wrong,
such as a slot that is overwritten one stage too early.  Here every value is a number that stands
for the expression that made it, so two values are equal exactly if they were made alike from the
same inputs, and both programs must store the same values in the same places, for made-up trip
counts that include 0, 1 and more than any ring is deep.

Invariants used: padding, copies, moves and hand-overs keep a value; a product accumulated in L0C is
the product added; adding a product to zero is the product; addition commutes.
Non-goals: order between pipes, bounds, rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lowering.tokens import run_schedule
from lowering.world import TRIPS, UNDEFINED, World, normal, view_text
from pto.ir import Bin, Block, Const, Define, Expr, Kernel, Loop, Ref, Row, Scalar, Var, View, Word
from pto.ir import substitute as with_values
from pto.legality import straight

Place = object
KEPT = ("pad", "copy")
"""Ops that hand on the value of their first operand."""


@dataclass
class Meanings(World):
    """Numbers for expressions, equal for both ways to write the same value."""

    products: set[int] = field(default_factory=set)
    stores: dict[Place, int] = field(default_factory=dict)

    def made(self, op: str, args: Iterable[object]) -> int:
        """The number of ``op(args)``; a store is noted by its place."""
        found = list(args)
        if op == "store":
            self.stores[found[0]] = self.value(found[1])
            return UNDEFINED
        if op in KEPT:
            return self.value(found[0])
        if op == "matmul":
            product = self.token((op, self.value(found[0]), self.value(found[1])))
            self.products.add(product)
            adds = len(found) > 2 and not (len(found) > 3 and found[3] == Const(0))
            return self.total(product, self.value(found[2])) if adds else product
        if op == "add" and isinstance(found[1], tuple):
            return self.total(self.value(found[0]), self.value(found[1]))
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
        number = self.world.made(row.op, [*where, *operands])
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


def same_values(before: Kernel, after: Kernel) -> None:
    """``before`` has the work-item loop and no cores yet; ``after`` is scheduled.

    Raises:
        AssertionError: if they do not store the same values, naming a place that differs.
    """
    for trips in TRIPS:
        world = Meanings(trips, after)
        run_schedule(after, world)
        scheduled, world.stores = world.stores, {}
        Traced(world).block(before.body, {})
        for place in world.stores:
            assert scheduled.get(place) == world.stores[place], (
                f"{after.name}: the schedule stores another value than was traced, at {place}"
            )
        assert len(scheduled) == len(world.stores), f"{after.name}: the schedule stores more"
