"""The language: tensors, tiles and scalars that record what is done to them.

In: a Python function that runs once on these values.  Out: rows of the traced form.
Every public function checks its operands and raises a ``PtoError`` at the user's own line.
Non-goals: cores, pipes, slots and events; the scheduler in ``lowering/`` adds them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from pto import ir, source
from pto.errors import DTypeError, MemoryAccessError, PtoError, ShapeError, TraceError
from pto.types import DTYPE_BYTES, TileType

RESERVED = frozenset(
    """for if else carry yield note kernel static param grid buffer fifo event cube vector in out
    inout scalar min max cdiv inf lane block_idx block_num pid0 pid1 pid2 args wait set T
    auto bool break case char class const continue default delete do double enum extern float
    friend goto inline int long namespace new operator private public register return short
    signed sizeof struct switch template this throw typedef union unsigned using virtual void
    volatile while half""".split()
)
"""Names that mean something in the text form or in C++; a variable so called gets a suffix."""


class Scope:
    """Rows of one block: the kernel body or one loop body."""

    def __init__(self, parent: Scope | None) -> None:
        self.parent = parent
        self.nodes: list[ir.Node] = []

    def encloses(self, other: Scope | None) -> bool:
        while other is not None and other is not self:
            other = other.parent
        return other is self


class Trace:
    """One run of a kernel function: the rows so far, the names taken."""

    def __init__(self, taken: Sequence[str], grid: Sequence[ir.Expr]) -> None:
        self.scope = Scope(None)
        self.taken = set(taken) | RESERVED
        self.grid = tuple(grid)

    def fresh(self, hint: str) -> str:
        """``hint``, with a number behind it if the name is taken."""
        name, n = hint, 1
        while name in self.taken:
            n += 1
            name = f"{hint}_{n}"
        self.taken.add(name)
        return name

    def name(self, op: str) -> str:
        """A fresh name for the result of ``op``, after the variable it is assigned to."""
        frame = source.user_frame()
        if frame is None:
            return self.fresh(op)
        names = source.assigned_names(frame)
        if len(names) == 1:
            return self.fresh(names[0])
        outer = source.enclosing_name(frame)
        return self.fresh(f"{outer}_{op}" if outer else op)

    def emit(self, row: ir.Row) -> None:
        self.scope.nodes.append(row)

    @contextlib.contextmanager
    def block(self) -> Iterator[Scope]:
        """A nested scope; its nodes are the caller's to place."""
        outer = self.scope
        self.scope = Scope(outer)
        try:
            yield self.scope
        finally:
            self.scope = outer


_active: list[Trace] = []


@contextlib.contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make ``trace`` the current one."""
    _active.append(trace)
    try:
        yield trace
    finally:
        _active.pop()


def current() -> Trace:
    if not _active:
        raise TraceError(
            "this works only while a kernel is traced", source.here(), "call it in a @pto.kernel"
        )
    return _active[-1]


def fail(kind: type[PtoError], message: str, hint: str = "") -> NoReturn:
    raise kind(message, source.here(), hint)


# ------------------------------------------------------------------------------------ scalars


class _Untraceable:
    """What no traced value can do: steer Python, turn into an array, be iterated."""

    _noun = "value"

    def __bool__(self) -> bool:
        fail(
            TraceError,
            f"a traced {self._noun} has no truth value while tracing",
            "use pto.where for tiles, pto.minimum / pto.maximum for scalars; "
            "a branch may only depend on static parameters",
        )

    def __index__(self) -> int:
        fail(
            TraceError,
            f"a traced {self._noun} is not a Python int",
            "use pto.fori_loop(0, n, body, carry) instead of range(n)",
        )

    def __float__(self) -> float:
        fail(TraceError, f"a traced {self._noun} is not a Python number")

    def __int__(self) -> int:
        fail(TraceError, f"a traced {self._noun} is not a Python int")

    def __iter__(self) -> Iterator[Any]:
        fail(TraceError, f"a traced {self._noun} cannot be iterated", "use pto.fori_loop")

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        fail(
            TraceError,
            f"a traced {self._noun} was given to a numpy or JAX function",
            "use the function of the same name in pto (exp, maximum, where, row_sum, ...)",
        )

    __jax_array__ = __array__
    __array_ufunc__ = None


class Scalar(_Untraceable):
    """Index arithmetic on values that are known only at run time.

    ``+ - * // %``, comparisons (for ``pto.where``), ``pto.cdiv``, ``pto.minimum``; never a branch.
    """

    _noun = "scalar"
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expr: ir.Expr) -> None:
        self.expr = expr

    def __repr__(self) -> str:
        return f"Scalar({self.expr})"

    def _with(self, op: str, other: object, swap: bool = False) -> Any:
        if isinstance(other, Tile):
            return NotImplemented
        a, b = self.expr, scalar_expr(other)
        return named_scalar(ir.binary(op, b, a) if swap else ir.binary(op, a, b))

    def __add__(self, other: object) -> Any:
        return self._with("+", other)

    def __radd__(self, other: object) -> Any:
        return self._with("+", other, swap=True)

    def __sub__(self, other: object) -> Any:
        return self._with("-", other)

    def __rsub__(self, other: object) -> Any:
        return self._with("-", other, swap=True)

    def __mul__(self, other: object) -> Any:
        return self._with("*", other)

    def __rmul__(self, other: object) -> Any:
        return self._with("*", other, swap=True)

    def __truediv__(self, other: object) -> Any:
        return self._with("/", other)

    def __rtruediv__(self, other: object) -> Any:
        return self._with("/", other, swap=True)

    def __floordiv__(self, other: object) -> Any:
        return self._with("//", other)

    def __rfloordiv__(self, other: object) -> Any:
        return self._with("//", other, swap=True)

    def __mod__(self, other: object) -> Any:
        return self._with("%", other)

    def __rmod__(self, other: object) -> Any:
        return self._with("%", other, swap=True)

    def __neg__(self) -> Scalar:
        return named_scalar(ir.binary("-", ir.Const(0), self.expr))

    def __lt__(self, other: object) -> Any:
        return self._with("<", other)

    def __le__(self, other: object) -> Any:
        return self._with("<=", other)

    def __gt__(self, other: object) -> Any:
        return self._with("<", other, swap=True)

    def __ge__(self, other: object) -> Any:
        return self._with("<=", other, swap=True)

    def __eq__(self, other: object) -> Any:
        return self._with("==", other)

    def __ne__(self, other: object) -> Any:
        return self._with("!=", other)


def scalar_expr(value: object) -> ir.Expr:
    """The expression node of a Scalar or a Python number."""
    if isinstance(value, Scalar):
        return value.expr
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = type(value).__name__
        fail(TraceError, f"expected a number or a traced scalar, found {found}")
    return ir.Const(value)


def named_scalar(expr: ir.Expr) -> Scalar:
    """A Scalar; when the user assigns it to a variable, a ``let`` row keeps that name."""
    if isinstance(expr, ir.Bin) and _active:
        frame = source.user_frame()
        names = source.assigned_names(frame) if frame is not None else ()
        if len(names) == 1:
            return _let(names[0], expr, frame)
    return Scalar(expr)


def _let(hint: str, expr: ir.Expr, frame: FrameType | None) -> Scalar:
    trace = current()
    name = trace.fresh(hint)
    loc = source.locate(frame) if frame is not None else None
    trace.emit(ir.Row("let", ir.Scalar(name), (expr,), loc=loc))
    return Scalar(ir.Var(name))


def cdiv(a: Any, b: Any) -> Any:
    """``a / b`` rounded up, for ints and traced scalars."""
    if isinstance(a, int) and isinstance(b, int):
        return -(-a // b)
    return named_scalar(ir.binary("cdiv", scalar_expr(a), scalar_expr(b)))


def program_id(axis: int) -> Scalar:
    """Which work item this is, along ``axis`` of the grid."""
    trace = current()
    if not isinstance(axis, int) or not 0 <= axis < len(trace.grid):
        fail(TraceError, f"program_id({axis}): the grid has {len(trace.grid)} axes")
    if trace.grid[axis] == ir.Const(1):
        return Scalar(ir.Const(0))
    frame = source.user_frame()
    names = source.assigned_names(frame) if frame is not None else ()
    expr = ir.Var(f"pid{axis}")
    return _let(names[0], expr, frame) if len(names) == 1 else Scalar(expr)


# -------------------------------------------------------------------------------- tensors, views


class Slice:
    """``ds(start, size, valid)``: ``size`` elements from ``start``; see ``ds``."""

    def __init__(self, start: object, size: int, valid: object = None) -> None:
        if not isinstance(size, int) or size < 1:
            fail(ShapeError, "ds(start, size): size is a static int of at least 1")
        exists = None if valid is None else scalar_expr(valid)
        if isinstance(exists, ir.Const) and exists.value >= size:
            exists = None
        self.span = ir.Span(scalar_expr(start), size, exists)


def ds(start: Any, size: int, valid: Any = None) -> Slice:
    """A region of ``size`` elements from ``start``; only the first ``valid`` exist.

    ``size`` is static, ``start`` and ``valid`` may be traced; ``valid`` is clamped to 0 .. size.
    A load fills what does not exist with zero, a store leaves it alone.
    """
    return Slice(start, size, valid)


class Tensor(_Untraceable):
    """A kernel argument in GM.  ``shape`` has ints and, for symbolic dimensions, scalars."""

    _noun = "tensor"

    def __init__(self, param: ir.Param) -> None:
        self.name, self.dtype = param.name, param.dtype
        self.dims = param.shape or ()

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(d if isinstance(d, int) else Scalar(ir.Var(d)) for d in self.dims)

    def __getitem__(self, index: Any) -> Any:
        """A view of one or two kept dimensions, or (no dimension kept) one integer, read now."""
        items = index if isinstance(index, tuple) else (index,)
        if Ellipsis in [i for i in items if i is Ellipsis]:
            at = next(k for k, i in enumerate(items) if i is Ellipsis)
            missing = len(self.dims) - len(items) + 1
            items = (*items[:at], *[slice(None)] * missing, *items[at + 1 :])
        if len(items) > len(self.dims):
            fail(ShapeError, f"{self.name} has {len(self.dims)} dimensions, indexed with {len(items)}")
        items = (*items, *[slice(None)] * (len(self.dims) - len(items)))
        entries = tuple(self._item(k, i) for k, i in enumerate(items))
        view = ir.View(self.name, entries)
        if view.spans:
            return TensorView(self, view)
        return self._read(view)

    def _item(self, axis: int, item: object) -> ir.Expr | ir.Span:
        dim = self.dims[axis]
        if isinstance(item, Slice):
            entry: ir.Expr | ir.Span = item.span
        elif isinstance(item, slice):
            entry = self._slice(axis, item)
        elif isinstance(item, Tile | TensorView | Tensor):
            fail(TraceError, f"{self.name}: a {item._noun} cannot be an index", "index with scalars")
        else:
            entry = scalar_expr(item)
        self._check_bounds(axis, dim, entry)
        return entry

    def _slice(self, axis: int, item: slice) -> ir.Span:
        dim = self.dims[axis]
        if item.step is not None:
            fail(ShapeError, f"{self.name}: a slice with a step is not supported")
        start = ir.Const(0) if item.start is None else scalar_expr(item.start)
        stop = (ir.Const(dim) if isinstance(dim, int) else None) if item.stop is None else scalar_expr(item.stop)
        size = None if stop is None else _static_difference(stop, start)
        if size is None or size < 1:
            what = f"dimension {axis} ('{dim}') of {self.name}"
            fail(
                ShapeError,
                f"{what} needs a slice of static size",
                "write pto.ds(start, size, valid=count): size static, start and count traced",
            )
        return ir.Span(start, size)

    def _check_bounds(self, axis: int, dim: int | str, entry: ir.Expr | ir.Span) -> None:
        start, size = (entry.start, entry.size) if isinstance(entry, ir.Span) else (entry, 1)
        clipped = isinstance(entry, ir.Span) and entry.valid is not None
        if isinstance(start, ir.Const) and isinstance(dim, int):
            if start.value < 0 or (start.value + size > dim and not clipped):
                fail(
                    MemoryAccessError,
                    f"{self.name}: elements {start.value} .. {start.value + size - 1} are outside "
                    f"dimension {axis}, which has {dim}",
                )

    def _read(self, view: ir.View) -> Scalar:
        if self.dtype != "i32":
            fail(DTypeError, f"{self.name} is {self.dtype}; only i32 elements can be read as scalars")
        trace = current()
        name = trace.name("read")
        trace.emit(ir.Row("read", ir.Scalar(name), (view,), loc=source.here()))
        return Scalar(ir.Var(name))


def _static_difference(stop: ir.Expr, start: ir.Expr) -> int | None:
    if isinstance(stop, ir.Const) and isinstance(start, ir.Const):
        return int(stop.value - start.value)
    if isinstance(stop, ir.Bin) and stop.op == "+" and isinstance(stop.b, ir.Const):
        if stop.a == start:
            return int(stop.b.value)
        if isinstance(start, ir.Bin) and start.op == "+" and start.a == stop.a and isinstance(start.b, ir.Const):
            return int(stop.b.value - start.b.value)
    return None


class TensorView(_Untraceable):
    """A two-dimensional region of a tensor, for ``load`` and ``store``."""

    _noun = "view"

    def __init__(self, tensor: Tensor, view: ir.View) -> None:
        if len(view.spans) > 2:
            fail(
                ShapeError,
                f"a view of {tensor.name} keeps {len(view.spans)} dimensions, a tile has two",
                "index the others with scalars",
            )
        self.tensor, self.view = tensor, view
        sizes = [s.size for s in view.spans]
        self.type = TileType(tensor.dtype, *([1, *sizes] if len(sizes) == 1 else sizes))

    @property
    def shape(self) -> tuple[int, int]:
        return self.type.rows, self.type.cols

    @property
    def dtype(self) -> str:
        return self.tensor.dtype


# --------------------------------------------------------------------------------------- tiles


class Tile(_Untraceable):
    """An on-chip tile of static shape; a pure value.  Arithmetic follows numpy."""

    _noun = "tile"
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, trace: Trace, name: str, type: TileType, transposed: bool = False) -> None:
        self._trace, self._scope, self.name = trace, trace.scope, name
        self.type, self.transposed = type, transposed

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        rows, cols = self.type.rows, self.type.cols
        return (cols, rows) if self.transposed else (rows, cols)

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def T(self) -> Tile:
        """The transpose, as an operand of ``@``."""
        turned = Tile(self._trace, self.name, self.type, not self.transposed)
        turned._scope = self._scope
        return turned

    def __repr__(self) -> str:
        return f"Tile({self.name}: {self.type}{'.T' if self.transposed else ''})"

    def ref(self, matmul: bool = False) -> ir.Ref:
        """This tile as an operand of a new row, after checking that it may be used here."""
        trace = current()
        if self._trace is not trace or not self._scope.encloses(trace.scope):
            fail(
                TraceError,
                f"tile '{self.name}' was made inside a loop body and is used outside of it",
                "return it from the body as part of the carry",
            )
        if self.transposed and not matmul:
            fail(TraceError, f"'{self.name}.T' can only be an operand of @", "use .T inside a matmul")
        return ir.Ref(self.name, None, self.transposed)

    def astype(self, dtype: str) -> Tile:
        """Converted to ``dtype`` ('f32', 'bf16', 'f16'), to the nearest, ties to even."""
        return astype(self, dtype)

    def __add__(self, other: object) -> Tile:
        return elementwise("add", self, other)

    def __radd__(self, other: object) -> Tile:
        return elementwise("add", self, other)

    def __sub__(self, other: object) -> Tile:
        return elementwise("sub", self, other)

    def __rsub__(self, other: object) -> Tile:
        return elementwise("add", elementwise("mul", self, -1.0), other)

    def __mul__(self, other: object) -> Tile:
        return elementwise("mul", self, other)

    def __rmul__(self, other: object) -> Tile:
        return elementwise("mul", self, other)

    def __truediv__(self, other: object) -> Tile:
        return elementwise("div", self, other)

    def __rtruediv__(self, other: object) -> Tile:
        return elementwise("mul", unary("reciprocal", self), other)

    def __neg__(self) -> Tile:
        return elementwise("mul", self, -1.0)

    def __matmul__(self, other: object) -> Tile:
        return matmul(self, other)


class Mask:
    """``iota(1) < count``: true in the first ``count`` columns; made for ``where``."""

    def __init__(self, count: ir.Expr) -> None:
        self.count = count


class Iota:
    """Column numbers 0, 1, 2, ... of a tile."""

    def __lt__(self, other: object) -> Mask:
        return Mask(scalar_expr(other))

    def __le__(self, other: object) -> Mask:
        return Mask(ir.binary("+", scalar_expr(other), ir.Const(1)))


def iota(axis: int) -> Iota:
    """The column numbers (``axis`` 1), to be compared with a scalar for ``where``."""
    if axis != 1:
        fail(ShapeError, f"iota({axis}): only columns (axis 1) can be masked", "mask rows with ds(valid=)")
    return Iota()


def record(op: str, type: TileType, *args: ir.Operand) -> Tile:
    """Append a row whose result is a new tile of ``type``."""
    trace = current()
    name = trace.name(op)
    trace.emit(ir.Row(op, ir.Define(name, type), args, loc=source.here()))
    return Tile(trace, name, type)


def _tile(value: object, what: str) -> Tile:
    if isinstance(value, Tile):
        return value
    if isinstance(value, TensorView):
        fail(TraceError, f"{what} is a view of '{value.tensor.name}' in GM", "pto.load it first")
    fail(TraceError, f"{what} must be a tile, found {type(value).__name__}")


def _vector_dtype(op: str, x: Tile) -> None:
    if x.dtype == "bf16":
        fail(
            DTypeError,
            f"{op}: '{x.name}' is bf16, which the vector unit cannot compute with",
            f"convert it first: {x.name}.astype('f32')",
        )


def elementwise(op: str, x: Tile, other: object) -> Tile:
    """``x op other`` for a tile of the same shape, a [rows, 1] or [1, cols] tile, or a scalar."""
    _vector_dtype(op, x)
    if not isinstance(other, Tile | TensorView):
        return record(op, x.type, x.ref(), scalar_expr(other))
    y = _tile(other, f"the second operand of {op}")
    _vector_dtype(op, y)
    if x.dtype != y.dtype:
        fail(
            DTypeError,
            f"{op}: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}",
            "convert one of them with astype",
        )
    if y.shape in (x.shape, (x.shape[0], 1), (1, x.shape[1])):
        return record(op, x.type, x.ref(), y.ref())
    if x.shape in ((y.shape[0], 1), (1, y.shape[1])):
        return _broadcast_first(op, x, y)
    fail(
        ShapeError,
        f"{op}: '{x.name}' is {x.type} but '{y.name}' is {y.type}",
        "shapes must be equal, or one of them [rows, 1] or [1, cols] of the other",
    )


def _broadcast_first(op: str, x: Tile, y: Tile) -> Tile:
    """``x op y`` when x is the smaller one: the hardware broadcasts its second operand only."""
    if op == "sub":
        return elementwise("add", elementwise("mul", y, -1.0), x)
    if op == "div":
        return elementwise("mul", unary("reciprocal", y), x)
    return elementwise(op, y, x)


def unary(op: str, x: object) -> Tile:
    tile = _tile(x, f"the operand of {op}")
    _vector_dtype(op, tile)
    if tile.dtype == "i32":
        fail(DTypeError, f"{op}: '{tile.name}' is i32", "convert it with astype('f32')")
    return record(op, tile.type, tile.ref())


def _reduce(op: str, x: object) -> Tile:
    tile = _tile(x, f"the operand of {op}")
    _vector_dtype(op, tile)
    return record(op, TileType(tile.dtype, tile.shape[0], 1), tile.ref())


def exp(x: Tile) -> Tile:
    """e to the power of each element; f32 or f16."""
    return unary("exp", x)


def log(x: Tile) -> Tile:
    """Natural logarithm of each element; f32 or f16."""
    return unary("log", x)


def sqrt(x: Tile) -> Tile:
    """Square root of each element; f32 or f16."""
    return unary("sqrt", x)


def reciprocal(x: Tile) -> Tile:
    """1 / x of each element; f32 or f16."""
    return unary("reciprocal", x)


def row_max(x: Tile) -> Tile:
    """The largest element of every row, as a [rows, 1] tile."""
    return _reduce("row_max", x)


def row_min(x: Tile) -> Tile:
    """The smallest element of every row, as a [rows, 1] tile."""
    return _reduce("row_min", x)


def row_sum(x: Tile) -> Tile:
    """The sum of every row, as a [rows, 1] tile."""
    return _reduce("row_sum", x)


def _extreme(op: str, symbol: str, x: Any, y: Any) -> Any:
    if isinstance(x, Tile):
        return elementwise(op, x, y)
    if isinstance(y, Tile):
        return elementwise(op, y, x)
    if isinstance(x, Scalar) or isinstance(y, Scalar):
        return named_scalar(ir.binary(symbol, scalar_expr(x), scalar_expr(y)))
    return min(x, y) if symbol == "min" else max(x, y)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two tiles, element by element (broadcasting), or of two scalars."""
    return _extreme("maximum", "max", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two tiles, element by element (broadcasting), or of two scalars."""
    return _extreme("minimum", "min", x, y)


def astype(x: Tile, dtype: str) -> Tile:
    """``x`` converted to ``dtype``, rounding to the nearest, ties to even."""
    tile = _tile(x, "the operand of astype")
    if dtype not in DTYPE_BYTES:
        fail(DTypeError, f"astype: unknown dtype '{dtype}'", f"one of: {', '.join(DTYPE_BYTES)}")
    if dtype == tile.dtype:
        return tile
    if "f32" not in (dtype, tile.dtype):
        fail(DTypeError, f"astype: {tile.dtype} to {dtype} has no instruction", "go through 'f32'")
    return record("astype", TileType(dtype, *tile.shape), tile.ref(), ir.Word(dtype))


def full(shape: tuple[int, int], value: float, dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element ``value``."""
    if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
        fail(ShapeError, f"full: a shape is two static sizes, found {shape}")
    return record("full", TileType(dtype, *shape), scalar_expr(float(value)))


def zeros(shape: tuple[int, int], dtype: str = "f32") -> Tile:
    """A tile of ``shape`` with every element 0."""
    return full(shape, 0.0, dtype)


def where(mask: Mask, x: Tile, other: float) -> Tile:
    """``x`` where ``mask`` holds, the constant ``other`` elsewhere.

    The mask is ``pto.iota(1) < count``: the first ``count`` columns keep ``x``.
    """
    if not isinstance(mask, Mask):
        fail(TraceError, "where: the condition must be pto.iota(1) < count")
    tile = _tile(x, "the second operand of where")
    _vector_dtype("where", tile)
    if isinstance(other, Tile | Scalar):
        fail(TraceError, "where: the third operand must be a Python number")
    return record("where", tile.type, tile.ref(), mask.count, ir.Const(float(other)))


def matmul(a: object, b: object, acc: Tile | None = None) -> Tile:
    """``a @ b`` (+ ``acc``) in f32 on the cube: [m, k] @ [k, n] of equal dtype gives f32 [m, n]."""
    x, y = _tile(a, "the left operand of @"), _tile(b, "the right operand of @")
    if x.dtype != y.dtype:
        fail(DTypeError, f"@: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}")
    if x.dtype == "i32":
        fail(DTypeError, "@: the matmul unit takes bf16, f16 or f32")
    if x.transposed:
        fail(ShapeError, f"@: the left operand '{x.name}.T' cannot be transposed", "transpose the right one")
    (m, k), (k2, n) = x.shape, y.shape
    if k != k2:
        fail(
            ShapeError,
            f"@: '{x.name}' is {x.type}, '{y.name}' is {y.type}{' transposed' if y.transposed else ''}: "
            f"inner sizes {k} and {k2} differ",
        )
    box = 32 // DTYPE_BYTES[x.dtype]
    if m % 16 or n % 16 or k % box:
        fail(
            ShapeError,
            f"@: [{m}, {k}] @ [{k}, {n}] does not fit the matmul unit, which takes rows and columns "
            f"in multiples of 16 and an inner size in multiples of {box}",
            "use a larger tile: pto.ds(start, size, valid=count) fills what does not exist with zero",
        )
    result = TileType("f32", m, n)
    if acc is None:
        return record("matmul", result, x.ref(), y.ref(matmul=True))
    if _tile(acc, "acc").type != result:
        fail(ShapeError, f"@: acc is {acc.type}, expected {result}")
    return record("matmul", result, x.ref(), y.ref(matmul=True), acc.ref())


def load(view: TensorView) -> Tile:
    """The region of a tensor as a tile; what does not exist (``ds(valid=)``) reads as zero."""
    if not isinstance(view, TensorView):
        fail(TraceError, f"load takes a view of a tensor, found {type(view).__name__}", "index it: t[i, :]")
    return record("load", view.type, view.view)


def store(view: TensorView, x: Tile) -> None:
    """Write ``x`` to a region of a tensor; shapes and dtypes must agree."""
    if not isinstance(view, TensorView):
        fail(TraceError, "store takes a view of a tensor first", "pto.store(out[i, :], tile)")
    tile = _tile(x, "what is stored")
    if tile.shape != view.shape:
        fail(ShapeError, f"store: '{tile.name}' is {tile.type} but the view is {view.type}")
    if tile.dtype != view.dtype:
        fail(
            DTypeError,
            f"store: '{tile.name}' is {tile.dtype} but '{view.tensor.name}' is {view.dtype}",
            f"convert it: {tile.name}.astype('{view.dtype}')",
        )
    current().emit(ir.Row("store", view.view, (tile.ref(),), loc=source.here()))


# --------------------------------------------------------------------------------------- loops


def fori_loop(lo: Any, hi: Any, body: Callable[..., Any], carry: Any = None) -> Any:
    """``for i in lo .. hi: carry = body(i, carry)``; returns the last carry.

    ``hi`` may be traced.  ``carry`` is a tile or a tuple of tiles whose types never change;
    without one the body is ``body(i)`` and returns None.
    """
    trace, frame = current(), source.user_frame()
    loc = source.here()
    inits = _carry_tiles(carry)
    names = source.assigned_names(frame) if frame is not None else ()
    hints = _carry_hints(body, len(inits), names)
    first = scalar_expr(lo)
    trips = ir.binary("-", scalar_expr(hi), first)
    index = trace.fresh(_index_hint(body))
    with trace.block() as scope:
        inside = [Tile(trace, trace.fresh(h), t.type) for h, t in zip(hints, inits, strict=True)]
        i = Scalar(ir.binary("+", ir.Var(index), first))
        returned = body(i, _like(carry, inside)) if inits else body(i)
        result = _checked_result(returned, carry, inside, loc)
        refs = tuple(t.ref() for t in result)
    lasts = [
        Tile(trace, trace.fresh(names[k] if names[k:] and names[k] != "_" else f"{hints[k]}_last"), t.type)
        for k, t in enumerate(inits)
    ]
    carries = tuple(
        ir.Carry(a.name, t.type, t.ref(), z.name)
        for a, t, z in zip(inside, inits, lasts, strict=True)
    )
    trace.scope.nodes.append(
        ir.Loop(index, trips, tuple(scope.nodes), "", carries, refs, loc=loc)
    )
    return _like(carry, lasts) if inits else None


def _index_hint(body: Callable[..., Any]) -> str:
    code = getattr(body, "__code__", None)
    return code.co_varnames[0] if code is not None and code.co_argcount else "i"


def _carry_tiles(carry: Any) -> list[Tile]:
    if carry is None:
        return []
    values = list(carry) if isinstance(carry, tuple | list) else [carry]
    for k, value in enumerate(values):
        if not isinstance(value, Tile):
            found = type(value).__name__
            fail(TraceError, f"carry {k} of the loop must be a tile, found {found}", "start from pto.full or pto.zeros")
        value.ref()
    return values


def _carry_hints(body: Callable[..., Any], count: int, names: tuple[str, ...]) -> list[str]:
    """Names inside the body: those the body unpacks its carry to, else those of the result."""
    frame_code = getattr(body, "__code__", None)
    if frame_code is not None:
        unpacked = source.unpacked_parameter(frame_code)
        if len(unpacked) == count:
            return list(unpacked)
        if count == 1 and frame_code.co_argcount == 2:
            return [frame_code.co_varnames[1]]
    return [names[k] if k < len(names) else f"carry{k}" for k in range(count)]


def _like(carry: Any, tiles: list[Tile]) -> Any:
    return tuple(tiles) if isinstance(carry, tuple | list) else tiles[0]


def _checked_result(returned: Any, carry: Any, inside: list[Tile], loc: ir.Loc | None) -> list[Tile]:
    if not inside:
        if returned is not None:
            raise TraceError("the loop body returns a value but the loop has no carry", loc)
        return []
    single = not isinstance(carry, tuple | list)
    values = [returned] if single else list(returned) if isinstance(returned, tuple | list) else None
    if values is None or len(values) != len(inside):
        found = "one value" if values is None else f"{len(values)} values"
        raise TraceError(f"the loop carries {len(inside)} tiles but its body returns {found}", loc)
    for k, (value, before) in enumerate(zip(values, inside, strict=True)):
        if not isinstance(value, Tile):
            raise TraceError(f"carry {k} ('{before.name}'): the body returns {type(value).__name__}, not a tile", loc)
        if value.type != before.type or value.transposed:
            raise TraceError(
                f"carry {k} ('{before.name}') is {before.type} before the iteration "
                f"and {value.type} ('{value.name}') after it",
                loc,
                "a carry keeps its type: convert with astype or start from another tile",
            )
    return values
