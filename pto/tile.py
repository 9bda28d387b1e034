"""On-chip tiles and everything that computes with them.

Every function checks its operands, appends one row (``elementwise`` at most two) and returns the
new tile.  Arithmetic follows numpy where the vector unit can; shapes are [rows, columns].
"""

from __future__ import annotations

import math
from typing import Any, overload

from pto import ir, source
from pto.errors import DTypeError, ShapeError, TraceError, did_you_mean
from pto.ops import FLOATS, OPS
from pto.scalar import Index, Number, Scalar, as_index, as_number, as_scalar, extreme
from pto.tensor import Tensor, TensorView
from pto.tracer import Scope, Trace, Traced, current, fail, noun
from pto.types import BOX_ROWS, CALLED, DTYPE_BYTES, TileType, holds

SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
"""Ops that users write as operators."""


class Tile(Traced):
    """An on-chip tile of static shape; a pure value.  Arithmetic follows numpy."""

    _noun = "tile"

    def __init__(self, trace: Trace, name: str, type: TileType, transposed: bool = False) -> None:
        self._scope: Scope = trace.scope
        self.name, self.type, self.transposed = name, type, transposed
        self.whole: tuple[Tile, int, int] | None = None
        """Of a part: the tile that it is of, and where it begins."""

    def __repr__(self) -> str:
        return f"Tile({self.name}: {self.type}{'.T' if self.transposed else ''})"

    def described(self) -> str:
        return f"tile '{self.name}{'.T' if self.transposed else ''}' ({self.type})"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        rows, cols = self.type.rows, self.type.cols
        return (cols, rows) if self.transposed else (rows, cols)

    @property
    def dtype(self) -> str:
        """Element type: 'f32', 'f16', 'bf16' or 'i32'."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def T(self) -> Tile:
        """The transpose, as the right operand of ``@``."""
        turned = Tile(self._scope.trace, self.name, self.type, not self.transposed)
        turned._scope, turned.whole = self._scope, self.whole
        return turned

    def ref(self, matmul: bool = False) -> ir.Ref:
        """This tile as an operand of a new row, after checking that it may be used here."""
        self.check_usable()
        if self.whole is not None and not matmul:
            whole = self.whole[0].name
            what = "of several regions" if whole == self.name else f"a part of '{whole}'"
            message = f"'{self.name}' is {what} and can only be an operand of @"
            fail(ShapeError, message, "load it as a tile of its own, pto.load(t[...])")
        if self.transposed and not matmul:
            message = f"'{self.name}.T' can only be the right operand of @"
            fail(ShapeError, message, "the cube transposes while it multiplies; no other unit can")
        return ir.Ref(self.name, None, self.transposed)

    def astype(self, dtype: str) -> Tile:
        """Converted to ``dtype`` ('f32', 'bf16', 'f16', 'i32'), to the nearest, ties to even; one of
        the two is f32."""
        return astype(self, dtype)

    def __add__(self, other: Operand) -> Tile:
        return elementwise("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Tile:
        return elementwise("sub", self, other)

    def __rsub__(self, other: Operand) -> Tile:
        return elementwise("add", elementwise("mul", self, -1.0, part=True), other)

    def __mul__(self, other: Operand) -> Tile:
        return elementwise("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Tile:
        return elementwise("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tile:
        if as_number(other) == 1:
            return of_tile("reciprocal", self)
        return elementwise("mul", of_tile("reciprocal", self, part=True), other)

    def __neg__(self) -> Tile:
        return elementwise("mul", self, -1.0)

    def __pos__(self) -> Tile:
        return self

    def __abs__(self) -> Tile:
        return of_tile("abs", self)

    def __matmul__(self, other: Tile) -> Tile:
        return matmul(self, other)

    def __rmatmul__(self, other: Tile) -> Tile:
        return matmul(other, self)

    def _operator_hint(self, symbol: str) -> str:
        if symbol in ("<", "<=", ">", ">=", "==", "!="):
            return (
                "tiles cannot be compared element by element; pto.where(pto.iota(1) < count, x, other) "
                "masks columns, pto.maximum and pto.minimum clip"
            )
        return {
            "**": "multiply it with itself, or pto.sqrt",
            "//": "x / y is the quotient; no op rounds down",
            **dict.fromkeys(("floor", "ceil", "trunc"), "x.astype('i32') rounds to the nearest"),
        }.get(symbol, "")

    def _iter_hint(self) -> str:
        return "a tile is used whole: there is no loop over its rows"

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Tile:
        """The part ``x[a:b, c:d]``, as an operand of ``@``; Python numbers in multiples of 16."""
        rows, cols = _slices(self, index)
        return part_of(self, _span(self, rows, self.shape[0]), _span(self, cols, self.shape[1]))

    def _index_hint(self) -> str:
        return "x[a:b, c:d] is a part, as an operand of @"

    def __setitem__(self, index: object, value: object) -> None:
        message = f"{self.described()} cannot be assigned to"
        fail(TraceError, message, "a tile never changes: make a new one, or pto.store to a tensor")


class Mask(Traced):
    """``iota(1) < count``: true in the first ``count`` columns; made for ``where``."""

    _noun = "mask"

    def __init__(self, count: Scalar) -> None:
        self._count, self._scope = count, count._scope

    def _operator_hint(self, symbol: str) -> str:
        return "a mask only serves as the condition of pto.where"


Operand = Tile | Scalar | Number
"""What a tile can be combined with."""


class Iota(Traced):
    """Column numbers 0, 1, 2, ... of a tile."""

    _noun = "iota"

    def __lt__(self, other: Index) -> Mask:
        return Mask(as_index(other, "the count of columns"))

    def __le__(self, other: Index) -> Mask:
        return Mask(as_index(other, "the count of columns") + 1)

    def _operator_hint(self, symbol: str) -> str:
        return "the hardware masks the first columns of a tile: pto.iota(1) < count"


def iota(axis: int) -> Iota:
    """The column numbers (``axis`` 1), to be compared with a scalar for ``where``."""
    if axis != 1:
        message = f"iota({axis}): only columns (axis 1) can be masked"
        hint = "rows that do not exist: load with pto.ds(start, size, valid=count)"
        fail(ShapeError, message, hint)
    return Iota()


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
    elif isinstance(value, Tensor):
        hint = f"load a region of it: pto.load({value.name}[...])"
    fail(TraceError, f"{what} must be a tile, found {noun(value)}", hint, operand)


def _vector_dtype(op: str, x: Tile) -> None:
    if x.dtype == "bf16":
        message = f"{op}: '{x.name}' is bf16, which the vector unit cannot compute with"
        fail(DTypeError, message, "convert it first with .astype('f32')")


def _known_dtype(op: str, dtype: object, operand: int) -> str:
    """``dtype`` if it is one of the table; the names of numpy are told what they are called here."""
    if isinstance(dtype, str) and dtype in DTYPE_BYTES:
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    hint = f"it is called '{CALLED.get(name)}' here"
    if name not in CALLED:
        hint = did_you_mean(name, DTYPE_BYTES)
    fail(DTypeError, f"{op}: '{name}' is not a dtype", hint, operand)


# ------------------------------------------------------------------------------------ arithmetic


def elementwise(op: str, x: Tile, other: object, part: bool = False) -> Tile:
    """``x op other`` for a tile of the same shape, a [rows, 1] or [1, cols] tile, or a scalar.

    Raises:
        DTypeError: for bf16, and for two dtypes.
        ShapeError: for shapes that do not broadcast.
    """
    symbol = SYMBOLS.get(op, op)
    _vector_dtype(symbol, x)
    if not isinstance(other, Tile | TensorView):
        value = as_scalar(other, "a tile, a number or a traced scalar")
        _integer_operand(symbol, x, value)
        if isinstance(value.expr, ir.Const):
            _element(value.expr.value, x.dtype, symbol)
        return record(op, x.type, x.ref(), value.expr, part=part)
    y = as_tile(other, f"the second operand of {symbol}")
    _vector_dtype(symbol, y)
    if x.dtype != y.dtype:
        message = f"{symbol}: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, "convert one of them with .astype('f32')")
    _integer_operand(symbol, x, None)
    if y.shape in (x.shape, (x.shape[0], 1), (1, x.shape[1])):
        return record(op, x.type, x.ref(), y.ref(), part=part)
    if x.shape in ((y.shape[0], 1), (1, y.shape[1])):
        return _broadcast_first(op, x, y)
    fail(
        ShapeError,
        f"{symbol}: '{x.name}' is {x.type} but '{y.name}' is {y.type}",
        "shapes must be equal, or one of them [rows, 1] or [1, cols] of the other"
        + (
            "; a tensor can hold one number once per column" if (1, 1) in (x.shape, y.shape) else ""
        ),
    )


def _element(number: float, dtype: str, op: str, operand: int | None = None) -> ir.Const:
    """A literal as an element of a tile of ``dtype``."""
    if dtype == "i32" and math.isfinite(number) and number == int(number):
        number = int(number)
    if not holds(dtype, number):
        hint = "" if dtype == "i32" else "math.inf is a number, too"
        fail(DTypeError, f"{op}: an element of {dtype} cannot be {number!r}", hint, operand)
    return ir.Const(number if dtype == "i32" else float(number))


def _integer_operand(symbol: str, x: Tile, value: Scalar | None) -> None:
    if x.dtype != "i32":
        return
    if symbol == "/" or (value is not None and value.is_float):
        what = "divided" if symbol == "/" else "combined with the float " + noun(value)
        message = f"{symbol}: '{x.name}' is i32 and cannot be {what}"
        fail(DTypeError, message, f"convert it first: {x.name}.astype('f32')")


def _broadcast_first(op: str, x: Tile, y: Tile) -> Tile:
    """``x op y`` when x is the smaller one: the hardware broadcasts its second operand only."""
    if op == "sub":
        return elementwise("add", elementwise("mul", y, -1.0, part=True), x)
    if op == "div":
        return elementwise("mul", of_tile("reciprocal", y, part=True), x)
    assert OPS[op].commutes, op
    return elementwise(op, y, x)


def of_tile(op: str, x: object, part: bool = False) -> Tile:
    """``op`` of one tile: of each element, or of every row; its row of the op table says which.

    Raises:
        DTypeError: for what its instruction does not take.
    """
    row = OPS[op]
    tile = _operand(op, x, row.dtypes)
    made = tile.type if row.kind == "unary" else TileType(tile.dtype, tile.type.rows, 1)
    return record(op, made, tile.ref(), part=part)


def tanh(x: Tile) -> Tile:
    """The hyperbolic tangent of each element; f32 or f16.

    There is no instruction for it.  With e = exp(-2|x|), which lies in (0, 1] and never overflows,

        tanh|x| = (exp|x| - exp(-|x|)) / (exp|x| + exp(-|x|)) = (1 - e) / (1 + e),

    and tanh(x) is x clipped to [-tanh|x|, tanh|x|], since tanh|x| <= |x|: that gives it its sign.
    For large |x| e vanishes and the result is 1 or -1, also of infinities.  With an exp that is off
    by 4 roundings u (2^-24 in f32, 2^-11 in f16), e is off by 4eu, and that moves (1 - e) / (1 + e)
    by 2 / (1 + e)^2 as much, at most 2u; a sum, a difference and a quotient add 4u of the result:
    the *absolute* error stays below 6u, and the result never exceeds |x|.
    """
    tile = _operand("tanh", x, FLOATS)
    double = elementwise("mul", of_tile("abs", tile, part=True), -2.0, part=True)
    e = of_tile("exp", double, part=True)
    less, more = (elementwise(op, e, 1.0, part=True) for op in ("sub", "add"))
    low = elementwise("div", less, more, part=True)
    high = elementwise("mul", low, -1.0, part=True)
    return elementwise("maximum", elementwise("minimum", tile, high, part=True), low)


def _operand(op: str, x: object, dtypes: tuple[str, ...]) -> Tile:
    """``x`` as the only operand of ``op``."""
    tile = as_tile(x, f"the operand of {op}", 0)
    _vector_dtype(op, tile)
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


def astype(x: Tile, dtype: str, part: bool = False) -> Tile:
    """``x`` converted to ``dtype``, rounding to the nearest, ties to even.

    Raises:
        DTypeError: for an unknown dtype, and for conversions without f32 on one side.
    """
    tile = as_tile(x, "the operand of astype")
    wanted = _known_dtype("astype", dtype, 1)
    if wanted == tile.dtype:
        return tile
    if "f32" not in (wanted, tile.dtype):
        message = f"astype: no instruction converts '{tile.name}' from {tile.dtype} to {wanted}"
        fail(DTypeError, message, f"go through f32: {tile.name}.astype('f32').astype('{wanted}')")
    made = TileType(wanted, *tile.shape)
    return record("astype", made, tile.ref(), ir.Word(wanted), part=part)


def full(shape: tuple[Index, Index], value: float, dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element ``value``, a Python number.

    Raises:
        ShapeError: when ``shape`` is not two static sizes.
        DTypeError: for an unknown dtype.
    """
    sizes = tuple(map(as_number, shape)) if isinstance(shape, tuple | list) else ()
    if len(sizes) != 2 or not all(isinstance(n, int) and n > 0 for n in sizes):
        traced = (
            [n for n in shape if isinstance(n, Scalar)] if isinstance(shape, tuple | list) else ()
        )
        found = noun(traced[0]) if traced else repr(shape)
        fail(
            ShapeError,
            f"the shape of a tile is two static sizes (rows, cols), found {found}",
            "a size that changes from call to call takes the largest, and a mask" if traced else "",
            0,
        )
    number = as_number(value)
    if number is None:
        fail(TraceError, f"the value of a tile must be a Python number, found {noun(value)}")
    kind = _known_dtype("full", dtype, 2)
    type = TileType(kind, int(sizes[0] or 0), int(sizes[1] or 0))
    return record("full", type, _element(number, kind, "full", 1))


def zeros(shape: tuple[Index, Index], dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element 0."""
    return full(shape, 0.0, dtype)


def where(mask: Mask, x: Tile, other: float) -> Tile:
    """``x`` where ``mask`` holds, the constant ``other`` elsewhere.

    The mask is ``pto.iota(1) < count``: the first ``count`` columns keep ``x``.
    """
    if not isinstance(mask, Mask):
        message = f"the condition of where must be pto.iota(1) < count, found {noun(mask)}"
        fail(TraceError, message, "the hardware masks the first columns of a tile", 0)
    mask.check_usable()
    tile = as_tile(x, "the second operand of where", 1)
    _vector_dtype("where", tile)
    number = as_number(other)
    if number is None:
        fail(
            TraceError,
            f"the third operand of where must be a Python number, found {noun(other)}",
            "to choose between two tiles: pto.maximum(pto.where(mask, x, -math.inf), pto.minimum("
            "y, pto.where(mask, pto.full(y.shape, -math.inf), math.inf)))",
            2,
        )
    fill = _element(number, tile.dtype, "where", 2)
    return record("where", tile.type, tile.ref(), mask._count.expr, fill)


# --------------------------------------------------------------------------------- parts

Extent = tuple[int, int]
"""(begin, end)"""


def _slices(x: Tile, index: object) -> list[slice]:
    """One for the rows and one for the columns."""
    given = index if isinstance(index, tuple) else (index,)
    found = [s for s in given if isinstance(s, slice)]
    if len(given) > 2 or len(found) < len(given):
        message = f"{x.described()} is indexed by slices of rows and columns, x[a:b, c:d]"
        hint = "such a part is an operand of @; for all else load the part, pto.load(t[...])"
        fail(TraceError, message, hint)
    return [*found, *[slice(None)] * (2 - len(found))]


def _span(x: Tile, at: slice, size: int) -> Extent:
    """Where a slice begins and ends in a dimension of ``size``."""
    for bound in (at.start, at.stop, at.step):
        if bound is not None and not isinstance(bound, int):
            message = f"a part of '{x.name}' begins and ends at Python numbers, found {noun(bound)}"
            fail(
                TraceError,
                message,
                "load what a scalar decides: pto.load(t[pto.ds(start, size), :])",
            )
    begin, end, step = at.indices(size)
    if step != 1 or begin % BOX_ROWS or end % BOX_ROWS or end <= begin:
        message = f"'{x.name}' of {size} has no part {at.start}:{at.stop}" + (
            f":{step}" if step != 1 else ""
        )
        fail(ShapeError, message, f"parts begin and end at multiples of {BOX_ROWS}, without steps")
    return begin, end


def part_of(x: Tile, rows: Extent, cols: Extent) -> Tile:
    """The part of a tile; all of it is the tile itself."""
    if (rows, cols) == ((0, x.shape[0]), (0, x.shape[1])):
        return x
    if x.transposed:
        return part_of(x.T, cols, rows).T
    whole, first, second = x.whole or (x, 0, 0)
    begin = first + rows[0], second + cols[0]
    type = TileType(x.dtype, rows[1] - rows[0], cols[1] - cols[0])
    made = record("part", type, whole.ref(matmul=True), *map(ir.Const, begin))
    made.whole = whole, *begin
    return made


# --------------------------------------------------------------------------------- matmul, memory


def matmul(a: object, b: object, acc: Tile | None = None) -> Tile:
    """``a @ b`` (+ ``acc``) in f32 on the cube: [m, k] @ [k, n] of equal dtype gives f32 [m, n].

    Raises:
        ShapeError: when inner sizes differ, or the matmul unit cannot take the shape.
        DTypeError: when dtypes differ, or for i32.
    """
    x, y = as_tile(a, "the left operand of @", 0), as_tile(b, "the right operand of @", 1)
    if x.dtype != y.dtype:
        message = f"@: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, f"convert one of them with .astype('{min(x.dtype, y.dtype)}')")
    if x.dtype == "i32":
        fail(DTypeError, f"@: '{x.name}' is i32; the matmul unit takes bf16, f16 or f32")
    if x.transposed:
        message = f"@: the left operand '{x.name}.T' cannot be transposed"
        fail(ShapeError, message, "only the right one can: (b @ a.T) is the transpose of (a @ b.T)")
    _check_matmul_shape(x, y)
    result = TileType("f32", x.shape[0], y.shape[1])
    if acc is None:
        return record("matmul", result, x.ref(matmul=True), y.ref(matmul=True))
    start = as_tile(acc, "acc of matmul")
    if start.type != result:
        fail(ShapeError, f"@: acc '{start.name}' is {start.type}, the product is {result}")
    return record("matmul", result, x.ref(matmul=True), y.ref(matmul=True), start.ref())


def _check_matmul_shape(x: Tile, y: Tile) -> None:
    (m, k), (k2, n) = x.shape, y.shape
    if k != k2:
        turn = f"transpose it: {x.name} @ {y.name}.T" if k == n and not y.transposed else ""
        right = (
            f"'{y.name}.T' is {y.dtype}[{k2}, {n}]" if y.transposed else f"'{y.name}' is {y.type}"
        )
        message = f"@: '{x.name}' is {x.type}, {right}: inner sizes {k} and {k2} differ"
        fail(ShapeError, message, turn)
    sizes = ((m, "rows on the left"), (n, "columns on the right"), (k, "as the inner size"))
    wrong = [f"{n} {what}" for n, what in sizes if n % BOX_ROWS]
    if wrong:
        fail(
            ShapeError,
            f"@: [{m}, {k}] @ [{k}, {n}] does not fit the matmul unit: {' and '.join(wrong)}; "
            f"it takes every size in multiples of {BOX_ROWS}",
            "load a larger tile: pto.ds(start, size, valid=count) fills with zero what does not exist",
        )
