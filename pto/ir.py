"""The intermediate representation: one grammar for traced and for scheduled programs.

A kernel is a tree of rows.  Tracing yields the mathematics of one work item; every pass of the
scheduler fills in more columns of the same rows: which core and pipe, which iteration, which
buffer slot, which events to wait for and to set.  ``pto/text.py`` prints and parses this grammar:

    kernel   ::= 'kernel' name ['on' target]
                 {'static' name '=' value |
                  'param' name ('in' | 'out' | 'inout' | 'scalar') dtype ['[' dim {',' dim} ']']}
                 'grid' expr {',' expr}
                 {require | buffer | fifo | event | note}
                 block
    require  ::= 'require' expr text       (over dimensions and scalars; text in double quotes)
    buffer   ::= 'buffer' core space name '[' depth ']' tile layout 'at' int 'by' int
    fifo     ::= 'fifo' name direction '[' depth ']' tile 'flag' int ['no' 'credit']
    event    ::= 'event' core name pipe '->' pipe 'id' int {int}
    note     ::= 'note' text
    block    ::= (row | loop | branch) {row | loop | branch}        (indented by two)
    loop     ::= 'for' name [',' name] 'in' '0' '..' expr ['flat'] ':' steps
    steps    ::= block | carry {carry} [block] 'yield' ref {',' ref}
    carry    ::= 'carry' name ':' tile ['from' ref] 'last' name
    branch   ::= 'if' expr ':' block ['else' ':' block]
    row      ::= [core shift pipe] statement {'|' ('wait' | 'set') flag {flag}}
    statement::= [out '='] op [arg {',' arg}]
    out, arg ::= name ':' tile | ref | view | name | expr
    ref      ::= name ['[' expr ']'] ['.T']                         (ring slot: expr modulo depth)
    view     ::= name '[' item {',' item} ']'     item ::= expr | ':' | expr ':+' int ['<' expr]
    flag     ::= name ['[' expr ']']

``#`` starts a comment.  A line that starts with ``|`` continues the one before; the bar itself
counts only before ``wait`` and ``set``, which may come several times.  A name has letters, digits and
underscores, that of an event also dots; what a line can start with is no name.

Meaning of the scheduled form:

* Rows of one core run in the order written; each core reads only its own rows.  The vector rows
  run on both lanes (``lane`` is 0 or 1).
* ``for i, u in 0 .. n``: ``i`` is the iteration, ``u`` the number of iterations of this loop that
  earlier entries of it have finished on this core, plus ``i``.
* A row with shift ``s`` in the innermost loop works ahead (s > 0) or behind (s < 0): the loop takes
  steps ``t = -max(s) .. n - 1 - min(s)`` (the extremes over all rows of the loop), and in step
  ``t`` the row runs for its own iteration ``i = t + s`` if ``0 <= i < n``, else not at all.
  Inside the row ``i`` and ``u``, and every scalar read in the loop, are those of its own iteration.
* A ``flat`` loop holds rows and one innermost loop, whose steps run on from one item, that is one
  iteration of the flat loop, to the next without a gap.  First each item whose inner loop is empty
  runs by itself, in order, its rows of larger shifts first.  Then every other item has one
  *position* per iteration of the inner loop (one, on a core without rows there), counted over all
  items, and a row with shift ``s`` runs in step ``t`` for position ``t + s``: a row of the inner
  loop for its iteration there, a row in front of it if the position is the first of its item, a row
  behind it if it is the last.  In each step the rows run in the order written; scalar rows run when
  their item is first met.  ``for w, turn in .. flat``: ``turn`` counts the items in the order in which
  they run; on a core with rows in the inner loop its ``u`` is known beside it, too: in front as that
  of the first position, behind as that of the last, and 0 for an item whose inner loop is empty.
* ``b[e]`` is slot ``e mod depth`` of buffer ``b``; event ``x.full[e]`` is id number ``e mod count``.
* A carry without ``from`` starts as nothing: the first iteration, which surely runs, overwrites it
  (``x = matmul a, b, carry, i`` adds to the carry where ``i`` is not 0).
* A view dimension ``start:+size<valid`` takes ``size`` elements from ``start``, of which the first
  ``valid`` (clamped to 0 .. size) exist; a load fills the others with zero, a store skips them.

Every class is a frozen value; ``Loc`` never takes part in comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pto.arithmetic import (
    BINARY,
    COMPARING,
    Number,
    NumberError,
    operator_type,
    rounded,
    shortest,
)
from pto.loc import Loc
from pto.types import TileType

CORES = ("cube", "vector")
PIPES = ("S", "MTE1", "MTE2", "MTE3", "M", "V", "FIX")
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
        return self._key == other._key if isinstance(other, Const) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)


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
    return isinstance(row.args[0], Expr) and is_float(row.args[0])


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
    if op in "+-" and b == ZERO or op in ("*", "//", "cdiv") and b == ONE:
        return a
    if op == "+" and a == ZERO or op == "*" and a == ONE:
        return b
    if op == "*" and ZERO in (a, b) or op == "%" and b == ONE:
        return ZERO
    if a == b and op in SAME:
        return SAME[op] or a
    if op == "+" and isinstance(b, Const) and isinstance(a, Bin) and a.op == "+":
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


# --------------------------------------------------------------------------------- operands


@dataclass(frozen=True, slots=True)
class Ref:
    """A tile: a traced value, or ring slot ``index`` of a buffer; ``transposed`` reads ``x.T``."""

    name: str
    index: Expr | None = None
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """``size`` elements from ``start``, of which the first ``valid`` exist (None: all)."""

    start: Expr
    size: int
    valid: Expr | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A region of a tensor in GM: one ``Expr`` (taken out) or ``Span`` (kept) per dimension."""

    tensor: str
    index: tuple[Expr | Span, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(i for i in self.index if isinstance(i, Span))


def is_strided(view: View, shape: Sequence[int | str], rows: int, cols: int) -> bool:
    """Whether the elements of a row of a tile (of a column, if it has one column) lie apart in the
    tensor: what a transfer moves is runs of neighbours."""
    kept = [axis for axis, item in enumerate(view.index) if isinstance(item, Span)]
    run = kept[0] if cols == 1 else kept[-1]
    return max(rows, cols) > 1 and any(d != 1 for d in shape[run + 1 :])


def as_rows(view: View, size: int) -> View:
    """A column of elements that lie apart, each as the first of a row of ``size`` neighbours of which
    no other exists."""
    *kept, axis = (k for k, item in enumerate(view.index) if isinstance(item, Span))
    column = view.index[axis]
    assert isinstance(column, Span)
    assert len(kept) == 1, view
    items = [*view.index[:axis], column.start, *view.index[axis + 1 :]]
    last = items[-1]
    assert not isinstance(last, Span)
    one = Const(1)
    exists = one if column.valid is None else binary("min", column.valid, one)
    return View(view.tensor, (*items[:-1], Span(last, size, exists)))


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
    """The output of ``read`` and ``let``: a new scalar name."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word among the arguments: a dtype (``astype``), a pipe (``drain``)."""

    name: str


Operand = Ref | View | Queue | Word | Const | Var | Bin
Output = Define | Ref | View | Scalar | Queue


@dataclass(frozen=True, slots=True)
class Flag:
    """One event, at ring position ``index`` (None: the only one)."""

    name: str
    index: Expr | None = None


# ------------------------------------------------------------------------------------- tree


@dataclass(frozen=True, slots=True)
class Row:
    """One op.  The columns behind ``args`` are empty until the scheduler fills them in."""

    op: str
    out: Output | None = None
    args: tuple[Operand, ...] = ()
    core: str = ""
    pipe: str = ""
    shift: int = 0
    wait: tuple[Flag, ...] = ()
    set: tuple[Flag, ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)


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

    def alone(self, rows: Iterable[Row]) -> list[Row]:
        """``rows`` of a flat loop in the order in which an item whose inner loop is empty runs."""
        return sorted(rows, key=lambda r: -r.shift)

    @property
    def inner(self) -> int:
        """Where in the body of a flat loop its inner loop stands."""
        return next(k for k, n in enumerate(self.body) if isinstance(n, Loop))


@dataclass(frozen=True, slots=True)
class Branch:
    """``if test``: both cores take the same way; ``test`` is non-zero for ``then``."""

    test: Expr
    then: tuple[Row | Loop | Branch, ...]
    orelse: tuple[Row | Loop | Branch, ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)


Node = Row | Loop | Branch
Block = tuple[Node, ...]


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
    """

    name: str
    direction: str
    depth: int
    type: TileType
    flag: int
    credit: bool = True
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
class Param:
    """A kernel parameter: tensor (``shape`` of ints and symbolic names) or scalar (None)."""

    name: str
    direction: str
    dtype: str
    shape: tuple[int | str, ...] | None = None
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Require:
    """What a call must fulfil: ``condition`` over dimensions and scalar parameters is not zero."""

    condition: Expr
    message: str
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A whole program: parameters, launch grid, placement, and the tree of rows."""

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


def linear(e: Expr) -> dict[str, Number] | None:
    """``e`` as integer coefficients by name ('' for the constant), or None if it is not linear."""
    if is_float(e):
        return None
    if isinstance(e, Const):
        return {"": e.value}
    if isinstance(e, Var):
        return {e.name: 1}
    a, b = linear(e.a), linear(e.b)
    if a is None or b is None:
        return None
    if e.op in "+-":
        sign = 1 if e.op == "+" else -1
        names = dict.fromkeys((*a, *b))
        return {n: a.get(n, 0) + sign * b.get(n, 0) for n in names}
    if e.op == "*":
        for x, y in ((a, b), (b, a)):
            if set(x) <= {""}:
                return {n: c * x.get("", 0) for n, c in y.items()}
    return None


def coefficient(e: Expr, name: str) -> Number | None:
    """By how much ``e`` moves when ``name`` grows by one; None if that is not a constant."""
    terms = linear(e)
    if terms is not None:
        return terms.get(name, 0)
    return None if name in names_in(e) else 0


def distance(a: Expr, b: Expr) -> Number | None:
    """``a - b`` if it is a constant, else None."""
    terms = linear(Bin("-", a, b))
    if terms is None:
        return 0 if a == b else None
    return terms.get("", 0) if not any(c for n, c in terms.items() if n) else None


def least(e: Expr, known: dict[str, Number]) -> Number | None:
    """A lower bound of ``e`` where ``known`` gives lower bounds of names; None if there is none."""
    if isinstance(e, Const):
        return e.value
    if isinstance(e, Var):
        return known.get(e.name)
    if e.op in COMPARING:
        return 0
    a, b = least(e.a, known), least(e.b, known)
    if e.op == "max":
        return max((x for x in (a, b) if x is not None), default=None)
    if e.op in ("//", "cdiv") and isinstance(e.b, Const) and e.b.value > 0 and a is not None:
        return BINARY[e.op](a, e.b.value)
    if e.op == "%" and b is not None and b > 0:
        return 0
    if a is None or b is None:
        return None
    if e.op in ("//", "cdiv") and a >= 0 and b > 0:
        return 0
    if e.op == "-" and isinstance(e.b, Const):
        return a - e.b.value
    if e.op == "+" or e.op == "min" or (e.op == "*" and a >= 0 and b >= 0):
        return BINARY[e.op](a, b)
    return None
