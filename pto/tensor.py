"""Kernel arguments in GM: indexing a tensor gives a view, which ``load`` and ``store`` take."""

from __future__ import annotations

from types import EllipsisType
from typing import Any, NoReturn, overload

from pto import ir, source
from pto.errors import DTypeError, MemoryAccessError, ShapeError, TraceError
from pto.scalar import Index, Scalar, as_index, as_number
from pto.tracer import METHODS, Scope, Trace, Traced, current, fail, innermost, noun
from pto.types import SCALAR_DTYPES, TileType
from pto.views import is_strided, misfold, tiles_of

COMPUTES = {"astype", "T", *METHODS} - {"at", "reshape"}
"""Names of what computes with a tile, as its author may ask a tensor for it."""


class Slice(Traced):
    """A region of one dimension; see ``ds``."""

    _noun = "slice"

    def __init__(self, span: ir.Span, scope: Scope | None) -> None:
        self.span, self._scope = span, scope

    def __repr__(self) -> str:
        from pto.text import expr

        valid = "" if self.span.valid is None else f", valid={expr(self.span.valid)}"
        step = "" if self.span.step == 1 else f", step={self.span.step}"
        return f"ds({expr(self.span.start)}, {self.span.size}{valid}{step})"

    def described(self) -> str:
        return f"slice '{self!r}'"


Region = Slice | slice | EllipsisType
"""What keeps a dimension of a tensor."""


def ds(start: Index, size: Index, valid: Index | None = None, step: int = 1) -> Slice:
    """A region of ``size`` elements from ``start``, ``step`` from one to the next; only the first ``valid`` exist.

    ``size`` and ``step`` are static, ``start`` and ``valid`` may be traced; ``valid`` is clamped to 0 .. size.
    A load fills what does not exist with zero, a store leaves it alone.

    Raises:
        ShapeError: when ``size`` or ``step`` is not an int of at least 1.
    """
    count = as_number(size)
    if not isinstance(count, int) or count < 1:
        fail(
            ShapeError,
            f"the size of ds(start, size) must be a static int of at least 1, found {noun(size)}",
            "tiles have static sizes: give the largest, and valid=count for how many exist",
        )
    apart = _step(step, "the step of ds(start, size, step=step)")
    first = as_index(start, "the start of ds")
    if valid is None:
        return Slice(ir.Span(first.expr, count, step=apart), first._scope)
    exists = as_index(valid, "the valid count of ds")
    clamped = isinstance(exists.expr, ir.Const) and exists.expr.value >= count
    span = ir.Span(first.expr, count, None if clamped else exists.expr, apart)
    return Slice(span, innermost(first._scope, exists._scope))


def _step(given: object, what: str) -> int:
    """How far apart the elements of a region are."""
    step = as_number(given)
    if isinstance(step, int) and step >= 1:
        return step
    hint = "tiles have static sizes: a step is a Python number"
    if step is not None and step < 0:
        hint = "what runs backwards is loaded piece by piece: pto.load([t[7 - k, :] for k in range(8)])"
    told = noun(given) if step is None else str(step)
    fail(ShapeError, f"{what} is an int of at least 1, found {told}", hint)


class Tensor(Traced):
    """A kernel argument in GM.  ``shape`` has ints and, for symbolic dimensions, scalars."""

    _noun = "tensor"

    def __init__(self, trace: Trace, param: ir.Param) -> None:
        self._scope = trace.root
        self.name, self.dtype = param.name, param.dtype
        self.dims = param.shape or ()

    def __repr__(self) -> str:
        return f"Tensor({self.name}: {self.dtype}[{', '.join(map(str, self.dims))}])"

    def described(self) -> str:
        return f"tensor '{self.name}'"

    @property
    def shape(self) -> tuple[Index, ...]:
        """Elements per dimension: an int, or a Scalar where the size is symbolic."""
        return tuple(d if isinstance(d, int) else Scalar(ir.Var(d), self._scope) for d in self.dims)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.dims)

    def __len__(self) -> int:
        fail(TraceError, f"{self.described()} has no len()", f"use {self.name}.shape[0]")

    @overload
    def __getitem__(self, index: Index | tuple[Index, ...]) -> Any: ...
    @overload
    def __getitem__(self, index: Region | tuple[Index | Region, ...]) -> TensorView: ...
    def __getitem__(self, index: object) -> Any:
        """A view of the kept dimensions, or (no dimension kept) one number, read now.

        Raises:
            ShapeError: for too many indices, kept dimensions, or a slice without static size.
            MemoryAccessError: for elements outside of a static dimension.
            DTypeError: for a float index, or when what is read is not f32 or i32.
        """
        self.check_usable()
        items = self._items(index if isinstance(index, tuple) else (index,))
        scope: Scope | None = self._scope
        entries = []
        for axis, item in enumerate(items):
            entry, known = self._item(axis, item)
            scope = innermost(scope, known)
            entries.append(entry)
        view = ir.View(self.name, tuple(entries))
        if not view.spans:
            return self._read(view)
        return TensorView(self, view, scope)

    def _items(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """One item per dimension: ``...`` and missing ones become ``:``."""
        dots = [k for k, i in enumerate(items) if i is Ellipsis]
        given = len(items) - len(dots)
        if given > self.ndim or len(dots) > 1:
            shape = ", ".join(map(str, self.dims))
            fail(
                ShapeError,
                f"'{self.name}' [{shape}] has {self.ndim} dimensions, but is indexed with {given}",
            )
        at = dots[0] if dots else len(items)
        whole = (slice(None),) * (self.ndim - given)
        return (*items[:at], *whole, *items[at + 1 :])

    def _item(self, axis: int, item: object) -> tuple[ir.Expr | ir.Span, Scope | None]:
        """The entry of one dimension and the scope that knows it."""
        what = f"the index of '{self.name}' in dimension {axis}"
        if isinstance(item, Slice):
            item.check_usable()
            self._check_bounds(axis, item.span)
            return item.span, item._scope
        if isinstance(item, slice):
            return self._slice(axis, item)
        if isinstance(item, Traced) and not isinstance(item, Scalar):
            fail(TraceError, f"{what} must be an integer or a slice, found {noun(item)}")
        if item is None:
            fail(ShapeError, f"{what} is None: a view cannot get new dimensions")
        found = as_index(item, what)
        self._check_bounds(axis, found.expr)
        return found.expr, found._scope

    def _slice(self, axis: int, item: slice) -> tuple[ir.Span, Scope | None]:
        dim, what = self.dims[axis], f"the slice of '{self.name}' in dimension {axis}"
        step = _step(1 if item.step is None else item.step, f"the step of {what}")
        start = as_index(0 if item.start is None else item.start, what)
        if item.stop is None and isinstance(dim, str):
            fail(
                ShapeError,
                f"{what} takes all of '{dim}', which is known only when the kernel runs",
                f"tiles have static sizes: use pto.ds(start, size, valid=...) or fix {dim} by static=",
            )
        stop = as_index(dim if item.stop is None else item.stop, what)
        trace = current()
        size = ir.distance(trace.resolved(stop.expr), trace.resolved(start.expr))
        if size is None:
            message = f"{what} has no static size"
            hint = "use pto.ds(start, size, valid=count, step=step): size and step static, start and count traced"
            fail(ShapeError, message, hint)
        span = ir.Span(start.expr, -(-int(size) // step), step=step)
        self._check_bounds(axis, span)
        if span.size < 1:
            fail(ShapeError, f"{what} is empty")
        return span, innermost(start._scope, stop._scope)

    def _check_bounds(self, axis: int, entry: ir.Expr | ir.Span) -> None:
        dim = self.dims[axis]
        span = ir.as_span(entry)
        start, size = span.start, span.size
        reach = current().extremes(start)
        if reach is None:
            return
        first, last = reach[0], reach[1] + span.reach - 1
        if first >= 0 and (isinstance(dim, str) or span.valid is not None or last < dim):
            return
        found = f"element {first} is" if first == last else f"elements {first} to {last} are"
        if not isinstance(start, ir.Const):
            found = f"over all steps, {found} reached,"
        hint = "negative indices do not count from the end" if first < 0 else ""
        if first >= 0 and size > 1:
            hint = "pto.ds(start, size, valid=count) reads as zero what does not exist"
        message = f"{found} outside of dimension {axis} of '{self.name}', which has {dim}"
        fail(MemoryAccessError, message, hint)

    def _read(self, view: ir.View) -> Scalar:
        if self.dtype not in SCALAR_DTYPES:
            fail(
                DTypeError,
                f"one element of '{self.name}' ({self.dtype}) is read as a scalar; only f32 and i32 can be",
                f"let '{self.name}' be f32, or hold it once per column: pto.load({self.name}[..., 0:cols]) "
                "is a [1, cols] tile, which broadcasts",
            )
        trace = current()
        note_read(trace, self.name)
        name = trace.name("read", own=f"{self.name}_item")
        floating = self.dtype != "i32"
        trace.emit(ir.Row("read", ir.Scalar(name, floating), (view,), loc=source.here()))
        trace.reads[name] = view
        return Scalar(ir.Var(name, floating), trace.scope)

    def __setitem__(self, index: object, value: object) -> None:
        message = f"tensor '{self.name}' cannot be assigned to"
        fail(TraceError, message, f"write to it with pto.store({self.name}[...], tile)")

    def _operator_hint(self, symbol: str) -> str:
        return f"it lies in GM: x = pto.load({self.name}[...]) gives a tile to compute with"

    def _method_hint(self, name: str) -> str:
        return self._operator_hint(name) if name in COMPUTES else super()._method_hint(name)

    def _branch_hint(self, where: str) -> str:
        return "a branch may only depend on static parameters"


PIECES = "a list of regions is one tile, too: pto.load([{0}[h, rows, :] for h in range(heads)])"
"""What to do where a region is not one."""


def noun_of_size(x: object) -> str:
    return str(x) if isinstance(x, int) else noun(x)


class TensorView(Traced):
    """A region of a tensor, for ``load`` and ``store``, which take those of two dimensions, or of one, a row.
    ``reshape`` makes two of more."""

    _noun = "view"

    def __init__(
        self,
        tensor: Tensor,
        view: ir.View,
        scope: Scope | None,
        shape: tuple[int, int] | None = None,
    ) -> None:
        self.tensor, self.view, self._scope = tensor, view, scope
        sizes = tuple(s.size for s in view.spans)
        self._shape = shape or ((1, *sizes) if len(sizes) == 1 else sizes)

    def __repr__(self) -> str:
        return f"TensorView({self.tensor.name}: {self._told})"

    def described(self) -> str:
        return f"a view of tensor '{self.tensor.name}' ({self._told})"

    @property
    def _told(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self._shape))}]"

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns), or the sizes of more kept dimensions; a view of one kept dimension has one row."""
        return self._shape

    @property
    def type(self) -> TileType:
        """Of the tile that a view of two dimensions is."""
        self.check_dimensions()
        return TileType(self.dtype, self._shape[0], self._shape[1])

    def check_dimensions(self) -> None:
        """Raises ShapeError for a view of more than two dimensions, which is no tile."""
        if len(self._shape) > 2:
            kept = ", ".join(map(str, self._shape))
            ways = " or ".join(f".reshape({n}, {m})" for n, m in tiles_of(self._shape))
            fail(
                ShapeError,
                f"this view of '{self.tensor.name}' keeps {len(self._shape)} dimensions, [{kept}], a tile has two",
                f"{ways} makes two of them; or give the others an index, not a slice",
            )

    def reshape(self, rows: int | tuple[int, int], cols: int | None = None) -> TensorView:
        """The same elements in the same order as ``rows`` rows: the first kept dimensions make the rows, the others the
        columns, ``cache[p, :, 0:16, :].reshape(heads * 16, dim)``.

        Raises:
            ShapeError: for other sizes; where the elements of a row are not neighbours in the tensor; where another
                dimension than the first one of the rows, or of the columns, ends early.
        """
        wanted = rows if isinstance(rows, tuple) else (rows, cols)
        sizes, name = [s.size for s in self.view.spans], self.tensor.name
        if wanted not in tiles_of(sizes):
            ways = " or ".join(f"[{n}, {m}]" for n, m in tiles_of(sizes))
            fail(
                ShapeError,
                f"reshape: {self.described()} is no [{', '.join(map(noun_of_size, wanted))}]",
                f"its first dimensions make the rows, the others the columns: {ways}",
            )
        n, m = wanted
        dims = self.tensor.dims
        if len(sizes) > 2 and is_strided(self.view, dims, n, m):
            fail(
                ShapeError,
                f"reshape: the elements of a row of [{n}, {m}] do not lie side by side in '{name}'",
                "a row is a run of neighbours: keep whole dimensions behind the first one of it, or load the parts "
                "and pto.concat([...], axis=1)",
            )
        if len(sizes) > 2 and (why := misfold(self.view, dims, n, m)):
            fail(ShapeError, f"reshape: {why}", PIECES.format(name))
        return TensorView(self.tensor, self.view, self._scope, (n, m))

    @property
    def dtype(self) -> str:
        """Element type of the tensor."""
        return self.tensor.dtype

    def __iadd__(self, other: object) -> NoReturn:
        self._no_operator("+=")

    def _operator_hint(self, symbol: str) -> str:
        name = self.tensor.name
        if symbol == "+=":
            return f"pto.store({name}[...], tile, add=True) adds to what it holds"
        return f"it lies in GM: pto.load({name}[...]) gives a tile to compute with"

    def _method_hint(self, name: str) -> str:
        return self._operator_hint(name) if name in COMPUTES else super()._method_hint(name)

    def _index_hint(self) -> str:
        return "index the tensor once, with all dimensions"

    def __setitem__(self, index: object, value: object) -> None:
        self.tensor[index] = value


def note_read(trace: Trace, tensor: str) -> None:
    """Remember that ``tensor`` is read as scalars, or in several regions at once; what is stored cannot be."""
    if tensor in trace.stores:
        first = trace.stores[tensor][0]
        fail(
            MemoryAccessError,
            f"'{tensor}' is read here, but the kernel {first.verb} to it at {first.loc}",
            "only tiles of what is stored can be loaded, one region each: make it two parameters, one to read and one to write",
        )
    trace.read_at.setdefault(tensor, source.here())
