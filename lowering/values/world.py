"""Made-up facts for running programs on symbols: sizes, what is read, and so trip counts and tests.

In: the scalar expressions that two programs ask about.  Out: numbers, the same for both.
Invariant: every scalar has one value, and every trip count, slot and test is computed from those
values; so relations hold (``maximum(n, 1)`` is at least 1, ``i + 1 < n`` ends with the loop, equal
expressions have equal numbers).  A value is made up where an expression first needs it, such that the
expression comes near the next number of a list (``SHORT`` and ``worlds``).

Why that decides all trip counts: a row that gets a wrong value gets one that another iteration left in
the same slot.  The nearest such iteration is one depth away, and no row runs further from its own
iteration than the shifts say, so a loop of ``far`` iterations shows it.  From there on iterations only
repeat, as slots, counters and phis go by the position in the rings.  A longer loop that both programs have is
cut to one that names the same slot of every ring at its end.
Non-goals: numbers of tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import lcm
from types import MappingProxyType

from lowering.values.memory import Memory
from pto.arithmetic import Number, NumberError
from pto.bounds import of_launch, of_row
from pto.folds import Fold, fold_of
from pto.ir import (
    Bin,
    Block,
    Branch,
    Const,
    Define,
    Expr,
    Kernel,
    Loop,
    Operand,
    Queue,
    Ref,
    Row,
    Text,
    Var,
    View,
    Word,
    as_span,
    binary,
    evaluate,
    is_float,
    linear,
    loops_of,
    names_in,
    substitute,
)
from pto.ops import OPS
from pto.targets import target_of
from pto.types import TileType

UNDEFINED = 0
"""The token of what was never written."""

SHORT = ((6, 3, 0, 1, 2, 5, 4), (5, 1, 4, 0, 3, 2, 6, 0, 0, 1), (2, 8, 1, 7, 0, 3))
"""What expressions come near, in the order in which they are asked about: the first is the number of
work items, where that is not known.

A schedule goes wrong in the first or last steps of a loop, where some stages have nothing to do; from
one item to the next; or where a slot is overwritten before it is read for the last time, which shows
in the first iteration behind a full turn of the ring.  These mix empty, short and longer loops in many
orders; ``worlds`` adds long ones."""

MOST = 9
"""Iterations of a constant loop that are run at least beyond the whole periods of all rings: more than
any number of ``SHORT``, so that related trip counts keep their distance."""

BESIDE = 2
"""What a name counts as beside another one that is made up."""

NOTHING: Mapping[str, Expr] = MappingProxyType({})

Undo = Callable[[Number, Number], Number]
LEFT: Mapping[str, Undo] = {
    "+": lambda w, b: w - b,
    "-": lambda w, b: w + b,
    "*": lambda w, b: w // b if b else w,
    "/": lambda w, b: w * b,
    "//": lambda w, b: w * b + b // 2,
    "%": lambda w, b: w,
    "cdiv": lambda w, b: w * b - b // 2,
    "min": lambda w, b: w,
    "max": lambda w, b: w,
    "<": lambda w, b: b - bool(w),
    "<=": lambda w, b: b + (not w),
    "==": lambda w, b: b + (not w),
    "!=": lambda w, b: b + bool(w),
}
"""op -> a such that ``a op b`` comes near w."""

RIGHT: Mapping[str, Undo] = {
    **LEFT,
    "-": lambda w, a: a - w,
    "/": lambda w, a: a / w if w else 1,
    "//": lambda w, a: a // w if w else a + 1,
    "%": lambda w, a: w + 1,
    "cdiv": lambda w, a: a // w if w else a + 1,
    "<": lambda w, a: a + bool(w),
    "<=": lambda w, a: a - (not w),
}
"""op -> b such that ``a op b`` comes near w."""


def far(kernel: Kernel) -> int:
    """Iterations of a loop after which every slot was used again, by every row."""
    depths = [b.depth for b in kernel.buffers] + [f.depth for f in kernel.fifos]
    shifts = [x.shifts for x in loops_of(kernel.body)]
    spans = [high - low for low, high in shifts]
    return max(depths, default=1) + max(spans, default=0) + 1


def worlds(kernel: Kernel) -> Iterator[tuple[int, ...]]:
    """The lists of numbers to run a kernel with: ``SHORT``, and for each trip count and test one in
    which it is as long as ``far``, those asked about before it are 2 and those behind it 1."""
    yield from SHORT
    told = (x.trips if isinstance(x, Loop) else x.test for x in nested(kernel.body))
    for k in range(len({e for e in told if not isinstance(e, Const)})):
        yield (2,) * k + (far(kernel),) + (1,) * MOST


def nested(block: Block) -> Iterator[Loop | Branch]:
    """Every loop and every branch below."""
    for node in block:
        if isinstance(node, Loop):
            yield node
            yield from nested(node.body)
        elif isinstance(node, Branch):
            yield node
            yield from nested((*node.then, *node.orelse))


@dataclass
class World:
    """The numbering of tokens and the made-up facts, shared by both sides.

    ``kernel``: says which names are sizes, and how deep the rings are.
    """

    trips: tuple[int, ...]
    kernel: Kernel
    numbers: dict[object, int] = field(default_factory=dict)
    values: dict[str, Number] = field(default_factory=dict)
    asked: dict[Expr, None] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    """Token -> the first row that made it."""
    met: dict[int, list[str]] = field(default_factory=dict)
    """By the id of a row: the tensors that are written and that it reads."""
    sums: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    """What a tensor holds that was added to: what it held before, and the terms, sorted."""

    entries: dict[str, View] = field(default_factory=dict)
    """By the name of a value read, which entry of which table it is."""
    folds: dict[str, Fold] = field(default_factory=dict)
    whole: frozenset[Expr] = frozenset()
    """Trip counts of loops that are not cut, since the other program says in another way what they do."""

    def __post_init__(self) -> None:
        self.values |= {"block_idx": 0, "block_num": 1, "lane": 0}
        self.ranges = of_launch(self.kernel)
        self.memory = self._empty()
        self.period = lcm(*(b.depth for b in self.kernel.buffers))
        self.most = max(far(self.kernel), MOST)

    def token(self, made: object) -> int:
        return self.numbers.setdefault(made, len(self.numbers) + 1)

    def _empty(self) -> Memory:
        """The memory before any store."""
        return Memory(self.values, self.entries, self.folds, self.ranges, self.kernel.params)

    # numbers

    @property
    def near(self) -> int:
        """What the next trip count comes near."""
        return self.trips[len(self.asked) % len(self.trips)]

    def count(self, loop: Loop, values: Mapping[str, Expr]) -> int:
        """How often a loop runs."""
        n = max(int(self._told(substitute(loop.trips, values), self.near)), 0)
        if n <= self.most + self.period or loop.trips in self.whole:
            return n
        return self.most + (n - self.most) % self.period

    def truth(self, e: Expr) -> bool:
        """Which way a branch goes: among the ``SHORT`` lists, the first of which are even and odd, each
        test that is not decided goes both ways."""
        return bool(self._told(e, (len(self.asked) + self.trips[0]) % 2))

    def number(self, e: Expr, values: Mapping[str, Expr] = NOTHING) -> Number:
        """The value of ``e``, with its names replaced; 0 where it has none."""

        def value(name: str) -> Number:
            found = values.get(name)
            return self._value(name) if found is None else evaluate(found, self._value)

        try:
            return evaluate(e, value)
        except NumberError:
            return 0

    def _value(self, name: str) -> Number:
        return self.values.setdefault(name, self._possible(name, BESIDE))

    def _possible(self, name: str, wanted: Number) -> Number:
        """The number nearest to ``wanted`` that a size or a value read can be."""
        known = self.ranges.get(name)
        return wanted if known is None else min(max(wanted, known.low), known.high)

    def _told(self, e: Expr, wanted: int) -> Number:
        if self._unknown(e):
            self.asked[e] = None
            self._suppose(e, wanted)
        return self.number(e)

    def _unknown(self, e: Expr) -> bool:
        return any(n not in self.values for n in names_in(e))

    def _suppose(self, e: Expr, wanted: Number) -> None:
        """Makes up the unknown names of ``e`` so that it comes near ``wanted``."""
        if isinstance(e, Var):
            self.values[e.name] = self._possible(e.name, wanted)
        elif isinstance(e, Bin):
            if not self._unknown(e.a):
                self._suppose(e.b, RIGHT[e.op](wanted, self.number(e.a)))
            else:
                self._suppose(e.a, LEFT[e.op](wanted, self.number(e.b)))

    # symbols

    def scalar(self, e: Expr, values: Mapping[str, Expr]) -> Expr:
        """``e`` with its names replaced; which lane it is does not matter here."""
        return normal(self.divided(substitute(e, {**values, "lane": Const(0)})))

    def divided(self, e: Expr) -> Expr:
        """``e`` with the numbers of ``7 // n`` and ``7 % n``, of which an ``n`` is made up: where a loop is one of
        several, these are the iterations of each."""
        if not isinstance(e, Bin):
            return e
        a, b = self.divided(e.a), self.divided(e.b)
        e = e if (a, b) == (e.a, e.b) else binary(e.op, a, b)
        if not (isinstance(e, Bin) and e.op in ("//", "%") and isinstance(a, Const)):
            return e
        if self._unknown(b):  # where a row runs in front of the loop that asks for it
            self._suppose(b, self.near)
        return Const(self.number(e))

    def place(
        self, view: View, values: Mapping[str, Expr], mine: TileType | None = None
    ) -> tuple[object, ...]:
        """A view, its names replaced; that a lane has ``mine`` of a tile does not matter here."""
        out: list[object] = [view.tensor]
        for item in view.index:
            span = as_span(item)
            valid = None if span.valid is None else self.scalar(span.valid, values)
            out.append((self.scalar(span.start, values), valid))
        return tuple(out)

    def region(self, row: Row, place: object) -> tuple[object, ...]:
        """The place that a row loads from or stores to, with its sizes."""
        assert isinstance(place, tuple)
        view = row.result(View) if row.op == "store" else row.operand(View)
        items = zip(place[1:], view.index, strict=True)
        spans = (((start, valid), as_span(x)) for (start, valid), x in items)
        return place[0], *((start, x.size, valid, x.step) for (start, valid), x in spans)

    def operand(
        self, a: Operand, values: Mapping[str, Expr], mine: TileType | None = None
    ) -> object:
        """What a row reads that is no tile; of a row of the vector core, a lane has ``mine`` of its tile."""
        if isinstance(a, View):
            return self.place(a, values, mine)
        if isinstance(a, Word):
            return a.name
        if isinstance(a, Text):
            return a.value
        assert not isinstance(a, Ref | Queue), a
        return self.scalar(a, values)

    def value(self, operand: object) -> int:
        """The number of a tile operand, (number, is transposed)."""
        assert isinstance(operand, tuple)
        number, transposed = operand
        assert isinstance(number, int)
        return self.token(("T", number)) if transposed else number

    def start(self) -> dict[str, int]:
        """What the tensors hold that are written, before a program runs."""
        self.memory = self._empty()
        return {p.name: self.token(p.name) for p in self.kernel.params if p.is_written}

    def states(self, row: Row, tensors: Mapping[str, int]) -> list[int]:
        """What those of ``tensors`` hold that a row reads; of a load only what it loads counts (``memory``)."""
        if row.op == "load":
            return []
        met = self.met.get(id(row))
        if met is None:
            views = [x for x in row.args if isinstance(x, View)]
            met = self.met[id(row)] = [v.tensor for v in views if v.tensor in tensors]
        return [tensors[name] for name in met]

    def holding(self, row: Row, before: int, stored: int) -> int:
        """What a tensor holds behind a store; what is added has no order."""
        if not row.adds:
            return self.token(("then", before, stored))
        start, terms = self.sums.get(before, (before, ()))
        total = start, tuple(sorted((*terms, stored)))
        token = self.token(("sum", *total))
        self.sums[token] = total
        return token

    def result(self, row: Row, args: Sequence[object]) -> int:
        """The token of what a row makes."""
        if row.op == "load":
            args = [*args, *self.memory.held(self.region(row, args[0]))]
        token = self.placed(row, args) if OPS[row.op].places else self.made(row.op, args)
        if row.op == "store":
            self.memory.store(self.region(row, args[0]), token, row.adds)
        if OPS[row.op].kind == "scalar":
            self.named(f"%{token}", row, args)
        self.rows.setdefault(token, row)
        return token

    def named(self, name: str, row: Row, args: Sequence[object]) -> None:
        """Notes what a number can be that comes from tables."""
        known = tuple(
            e if isinstance(e, Expr) else _entry(e) if isinstance(x, View) else x
            for x, e in zip(row.args, args[: len(row.args)], strict=True)
        )
        if row.op == "read":
            self.entries[name] = replace(row, args=known).operand(View)
        if row.op == "fold":
            self.folds[name] = fold_of(replace(row, args=known))
        self.ranges[name] = of_row(replace(row, args=known), self.ranges)

    def placed(self, row: Row, args: Sequence[object]) -> int:
        """The token of what moves elements by the size of its result; of what turns, the part that turns."""
        out = row.out
        kind = (
            self.kernel.buffer(out.name).type if isinstance(out, Ref) else row.result(Define).type
        )
        if row.core == "vector":
            kind = kind.of_all(target_of(self.kernel).lanes)
        if row.op != "part":
            return self.made(row.op, [*args, Const(kind.rows), Const(kind.cols)])
        first, *at = args
        assert isinstance(first, tuple)
        number, turned = first
        where = [*at, Const(kind.rows), Const(kind.cols)]
        if turned:
            where = [where[1], where[0], where[3], where[2]]
        return self.value((self.token(("part", number, *where)), turned))

    def made(self, op: str, args: Sequence[object]) -> int:
        """The token of an op; a matmul that overwrites does not depend on what it overwrites."""
        if op == "matmul" and len(args) > 2:
            test = args[3] if len(args) == 4 else Const(1)
            assert isinstance(test, Expr)
            keep = args[2] != (UNDEFINED, False) and (not isinstance(test, Const) or test.value)
            args = args[:3] if keep else args[:2]
        return self.token((op, *args))


def _entry(place: object) -> View:
    """One element, of its place."""
    assert isinstance(place, tuple)
    tensor, *items = place
    return View(tensor, tuple(start for start, *_ in items))


def normal(e: Expr) -> Expr:
    """``e`` in one of the ways to write it: a sum of products with constants, in a fixed order."""
    return _normal(e) if isinstance(e, Bin) else e


@lru_cache(1 << 14)
def _normal(e: Bin) -> Expr:
    """Remembered, because one index is asked for by every lane, iteration and made-up world."""
    if is_float(e):
        return binary(e.op, normal(e.a), normal(e.b))
    constant, terms = linear(binary(e.op, normal(e.a), normal(e.b)))
    out: Expr = Const(0)
    for atom in sorted(terms, key=repr) if len(terms) > 1 else terms:
        out = binary("+", out, binary("*", atom, Const(terms[atom])))
    return binary("+", out, Const(constant))
