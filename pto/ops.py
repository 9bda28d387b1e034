"""The op table: one row per op, read by the tracer, the executors, the checker and the emitter.

Each row says what the op takes and gives (``args``, ``out``), where it may run (``on``), what it
means (``rule``, written against an array module so that numpy and ``jax.numpy`` share it), how often
its result is rounded, and which library instruction it becomes.  ``pto/legality.py`` refuses every
row of a program that does not fit its row here, so no reader of a legal program meets anything else.
Ops with ``rule = None`` move data or order pipes; every executor has its own entry for those.

An op of a family (unary, binary, reduce) is its row here, its C++ meaning for the native executor
(``lowering/native/include/native/ops.hpp``) and its cycles (``pto/targets``).  All else follows:
``pto/functions.py`` and ``docs/ops.md`` are written from the rows by ``pytest tests/pto/test_ops.py
--update-golden``, and that file's tests say what a row lacks.

Operand forms of a two-operand vector op, by the shape of its second operand:
``tile`` the same shape, ``rows`` a ``[rows, 1]`` column, ``cols`` a ``[1, cols]`` row, ``scalar``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pto.folds import MOST_ENTRIES, MOST_STATES
from pto.ir import ADD, CORES, SCALED
from pto.targets import PIPES
from pto.types import BOX_ROWS, DTYPE_BYTES, INTEGERS, TileType

Rule = Callable[..., Any]

STORE_PIPE: Mapping[str, str] = MappingProxyType({"cube": "FIX", "vector": "MTE3"})
"""The pipe that leaves the core: L0C through FIX, UB through MTE3 (docs/machine.md 3.1)."""

# What an operand can be: a tile, a scalar, a number known when the text is written, a view of a
# tensor, one element of it, a FIFO, the name of a dtype or of a pipe, what of a partial load is filled, how
# a conversion to integers rounds, what a store makes of what is there, a text for a person.
TILE, SCALAR, NUMBER, VIEW, ELEMENT, QUEUE, DTYPE, PIPE, FILL, ROUNDING, UPDATE, TEXT = (
    "a tile",
    "a scalar",
    "a number",
    "a view of a tensor",
    "an element of a tensor",
    "a FIFO",
    "a dtype",
    "a pipe",
    "a fill",
    "a rounding",
    "an update",
    "a text",
)

FILLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"no_fill": (), "fill_rows": ("rows",), "fill_cols": ("cols",)}
)
"""What a load into L1 may be told -> the dimensions whose missing elements become zero; a load that is
told nothing fills both.  Whatever else is missing can be anything."""

UPDATES = (ADD.name, SCALED.name)
"""How a store may be told to write, instead of putting the tile as it is in the place of what the tensor holds."""


def _away(xp: Any, x: Any) -> Any:
    """Without ``x + 0.5``, which is rounded itself."""
    whole = xp.trunc(x)
    return whole + xp.copysign(xp.asarray(xp.abs(x - whole) >= 0.5, x.dtype), x)


ROUNDINGS: Mapping[str, Rule] = MappingProxyType(
    {
        "rint": lambda xp, x: xp.rint(x),
        "away": _away,
        "floor": lambda xp, x: xp.floor(x),
        "ceil": lambda xp, x: xp.ceil(x),
        "trunc": lambda xp, x: xp.trunc(x),
    }
)
"""How a conversion to integers rounds: to the nearest, ties to even or away from zero; down, up, towards zero."""

FORMS = TRACED, PERSISTENT, ASSIGNED, SCHEDULED = "traced", "persistent", "assigned", "scheduled"
"""The forms of a program, in the order of the passes: values of one work item; of all work items of
a block; the same on cores and pipes; slots of buffers instead of values.  Users write the first
and the last one."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One place of a row.

    ``kinds``: what may stand there.  ``memory``: where its slot is; '': in any memory that the pipe
    reaches.  ``turned``: the forms in which it may be ``x.T``.  ``whole``: of the scalars, integers
    only.  ``start``: the form from which on it may stand there, ``needed``: must stand there.
    """

    kinds: tuple[str, ...]
    memory: str = ""
    turned: tuple[str, ...] = ()
    whole: bool = False
    start: str = TRACED
    needed: bool = True

    @property
    def is_element(self) -> bool:
        """Whether a scalar here is no count."""
        return not self.whole and not {SCALAR, NUMBER}.isdisjoint(self.kinds)


A_TILE = Operand((TILE,))
MOST_REGIONS = 64
"""That one tile may be gathered from."""
MOST_JOINED = 16
"""Tiles that one row joins."""
MOST_PRINTED = 8
"""Values in one line that a kernel prints."""
COUNT = Operand((SCALAR,), whole=True)
PLACE = Operand((NUMBER,), whole=True)

_FOLDED = (
    *(COUNT,) * 4,
    *(Operand((SCALAR, ELEMENT), whole=True, needed=False),) * (2 * MOST_STATES - 2),
    *(Operand((ELEMENT,), needed=False),) * MOST_ENTRIES,
)

On = Mapping[str, tuple[str, ...]]
_VECTOR: On = MappingProxyType({"vector": ("V",)})
_BOTH: On = MappingProxyType({"cube": ("MTE2",), "vector": ("MTE2",)})
_OUT: On = MappingProxyType({core: (pipe,) for core, pipe in STORE_PIPE.items()})
_SCALAR: On = MappingProxyType({"cube": ("S",), "vector": ("S",)})

_EVERY: On = MappingProxyType(dict.fromkeys(CORES, PIPES))
_QUEUES: On = MappingProxyType(
    dict.fromkeys(CORES, (*(p for p in PIPES if p not in _SCALAR["cube"]), "ALL"))
)

ANY = tuple(DTYPE_BYTES)
FLOATS = ("f32", "f16")
VECTOR = (*FLOATS, "i32")
"""Element types the vector unit computes with (docs/machine.md 12)."""
BITS = tuple(INTEGERS)
"""Element types whose bits it combines, whatever their size; and those that it shifts."""
SHIFTED = ("i32", "i16")
SUM_OF: Mapping[str, str] = MappingProxyType(
    {"f32": "f32", "f16": "f32", "bf16": "f32", "i8": "i32"}
)
"""Element types the matmul unit multiplies -> what it adds in (docs/machine.md 2.4)."""
CUBE = tuple(SUM_OF)


Spare = Callable[[Sequence[TileType]], TileType]


def _like_the_operand(tiles: Sequence[TileType]) -> TileType:
    return tiles[0]


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table.

    ``kind``: scalar (S), debug (only watches), move (between memories), cube (matmul), unary / binary / reduce / select / expand (vector
    arithmetic), order (vector: any element of a row may come from any of the same row), scan (vector: an element is made of
    those in front of it in its row), turn (vector: an element changes its row for its column), fill (vector, needs no tile), sync (orders pipes).
    ``out``, ``args``: what it gives (None: nothing) and takes.  ``on``: by core, where it may run.
    ``dtypes``: of its tiles.  ``start``: the first form of a program that has it.
    ``instruction``: the tile-library call by operand form (docs/machine.md 12).
    ``apart``: the library writes the result before it has read the operand.  ``roundings``: to float32, in one result at most; 0: it is
    exact, or a sum.  ``commutes``: of a binary op, whether either operand may come first.
    ``along``: the dimension whose elements it joins, or orders; '': there is none.
    ``joins``: of a reduction, the binary op that makes the result of a row, or a column, from those of its
    halves.  ``places``: it moves elements along the dimensions in which its tiles differ in size.  ``shaped``: the meaning where it depends on the shape of the result, a rule of (array module,
    shape, operands).  ``spare``: the type of the scratch tile by those of the operands.
    ``meaning``: the sentence of its reference.
    """

    name: str
    kind: str
    out: Operand | None
    args: tuple[Operand, ...]
    on: On
    rule: Rule | None = None
    instruction: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    dtypes: tuple[str, ...] = ANY
    start: str = TRACED
    apart: bool = False
    roundings: float = 0
    commutes: bool = False
    along: str = ""
    joins: str = ""
    places: bool = False
    shaped: Rule | None = None
    spare: Spare = _like_the_operand
    meaning: str = ""

    @property
    def pipes(self) -> tuple[str, ...]:
        """Every pipe that it may run on."""
        return tuple(dict.fromkeys(pipe for pipes in self.on.values() for pipe in pipes))

    @property
    def scratch(self) -> bool:
        """Whether the last operand is a scratch tile, of the type that ``spare`` says, that it overwrites."""
        return bool(self.args) and self.args[-1] is SPARE_TILE

    @property
    def mixes(self) -> str:
        """The dimension of which any element can make any element of the result, '' if there is none."""
        return "" if self.kind == "scan" else self.along

    @property
    def compares(self) -> bool:
        """Whether its second operand is compared with its first, and not of the type of the result."""
        return self.kind == "select"

    @property
    def in_place(self) -> bool:
        """Whether the result may lie over an operand of its type."""
        return self.kind in ("unary", "binary") and not self.apart

    @property
    def elements(self) -> tuple[int, ...]:
        """Places of the operands that are elements of the result, or of what they are compared with, where they
        are scalars."""
        made = self.kind != "scalar"
        return tuple(k for k, a in enumerate(self.args) if made and a.is_element)


SPARE_TILE = Operand((TILE,), start=SCHEDULED)
"""What ``scratch`` is: only a scheduled program has it."""


def _calls(**forms: str) -> Mapping[str, str]:
    return MappingProxyType(forms)


def _move(
    name: str, out: Operand, arg: Operand, on: On, call: str, meaning: str, **facts: Any
) -> Op:
    return Op(name, "move", out, (arg,), on, None, _calls(tile=call), meaning=meaning, **facts)


def _vector(
    name: str,
    kind: str,
    args: tuple[Operand, ...],
    rule: Rule | None,
    call: str | Mapping[str, str],
    dtypes: tuple[str, ...],
    meaning: str,
    **facts: Any,
) -> Op:
    calls = _calls(tile=call) if isinstance(call, str) else call
    return Op(name, kind, A_TILE, args, _VECTOR, rule, calls, dtypes, meaning=meaning, **facts)


def _binary(
    name: str, symbol: str, rule: Rule, dtypes: tuple[str, ...] = VECTOR, **facts: Any
) -> Op:
    calls = _calls(
        tile=f"T{symbol}",
        rows=f"TROWEXPAND{symbol}",
        cols=f"TCOLEXPAND{symbol}",
        scalar=f"T{symbol}S",
    )
    args = (A_TILE, Operand((TILE, SCALAR)))
    return _vector(name, "binary", args, rule, calls, dtypes, f"x {name} y", **facts)


def _bits(name: str, call: str, meaning: str, rule: Rule, *scratch: Operand) -> Op:
    """With a number the library fills the result with it before it reads the operand: docs/machine.md 12."""
    calls = _calls(tile=f"T{call}", scalar=f"T{call}S")
    args = (A_TILE, Operand((TILE, SCALAR)), *scratch)
    return _vector(name, "binary", args, rule, calls, BITS, meaning, apart=True, commutes=True)


def _shift(name: str, call: str, rule: Rule, meaning: str) -> Op:
    return _vector(name, "binary", (A_TILE, PLACE), rule, _calls(scalar=call), SHIFTED, meaning)


def _unary(
    name: str,
    call: str,
    rule: Rule,
    meaning: str,
    roundings: float = 0,
    dtypes: tuple[str, ...] = FLOATS,
    args: tuple[Operand, ...] = (A_TILE,),
    **facts: Any,
) -> Op:
    return _vector(name, "unary", args, rule, call, dtypes, meaning, roundings=roundings, **facts)


def _of_rows(name: str, call: str, rule: Rule, joins: str, meaning: str) -> Op:
    args, meaning = (A_TILE, SPARE_TILE), f"{meaning} of every row, as a [rows, 1] tile"
    return _vector(name, "reduce", args, rule, call, VECTOR, meaning, joins=joins, along="cols")


def _of_columns(
    name: str,
    call: str,
    rule: Rule,
    joins: str,
    meaning: str,
    args: tuple[Operand, ...],
    dtypes: tuple[str, ...],
) -> Op:
    meaning = f"{meaning} of every column, as a [1, cols] tile"
    return _vector(name, "reduce", args, rule, call, dtypes, meaning, joins=joins, along="rows")


def _select(name: str, symbol: str, holds: Rule, scalars: bool = True) -> Op:
    """x where a comparison of two tiles holds, y elsewhere; the scratch tile takes the bits of the comparison."""
    first, *rest = (A_TILE, Operand((TILE, SCALAR) if scalars else (TILE,)), A_TILE, A_TILE)
    calls = _calls(tile="TCMP", **({"scalar": "TCMPS"} if scalars else {}), choice="TSEL")
    meaning = f"x where a {symbol} b, y elsewhere, of (a, b, x, y)"
    args = (first, *rest, SPARE_TILE)

    def chosen(xp: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
        return xp.where(holds(a, b), x, y)

    return _vector(f"select_{name}", "select", args, chosen, calls, VECTOR, meaning, apart=True)


def _order(name: str, args: tuple[Operand, ...], on: On, meaning: str) -> Op:
    return Op(name, "sync", None, args, on, start=ASSIGNED, meaning=meaning)


def _where(xp: Any, x: Any, count: Any, other: Any) -> Any:
    columns = xp.arange(x.shape[1], dtype=xp.int32)[None, :]
    return xp.where(columns < count, x, xp.asarray(other, x.dtype))


def _iota(xp: Any, shape: tuple[int, int], start: Any) -> Any:
    return (start + xp.arange(shape[0] * shape[1], dtype=xp.int32)).reshape(shape)


def _largest(xp: Any, shape: tuple[int, int], x: Any, numbers: Any) -> Any:
    """What is equal stays in its order, and NaN comes last: so sort numpy and JAX."""
    order = xp.argsort(-x, axis=1, stable=True)[:, : shape[1]]
    return xp.take_along_axis(xp.broadcast_to(numbers, x.shape), order, axis=1)


def _taken(xp: Any, x: Any, places: Any) -> Any:
    """A place outside of the row is a mistake, but no reason to stop: the nearest."""
    return xp.take_along_axis(x, xp.clip(places, 0, x.shape[1] - 1), axis=1)


def _running_sum(xp: Any, x: Any) -> Any:
    """As the emitted text adds it up: every element and that 1, 2, 4, ... in front of it."""
    step = 1
    while step < x.shape[1]:
        x = xp.concatenate([x[:, :step], x[:, step:] + x[:, :-step]], axis=1)
        step *= 2
    return x


def _joined(xp: Any, shape: tuple[int, int], *tiles: Any) -> Any:
    """One below the other where they are as wide as the result, else side by side."""
    return xp.concatenate(tiles, axis=0 if tiles[0].shape[1] == shape[1] else 1)


def _put(xp: Any, x: Any, y: Any, row: Any, col: Any) -> Any:
    below, right = int(row) + y.shape[0], int(col) + y.shape[1]
    band = x[int(row) : below]
    band = xp.concatenate([band[:, : int(col)], y, band[:, right:]], axis=1)
    return xp.concatenate([x[: int(row)], band, x[below:]], axis=0)


def _pad(xp: Any, x: Any, rows: Any, cols: Any) -> Any:
    at = (xp.arange(size, dtype=xp.int32) for size in x.shape)
    inside = (next(at)[:, None] < rows) & (next(at)[None, :] < cols)
    return xp.where(inside, x, xp.zeros((), x.dtype))


_UNARY = (
    _unary("exp", "TEXP", lambda xp, x: xp.exp(x), "the exponential, e^x, of each element", 4),
    _unary("log", "TLOG", lambda xp, x: xp.log(x), "the natural logarithm of each element", 4),
    _unary("sqrt", "TSQRT", lambda xp, x: xp.sqrt(x), "the square root of each element", 2),
    _unary("reciprocal", "TRECIP", lambda xp, x: 1 / x, "1 / x of each element", 2, apart=True),  # docs/machine.md 12
    _unary("rsqrt", "TRSQRT", lambda xp, x: 1 / xp.sqrt(x), "1 / sqrt(x) of each element", 3, args=(A_TILE, SPARE_TILE)),  # without scratch: 3e-3 off, docs/machine.md 12
    _unary("abs", "TABS", lambda xp, x: xp.abs(x), "the absolute value of each element"),
    _unary("relu", "TRELU", lambda xp, x: xp.maximum(x, 0), "the larger of each element and 0", dtypes=VECTOR),
)  # fmt: skip
_REDUCE = (
    _of_rows("row_max", "TROWMAX", lambda xp, x: xp.max(x, axis=1, keepdims=True), "maximum", "the largest element"),
    _of_rows("row_min", "TROWMIN", lambda xp, x: xp.min(x, axis=1, keepdims=True), "minimum", "the smallest element"),
    _of_rows("row_sum", "TROWSUM", lambda xp, x: xp.sum(x, axis=1, keepdims=True), "add", "the sum"),
    _of_columns("col_max", "TCOLMAX", lambda xp, x: xp.max(x, axis=0, keepdims=True), "maximum", "the largest element", (A_TILE,), FLOATS),
    _of_columns("col_min", "TCOLMIN", lambda xp, x: xp.min(x, axis=0, keepdims=True), "minimum", "the smallest element", (A_TILE,), FLOATS),
    _of_columns("col_sum", "TCOLSUM", lambda xp, x: xp.sum(x, axis=0, keepdims=True), "add", "the sum", (A_TILE, SPARE_TILE), ("f32",)),  # the CPU adds f16 in f16, and no integers
)  # fmt: skip

_BITS = (
    _bits("bitwise_and", "AND", "bits that both have", lambda xp, x, y: x & y),
    _bits("bitwise_or", "OR", "bits that either has", lambda xp, x, y: x | y),
    _bits("bitwise_xor", "XOR", "bits that one of both has", lambda xp, x, y: x ^ y, SPARE_TILE),
    _unary("bitwise_not", "TNOT", lambda xp, x: ~x, "every bit of each element turned", dtypes=BITS),
    _shift("left_shift", "TSHLS", lambda xp, x, n: x << n, "each element times 2 to the power of a number; bits beyond it are lost"),
    _shift("right_shift", "TSHRS", lambda xp, x, n: x >> n, "each element divided by 2 to the power of a number, rounded down"),
)  # fmt: skip
_SELECT = (
    _select("lt", "<", lambda a, b: a < b),
    _select("le", "<=", lambda a, b: a <= b),
    _select("gt", ">", lambda a, b: a > b),
    _select("ge", ">=", lambda a, b: a >= b),
    _select(
        "eq", "==", lambda a, b: a == b, scalars=False
    ),  # the CPU's TCMPS takes 1e-10 for 0: docs/machine.md 12
)
NUMBERS = TileType("f32", 1, 640)
"""The scratch tile of TCI: docs/machine.md 12."""

LARGEST_AT_ONCE = 32
"""Elements that one step of TSORT32 sorts: docs/machine.md 12."""


def _two_turned(tiles: Sequence[TileType]) -> TileType:
    """Room for the transpose of a tile, twice, in whole boxes: docs/machine.md 12, TTRANS."""
    x = tiles[0]
    return TileType(x.dtype, 2 * x.cols, -(-x.rows // BOX_ROWS) * BOX_ROWS)


def _three_rows_of_pairs(tiles: Sequence[TileType]) -> TileType:
    """Of a value and its number: the runs before a merge, behind it, and its own scratch."""
    return TileType("f32", 3, 2 * tiles[0].cols)


def _turned(tiles: Sequence[TileType]) -> TileType:
    return tiles[0].turned


_ALONG = (
    _vector("largest", "order", (A_TILE, A_TILE, SPARE_TILE), None, _calls(runs="TSORT32", merge="TMRGSORT", numbers="TGATHER"), ("f32", "i32"), "of (x, numbers), the numbers, a [1, cols] row, of the largest elements of every row, the largest first, of equal ones the first first", shaped=_largest, spare=_three_rows_of_pairs, along="cols"),
    _vector("take", "order", (A_TILE, A_TILE), _taken, "TGATHER", ("f32", "i32"), "of (x, places), the elements of every row of x in the columns that the same row of places names", along="cols"),
    _vector("cumsum", "scan", (A_TILE, SPARE_TILE), _running_sum, _calls(turn="TTRANS", tile="TADD", first="TMOV"), ("f32", "i32"), "the sum of every row up to each column, that included", spare=_two_turned, along="cols"),
)  # fmt: skip

_ROWS = (
    # scalars
    Op("read", "scalar", Operand((SCALAR,)), (Operand((ELEMENT,)),), _SCALAR, meaning="one number from GM, f32 or i32"),
    Op("fold", "scalar", Operand((SCALAR,)), _FOLDED, _SCALAR, meaning="the number that a loop over scalars hands on: its steps at most, where it ends, start and step of each number, the elements of tables that a step reads"),
    Op("let", "scalar", Operand((SCALAR,)), (Operand((SCALAR,)),), _SCALAR, meaning="names a scalar expression"),
    # data movement
    Op("load", "move", A_TILE, (Operand((VIEW,)), Operand((FILL,), start=ASSIGNED, needed=False)), _BOTH, None, _calls(tile="TLOAD"), meaning="GM to L1 or UB"),
    Op("gather", "move", A_TILE, (Operand((VIEW,)), *(Operand((VIEW,), needed=False),) * (MOST_REGIONS - 1)), _BOTH, None, _calls(tile="TLOAD"), along="rows", meaning="the rows of several regions, one below the other; GM to UB, or to L1, where what does not exist is zero"),
    Op("store", "move", Operand((VIEW,)), (A_TILE, Operand((UPDATE,), needed=False), Operand((SCALAR,), needed=False)), _OUT, None, _calls(tile="TSTORE"), meaning="UB or L0C to GM, where it takes the place of what is there, or is added to it; out of L0C times a scale, if there is one, and saturating"),
    Op("move", "move", A_TILE, (Operand((TILE,), turned=(ASSIGNED, SCHEDULED)),), MappingProxyType({"cube": ("MTE1",)}), None, _calls(tile="TMOV"), CUBE, ASSIGNED, meaning="L1 to L0A or L0B"),
    Op("part", "move", A_TILE, (Operand((TILE,), turned=(ASSIGNED, SCHEDULED)), PLACE, PLACE), MappingProxyType({"cube": ("MTE1",), "vector": ("V",)}), None, _calls(tile="TEXTRACT"), places=True, meaning="as much of x as the result has, from a row and a column on; L1 to L0A or L0B, or UB to UB"),
    _move("push", Operand((QUEUE,)), A_TILE, _OUT, "TPUSH", "UB or L0C to a FIFO slot, then record it", start=ASSIGNED),
    _move("push_data", Operand((QUEUE,)), A_TILE, _OUT, "TPUSH", "push that a later record makes visible", start=ASSIGNED),
    Op("record", "move", None, (Operand((QUEUE,)),), _OUT, start=ASSIGNED, meaning="tells the other core that a pushed slot is full"),
    _move("pop", A_TILE, Operand((QUEUE,)), _BOTH, "TPOP", "FIFO slot to L1 or UB, then free it", start=ASSIGNED),
    # cube
    Op("matmul", "cube", A_TILE, (Operand((TILE,), "l0a", turned=(TRACED, PERSISTENT)), Operand((TILE,), "l0b", turned=(TRACED, PERSISTENT)), Operand((TILE,), "l0c", needed=False), Operand((SCALAR,), whole=True, start=PERSISTENT, needed=False)), MappingProxyType({"cube": ("M",)}), None, _calls(tile="TMATMUL", acc="TMATMUL_ACC"), CUBE, meaning="a @ b in f32, of i8 in i32, added to acc if there is one and its test is not 0"),
    # vector
    _binary("add", "ADD", lambda xp, x, y: x + y, roundings=1, commutes=True),
    _binary("sub", "SUB", lambda xp, x, y: x - y, roundings=1),
    _binary("mul", "MUL", lambda xp, x, y: x * y, roundings=1, commutes=True),
    _binary("div", "DIV", lambda xp, x, y: x / y, FLOATS, roundings=2),
    _binary("maximum", "MAX", lambda xp, x, y: xp.maximum(x, y), commutes=True),
    _binary("minimum", "MIN", lambda xp, x, y: xp.minimum(x, y), commutes=True),
    *_UNARY,
    *_BITS,
    _vector("copy", "unary", (A_TILE,), lambda xp, x: x, "TMOV", ANY, "the same tile in another place"),
    _vector("concat", "unary", (A_TILE, A_TILE, *(Operand((TILE,), needed=False),) * (MOST_JOINED - 2)), None, "TINSERT", ANY, "the tiles one below the other where they are as wide as the result, else side by side", shaped=_joined, places=True),
    _vector("put", "unary", (A_TILE, A_TILE, PLACE, PLACE), _put, "TINSERT", ANY, "x, with y in the place of what it has from a row and a column on", places=True),
    *_REDUCE,
    *_SELECT,
    *_ALONG,
    _vector("transpose", "turn", (A_TILE, SPARE_TILE), lambda xp, x: x.T, _calls(tile="TTRANS", line="TMOV"), ("f32", "i32", "f16", "bf16", "i16"), "x with its rows as columns", spare=_turned),
    _vector("iota", "fill", (Operand((SCALAR,)), SPARE_TILE), None, "TCI", ("i32",), "start, start + 1, ... along a row or a column", shaped=_iota, spare=lambda tiles: NUMBERS),
    _vector("expand", "expand", (A_TILE,), None, _calls(rows="TROWEXPANDADD", cols="TCOLEXPAND"), VECTOR, "every row, or every column, is x", shaped=lambda xp, shape, x: xp.broadcast_to(x, shape)),
    _vector("astype", "unary", (A_TILE, Operand((DTYPE,)), Operand((ROUNDING,), needed=False)), None, "TCVT", ANY, "converts, to the nearest, ties to even, or floats to integers by a named rounding; integers saturate"),
    _vector("full", "fill", (Operand((SCALAR,)),), None, "TEXPANDS", ANY, "every element is value"),
    _vector("where", "unary", (A_TILE, COUNT, Operand((NUMBER,))), _where, "TFILLPAD_INPLACE", VECTOR, "x in the first count columns, other behind"),
    _vector("pad", "unary", (A_TILE, COUNT, COUNT), _pad, "TFILLPAD_INPLACE", ANY, "x in the first rows and cols, zero outside"),
    # order
    _order("sync", (), _EVERY, "nothing but its wait and set columns"),
    _order("barrier", (), _QUEUES, "later work of the pipe waits for all earlier work of it"),
    _order("drain", (Operand((PIPE,), needed=False),), _SCALAR, "the scalar unit waits until the pipe has finished all earlier work; without a pipe, for what its wait column says"),
    _order("fence", (), _SCALAR, "the scalar unit waits until what it wrote to GM is there: dsb"),
)  # fmt: skip

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for op in _ROWS})
"""Every op that a core performs, by name."""

_WATCHED = Operand((TILE, SCALAR), turned=(TRACED,))
_A_TEXT = Operand((TEXT,))


def _debug(name: str, args: tuple[Operand, ...], meaning: str) -> Op:
    return Op(name, "debug", None, args, MappingProxyType({}), meaning=meaning)


DEBUG: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for op in (
            _debug("debug_check", (_WATCHED, _A_TEXT), "tells the text where it is 0, or has an element 0"),
            _debug("debug_print", (_A_TEXT, *(replace(_WATCHED, needed=False),) * MOST_PRINTED), "tells the text with values in the places of its {}"),
        )
    }
)  # fmt: skip
"""Ops that only watch, of programs that no pass has changed: no core performs them, ``pto run`` does."""

EVERY: Mapping[str, Op] = MappingProxyType({**OPS, **DEBUG})

LOADS = ("load", "gather")
"""What brings regions of tensors onto a core."""

COMPOSED = (
    "ceil", "clip", "cos", "erf", "exp2", "floor", "gelu", "gelu_tanh", "leaky_relu", "log2", "max", "min", "power", "remainder", "round", "sigmoid", "sign",
    "silu", "sin", "softplus", "sum", "tanh", "trunc",
)  # fmt: skip
"""Functions of one tile that have no row: ``pto/mathematics.py`` makes them of rows that are there."""

FUNCTIONS: Mapping[str, Op] = MappingProxyType({op.name: op for op in (*_UNARY, *_REDUCE)})
"""The ops of one tile that users call by name (``pto/functions.py``)."""


def form_of(dst: tuple[int, int], other: tuple[int, int] | None) -> str:
    """The operand form of a two-operand op: result shape and second operand's (None: scalar).  A column is
    computed as the row that has its bytes, so one number beside it is one for that row."""
    if other is None:
        return "scalar"
    if other == dst:
        return "tile"
    return "rows" if other == (dst[0], 1) or dst[1] == 1 else "cols"
