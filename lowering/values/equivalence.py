"""Does a schedule compute what was traced?  Checked on every schedule, by running both on symbols.

In: a kernel before and after scheduling.  Out: nothing, or where they differ; for a schedule that was
made here that is an ``AssertionError``, a bug of ours.
The proof of ``hazards/`` is about order; it cannot see a value that is well ordered and wrong,
such as a slot that is overwritten one stage too early.  Here every value is a number that stands
for the expression that made it, so two values are equal exactly if they were made alike from the
same inputs, and both programs must store the same values in the same places, for made-up trip
counts (``lowering/values/world.py`` says how far these reach).

Invariants used: copies, moves and hand-overs keep a value; a product accumulated in L0C is the
product added; adding a product to zero is the product; and what commutes does.  Rows of the vector core say
what a lane does: their places and counts are those of both lanes (``lowering/values/lanes.py``).  What was
loaded in part is what was traced but for its unknown edges, and stored as it is where these are left out
(``lowering/values/padding.py``).
Non-goals: order between pipes, bounds, rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import cast

from lowering.values.lanes import counts_of_both, view_of_both
from lowering.values.padding import NOWHERE, Unknown, element_wise, joined, product
from lowering.values.tokens import Log, Scheduled
from lowering.values.world import UNDEFINED, World, normal, worlds
from pto.errors import ScheduleError
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
    binary,
    loops_of,
    map_exprs,
    names_in,
)
from pto.ir import substitute as with_values
from pto.legality import straight
from pto.ops import DEBUG, OPS
from pto.row_rules import filled, seen
from pto.targets import target_of
from pto.types import TileType
from pto.views import counts

Place = object
Stored = list[tuple[Row, int]]
"""The rows that store to a place, each with the number of what it stores there: the last one that takes the
place of what was there, and all that add to it since.  What is said is stored where nothing else is."""

Index = tuple[Expr, int, Expr | None, int]
"""Start, size (0: it is no span) and how many exist (None: all)."""


@dataclass
class Meanings(World):
    """Numbers for expressions, equal for both ways to write the same value."""

    products: set[int] = field(default_factory=set)
    stores: dict[Place, Stored] = field(default_factory=dict)
    parts: dict[int, tuple[int, Unknown]] = field(default_factory=dict)
    """What is known in part: its number if all were known, and what is not."""

    @property
    def lanes(self) -> int:
        return target_of(self.kernel).lanes

    def scalar(self, e: Expr, values: Mapping[str, Expr]) -> Expr:
        return e if isinstance(e, Const) else normal(self.divided(with_values(e, values)))

    def place(
        self, view: View, values: Mapping[str, Expr], mine: TileType | None = None
    ) -> tuple[object, ...]:
        """A region of a tensor; where the lanes have parts of no region, a place like no other, and one with a mark
        where both have all of it."""
        own = map_exprs(view, lambda e: self.scalar(e, values))
        if mine is None:
            return view.tensor, *map(index_of, own.index)
        try:
            found = view_of_both(own, mine, self.lanes, None)
        except ScheduleError:
            return "apart", own
        return view.tensor, *map(index_of, found.index), *[TWICE] * (found == own)

    def region(self, row: Row, place: object) -> tuple[object, ...]:
        assert isinstance(place, tuple)
        return place

    def result(self, row: Row, args: Sequence[object]) -> int:
        """The number of what a row makes; a store is noted by its place."""
        if row.op == "store":
            self.note(row, args[0], self.stored(row, args))
            return UNDEFINED
        if row.op in DEBUG:
            said = self.token((row.op, *args))
            self.stores.setdefault((row.op, said), []).append((row, said))
            return UNDEFINED
        if row.op == "gather":
            return super().result(row, [once(place) for place in args])
        if row.op == "load":
            args = [once(args[0]), *args[1:]]
            token = super().result(row, [a for a in args if not isinstance(a, str)])
            return self.part(token, self.left_open(row, args[0]), row)
        if row.core == "vector" and isinstance(row.out, Ref):
            try:
                args = counts_of_both(row.op, args, self.type_of(row.out), self.lanes, None)
            except ScheduleError:
                return self.token((row.op, "apart", *args))
        if row.op == "pad":
            return self.padded(row, args)
        tiles = [k for k, a in enumerate(row.args[: len(args)]) if isinstance(a, Ref)]
        numbers = {k: self.value(args[k]) for k in tiles}
        if row.core and not self.parts.keys().isdisjoint(numbers.values()):
            known = [self.known(numbers[k]) for k in tiles]
            unknown = self.spread(row, args, [u for _, u in known])
            if unknown is not None:
                args = [self.all_known(a) if k in numbers else a for k, a in enumerate(args)]
                return self.part(super().result(row, args), unknown, row)
        return super().result(row, args)

    def note(self, row: Row, place: object, number: int) -> None:
        """Notes a store.  What both lanes store at one place is no store of the traced program."""
        self.memory.store(place, number, row.adds)
        if not row.adds:
            self.stores[place] = [(row, number)]
            return
        self.stores.setdefault(place, []).append((row, self.token(("added", number))))

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

    def all_known(self, operand: object) -> tuple[int, bool]:
        """A tile operand, if all of it were known."""
        assert isinstance(operand, tuple)
        number, turned = operand
        return self.known(number)[0], turned

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
        fills, sides = filled(row), ends(self.whole_type(row, row.out), place)
        made = (
            frozenset() if count is None or dim in fills else frozenset({count})
            for dim, count in zip(("rows", "cols"), sides, strict=True)
        )
        return Unknown(*made)

    def type_of(self, x: object) -> TileType:
        assert isinstance(x, Ref)
        return self.kernel.buffer(x.name).type

    def whole_type(self, row: Row, x: object) -> TileType:
        """Of what the lanes have together."""
        mine = self.type_of(x)
        return mine.of_all(self.lanes) if row.core == "vector" else mine

    def stored(self, row: Row, args: Sequence[object]) -> int:
        """The number of what a store keeps."""
        number = self.value(args[1])
        whole, unknown = self.known(number)
        if unknown != NOWHERE:
            left = unknown.within(*ends(self.whole_type(row, row.args[0]), args[0]))
            number = whole if left == NOWHERE else number
        how = [self.scale(row, a, args[0]) for a in args[2 : 1 + len(row.args)]]
        return self.rounded(row, number, how)

    def scale(self, row: Row, given: object, place: object) -> object:
        """How it stores: of the scales of columns those of columns that it leaves out may be unknown."""
        if not isinstance(given, tuple):
            return given
        whole, unknown = self.known(self.value(given))
        if unknown == NOWHERE:
            return whole
        _, cols = ends(self.type_of(row.args[0]), place)
        return whole if unknown.within(cols, None) == NOWHERE else self.value(given)

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
        x, t = self.value(args[0]), self.type_of(row.args[0]).of_all(self.lanes)
        whole, unknown = self.known(x)
        sides = []
        for count, size, side in zip(
            cast("Sequence[Expr]", args[1:]),
            (t.rows, t.cols),
            (unknown.rows, unknown.cols),
            strict=True,
        ):
            kept = existing(count, size)
            if kept is None:
                sides.append(side)
            elif side and side == {kept}:
                sides.append(frozenset())
            else:
                return self.token(("pad", x, *args[1:]))
        return self.part(whole, Unknown(*sides), row)

    def spread(self, row: Row, args: Sequence[object], of: Sequence[Unknown]) -> Unknown | None:
        """What is unknown of the result, None: it goes everywhere."""
        if row.op == "matmul":
            adds = len(args) < 4 or args[3] != Const(0)
            return product(*(of if adds else of[:2]))
        if row.op == "transpose":
            return of[0].turned
        if row.op == "where":
            count = args[1]
            assert isinstance(count, Expr)
            return of[0].within(
                None, existing(count, self.type_of(row.out).of_all(self.lanes).cols)
            )
        types = [seen(a, self.type_of(a)) for a in row.args[: len(args)] if isinstance(a, Ref)]
        out, operands = self.type_of(row.out), list(zip(types, of, strict=True))
        if along := OPS[row.op].mixes:
            return joined(out, operands, along)
        return element_wise(out, operands)

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


TWICE = "by both lanes"
"""Behind a place of which each lane has all."""


def once(place: object) -> object:
    """A place that is read, by both lanes or not."""
    assert isinstance(place, tuple)
    return place[:-1] if place[-1] == TWICE else place


def index_of(item: Expr | Span) -> Index:
    if not isinstance(item, Span):
        return normal(item), 0, None, 0
    return normal(item.start), item.size, existing(item.valid, item.size), item.step


def existing(count: Expr | None, size: int) -> Expr | None:
    """How many of ``size`` elements the first ``count`` are, None: all; one way to write it."""
    terms = [] if count is None else smallest(count)
    less = [e for e in terms if not (isinstance(e, Const) and e.value >= size)]
    return reduce(partial(binary, "min"), sorted(map(normal, less), key=repr)) if less else None


def smallest(e: Expr) -> list[Expr]:
    """What ``e`` is the least of."""
    if isinstance(e, Bin) and e.op == "min":
        return [*smallest(e.a), *smallest(e.b)]
    return [e]


def ends(t: TileType, place: object) -> tuple[Expr | None, Expr | None]:
    """How many rows, and how many columns, of a region exist, None: all."""
    assert isinstance(place, tuple)
    of_lanes = place[0] == "apart" or place[-1] == TWICE
    if of_lanes:
        return None, None
    items = (Span(start, size, valid) if size else start for start, size, valid, _ in place[1:])
    rows, cols = counts(View(place[0], tuple(items)), t.rows, t.cols)
    return existing(rows, t.rows), existing(cols, t.cols)


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
        for i in range(self.world.count(loop, scalars)):
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
            before = self.tensors[row.out.tensor]
            self.tensors[row.out.tensor] = self.world.holding(row, before, number)
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
    cores, whole = Scheduled(after), of_one(before, after)
    for trips in worlds(after):
        world = Meanings(trips, after, whole=whole)
        cores.run(world)
        scheduled, world.stores = world.stores, {}
        Traced(world, world.start()).block(before.body, {})
        for place, wanted in world.stores.items():
            more, missing = apart(scheduled.pop(place, []), wanted)
            for row, want in missing:
                mine, found = more[0] if more else (row, UNDEFINED)
                return Difference(mine, *parting(world, found, want))
            scheduled |= {place: more} if more else {}
        for row, _ in (x for stored in scheduled.values() for x in stored):
            return Difference(row, row, None)
    return None


def of_one(before: Kernel, after: Kernel) -> frozenset[Expr]:
    """The trip counts of loops that only one of the programs has: of those that became one, and of that one."""
    first, second = ({(x.index, x.trips) for x in loops_of(k.body)} for k in (before, after))
    return frozenset(trips for _, trips in first ^ second)


def apart(a: Stored, b: Stored) -> tuple[Stored, Stored]:
    """What is stored in one of them only, whatever the order."""
    mine, others = list(a), list(b)
    for x in a:
        same = next((y for y in others if y[1] == x[1]), None)
        if same is not None:
            mine.remove(x)
            others.remove(same)
    return mine, others


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
