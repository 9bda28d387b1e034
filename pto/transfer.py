"""Loads and stores: tiles from and to regions of tensors.

In: views of tensors.  Out: rows ``load`` and ``store``, with what makes a region of it that the machine
can move: runs of neighbours.  A column of a wider tensor moves as the first column of a tile of
whole units, so it costs a tile eight or sixteen times its size; a zero that is loaded so is positive.  A view
that keeps one dimension is a row: where its elements lie apart, the transpose of such a column.  Every so many elements of
rows are loaded with what lies between them, and taken out by V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pto import ir, scales, source
from pto.errors import DTypeError, MemoryAccessError, ShapeError, TraceError
from pto.every import columns_of
from pto.in_place import taken
from pto.ops import MOST_REGIONS, VECTOR
from pto.overlap import Access, Load, Store, clash
from pto.scalar import Number, Scalar
from pto.tensor import Tensor, TensorView, note_read
from pto.tile import Tile, as_tile, astype, elementwise, of_tile, record
from pto.tracer import current, fail, noun
from pto.types import DTYPE_BYTES, UNIT_BYTES, TileType
from pto.views import as_rows, is_strided


def load(view: TensorView | Sequence[TensorView]) -> Tile:
    """The region of a tensor as a tile; what does not exist (``ds(valid=)``) reads as zero.  Several regions,
    as pages, are one tile with the rows of all, one below the other.

    Raises:
        MemoryAccessError: when other work items or iterations store there, or something adds to the tensor.
        ShapeError, DTypeError: for regions that differ, or whose rows are no runs of neighbours.
    """
    if isinstance(view, list | tuple):
        return _gather(view)
    name = view.name if isinstance(view, Tensor) else "t"
    found = _view(view, "load takes", f"pto.load({name}[i, :])")
    if _steps_inside(found):
        return _every(found)
    _note_load(found)
    if not _lies_apart(found, "load"):
        return record("load", found.type, found.view, hint=f"{found.tensor.name}_tile")
    return _column(found) if found.shape[1] == 1 else _column(_upright(found)).T


def _steps_inside(view: TensorView) -> bool:
    """Whether elements that lie side by side in a row of a tile leave others out between them."""
    last = view.view.index[-1]
    return isinstance(last, ir.Span) and last.size > 1 and last.step > 1


def _every(view: TensorView) -> Tile:
    """Every so many elements of each row: those columns of the run that they lie in."""
    *items, last = view.view.index
    run, skipped = _run(ir.as_span(last), view.tensor.dims[-1], view.dtype)
    found = ir.View(view.view.tensor, (*items, run))
    tile = load(TensorView(view.tensor, found, view._scope))
    return columns_of(tile, skipped, ir.as_span(last).step, view.type.cols)


def _run(every: ir.Span, dim: int | str, dtype: str) -> tuple[ir.Span, int]:
    """The run of whole units that such elements lie in, and how many of its elements lie in front of them: they begin
    in the first step where that is known, so that those of other elements in between are the same run."""
    skipped = int(every.start.value) % every.step if isinstance(every.start, ir.Const) else 0
    start = ir.binary("-", every.start, ir.Const(skipped))
    size = in_whole_units(skipped + every.reach, dtype)
    inside = isinstance(start, ir.Const) and isinstance(dim, int) and start.value + size <= dim
    if every.valid is not None:
        steps = ir.binary("*", every.valid, ir.Const(every.step))
        exists = ir.binary("+", steps, ir.Const(skipped + 1 - every.step))
        exists = ir.binary("min", exists, ir.Const(skipped + every.reach))
    else:
        exists = ir.Const(skipped + every.reach)
    return ir.Span(start, size, None if inside and every.valid is None else exists), skipped


def in_whole_units(size: int, dtype: str) -> int:
    """So many elements in units of 32 bytes."""
    unit = UNIT_BYTES // DTYPE_BYTES[dtype]
    return -(-size // unit) * unit


def _column(view: TensorView) -> Tile:
    """Of elements that lie apart."""
    rows, hint = _wide(view), f"{view.tensor.name}_tile"
    wide = record("load", rows, as_rows(view.view, rows.cols), part=True, hint=hint)
    if wide.dtype not in VECTOR:
        return astype(of_tile("row_sum", astype(wide, "f32", part=True), part=True), wide.dtype)
    return of_tile("row_sum", wide)


def _note_load(view: TensorView) -> None:
    """Remember a load.

    Raises:
        MemoryAccessError: when other work items or iterations store there, or something adds to the tensor.
    """
    trace, name = current(), view.tensor.name
    made = Load(view.view, trace, source.here())
    _check_in_place(made, trace.stores.get(name, []))
    trace.loads.setdefault(name, []).append(made)


def _check_in_place(made: Access, others: Sequence[Access]) -> None:
    """Raises MemoryAccessError, perhaps behind the loop, where another step takes or changes the same elements."""
    loc, known = source.operand(source.user_frame(), 0), [*others]

    def check() -> None:
        problem = taken(made, known)
        if problem:
            message, hint = problem
            raise MemoryAccessError(message, loc, hint)

    current().once_known(check)


def _gather(views: Sequence[TensorView]) -> Tile:
    example = "pto.load([cache[p, :, :], cache[q, :, :]])"
    if not 2 <= len(views) <= MOST_REGIONS:
        message = f"load takes 2 to {MOST_REGIONS} regions, found {len(views)}"
        fail(ShapeError, message, f"one is no list: pto.load(t[i, :]); several: {example}", 0)
    return of_regions([_view(v, "load takes", example) for v in views])


def of_regions(found: Sequence[TensorView]) -> Tile:
    """One tile of the rows of several regions."""
    first, *others = found
    for other in others:
        if (other.dtype, other.shape[1]) != (first.dtype, first.shape[1]):
            kinds = f"{first.type} and {other.type}"
            message = f"load: regions of one tile have one dtype and as many columns, found {kinds}"
            fail(DTypeError if other.dtype != first.dtype else ShapeError, message, "", 0)
    for v in found:
        unit = UNIT_BYTES // DTYPE_BYTES[v.dtype]
        if v.shape[1] % unit:
            message = f"load: a region of '{v.tensor.name}' in a tile of several is {v.type}"
            fail(ShapeError, message, f"its rows are of a multiple of {unit} elements: 32 bytes", 0)
        if is_strided(v.view, v.tensor.dims, *v.shape):
            message = f"load: the elements of a row of a region of '{v.tensor.name}' do not lie side by side"
            hint = "pto.concat([...]) joins what is loaded one by one"
            fail(ShapeError, message, hint, 0)
        note_read(current(), v.tensor.name)
    rows = sum(v.shape[0] for v in found)
    type = TileType(first.dtype, rows, first.shape[1])
    return record("gather", type, *(v.view for v in found), hint=f"{first.tensor.name}_tile")


def store(
    view: TensorView, x: Tile, add: bool = False, scale: Scalar | Number | Tile | None = None
) -> None:
    """Write ``x`` to a region of a tensor; shapes and dtypes must agree.  With ``add`` it is added to what is
    there, element by element, rounded to the dtype; other work items, iterations and cores may add to the
    same elements, in any order.  What the tensor held before the call is where the sums start.

    A sum of products that nothing else reads may be converted on its way out of the cube core: ``x * scale`` to the
    nearest, ties to even, saturating; i32 to f16, i8 or u8, f32 to i8 or u8.  Of ``scale`` the first ten bits of the fraction
    count, the others are cut off.  A tile ``i32[cols, 2]`` that is loaded has a scale for every column, as
    ``pto.column_scales`` makes them.

    Raises:
        ShapeError, DTypeError: when tile and view differ, no scale converts the one to the other, or a tile is none of
            scales.
        MemoryAccessError: when another work item or iteration loads the same elements, or writes them and not
            both add, or the kernel also reads scalars of the tensor.
        TraceError: when ``add`` is not known while tracing, or stands beside a scale.
    """
    target = _view(view, "the first operand of store must be", "pto.store(out[i, :], tile)")
    tile, name = as_tile(x, "what is stored", 1), target.tensor.name
    if tile.shape != target.shape:
        message = f"store: '{tile.name}' is {tile.type} but the view of '{name}' is {target.type}"
        fail(ShapeError, message, _fitting(tile, (target.type.rows, target.type.cols)), 1)
    if scale is not None:
        scales.check(tile, target)
    elif tile.dtype != target.dtype:
        message = f"store: '{tile.name}' is {tile.dtype} but '{name}' is {target.dtype}"
        fail(DTypeError, message, f"convert it with .astype('{target.dtype}')", 1)
    if not isinstance(add, bool):
        fail(TraceError, f"store: add is True or False, found {noun(add)}")
    if add and scale is not None:
        fail(
            TraceError,
            "store: what is converted by a scale cannot be added",
            "x * scale, then .astype, then add=True",
        )
    trace = current()
    made = Store(target.view, trace, source.here(), add)
    if name in trace.read_at:
        message = f"the kernel {made.verb} to '{name}' here, but reads it at {trace.read_at[name]}"
        hint = "work items run in any order: make it two parameters, one to read and one to write"
        fail(MemoryAccessError, message, hint)
    stores, loads = trace.stores.setdefault(name, []), trace.loads.get(name, [])
    problem = clash(made, stores)
    if problem:
        fail(MemoryAccessError, *problem, operand=0)
    _check_in_place(made, loads)
    stores.append(made)
    region = target.view
    if scale is None and _lies_apart(target, "store"):
        if target.shape[1] > 1:
            tile, target = tile.T, _upright(target)
        rows = _wide(target)
        tile, region = _spread(tile, rows), as_rows(target.view, rows.cols)
    way = (ir.ADD,) if add else () if scale is None else (ir.SCALED, scales.operand(scale, tile))
    trace.emit(ir.Row("store", region, (tile.ref(), *way), loc=made.loc))


def _fitting(tile: Tile, shape: tuple[int, int]) -> str:
    """How a tile of another shape is stored."""
    rows, cols = shape
    pairs = list(zip(tile.shape, shape, strict=True))
    if all(n in (1, size) for n, size in pairs):
        return f"pto.broadcast_to({tile.name}, ({rows}, {cols})) has it in all rows and columns"
    if all(n >= size for n, size in pairs):
        return f"a part of it is {tile.name}[:{rows}, :{cols}]"
    return "a region that is as large: pto.ds(start, size) for rows and for columns"


def _spread(column: Tile, rows: TileType) -> Tile:
    """A column as every column of a tile."""
    if column.dtype not in VECTOR:
        wide = _spread(astype(column, "f32", part=True), replace(rows, dtype="f32"))
        return astype(wide, column.dtype, part=True)
    one = ir.Const(1 if column.dtype == "i32" else 1.0)
    ones = record("full", rows, one, part=True, hint="ones")
    return elementwise("mul", ones, column, part=True)


def _lies_apart(view: TensorView, what: str) -> bool:
    """Whether a view is a column, or keeps one dimension, whose elements have others in between: it moves as the
    first column of a tile of whole units, by a sum of every row or a product with ones.

    Raises:
        ShapeError: for other views without runs of neighbours.
    """
    if not is_strided(view.view, view.tensor.dims, *view.shape):
        return False
    if not _steps_inside(view) and (view.shape[1] == 1 or len(view.view.spans) == 1):
        return True
    kept = [k for k, item in enumerate(view.view.index) if isinstance(item, ir.Span)]
    why = f"dimension {kept[-1]} is not the last of the tensor, and a row of a tile is a run of neighbours"
    if what == "load":
        why += ": keep what is behind it, too, .reshape(n, m) it, and of the tile x[:, k::s] are the columns meant"
    if _steps_inside(view):
        why = "what lies between them is another's: store whole rows, x.at[:, 0::2].set(y) has y in every second column"
    message = f"{what}: the elements of a row of this view of '{view.tensor.name}' do not lie side by side"
    fail(ShapeError, message, why, 0)


def _upright(view: TensorView) -> TensorView:
    """A view that keeps one dimension as the column that it is of a wider tensor."""
    *items, last = view.view.index
    assert not isinstance(last, ir.Span), view
    column = ir.View(view.view.tensor, (*items, ir.Span(last, 1)))
    return TensorView(view.tensor, column, view._scope)


def _wide(view: TensorView) -> TileType:
    """The tile of whole units that a column of elements that lie apart moves in."""
    return TileType(view.dtype, view.shape[0], UNIT_BYTES // DTYPE_BYTES[view.dtype])


def _view(value: object, what: str, example: str) -> TensorView:
    if not isinstance(value, TensorView):
        is_tile = isinstance(value, Tile)
        hint = (
            "it is loaded already" if is_tile and "load" in what else f"index a tensor: {example}"
        )
        fail(TraceError, f"{what} a view of a tensor, found {noun(value)}", hint, 0)
    value.check_usable()
    value.check_dimensions()
    return value
