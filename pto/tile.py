"""On-chip tiles and everything that computes with them.

Every function checks its operands, appends one row (``elementwise`` at most two) and returns the
new tile.  Arithmetic follows numpy where the vector unit can; shapes are [rows, columns].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, overload

from pto import ir, source
from pto.conversions import rounds, way
from pto.errors import DTypeError, ShapeError, TraceError, did_you_mean
from pto.masks import Compared, Mask, Places, Spread
from pto.ops import OPS, ROUNDINGS, SUM_OF, VECTOR
from pto.scalar import Index, Number, Scalar, as_number, as_scalar, extreme
from pto.targets import no_dtype
from pto.tensor import Tensor, TensorView
from pto.tracer import ON_ONE_CORE, Scope, Trace, Traced, current, fail, noun
from pto.types import BOX_ROWS, DTYPE_BYTES, INTEGERS, TileType, box_unit, holds

SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "left_shift": "<<", "right_shift": ">>",
}  # fmt: skip
"""Ops and comparisons that users write as operators."""


class Parts(Protocol):
    """What is indexed like a tile, for a place in it (``pto/parts.py``, which knows tiles and so comes later)."""

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Place: ...


class Tile(Traced):
    """An on-chip tile of static shape; a pure value.  Arithmetic follows numpy."""

    _noun = "tile"

    def __init__(self, trace: Trace, name: str, type: TileType, transposed: bool = False) -> None:
        self._scope: Scope = trace.scope
        self.value, self.type, self.transposed = name, type, transposed
        self.whole: tuple[Tile, int, int] | None = None
        """Of a part: the tile that it is of, and where it begins."""

    def __repr__(self) -> str:
        return f"Tile({self.name}: {self.type})"

    @property
    def name(self) -> str:
        """Of the value; of a transpose as it is written, ``x.T``."""
        return f"{self.value}.T" if self.transposed else self.value

    def described(self) -> str:
        return f"tile '{self.name}' ({self.type})"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.type.rows, self.type.cols

    @property
    def dtype(self) -> str:
        """Element type: 'f32', 'f16', 'bf16', 'i32', 'i16', 'i8' or 'u8'."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def T(self) -> Tile:
        """The transpose: for nothing as an operand of ``@``, else made by the vector unit where it is first used."""
        type = TileType(self.dtype, self.type.cols, self.type.rows)
        turned = Tile(self._scope.trace, self.value, type, not self.transposed)
        turned._scope, turned.whole = self._scope, self.whole
        return turned

    def ref(self, matmul: bool = False) -> ir.Ref:
        """This tile as an operand of a new row, after checking that it may be used here."""
        self.check_usable()
        if self.transposed and not matmul:
            from pto.transposes import made

            return made(self).ref()
        return ir.Ref(self.value, None, self.transposed)

    def astype(self, dtype: str, rounding: str = "rint") -> Tile:
        """Converted to ``dtype`` ('f32', 'bf16', 'f16', 'i32', 'i16', 'i8', 'u8'), to the nearest, ties to even;
        integers saturate.  From floats to integers ``rounding`` may be 'floor', 'ceil', 'trunc', or 'away' for
        ties."""
        return astype(self, dtype, rounding)

    def __add__(self, other: Operand) -> Tile:
        return elementwise("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Tile:
        return elementwise("sub", self, other)

    def __rsub__(self, other: Operand) -> Tile:
        return elementwise("add", negated(self, part=True), _second("-", self, other))

    def __mul__(self, other: Operand) -> Tile:
        return elementwise("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Tile:
        return elementwise("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tile:
        second = _second("/", self, other)
        if as_number(other) == 1:
            return of_tile("reciprocal", self)
        return elementwise("mul", of_tile("reciprocal", self, part=True), second)

    def __neg__(self) -> Tile:
        return negated(self)

    def __pos__(self) -> Tile:
        return self

    def __abs__(self) -> Tile:
        return of_tile("abs", self)

    def __and__(self, other: Tile | Places | Scalar | int) -> Tile:
        return _written("&")(self, other)

    __rand__ = __and__

    def __or__(self, other: Tile | Places | Scalar | int) -> Tile:
        return _written("|")(self, other)

    __ror__ = __or__

    def __xor__(self, other: Tile | Places | Scalar | int) -> Tile:
        return _written("^")(self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Tile:
        return _written("~")(self)

    def __lshift__(self, count: Tile | Index) -> Tile:
        return _written("<<")(self, count)

    def __rlshift__(self, other: object) -> Tile:
        return _written("<<")(other, self)

    def __rshift__(self, count: Tile | Index) -> Tile:
        return _written(">>")(self, count)

    def __rrshift__(self, other: object) -> Tile:
        return _written(">>")(other, self)

    def __floordiv__(self, other: Operand) -> Tile:
        return _written("//")(self, other)

    def __rfloordiv__(self, other: Operand) -> Tile:
        return _written("//")(other, self)

    def __mod__(self, other: Operand) -> Tile:
        return _written("%")(self, other)

    def __rmod__(self, other: Operand) -> Tile:
        return _written("%")(other, self)

    def __pow__(self, exponent: float) -> Tile:
        return _written("**")(self, exponent)

    def __rpow__(self, base: object) -> Tile:
        return _written("**")(base, self)

    def __lt__(self, other: Operand) -> Mask:
        return compared("lt", self, other)

    def __le__(self, other: Operand) -> Mask:
        return compared("le", self, other)

    def __gt__(self, other: Operand) -> Mask:
        return compared("gt", self, other)

    def __ge__(self, other: Operand) -> Mask:
        return compared("ge", self, other)

    def __eq__(self, other: object) -> Any:
        return compared("eq", self, other)

    def __ne__(self, other: object) -> Any:
        return ~compared("eq", self, other)

    __hash__ = Traced.__hash__

    def __matmul__(self, other: Tile) -> Tile:
        return matmul(self, other)

    def __rmatmul__(self, other: Tile) -> Tile:
        return matmul(other, self)

    def _value_hint(self) -> str:
        return ON_ONE_CORE

    def _operator_hint(self, symbol: str) -> str:
        return {
            "divmod": "x // y and x % y",
            **{name: f"pto.{name}(x)" for name in ("floor", "ceil", "trunc")},
        }.get(symbol, "")

    def _iter_hint(self) -> str:
        return "a tile is used whole: there is no loop over its rows"

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Tile:
        """The part ``x[a:b, c:d]``, of Python numbers: any rows, columns in multiples of 32 bytes; or every so many
        columns, ``x[:, a:b:s]``."""
        from pto.parts import Parts

        found: Tile = Parts(self)[index].get()
        return found

    @property
    def at(self) -> Parts:
        """``x.at[a:b, c:d].set(y)`` is ``x`` with ``y`` there, ``.add(y)`` with ``y`` added there, ``.apply(f)`` with
        ``f`` of what is there; so are ``subtract``, ``multiply``, ``divide``, ``min`` and ``max``."""
        from pto import parts

        return parts.Parts(self)

    def _index_hint(self) -> str:
        return "x[a:b, c:d] is a part"

    def __setitem__(self, index: object, value: object) -> None:
        message = f"{self.described()} cannot be assigned to"
        fail(TraceError, message, "a tile never changes: x = x.at[a:b, c:d].set(y) is a new one")


class Place(Traced):
    """``x.at[..]``: a place in a tile, for what is like the tile but there.  As in JAX nothing changes ``x``.

    Which places there are: ``pto/parts.py``, ``pto/every.py``.
    """

    _noun = "place"

    def __init__(self, tile: Tile, shape: tuple[int, int]) -> None:
        self.tile, self.shape = tile, shape

    def described(self) -> str:
        return f"a place in '{self.tile.name}'"

    def get(self) -> Tile:
        """What is there, as ``x[..]``."""
        raise NotImplementedError

    def put(self, y: Tile | Scalar) -> Tile:
        """``x`` with what may be there."""
        raise NotImplementedError

    def set(self, y: Tile | Scalar | Number) -> Tile:
        """``x`` with ``y`` in the place: a tile of its shape, or one that broadcasts, or a number.

        Raises:
            ShapeError, DTypeError: for a tile of another shape or type, a number that no element can be.
        """
        x, number = self.tile, as_number(y)
        if number is not None:
            return self.put(Scalar(element(number, x.dtype, "set")))
        if isinstance(y, Scalar):
            y.check_usable()
            _no_float("set", y, x.dtype)
            return self.put(y)
        tile = as_tile(y, f"what is put into '{x.name}'")
        if any(n not in (1, of) for n, of in zip(tile.shape, self.shape, strict=True)):
            (rows, cols), given = self.shape, tile.type
            message = f"set: '{tile.name}' is {given}, the part of '{x.name}' [{rows}, {cols}]"
            fail(ShapeError, message, BROADCASTS)
        if tile.dtype != x.dtype:
            message = f"set: '{tile.name}' is {tile.dtype}, but '{x.name}' is {x.dtype}"
            fail(DTypeError, message, f"convert it with .astype('{x.dtype}')")
        return self.put(tile)

    def apply(self, function: Callable[[Tile], Tile]) -> Tile:
        """``x`` with ``function`` of what is there in the place."""
        return self.set(function(self.get()))

    def add(self, y: Operand) -> Tile:
        """``x`` with ``y`` added there; ``y`` may be what a tile can be added to."""
        return self.set(self.get() + y)

    def subtract(self, y: Operand) -> Tile:
        """``x`` with ``y`` taken away there."""
        return self.set(self.get() - y)

    def multiply(self, y: Operand) -> Tile:
        """``x`` with what is there times ``y``."""
        return self.set(self.get() * y)

    def divide(self, y: Operand) -> Tile:
        """``x`` with what is there divided by ``y``."""
        return self.set(self.get() / y)

    def min(self, y: Operand) -> Tile:
        """``x`` with the smaller of what is there and ``y``."""
        return self.set(minimum(self.get(), y))

    def max(self, y: Operand) -> Tile:
        """``x`` with the larger of what is there and ``y``."""
        return self.set(maximum(self.get(), y))

    def _value_hint(self) -> str:
        return f"{self.tile.name}.at[..].get() is what is there, .set(y) the tile with y there"

    def _operator_hint(self, symbol: str) -> str:
        return self._value_hint()

    def _index_hint(self) -> str:
        return "a place is indexed once: x.at[a:b, c:d]"

    def _method_hint(self, name: str) -> str:
        return OF_PLACES.get(name, f"x.at[..].apply(f): f of what is there, as pto.{name}")


OF_PLACES = {
    "mul": "x.at[..].multiply(y)",
    "div": "x.at[..].divide(y)",
    "sub": "x.at[..].subtract(y)",
    "minimum": "x.at[..].min(y)",
    "maximum": "x.at[..].max(y)",
    "power": "x.at[..].apply(lambda p: p ** n)",
}
"""What else a place might be asked for -> how it is said."""


def _written(symbol: str) -> Callable[..., Tile]:
    """What an operator means that is made of functions of tiles, whose modules know tiles and so come later."""
    from pto.operators import OPERATORS

    return OPERATORS[symbol]


Operand = Tile | Places | Scalar | Number
"""What a tile can be combined with."""


def record(op: str, type: TileType, *args: ir.Operand, part: bool = False, hint: str = "") -> Tile:
    """Append a row whose result is a new tile of ``type``; see ``Trace.name`` for its name."""
    trace = current()
    name = trace.name(op, part, hint)
    trace.emit(ir.Row(op, ir.Define(name, type), args, loc=source.here()))
    return Tile(trace, name, type)


def as_tile(value: object, what: str, operand: int | None = None) -> Tile:
    if isinstance(value, Tile):
        return value
    if isinstance(value, TensorView):
        name = value.tensor.name
        message = f"{what} is a view of '{name}' in GM"
        fail(TraceError, message, f"load it first: pto.load({name}[...])", operand)
    hint = ""
    if isinstance(value, Scalar) or as_number(value) is not None:
        hint = "pto.full((rows, cols), value) makes a tile of one number"
    elif isinstance(value, Mask | Places | Place):
        hint = value._value_hint()
    elif isinstance(value, tuple | list) and value and all(isinstance(v, Tile) for v in value):
        hint = f"it holds {len(value)} tiles: give each a name, as in values, indices = pto.sort(x)"
    elif isinstance(value, Tensor):
        hint = f"load a region of it: pto.load({value.name}[...])"
    fail(TraceError, f"{what} must be a tile, found {noun(value)}", hint, operand)


def vector_dtype(op: str, x: Tile) -> None:
    if x.dtype not in VECTOR:
        message = f"{op}: '{x.name}' is {x.dtype}, which the vector unit cannot compute with"
        fail(DTypeError, message, "convert it first with .astype('f32')")


def _known_dtype(op: str, dtype: object, operand: int) -> str:
    """``dtype`` if it is one of the table; the names of numpy are told what they are called here."""
    if isinstance(dtype, str) and dtype in DTYPE_BYTES:
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    message, hint = no_dtype(name)
    fail(DTypeError, f"{op}: {message}", hint, operand)


# ------------------------------------------------------------------------------------ comparisons


def compared(op: str, x: Tile, y: object) -> Mask:
    """The mask ``x op y``; ``y`` may be a tile, also one that broadcasts, or a scalar.

    Raises:
        ShapeError: for shapes that do not broadcast.
        DTypeError: for bf16, and for two types.
    """
    symbol = SYMBOLS[op]
    x.ref()
    vector_dtype(symbol, x)
    if isinstance(y, Places) and y.count_along(x.shape):
        return Spread(op, x, y)
    second = _second(symbol, x, y)
    if isinstance(second, Tile):
        shape_of_all(symbol, [x.shape, second.shape])
    if x.dtype == "i32" and op != "eq":
        extreme, holds = ORDERED[op]
        same: Mask = Compared("eq", elementwise(extreme, x, second, part=True), x)
        return same if holds else ~same
    return Compared(op, x, second)


ORDERED: Mapping[str, tuple[str, bool]] = {
    "le": ("minimum", True),
    "ge": ("maximum", True),
    "gt": ("minimum", False),
    "lt": ("maximum", False),
}
"""The vector unit compares integers for equality only (docs/machine.md 12): a comparison -> the one of the two
that is x where it holds, or (False) where it does not."""


def _second(symbol: str, x: Tile, other: object) -> Tile | Scalar:
    """The second operand of ``x symbol other``: a tile of its type, or a scalar that its elements can be.

    Raises:
        DTypeError: for bf16, for two dtypes, for a float beside integers.
    """
    vector_dtype(symbol, x)
    if isinstance(other, Places):
        other = placed(other, x.shape, x.dtype)
    if not isinstance(other, Tile | TensorView):
        scalar = as_scalar(other, "a tile, a number or a traced scalar")
        integer_operand(symbol, x, scalar)
        if isinstance(scalar.expr, ir.Const):
            element(scalar.expr.value, x.dtype, symbol)
        return scalar
    y = as_tile(other, f"the second operand of {symbol}")
    vector_dtype(symbol, y)
    if x.dtype != y.dtype:
        message = f"{symbol}: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, "convert one of them with .astype('f32')")
    integer_operand(symbol, x, None)
    return y


def shape_of_all(what: str, shapes: list[tuple[int, int]]) -> tuple[int, int]:
    """The shape that all of them broadcast to.

    Raises:
        ShapeError: if there is none.
    """
    rows, cols = (max(sizes) for sizes in zip(*shapes, strict=True))
    for r, c in shapes:
        if r not in (1, rows) or c not in (1, cols):
            message = f"{what}: [{r}, {c}] does not broadcast to [{rows}, {cols}]"
            fail(ShapeError, message, BROADCASTS)
    return rows, cols


BROADCASTS = "shapes must be equal, or [rows, 1], [1, cols] or [1, 1] of the others"


def broadcast_to(x: Tile, shape: tuple[int, int], part: bool = False) -> Tile:
    """A ``[rows, 1]``, ``[1, cols]`` or ``[1, 1]`` tile repeated along its columns or rows, as ``[rows, cols]``.

    Raises:
        ShapeError: when ``shape`` is not that.
        DTypeError: for bf16.
    """
    tile = as_tile(x, "the operand of broadcast_to", 0)
    sizes = static_shape(shape)
    if tile.shape == sizes:
        return tile
    vector_dtype("broadcast_to", tile)
    rows, cols = sizes
    if tile.shape not in ((rows, 1), (1, cols), (1, 1)):
        message = f"broadcast_to: '{tile.name}' is {tile.type}, the shape [{rows}, {cols}]"
        fail(ShapeError, message, "[rows, 1], [1, cols] and [1, 1] become [rows, cols]")
    if tile.shape == (1, 1) != (rows, 1) and cols > 1 < rows:
        tile = broadcast_to(tile, (rows, 1), part=True)
    return record("expand", TileType(tile.dtype, *sizes), tile.ref(), part=part)


# ------------------------------------------------------------------------------------ places


def placed(places: Places, shape: tuple[int, int], dtype: str) -> Tile | Scalar:
    """``iota`` as numbers: a tile of ``shape``, of f32 or i32, or a scalar if they are all the same.

    Raises:
        ShapeError: for columns of a tile of one, or rows.
    """
    first, made = places.first, numbers(shape, places.rows, places.cols, dtype)
    if made is None:
        return first
    return made if first.expr == ir.Const(0) else elementwise("add", made, first, part=True)


def numbers(shape: tuple[int, int], rows: int, cols: int, dtype: str = "f32") -> Tile | None:
    """The tile of ``rows * i + cols * j``, one for the work item, in front of its loops; None for 0."""
    if not rows and not cols:
        return None
    for times, size, axis in ((rows, shape[0], 0), (cols, shape[1], 1)):
        if times and size == 1:
            what = f"tiles of one {('row', 'column')[axis]}"
            message = f"iota({axis}) counts {('rows', 'columns')[axis]}, but there are {what} only"
            fail(ShapeError, message, "pto.broadcast_to(x, (rows, cols)) says how many")
    trace, kind = current(), "i32" if dtype == "i32" else "f32"
    key = (shape, rows, cols, kind)
    if key not in trace.places:
        inside, trace.scope = trace.scope, trace.root
        try:
            trace.places[key] = _counted(trace, shape, rows, cols, kind)
        finally:
            trace.scope = inside
    found: Tile = trace.places[key]
    return found


def _counted(trace: Trace, shape: tuple[int, int], rows: int, cols: int, kind: str) -> Tile:
    """In integers, which are exact; f32 holds them up to 2**24."""
    whole = TileType("i32", *shape)
    axes = [
        _axis(trace, name, type, times)
        for name, type, times in (
            ("columns", TileType("i32", 1, shape[1]), cols),
            ("rows", TileType("i32", shape[0], 1), rows),
        )
        if times
    ]
    made = axes[0]
    if made.type != whole:
        made = _row(trace, "expand", "places", whole, made.ref())
    if len(axes) > 1:
        made = _row(trace, "add", "places", whole, made.ref(), axes[1].ref())
    if kind == "i32":
        return made
    return _row(trace, "astype", "places", TileType(kind, *shape), made.ref(), ir.Word(kind))


def _axis(trace: Trace, name: str, type: TileType, times: int) -> Tile:
    counted = _row(trace, "iota", name, type, ir.Const(0))
    if times == 1:
        return counted
    return _row(trace, "mul", name, type, counted.ref(), ir.Const(times))


def _row(trace: Trace, op: str, name: str, type: TileType, *args: ir.Operand) -> Tile:
    made = trace.fresh(name)
    trace.emit(ir.Row(op, ir.Define(made, type), args, loc=source.here()))
    return Tile(trace, made, type)


# ------------------------------------------------------------------------------------ arithmetic


def elementwise(op: str, x: Tile, other: object, part: bool = False) -> Tile:
    """``x op other`` for a tile of the same shape, a [rows, 1] or [1, cols] tile, or a scalar.

    Raises:
        DTypeError: for bf16, and for two dtypes.
        ShapeError: for shapes that do not broadcast.
    """
    symbol = SYMBOLS.get(op, op)
    y = _second(symbol, x, other)
    if isinstance(y, Scalar):
        return record(op, x.type, x.ref(), y.expr, part=part)
    sizes = [set(pair) - {1} for pair in zip(x.shape, y.shape, strict=True)]
    if any(len(found) > 1 for found in sizes):
        message = f"{symbol}: '{x.name}' is {x.type} but '{y.name}' is {y.type}"
        fail(ShapeError, message, BROADCASTS)
    rows, cols = shape_of_all(symbol, [x.shape, y.shape])
    if (rows, cols) not in (x.shape, y.shape):  # a column and a row
        x = broadcast_to(x, (rows, cols), part=True)
    x, y = (
        broadcast_to(t, (rows, 1), part=True) if t.shape == (1, 1) and cols > 1 < rows else t
        for t in (x, y)
    )
    if x.shape == (rows, cols):
        return record(op, x.type, x.ref(), y.ref(), part=part)
    return _broadcast_first(op, x, y)


def negated(x: Tile, part: bool = False) -> Tile:
    """``-x``, exactly; the least integer is its own opposite, as its sum with 0 would wrap, too.

    Raises:
        DTypeError: for bf16 and small integers.
    """
    vector_dtype("-", x)
    return elementwise("mul", x, -1 if x.dtype in INTEGERS else -1.0, part=part)


def element(number: float, dtype: str, op: str, operand: int | None = None) -> ir.Const:
    """A literal as an element of a tile of ``dtype``."""
    whole = dtype in INTEGERS
    if whole and math.isfinite(number) and number == int(number):
        number = int(number)
    if not holds(dtype, number):
        hint = "" if whole else "math.inf is a number, too"
        fail(DTypeError, f"{op}: an element of {dtype} cannot be {number!r}", hint, operand)
    return ir.Const(number if whole else float(number))


def integer_operand(symbol: str, x: Tile, value: Scalar | None) -> None:
    if x.dtype != "i32":
        return
    if symbol == "/" or (value is not None and value.is_float):
        what = "divided" if symbol == "/" else "combined with the float " + noun(value)
        message = f"{symbol}: '{x.name}' is i32 and cannot be {what}"
        fail(DTypeError, message, f"convert it first: {x.name}.astype('f32')")


def _broadcast_first(op: str, x: Tile, y: Tile) -> Tile:
    """``x op y`` when x is the smaller one: the hardware broadcasts its second operand only."""
    if op == "sub":
        return elementwise("add", negated(y, part=True), x)
    if op == "div":
        return elementwise("mul", of_tile("reciprocal", y, part=True), x)
    assert OPS[op].commutes, op
    return elementwise(op, y, x)


def of_tile(op: str, x: object, part: bool = False) -> Tile:
    """``op`` of one tile: of each element, of every row or of every column; its row of the op table says which.

    Raises:
        DTypeError: for what its instruction does not take.
    """
    row = OPS[op]
    tile = operand_of(op, x, row.dtypes)
    if row.along == "rows" and tile.shape[1] == 1:
        name = op.removeprefix("col_")
        fail(ShapeError, f"{op}: '{tile.name}' has one column", f"pto.{name}(x) is of all elements")
    return record(op, MADE[row.along](tile.type), tile.ref(), part=part)


MADE: Mapping[str, Callable[[TileType], TileType]] = {
    "": lambda t: t,
    "cols": lambda t: t.column,
    "rows": lambda t: t.row,
}
"""The type of what an op makes of one tile, by the dimension that it joins."""


def operand_of(op: str, x: object, dtypes: tuple[str, ...]) -> Tile:
    """``x`` as the only operand of ``op``."""
    tile = as_tile(x, f"the operand of {op}", 0)
    vector_dtype(op, tile)
    if tile.dtype not in dtypes:
        hint = f"convert it: {tile.name}.astype('f32')"
        fail(DTypeError, f"{op}: '{tile.name}' is {tile.dtype}", hint)
    return tile


def _extreme(op: str, symbol: str, x: Any, y: Any) -> Any:
    for a, b in ((x, y), (y, x)):
        if isinstance(a, Tile):
            return elementwise(op, a, b)
        if isinstance(a, TensorView):
            as_tile(a, f"an operand of {op}")
    return extreme(symbol, x, y)


@overload
def maximum(x: Tile, y: Operand) -> Tile: ...
@overload
def maximum(x: Number | Scalar, y: Tile) -> Tile: ...
@overload
def maximum(x: int, y: int) -> int: ...
@overload
def maximum(x: Number, y: Number) -> Number: ...
@overload
def maximum(x: Scalar, y: Number | Scalar) -> Scalar: ...
@overload
def maximum(x: Number, y: Scalar) -> Scalar: ...
def maximum(x: Any, y: Any) -> Any:
    """The larger of two tiles, element by element (broadcasting), or of two scalars."""
    return _extreme("maximum", "max", x, y)


@overload
def minimum(x: Tile, y: Operand) -> Tile: ...
@overload
def minimum(x: Number | Scalar, y: Tile) -> Tile: ...
@overload
def minimum(x: int, y: int) -> int: ...
@overload
def minimum(x: Number, y: Number) -> Number: ...
@overload
def minimum(x: Scalar, y: Number | Scalar) -> Scalar: ...
@overload
def minimum(x: Number, y: Scalar) -> Scalar: ...
def minimum(x: Any, y: Any) -> Any:
    """The smaller of two tiles, element by element (broadcasting), or of two scalars."""
    return _extreme("minimum", "min", x, y)


def astype(x: Tile, dtype: str, rounding: str = "rint", part: bool = False) -> Tile:
    """``x`` converted to ``dtype``: to the nearest, ties to even, or from floats to integers by a named ``rounding``.

    'rint' is to the nearest, ties to even, 'away' ties away from zero; 'floor', 'ceil' and 'trunc' are down, up and
    towards zero.  What an integer type does not hold becomes its least or greatest number, NaN 0.  Where no
    instruction converts the two, several do, and round once.

    Raises:
        DTypeError: for an unknown dtype, for i32 to bf16, and for a rounding of other than floats to integers.
    """
    tile = as_tile(x, "the operand of astype")
    wanted = _known_dtype("astype", dtype, 1)
    if rounding not in ROUNDINGS:
        hint = did_you_mean(str(rounding), ROUNDINGS, "there are")
        fail(DTypeError, f"astype: '{rounding}' is not a rounding", hint)
    if rounding != "rint" and not rounds(tile.dtype, wanted):
        message = f"astype: rounding '{rounding}' is of floats to integers, not of {tile.dtype} to {wanted}"
        fail(DTypeError, message, "other conversions are to the nearest, ties to even")
    if wanted == tile.dtype:
        return tile
    steps = way(tile.dtype, wanted)
    if steps is None:
        message = f"astype: nothing converts '{tile.name}' from {tile.dtype} to {wanted} with one rounding"
        fail(DTypeError, message, f"with two: {tile.name}.astype('f32').astype('{wanted}')")
    for step in steps:
        by = rounds(tile.dtype, step) and rounding != "rint"
        words = [ir.Word(step), *[ir.Word(rounding)] * by]
        made, inner = TileType(step, *tile.shape), part or step != wanted
        tile = record("astype", made, tile.ref(), *words, part=inner)
        rounding = "rint" if by else rounding
    return tile


def full(shape: tuple[Index, Index], value: Number | Scalar, dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element ``value``, a number or a scalar.

    Raises:
        ShapeError: when ``shape`` is not two static sizes.
        DTypeError: for an unknown dtype, and for a number that no element can be.
    """
    sizes = static_shape(shape, 0)
    kind = _known_dtype("full", dtype, 2)
    scalar = as_scalar(value, "a number or a traced scalar as the value of a tile")
    if isinstance(scalar.expr, ir.Const):
        return record("full", TileType(kind, *sizes), element(scalar.expr.value, kind, "full", 1))
    _no_float("full", scalar, kind)
    made = kind if kind in VECTOR else "f32"
    return astype(record("full", TileType(made, *sizes), scalar.expr, part=made != kind), kind)


def _no_float(op: str, scalar: Scalar, dtype: str) -> None:
    if scalar.is_float and dtype in INTEGERS:
        message = f"{op}: an element of {dtype} cannot be the float {noun(scalar)}"
        hint = f"pto.full((rows, cols), value).astype('{dtype}') rounds it"
        fail(DTypeError, message, hint, None if op == "set" else 1)


def static_shape(shape: object, operand: int = 1) -> tuple[int, int]:
    """The two sizes of a tile.

    Raises:
        ShapeError: if they are no two Python integers above 0.
    """
    given = shape if isinstance(shape, tuple | list) else ()
    sizes = [n for n in map(as_number, given) if isinstance(n, int) and n > 0]
    if len(given) != 2 or len(sizes) != 2:
        traced = [n for n in given if isinstance(n, Scalar)]
        found = noun(traced[0]) if traced else repr(shape)
        hint = "a size that changes from call to call takes the largest, and a mask"
        message = f"the shape of a tile is two static sizes (rows, cols), found {found}"
        fail(ShapeError, message, hint if traced else "", operand)
    return sizes[0], sizes[1]


def zeros(shape: tuple[Index, Index], dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element 0."""
    return full(shape, 0.0, dtype)


# --------------------------------------------------------------------------------- matmul, memory


def matmul(a: object, b: object, acc: Tile | None = None) -> Tile:
    """``a @ b`` (+ ``acc``) on the cube: [m, k] @ [k, n] of equal dtype gives f32 [m, n], that of i8 i32.

    Raises:
        ShapeError: when inner sizes differ, or the matmul unit cannot take the shape.
        DTypeError: when dtypes differ, or for those that the unit does not multiply.
    """
    x, y = as_tile(a, "the left operand of @", 0), as_tile(b, "the right operand of @", 1)
    for t in (x, y):
        if t.dtype not in SUM_OF:
            message = f"@: '{t.name}' is {t.dtype}; the matmul unit takes {', '.join(SUM_OF)}"
            fail(DTypeError, message)
    if x.dtype != y.dtype:
        message = f"@: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, f"convert one of them with .astype('{min(x.dtype, y.dtype)}')")
    _check_matmul_shape(x, y)
    result = TileType(SUM_OF[x.dtype], x.shape[0], y.shape[1])
    if acc is None:
        return record("matmul", result, x.ref(matmul=True), y.ref(matmul=True))
    start = as_tile(acc, "acc of matmul")
    if start.type != result:
        fail(ShapeError, f"@: acc '{start.name}' is {start.type}, the product is {result}")
    return record("matmul", result, x.ref(matmul=True), y.ref(matmul=True), start.ref())


def _turned_to_fit(x: Tile, y: Tile) -> str:
    """A hint: which of two operands transposed would have one inner size."""
    ways = ((a, b) for a, b in ((x, y.T), (x.T, y), (x.T, y.T)) if a.shape[1] == b.shape[0])
    return next((f"transpose it: {a.name} @ {b.name}" for a, b in ways), "")


def _check_matmul_shape(x: Tile, y: Tile) -> None:
    (m, k), (k2, n) = x.shape, y.shape
    if k != k2:
        left, right = (f"'{t.name}' is {t.type}" for t in (x, y))
        message = f"@: {left}, {right}: inner sizes {k} and {k2} differ"
        fail(ShapeError, message, _turned_to_fit(x, y))
    unit = box_unit(x.dtype)
    across = BOX_ROWS if y.transposed else unit
    sizes = (
        (m, "rows on the left", unit if x.transposed else BOX_ROWS),
        (n, "columns on the right", across),
        (k, "as the inner size", unit),
    )
    wrong = [f"{n} {what}" for n, what, step in sizes if n % step]
    if wrong:
        takes = f"every size in multiples of {BOX_ROWS}"
        if unit > BOX_ROWS:
            takes = f"{x.dtype} in multiples of {unit}"
            if not x.transposed:
                takes += f", rows on the left of {BOX_ROWS}"
        fail(
            ShapeError,
            f"@: [{m}, {k}] @ [{k}, {n}] does not fit the matmul unit: {' and '.join(wrong)}; "
            f"it takes {takes}",
            "load a larger tile: pto.ds(start, size, valid=count) fills with zero what does not exist",
        )
