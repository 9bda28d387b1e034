"""Transfers between tensors and tiles: where a view lies in GM, and the C++ lines that move it.

In: rows ``load``, ``gather`` and ``store`` of one core.  Out: C++ lines.  Invariant: a ``GlobalTensor`` has the rows and
columns that exist, and the strides of its tensor.  Rules marked [dev] in docs/machine.md 12 hold besides those of the
library's CPU simulator.  Non-goals: moves between memories, FIFOs (``lowering/ascend/rows.py``); which transfers there
are (``lowering/schedule/passes/assign.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lowering.ascend import scales
from lowering.ascend.scalars import ONE, ZERO
from lowering.ascend.text import (
    CPP_TYPE,
    Context,
    Env,
    braced,
    indented,
    literal,
    row_view,
    scalar,
)
from pto import ir
from pto.errors import ShapeError
from pto.ops import OPS
from pto.row_rules import filled
from pto.text import expr
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES
from pto.views import Axis, axes, counts, is_strided, misfold, rows_end, rows_of, strides

DIMS = ("rows", "cols")


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of a tensor as a tile sees it: first element, rows and columns; ``pages``: its rows lie in parts,
    each of as many of them, so far apart."""

    first: str
    rows: Axis
    cols: Axis
    pages: Axis | None = None

    @property
    def together(self) -> int:
        """Rows of one part."""
        return self.rows.size // self.pages.size if self.pages else self.rows.size


def region(view: ir.View, tile: tuple[int, int], ctx: Context, env: Env) -> Region:
    """What of a tensor goes into (or comes from) a tile of ``tile`` rows and columns.

    Raises:
        ShapeError: when the view makes no such tile of runs of neighbours.
    """
    shape, kept = ctx.kernel.param(view.tensor).shape or (), [s.size for s in view.spans]
    if rows_end(kept, *tile) is None or misfold(view, shape, *tile):
        raise ShapeError(f"a view of {view.tensor} does not fit a tile of {tile[0]} x {tile[1]}")
    if is_strided(view, shape, *tile):
        raise ShapeError(f"elements of a row of a view of {view.tensor} do not lie side by side")
    offset: ir.Expr = ZERO
    for item, step in zip(view.index, strides(shape), strict=True):
        offset = ir.binary("+", offset, ir.binary("*", ir.as_span(item).start, step))
    base = ctx.names.of("tensor", view.tensor)
    first = base if offset == ZERO else f"{base} + {scalar(offset, env, 2)}"
    rows, cols = axes(view, shape, *tile)
    counted = zip(tile, (rows, cols), counts(view, *tile), strict=True)
    made = [Axis(n, side[-1].step if side else ONE, valid) for n, side, valid in counted]
    return Region(first, made[0], made[1], rows[0] if len(rows) > 1 else None)


def transposed(r: Region) -> Region:
    """The same elements with rows and columns exchanged."""
    return Region(r.first, r.cols, r.rows)


def static(e: ir.Expr) -> str:
    """A stride as template argument: its value, or DYNAMIC."""
    return str(e.value) if isinstance(e, ir.Const) else "DYNAMIC"


def global_tensor(
    ctx: Context, env: Env, wish: str, dtype: str, r: Region, valid: tuple[str, str], layout: str
) -> tuple[list[str], str]:
    """(declarations, name) of the ``GlobalTensor`` for ``valid`` rows and columns of a region.

    Layout ND keeps rows and columns; DN exchanges them, which is how a tile gets loaded as its
    transpose.
    """
    steps: list[ir.Expr] = [r.rows.step if r.rows.size > 1 else ir.Const(r.cols.size)]
    sizes, kind = list(valid), "GmRows"
    if layout == "DN":
        sizes, kind = sizes[::-1], "GmColumns"
    elif r.pages:
        sizes, kind = [pages_of(valid[0], r), str(r.together), valid[1]], "GmPages"
        steps.insert(0, r.pages.step)
    shape = [v if v.isdigit() else "DYNAMIC" for v in sizes]
    known = (
        [v for v in sizes if not v.isdigit()],
        [scalar(s, env) for s in steps if static(s) == "DYNAMIC"],
    )
    name = ctx.names.fresh(f"{wish}_gm")
    declared = f"{kind}<{', '.join([CPP_TYPE[dtype], *shape, *map(static, steps)])}> {name}"
    given = [f"{{{', '.join(x)}}}" for x in known]
    last = 2 if known[1] else 1 if known[0] else 0
    return [f"{declared}({', '.join([r.first, *given[:last]])});"], name


def pages_of(count: str, r: Region) -> str:
    """Of so many rows, which are those of whole parts."""
    return str(int(count) // r.together) if count.isdigit() else f"{count} / {r.together}"


def clipped(
    ctx: Context, env: Env, wish: str, span: Axis
) -> tuple[list[str], str, list[str], list[str]]:
    """(declaration, valid count, "is less than whole", "is not empty") of one dimension."""
    if span.valid is None or isinstance(span.valid, ir.Const):
        most = span.size if span.valid is None else int(span.valid.value)
        return [], str(max(min(most, span.size), 0)), [], []
    name = ctx.names.fresh(wish)
    line = f"const int64_t {name} = clipped({scalar(span.valid, env)}, {span.size});"
    return [line], name, [f"{name} < {span.size}"], [f"{name} > 0"]


def part_of(
    ctx: Context, buffer: ir.Buffer, slot: str, valid: tuple[str, str], pad: str = "", at: str = ""
) -> tuple[list[str], str]:
    """(declarations, name) of a tile on the bytes of ``slot``, or from the byte ``at`` of its memory on, with a
    valid size of its own."""
    name = ctx.names.fresh(f"{buffer.name}_part")
    types = tuple(v if v.isdigit() else "DYNAMIC" for v in valid)
    order = (1, 0) if ctx.tile_class(buffer).turned else (0, 1)
    counts = ", ".join(valid[k] for k in order if types[k] == "DYNAMIC")
    declared = f"{name}({counts})" if counts else name
    lines = [f"{ctx.tile_type(buffer, (types[0], types[1]), pad)} {declared};"]
    return [*lines, f"TASSIGN({name}, {at});" if at else f"TRESHAPE({name}, {slot});"], name


# ------------------------------------------------------------------------------------ moves


def moved_parts(
    ctx: Context, env: Env, ref: ir.Ref, view: ir.View
) -> tuple[ir.Buffer, str, Region]:
    """(buffer as a load or store sees it, its slot, region).  A column moves as one row.

    Raises:
        ShapeError: when the transfer cannot take so many rows, or elements so far apart.
    """
    buffer, slot = ctx.kernel.buffer(ref.name), ctx.row_slot(ref, env)
    r = region(view, (buffer.type.rows, buffer.type.cols), ctx, env)
    if buffer.layout == "dn":
        buffer, r = row_view(buffer), transposed(r)
    space, tall = ctx.target.spaces[buffer.space], ctx.target.most_rows
    if not space.is_boxed and buffer.type.rows > tall:
        raise ShapeError(
            f"{buffer.name} has {buffer.type.rows} rows on a core, "
            f"a transfer between GM and {space.name.upper()} takes up to {tall}"
        )
    most = ctx.target.box_row_stride
    far = isinstance(r.rows.step, ir.Const) and r.rows.step.value > most
    if space.is_boxed and ctx.target.meets_gm(space.name, filled=True) and r.rows.size > 1 and far:
        raise ShapeError(
            f"rows of a view of {view.tensor} are {expr(r.rows.step)} elements apart, "
            f"a load into {space.name.upper()} takes up to {most}"
        )
    return buffer, slot, r


def transfer(
    ctx: Context,
    env: Env,
    ref: ir.Ref,
    view: ir.View,
    call: str,
    fills: tuple[str, ...] = (),
    scale: str = "",
) -> list[str]:
    """A load (``call`` = TLOAD) or store (TSTORE, add_to), whole or partial; ``fills``: the dimensions in which
    a load writes zero for what does not exist; ``scale``: the last argument of a store."""
    buffer, slot, r = moved_parts(ctx, env, ref, view)
    name, dtype = buffer.name, ctx.kernel.param(view.tensor).dtype
    row_count, rows, less_r, some_r = clipped(ctx, env, f"{name}_rows", r.rows)
    col_count, cols, less_c, some_c = clipped(ctx, env, f"{name}_cols", r.cols)
    fewer = [v.isdigit() and v != str(s.size) for v, s in ((rows, r.rows), (cols, r.cols))]
    whole = not (any(fewer) or some_r or some_c)
    if r.pages and ctx.target.spaces[buffer.space].is_boxed:
        body = by_pages(ctx, env, ref, r, (rows, cols), dtype, call, scale)
    else:
        layout = "DN" if ctx.tile_class(buffer).turned else "ND"
        gm_lines, gm = global_tensor(ctx, env, buffer.name, dtype, r, (rows, cols), layout)
        part_lines, part = ([], slot) if whole else part_of(ctx, buffer, slot, (rows, cols))
        body = [*gm_lines, *part_lines, in_order(call, part, gm, scale)]
    if whole:
        return body
    lines = [*row_count, *col_count]
    sides = list(zip(DIMS, fewer, (less_r, less_c), strict=True))
    sure = any(less for dim, less, _ in sides if dim in fills)
    tests = [t for dim, _, found in sides if dim in fills for t in found]
    if sure or tests:  # the device leaves the rest of the tile as it was
        zero = f"TEXPANDS({slot}, {literal(ZERO, buffer.type.dtype, env)});"
        lines += where_so([] if sure else tests, [zero, "pipe_barrier(PIPE_MTE2);"], " || ")
    is_open = call == "TLOAD" and any(s or t for dim, s, t in sides if dim not in fills)
    rest = [f"nothing_loaded({slot});"] * is_open
    if "0" in (rows, cols):
        return lines + rest
    some = some_r + some_c
    loaded = where_so(some, body, " && ")
    if some and rest:
        loaded[-1:] = ["} else {", *indented(rest), "}"]
    return lines + loaded


def by_pages(
    ctx: Context,
    env: Env,
    ref: ir.Ref,
    r: Region,
    valid: tuple[str, str],
    dtype: str,
    call: str,
    scale: str,
    at: int = 0,
) -> list[str]:
    """The rows of a tile in boxes from ``at`` on, part after part: each is a tile that begins so many rows further, with
    boxes as far apart."""
    assert r.pages
    buffer, page = ctx.kernel.buffer(ref.name), ctx.names.fresh("page")
    width = BOX_ROWS * DTYPE_BYTES[buffer.type.dtype] if buffer.space == "l0c" else UNIT_BYTES
    counts, layout = (str(r.together), valid[1]), "DN" if ctx.tile_class(buffer).turned else "ND"
    first = f"{r.first} + {page} * {scalar(r.pages.step, env, 3)}"
    one = Region(first, replace(r.rows, size=r.together, valid=None), r.cols)
    gm_lines, gm = global_tensor(ctx, env, buffer.name, dtype, one, counts, layout)
    begin = ctx.address(ref, env) + (f" + {at * width}" if at else "")
    begin += f" + {page} * {r.together * width}"
    lines, part = part_of(ctx, buffer, "", counts, at=begin)
    moved = in_order(call, part, gm, scale)
    if call == "TLOAD":
        moved = f"rows_loaded<{r.together}>({part}, {gm}, 0);"
    body = [*gm_lines, *lines, moved]
    return braced(f"for (int64_t {page} = 0; {page} < {pages_of(valid[0], r)}; ++{page})", body)


def where_so(tests: list[str], body: list[str], joint: str) -> list[str]:
    """``body`` under its tests; without any it always runs."""
    return braced(f"if ({joint.join(tests)})", body) if tests else body


def in_order(call: str, tile: str, gm: str, scale: str) -> str:
    """The transfer call; a store names its destination, the GM side, first."""
    last = f", {scale}{', 0' if call == scales.CALL else ''}" if scale else ""
    return f"{call}({tile}, {gm});" if call == "TLOAD" else f"{call}({gm}, {tile}{last});"


def load(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    if scales.is_pairs(row.result(ir.Ref), ctx):
        kind = ctx.kernel.buffer(row.result(ir.Ref).name).type
        r = region(row.operand(ir.View), (kind.rows, kind.cols), ctx, env)
        return scales.loaded(row, r.first, r.rows, ctx, env)
    return transfer(ctx, env, row.result(ir.Ref), row.operand(ir.View), "TLOAD", filled(row))


def gather(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Region after region into the rows of one tile."""
    return gather_in_ub(row, ctx, env) if row.core == "vector" else gather_in_l1(row, ctx, env)


def gather_in_ub(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Each into a tile of its own there, on the rows that are its."""
    ref, at, lines = row.result(ir.Ref), 0, list[str]()
    whole = ctx.kernel.buffer(ref.name)
    for view in (a for a in row.args if isinstance(a, ir.View)):
        rows = rows_of(view, whole.type.cols)
        mine = replace(whole, type=replace(whole.type, rows=rows))
        r = region(view, (mine.type.rows, mine.type.cols), ctx, env)
        valid = str(mine.type.rows), str(mine.type.cols)
        dtype = ctx.kernel.param(view.tensor).dtype
        gm_lines, gm = global_tensor(ctx, env, whole.name, dtype, r, valid, "ND")
        begin = ctx.address(ref, env) + (f" + {at}" if at else "")
        part_lines, name = part_of(ctx, mine, "", valid, at=begin)
        lines += ["{", *indented([*gm_lines, *part_lines, f"TLOAD({name}, {gm});"]), "}"]
        at += mine.type.size_bytes
    return lines


def gather_in_l1(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Behind zeros where any may be partial."""
    ref, at = row.result(ir.Ref), 0
    counts: list[str] = []
    tests: list[str] = []
    loads: list[str] = []
    for view in (a for a in row.args if isinstance(a, ir.View)):
        name, whole = ref.name, ctx.kernel.buffer(ref.name).type
        r = region(view, (rows_of(view, whole.cols), whole.cols), ctx, env)
        row_count, rows, less_r, some_r = clipped(ctx, env, f"{name}_rows", r.rows)
        col_count, cols, less_c, some_c = clipped(ctx, env, f"{name}_cols", r.cols)
        counts += [*row_count, *col_count]
        tests += [*less_r, *less_c]
        body = gathered(ctx, env, ref, view, r, (rows, cols), at)
        some = some_r + some_c
        loads += where_so(some, body, " && ") if some else ["{", *indented(body), "}"]
        at += r.rows.size
    if not tests:
        return loads
    dtype = ctx.kernel.buffer(ref.name).type.dtype
    zero = f"TEXPANDS({ctx.slot(ref, env)}, {literal(ZERO, dtype, env)});"
    return [*counts, *where_so(tests, [zero, "pipe_barrier(PIPE_MTE2);"], " || "), *loads]


def gathered(
    ctx: Context, env: Env, ref: ir.Ref, view: ir.View, r: Region, valid: tuple[str, str], at: int
) -> list[str]:
    """One region into the rows from ``at`` on: a tile that begins there, so many units further, and whose boxes
    of one row are as far apart as the whole tile is high; or part after part of it."""
    if r.pages:
        dtype = ctx.kernel.param(view.tensor).dtype
        return by_pages(ctx, env, ref, r, valid, dtype, "TLOAD", "", at)
    whole = ctx.kernel.buffer(ref.name)
    turned = ctx.tile_class(whole).turned
    dtype = ctx.kernel.param(view.tensor).dtype
    gm_lines, gm = global_tensor(ctx, env, whole.name, dtype, r, valid, "DN" if turned else "ND")
    begin = ctx.address(ref, env) + (f" + {at * UNIT_BYTES}" if at else "")
    lines, name = part_of(ctx, whole, "", valid, at=begin)
    return [*gm_lines, *lines, f"rows_loaded<{r.rows.size}>({name}, {gm}, 0);"]


def store(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Out of L0C perhaps times a scale, or one of every column."""
    view, scale = row.result(ir.View), ""
    call = "add_to" if row.adds else OPS[row.op].instruction["tile"]
    for given in row.scales:
        call = scales.CALL if isinstance(given, ir.Ref) else call
        scale = scales.argument(given, ctx.kernel.param(view.tensor).dtype, ctx, env)
    return transfer(ctx, env, row.operand(ir.Ref), view, call, scale=scale)
