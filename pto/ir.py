"""The intermediate representation: one grammar for traced and for scheduled programs.

A kernel is a tree of rows.  Tracing yields the mathematics of one work item; every pass of the
scheduler fills in more columns of the same rows: which core and pipe, which iteration, which
buffer slot, which events to wait for and to set.  ``pto/text.py`` prints and parses it.

The grammar, and what rows, shifts, loops, flat loops, rings, events and branches mean, is
docs/language.md; which rows a program of each form may have is ``pto/legality.py``.
Every class is a frozen value; ``Loc`` never takes part in comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from pto.arithmetic import BINARY, COMPARING, Number, NumberError, operator_type, rounded, shortest
from pto.loc import Loc
from pto.types import TileType

CORES = ("cube", "vector")
BUILTINS = ("block_idx", "block_num", "lane")
"""Scalars that the launch provides: hardware block, number of blocks, vector lane (0 or 1)."""


# ---------------------------------------------------------------------------------- scalars


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A literal integer or float; 1 and 1.0, 0.0 and -0.0 are different ones."""

    value: int | float

    @property
    def _key(self) -> int | str:
        return self.value.hex() if isinstance(self.value, float) else self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Const):
            return NotImplemented
        x, y = self.value, other.value
        whole = isinstance(x, int) and isinstance(y, int)  # nearly all, and asked for everywhere
        return x == y if whole else self._key == other._key

    def __hash__(self) -> int:
        return hash(self.value if isinstance(self.value, int) else self._key)


@dataclass(frozen=True, slots=True)
class Var:
    """A named scalar: a symbolic dimension, a scalar parameter, a loop index, a ``let``."""

    name: str
    is_float: bool = False


@dataclass(frozen=True, slots=True)
class Bin:
    """``a op b`` with op one of ``BINARY``."""

    op: str
    a: Expr
    b: Expr
    is_float: bool = field(init=False, compare=False, repr=False)
    """What ``is_float`` says, found once: it is asked at every step of a simplification."""

    def __post_init__(self) -> None:
        floating = operator_type(self.op, is_float(self.a), is_float(self.b))
        object.__setattr__(self, "is_float", floating)


Expr = Const | Var | Bin


def is_float(e: Expr) -> bool:
    """Whether ``e`` is a float of 32 bits; everything else is an integer of 64."""
    return isinstance(e.value, float) if isinstance(e, Const) else e.is_float


def names_a_float(row: Row) -> bool:
    """Whether the scalar that a ``read`` or ``let`` defines is a float."""
    return isinstance(row.out, Scalar) and row.out.is_float


def binary(op: str, a: Expr, b: Expr) -> Expr:
    """``a op b`` with constants folded and, of integers, what is known without their values.

    Floats are folded only where both sides are constants: NaN, -0 and rounding obey few laws.
    What has no value (``1 // 0``) stays as it is.
    """
    if isinstance(a, Const) and isinstance(b, Const):
        try:
            return Const(shortest(BINARY[op](constant(a), constant(b))))
        except NumberError:
            return Bin(op, a, b)
    if op == "/" or is_float(a) or is_float(b):
        return Bin(op, a, b)
    x = a.value if isinstance(a, Const) else None
    y = b.value if isinstance(b, Const) else None
    if y == 0 and op in "+-" or y == 1 and op in ("*", "//", "cdiv"):
        return a
    if x == 0 and op == "+" or x == 1 and op == "*":
        return b
    if op == "*" and (x == 0 or y == 0) or op == "%" and y == 1:
        return ZERO
    if op in SAME and a == b:
        return SAME[op] or a
    if y is not None and op == "+" and isinstance(a, Bin) and a.op == "+":
        sum_of = binary("+", a.b, b) if isinstance(a.b, Const) else None
        if isinstance(sum_of, Const):
            return binary("+", a.a, sum_of)
    return Bin(op, a, b)


ZERO, ONE = Const(0), Const(1)

SAME: dict[str, Const | None] = {
    "-": ZERO,
    "<": ZERO,
    "!=": ZERO,
    "<=": ONE,
    "==": ONE,
    "min": None,
    "max": None,
}
"""What an operator gives for an integer and itself (None: that integer)."""


def constant(e: Const) -> Number:
    """The number that a literal is: a float as f32 holds it."""
    return rounded(e.value) if isinstance(e.value, float) else e.value


def evaluate(e: Expr, env: Callable[[str], Number]) -> Number:
    """The number that ``e`` stands for when ``env`` gives the value of each name.

    Raises:
        NumberError: when it has none.
    """
    if isinstance(e, Const):
        return constant(e)
    if isinstance(e, Var):
        return env(e.name)
    return BINARY[e.op](evaluate(e.a, env), evaluate(e.b, env))


def names_in(e: Expr) -> Iterator[str]:
    """Every name in ``e``, from left to right, with repetitions."""
    if isinstance(e, Var):
        yield e.name
    elif isinstance(e, Bin):
        yield from names_in(e.a)
        yield from names_in(e.b)


def substitute(e: Expr, values: Mapping[str, Expr]) -> Expr:
    """``e`` with every name in ``values`` replaced, folded again."""
    if isinstance(e, Var):
        return values.get(e.name, e)
    if isinstance(e, Bin):
        return binary(e.op, substitute(e.a, values), substitute(e.b, values))
    return e


N = TypeVar("N")

# --------------------------------------------------------------------------------- operands


@dataclass(frozen=True, slots=True)
class Ref:
    """A tile: a traced value, or ring slot ``index`` of a buffer; ``transposed`` reads ``x.T``."""

    name: str
    index: Expr | None = None
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """``size`` elements from ``start``, ``step`` from one to the next, of which the first ``valid`` exist (None: all)."""

    start: Expr
    size: int
    valid: Expr | None = None
    step: int = 1

    @property
    def reach(self) -> int:
        """From the first element to behind the last one."""
        return (self.size - 1) * self.step + 1

    def at(self, k: Expr) -> Expr:
        """Where element ``k`` of it is."""
        return binary("+", self.start, binary("*", k, Const(self.step)))


@dataclass(frozen=True, slots=True)
class View:
    """A region of a tensor in GM: one ``Expr`` (taken out) or ``Span`` (kept) per dimension."""

    tensor: str
    index: tuple[Expr | Span, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(i for i in self.index if isinstance(i, Span))


def as_span(item: Expr | Span) -> Span:
    """An element that is taken out, as the region of one element that it is."""
    return item if isinstance(item, Span) else Span(item, 1)


@dataclass(frozen=True, slots=True)
class Queue:
    """A cross-core FIFO by name, as an operand of push, pop and record."""

    name: str


@dataclass(frozen=True, slots=True)
class Define:
    """The output of a traced row: a new tile value with its type."""

    name: str
    type: TileType


@dataclass(frozen=True, slots=True)
class Scalar:
    """The output of ``read`` and ``let``: a new scalar name, of a float of 32 bits or of an integer of 64."""

    name: str
    is_float: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word among the arguments: a dtype (``astype``), a pipe (``drain``), how a ``store`` writes."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text among the arguments of what only watches."""

    value: str


ADD = Word("add")
"""Behind what is stored: it is added to what the tensor holds."""
SCALED = Word("scaled")
"""Behind what is stored: it is converted times the scale that follows."""

Operand = Ref | View | Queue | Word | Text | Const | Var | Bin
Output = Define | Ref | View | Scalar | Queue


@dataclass(frozen=True, slots=True)
class Flag:
    """One event, at ring position ``index`` (None: the only one)."""

    name: str
    index: Expr | None = None


def exprs_of(x: object) -> Iterator[Expr]:
    """The scalar expressions in an operand, an output or a flag."""
    if isinstance(x, Expr):
        yield x
    elif isinstance(x, Span):
        yield from (x.start,) if x.valid is None else (x.start, x.valid)
    elif isinstance(x, View):
        yield from (e for item in x.index for e in exprs_of(item))
    elif isinstance(x, Ref | Flag) and x.index is not None:
        yield x.index


def map_exprs(x: N, f: Callable[[Expr], Expr]) -> N:
    """An operand or an output with ``f`` of every scalar expression in it."""
    made: object = x
    if isinstance(x, Expr):
        made = f(x)
    elif isinstance(x, Span):
        made = replace(x, start=f(x.start), valid=None if x.valid is None else f(x.valid))
    elif isinstance(x, View):
        made = View(x.tensor, tuple(map_exprs(item, f) for item in x.index))
    elif isinstance(x, Ref) and x.index is not None:
        made = replace(x, index=f(x.index))
    return cast(N, made)


# ------------------------------------------------------------------------------------- tree


@dataclass(frozen=True, slots=True)
class Row:
    """One op.  The columns behind ``args`` are empty until the scheduler fills them in.

    ``value``: the name of the tile that it makes, where a buffer of another name holds it.
    ``test``: it works where that is not 0; elsewhere it waits, sets and signals all the same, reads and
    writes nothing, and a scalar that it defines is 0.  ``other``: what its result is there, if anything.
    """

    op: str
    out: Output | None = None
    args: tuple[Operand, ...] = ()
    core: str = ""
    pipe: str = ""
    shift: int = 0
    wait: tuple[Flag, ...] = ()
    set: tuple[Flag, ...] = ()
    value: str = ""
    loc: Loc | None = field(default=None, compare=False, repr=False)
    test: Expr | None = None
    other: Ref | None = None

    @property
    def queue(self) -> str:
        """The FIFO that it names, or ''."""
        return next((x.name for x in (self.out, *self.args) if isinstance(x, Queue)), "")

    @property
    def adds(self) -> bool:
        """Whether it is a store that adds to what the tensor holds."""
        return self.op == "store" and ADD in self.args

    @property
    def tests(self) -> tuple[Expr, ...]:
        """The test, if there is one."""
        return () if self.test is None else (self.test,)

    @property
    def scales(self) -> tuple[Expr | Ref, ...]:
        """The scale of a store that converts what leaves the accumulator, if it has one; a tile: one of each column."""
        found = (a for a in self.args[2:] if isinstance(a, Expr | Ref))
        return tuple(found) if self.op == "store" else ()

    def result(self, kind: type[N]) -> N:
        """The output of a row whose op makes a ``kind``."""
        assert isinstance(self.out, kind), self
        return self.out

    def operand(self, kind: type[N], k: int = 0) -> N:
        """Operand ``k`` of a row whose op takes a ``kind`` there."""
        found = self.args[k]
        assert isinstance(found, kind), self
        return found

    def scalar(self, k: int = 0) -> Expr:
        """Operand ``k`` of a row whose op takes a scalar there."""
        found = self.args[k]
        assert isinstance(found, Expr), self
        return found


@dataclass(frozen=True, slots=True)
class Carry:
    """A loop-carried tile: ``name`` inside, ``init`` before, ``last`` after (traced form only).

    Without ``init`` the first iteration overwrites it.
    """

    name: str
    type: TileType
    init: Ref | None
    last: str


@dataclass(frozen=True, slots=True)
class Loop:
    """``for index in 0 .. trips``; ``total`` counts on over all entries of the loop (or '')."""

    index: str
    trips: Expr
    body: tuple[Row | Loop | Branch, ...]
    total: str = ""
    carry: tuple[Carry, ...] = ()
    result: tuple[Ref, ...] = ()
    flat: bool = False
    loc: Loc | None = field(default=None, compare=False, repr=False)

    @property
    def shifts(self) -> tuple[int, int]:
        """(lowest, highest) shift of the rows that belong to this loop itself; of a flat loop, of
        all rows in it."""
        found = [r.shift for r in (all_rows if self.flat else own_rows)(self.body)] or [0]
        return min(found), max(found)

    @property
    def is_guard(self) -> bool:
        """Whether it takes one step where its trip count, which is a test, holds, and none elsewhere."""
        return isinstance(self.trips, Bin) and self.trips.op in COMPARING

    @property
    def inner(self) -> int:
        """Where in the body of a flat loop its inner loop stands."""
        return next(k for k, n in enumerate(self.body) if isinstance(n, Loop))

    @property
    def inside(self) -> Loop:
        """The inner loop of a flat loop."""
        return next(n for n in self.body if isinstance(n, Loop))


@dataclass(frozen=True, slots=True)
class Branch:
    """``if test``: both cores take the same way; ``test`` is non-zero for ``then``."""

    test: Expr
    then: tuple[Row | Loop | Branch, ...]
    orelse: tuple[Row | Loop | Branch, ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)


Node = Row | Loop | Branch
Block = tuple[Node, ...]
Path = tuple[int, ...]
"""Where a node stands: its number in its block, behind the path of the loop or branch around it (of
a branch 1 for its ``then``, 0 for its ``else``)."""


def own_rows(block: Block) -> Iterator[Row]:
    """Rows of a block and its branches, not those of loops inside."""
    for node in block:
        if isinstance(node, Row):
            yield node
        elif isinstance(node, Branch):
            yield from own_rows(node.then)
            yield from own_rows(node.orelse)


def all_rows(block: Block) -> Iterator[Row]:
    """Every row below, in the order written."""
    for node in block:
        if isinstance(node, Row):
            yield node
        elif isinstance(node, Loop):
            yield from all_rows(node.body)
        else:
            yield from all_rows(node.then)
            yield from all_rows(node.orelse)


def added_to(block: Block) -> tuple[str, ...]:
    """The tensors that rows below add to, in the order of their first adds."""
    views = (r.out for r in all_rows(block) if r.adds)
    return tuple(dict.fromkeys(v.tensor for v in views if isinstance(v, View)))


def loaded_from(block: Block) -> tuple[str, ...]:
    """The tensors of which rows below load tiles, in the order of their first loads."""
    views = (a for r in all_rows(block) if r.op == "load" for a in r.args)
    return tuple(dict.fromkeys(v.tensor for v in views if isinstance(v, View)))


def loops_of(block: Block) -> Iterator[Loop]:
    """Every loop below, in the order written."""
    for node in block:
        if isinstance(node, Loop):
            yield node
            yield from loops_of(node.body)
        elif isinstance(node, Branch):
            yield from loops_of((*node.then, *node.orelse))


def is_scheduled(kernel: Kernel) -> bool:
    """Whether the rows have been given to cores."""
    return any(row.core for row in all_rows(kernel.body))


def cores_of(block: Block) -> tuple[str, ...]:
    """The cores that have rows below."""
    found = {r.core for r in all_rows(block)}
    return tuple(c for c in CORES if c in found)


def shift_of(node: object) -> int:
    """How far ahead of its own iteration a node runs; loops and branches run in the step of theirs."""
    return getattr(node, "shift", 0)


def in_own_order(nodes: Iterable[N], shift: Callable[[N], int] = shift_of) -> list[N]:
    """What one iteration of a loop does, in the order in which it does it: larger shifts run in
    earlier steps, rows of one step in the order written."""
    return sorted(nodes, key=lambda n: -shift(n))


def map_rows(block: Block, f: Callable[[Row], Row | tuple[Row, ...]]) -> Block:
    """The same tree with every row replaced by ``f(row)`` (one row, several, or none)."""
    out: list[Node] = []
    for node in block:
        if isinstance(node, Row):
            new = f(node)
            out.extend((new,) if isinstance(new, Row) else new)
        elif isinstance(node, Loop):
            out.append(replace(node, body=map_rows(node.body, f)))
        else:
            out.append(replace(node, then=map_rows(node.then, f), orelse=map_rows(node.orelse, f)))
    return tuple(out)


# -------------------------------------------------------------------------------- placement


@dataclass(frozen=True, slots=True)
class Buffer:
    """``depth`` ring slots of one tile in an on-chip memory, ``stride`` bytes apart from ``at``.

    On the vector core ``type`` is what one lane holds.
    """

    core: str
    space: str
    name: str
    depth: int
    type: TileType
    layout: str
    at: int
    stride: int
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fifo:
    """A cross-core FIFO in GM: ``direction`` is ``c2v`` or ``v2c``, ``type`` the whole tile.

    ``flag`` is the first of its two cross-core flag ids (data, free).  When the tile is split,
    lane ``l`` of the vector core handles its ``l``-th half of the rows.  Without ``credit`` the
    producer never waits for a free slot: other hand-overs must keep it from overtaking the consumer.
    Without ``signal`` the consumer never waits for a tile: the signal of another FIFO must tell of it, too.
    """

    name: str
    direction: str
    depth: int
    type: TileType
    flag: int
    credit: bool = True
    signal: bool = True
    loc: Loc | None = field(default=None, compare=False, repr=False)

    @property
    def slot_bytes(self) -> int:
        return self.type.size_bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A set of flags of one core from pipe ``src`` to pipe ``dst``; position ``k`` has ``ids[k]``."""

    core: str
    name: str
    src: str
    dst: str
    ids: tuple[int, ...]
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Distinct:
    """No two entries of the table are equal."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """No entry is less than the one before it; of several dimensions: along the last one."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges ``table[i] .. table[i] + count[i]`` of different entries share nothing, and no count is
    negative.  ``count``: an i32 tensor of the same shape."""

    count: str


@dataclass(frozen=True, slots=True)
class Within:
    """Every entry is at least ``low`` and less than ``high``, integers over the dimensions."""

    low: Expr
    high: Expr


Fact = Distinct | Sorted | Ranges | Within
"""What a signature may state of an i32 tensor that is only read."""

F = TypeVar("F", Distinct, Sorted, Ranges, Within)


@dataclass(frozen=True, slots=True)
class Param:
    """A kernel parameter: tensor (``shape`` of ints and symbolic names) or scalar (None).

    ``facts``: what every call must make sure of its content, each kind once.
    """

    name: str
    direction: str
    dtype: str
    shape: tuple[int | str, ...] | None = None
    facts: tuple[Fact, ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)

    @property
    def is_written(self) -> bool:
        return self.direction in ("out", "inout")

    def fact(self, kind: type[F]) -> F | None:
        """What is stated of this kind."""
        return next((f for f in self.facts if isinstance(f, kind)), None)


@dataclass(frozen=True, slots=True)
class Require:
    """What a call must fulfil: ``condition`` over dimensions and scalar parameters is not zero."""

    condition: Expr
    message: str
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A whole program: parameters, launch grid, placement, and the tree of rows.

    ``notes`` tell a writer of kernels what the schedule reached and what would change it; ``details``,
    no part of the program, what a pass left out or added for a reason that nobody can change.
    """

    name: str
    params: tuple[Param, ...]
    grid: tuple[Expr, ...]
    body: Block
    statics: tuple[tuple[str, int | float | str], ...] = ()
    target: str = ""
    buffers: tuple[Buffer, ...] = ()
    fifos: tuple[Fifo, ...] = ()
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)
    requires: tuple[Require, ...] = ()
    details: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def param(self, name: str) -> Param:
        return next(p for p in self.params if p.name == name)

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)

    def fifo(self, name: str) -> Fifo:
        return next(f for f in self.fifos if f.name == name)

    def event(self, name: str) -> Event:
        return next(e for e in self.events if e.name == name)

    @property
    def dims(self) -> tuple[str, ...]:
        """Symbolic dimensions in order of first appearance."""
        names = (d for p in self.params for d in p.shape or () if isinstance(d, str))
        return tuple(dict.fromkeys(names))

    @property
    def items(self) -> Expr:
        """Number of work items: the product of the grid."""
        total: Expr = Const(1)
        for g in self.grid:
            total = binary("*", total, g)
        return total


# ------------------------------------------------------------------------------- index algebra


Linear = tuple[int, dict[Expr, int]]
"""constant + sum of coefficient * atom."""


def as_atom(x: Expr) -> Linear:
    """What stands for itself only."""
    return 0, {x: 1}


def linear(e: Expr, known: Callable[[Var], Linear] = as_atom) -> Linear:
    """``e`` as a sum; a name that nothing more is ``known`` of, a float, and what is not linear are
    atoms."""
    if isinstance(e, Var):
        return known(e)
    if is_float(e):
        return as_atom(e)
    if isinstance(e, Const):
        return int(e.value), {}
    (const, terms), (other, more) = linear(e.a, known), linear(e.b, known)
    if e.op in "+-":
        sign = 1 if e.op == "+" else -1
        found = dict(terms)
        for atom, k in more.items():
            found[atom] = found.get(atom, 0) + sign * k
        return const + sign * other, {x: k for x, k in found.items() if k}
    if e.op == "*" and not (terms and more):
        scale, rest = (other, terms) if terms else (const, more)
        return const * other, {a: k * scale for a, k in rest.items() if scale}
    return as_atom(e)


def coefficients(e: Expr) -> dict[str, int] | None:
    """``linear`` by name ('' for the constant), or None if not every atom is one."""
    const, terms = linear(e)
    named = {a.name: k for a, k in terms.items() if isinstance(a, Var) and not a.is_float}
    return {"": const, **named} if len(named) == len(terms) else None


def coefficient(e: Expr, name: str) -> int | None:
    """By how much ``e`` moves when ``name`` grows by one; None if that is not a constant."""
    _, terms = linear(e)
    bent = any(name in names_in(a) for a in terms if a != Var(name))
    return None if bent else terms.get(Var(name), 0)


def distance(a: Expr, b: Expr) -> int | None:
    """``a - b`` if it is a constant, else None."""
    const, terms = linear(Bin("-", a, b))
    return None if terms else const
