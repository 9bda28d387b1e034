"""One op, one row: the C++ lines of every op of a scheduled program.

In: a ``Row`` of one core and the places of the scalars it reads.  Out: C++ lines.  Invariant: each
op of ``pto.ops.OPS`` has exactly one emitter here, none knows a kernel.  Rules marked [dev] in
docs/machine.md 12 hold besides those of the library's CPU simulator; where they differ, the text
suits both.  Non-goals: order, waits and sets of rows (``lowering/ascend/source.py`` writes those around the op).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from lowering.ascend import scales
from lowering.ascend.scalars import ZERO, fold, let, read
from lowering.ascend.text import (
    CPP_TYPE,
    Context,
    Env,
    condition,
    indented,
    literal,
    row_view,
    scalar,
    stored_shape,
)
from lowering.ascend.transfers import gather, load, part_of, store
from lowering.ascend.watch import debug_check, debug_print
from pto import ir
from pto.conversions import narrows
from pto.errors import ScheduleError
from pto.ops import OPS, form_of
from pto.row_rules import Corner, corner
from pto.text import expr
from pto.types import INTEGERS

Emitter = Callable[[ir.Row, Context, Env], list[str]]
DIMS = ("rows", "cols")


# ------------------------------------------------------------------------------------ moves


def move(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """L1 to L0, the whole tile or a part.  A tile in nz has the bytes of its transpose in zn: ``.T`` is an alias."""
    source, out = row.operand(ir.Ref), ctx.slot(row.result(ir.Ref), env)
    stored = ctx.kernel.buffer(source.name)
    slot = ctx.slot(source, env)
    wanted = "zn" if source.transposed else "nz"
    at = "".join(f", {scalar(e, env)}" for e in row.args[1:] if isinstance(e, ir.Expr))
    call = OPS[row.op].instruction["tile"]
    if stored.layout == wanted:
        return [f"{call}({out}, {slot}{at});"]
    name = ctx.names.fresh(f"{source.name}_t")
    alias = f"{ctx.tile_type(replace(stored, layout=wanted))} {name};"
    return [alias, f"TRESHAPE({name}, {slot});", f"{call}({out}, {name}{at});"]


def part(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Out of L1, or of another tile in UB."""
    if row.core == "cube":
        return move(row, ctx, env)
    out, x = row.result(ir.Ref), row.operand(ir.Ref)
    at = place_in(ctx, x, corner(row))
    return [
        f"{OPS[row.op].instruction['tile']}({ctx.row_slot(out, env)}, {ctx.row_slot(x, env)}, {at});"
    ]


def push(row: ir.Row, ctx: Context, env: Env, call: str = "TPUSH", more: str = "") -> list[str]:
    """A lane pushes what it has of the tile; of one that both hold, its half of the rows.  ``call``: what does it,
    with ``more`` arguments.  Where its pipe is silent, a push that tells of its tile has a signal behind it."""
    fifo, ref = row.queue, row.operand(ir.Ref)
    buffer, slot, lines = ctx.kernel.buffer(ref.name), ctx.slot(ref, env), list[str]()
    if buffer.core == "vector" and buffer.type.share == "both":
        half = replace(buffer, type=buffer.type.of_one(ctx.target.lanes, "rows"))
        begin = f"{ctx.address(ref, env)} + lane * {half.type.size_bytes}"
        valid = (str(half.type.rows), str(half.type.cols))
        lines, slot = part_of(ctx, half, "", valid, at=begin)
        buffer = half
    call = f"{call}<{ctx.pipe_type(fifo)}, {ctx.tile_type(buffer)}, {ctx.split(fifo)}>"
    pushed = [*lines, f"{call}({ctx.names.of('fifo', fifo)}, {slot}{more});"]
    return [*pushed, *record(row, ctx, env)] if row.op == "push" and ctx.is_silent(fifo) else pushed


def record(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return [f"signal({ctx.names.of('fifo', row.queue)}, 0);"]


def pop(row: ir.Row, ctx: Context, env: Env, call: str = "TPOP", more: str = "") -> list[str]:
    """The tile is loaded when TPOP is done in MTE2 order, so its FIFO slot is free at once.

    The device's TPOP says so itself and its TFREE does nothing; the CPU simulator needs the call.
    """
    fifo, ref = row.queue, row.result(ir.Ref)
    pipe, tile = ctx.pipe_type(fifo), ctx.tile_type(ctx.kernel.buffer(ref.name))
    name = ctx.names.of("fifo", fifo)
    return [
        f"{call}<{pipe}, {tile}, {ctx.split(fifo)}>({name}, {ctx.slot(ref, env)}{more});",
        f"TFREE<{pipe}, {ctx.split(fifo)}>({name});",
    ]


def passed_over(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """What is left of a row that does not work: the signals of a push or a pop, and its place in the FIFO."""
    return PASSED[row.op](row, ctx, env) if row.op in PASSED else []


# ------------------------------------------------------------------------------------- cube


def matmul(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """``a @ b``, added to the accumulator when there is one (and its test, if any, is not 0)."""
    out, a, b = (
        ctx.slot(r, env)
        for r in (row.result(ir.Ref), row.operand(ir.Ref, 0), row.operand(ir.Ref, 1))
    )
    plain = f"TMATMUL({out}, {a}, {b});"
    if len(row.args) == 2:
        return [plain]
    if ctx.slot(row.operand(ir.Ref, 2), env) != out:
        raise ScheduleError("matmul: the device accumulates in place only")
    adding = f"TMATMUL_ACC({out}, {out}, {a}, {b});"
    if len(row.args) == 3:
        return [adding]
    test = row.scalar(3)
    if isinstance(test, ir.Const):
        return [adding if test.value else plain]
    return [
        f"if ({condition(test, env)}) {{",
        *indented([adding]),
        "} else {",
        *indented([plain]),
        "}",
    ]


# ----------------------------------------------------------------------------------- vector


def shape_of(ctx: Context, ref: ir.Ref) -> tuple[int, int]:
    """Rows and columns of a slot on one lane."""
    t = ctx.kernel.buffer(ref.name).type
    return t.rows, t.cols


def unary_arithmetic(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Unary arithmetic: the result, the operand, and a scratch tile where the op has one."""
    slots = (ctx.row_slot(x, env) for x in (row.out, *row.args) if isinstance(x, ir.Ref))
    return [f"{OPS[row.op].instruction['tile']}({', '.join(slots)});"]


def binary_arithmetic(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Binary arithmetic: the operand form picks the instruction; a scratch tile comes last."""
    out, x = row.result(ir.Ref), row.operand(ir.Ref)
    calls = OPS[row.op].instruction
    assert shape_of(ctx, out) == shape_of(ctx, x), f"{row.op}: only the second operand may repeat"
    y = row.args[1]
    form = form_of(shape_of(ctx, out), shape_of(ctx, y) if isinstance(y, ir.Ref) else None)
    if not isinstance(y, ir.Ref):
        second = literal(row.scalar(1), ctx.kernel.buffer(out.name).type.dtype, env)
    else:
        second = ctx.slot(y, env) if form == "rows" else ctx.row_slot(y, env)
    scratch = [ctx.row_slot(row.operand(ir.Ref, 2), env)] if OPS[row.op].scratch else []
    given = [ctx.row_slot(out, env), ctx.row_slot(x, env), second, *scratch]
    return [f"{calls[form]}({', '.join(given)});"]


def reduction(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """The library wants as many stored rows in the source of a row reduction as in the result, filled up or not."""
    refs = [row.result(ir.Ref), *(a for a in row.args if isinstance(a, ir.Ref))]
    out, x, *scratch = (ctx.slot(r, env) for r in refs)
    call, op = OPS[row.op].instruction["tile"], OPS[row.op]
    if op.along == "rows":
        by_halves = ["true"] * op.scratch
        return [f"{call}({', '.join([out, x, *scratch, *by_halves])});"]
    source = ctx.kernel.buffer(row.operand(ir.Ref).name)
    if source.type.rows == 1:  # one number is a row as well as a column
        return [f"{call}({ctx.row_slot(row.result(ir.Ref), env)}, {x}, {scratch[0]});"]
    stored = stored_shape(ctx.kernel.buffer(row.result(ir.Ref).name), turned=False)[0]
    if stored == source.type.rows:
        return [f"{call}({out}, {x}, {scratch[0]});"]
    name = ctx.names.fresh(f"{source.name}_rows")
    t = source.type
    shape = ", ".join(map(str, (stored, t.cols, t.rows, t.cols)))
    return [
        f"Ub<{CPP_TYPE[t.dtype]}, {shape}> {name};",
        f"TASSIGN({name}, {ctx.address(row.operand(ir.Ref), env)});",
        f"{call}({out}, {name}, {scratch[0]});",
    ]


def selection(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """A comparison with a tile or with a scalar, and the choice by it."""
    slots = {k: ctx.row_slot(a, env) for k, a in enumerate(row.args) if isinstance(a, ir.Ref)}
    if 1 not in slots:
        dtype = ctx.kernel.buffer(row.operand(ir.Ref).name).type.dtype
        slots[1] = literal(row.scalar(1), dtype, env)
    way = "tile" if isinstance(row.args[1], ir.Ref) else "scalar"
    mode = f"CmpMode::{row.op.removeprefix('select_').upper()}"
    bits = ctx.address(row.operand(ir.Ref, 4), env)
    given = [ctx.row_slot(row.result(ir.Ref), env), slots[0], slots[1], mode, slots[2], slots[3]]
    return [f"select_by_{way}({', '.join(given)}, {bits});"]


def largest(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Row after row: the library merges the runs of one row."""
    x, numbers, scratch = (row.operand(ir.Ref, k) for k in range(3))
    sizes = (*shape_of(ctx, x), shape_of(ctx, row.result(ir.Ref))[1])
    return [of_rows("largest_of_rows", sizes, (row.result(ir.Ref), x, numbers, scratch), ctx, env)]


def take(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Row after row: places count from the start of a tile."""
    x, places = row.operand(ir.Ref), row.operand(ir.Ref, 1)
    sizes = (*shape_of(ctx, x), shape_of(ctx, places)[1])
    dtype = CPP_TYPE[ctx.kernel.buffer(x.name).type.dtype]
    return [of_rows("take_of_rows", (dtype, *sizes), (row.result(ir.Ref), x, places), ctx, env)]


def of_rows(
    function: str, sizes: tuple[int | str, ...], tiles: tuple[ir.Ref, ...], ctx: Context, env: Env
) -> str:
    """A call of a function that walks the rows of tiles from their addresses on."""
    given = ", ".join(ctx.address(t, env) for t in tiles)
    return f"{function}<{', '.join(map(str, sizes))}>({given});"


def cumsum(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    out, x = ctx.slot(row.result(ir.Ref), env), ctx.slot(row.operand(ir.Ref), env)
    return [f"running_sum({out}, {x}, {ctx.address(row.operand(ir.Ref, 1), env)});"]


def transpose(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """By way of whole boxes in the scratch tile; one row and one column have the same bytes."""
    out, x, scratch = row.result(ir.Ref), row.operand(ir.Ref), row.operand(ir.Ref, 1)
    calls = OPS[row.op].instruction
    if 1 in shape_of(ctx, x):
        return [f"{calls['line']}({ctx.row_slot(out, env)}, {ctx.row_slot(x, env)});"]
    tiles = ", ".join(ctx.slot(ref, env) for ref in (out, x, scratch))
    return [f"{calls['tile']}({tiles});"]


def iota(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    out, scratch = ctx.row_slot(row.result(ir.Ref), env), ctx.slot(row.operand(ir.Ref, 1), env)
    return [f"numbered({out}, static_cast<int32_t>({scalar(row.scalar(), env)}), {scratch}, 0);"]


def expand(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """A column is added to nothing, which -0 is of floats: the device's TROWEXPAND stops for every row."""
    out, x = row.result(ir.Ref), row.operand(ir.Ref)
    call = OPS[row.op].instruction
    if shape_of(ctx, x)[1] != 1:
        return [f"{call['cols']}({ctx.slot(out, env)}, {ctx.slot(x, env)});"]
    integers = ctx.kernel.buffer(out.name).type.dtype in INTEGERS
    nothing = ZERO if integers else ir.Const(-0.0)
    slot = ctx.row_slot(out, env)
    return [
        filling(ctx, env, out, nothing),
        "pipe_barrier(PIPE_V);",
        f"{call['rows']}({slot}, {slot}, {ctx.slot(x, env)});",
    ]


def astype(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """CAST_RINT is to the nearest, ties to even; CAST_ROUND takes ties away from zero.  To few bits the library
    cuts others off, if it is not told to saturate."""
    refs = row.result(ir.Ref), row.operand(ir.Ref)
    out, x = (ctx.row_slot(ref, env) for ref in refs)
    to = ctx.kernel.buffer(refs[0].name).type.dtype
    rounding = row.operand(ir.Word, 2).name if len(row.args) > 2 else "rint"
    mode = {"away": "ROUND"}.get(rounding, rounding.upper())
    saturates = ", SaturationMode::ON" if narrows(to) else ""
    return [f"TCVT({out}, {x}, RoundMode::CAST_{mode}{saturates});"]


def filling(ctx: Context, env: Env, ref: ir.Ref, value: ir.Expr) -> str:
    """Every element of a slot becomes ``value``."""
    dtype = ctx.kernel.buffer(ref.name).type.dtype
    return f"TEXPANDS({ctx.row_slot(ref, env)}, {literal(value, dtype, env)});"


def full(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return [filling(ctx, env, row.result(ir.Ref), row.scalar(0))]


def in_place(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Nothing, or the copy that lets an in-place op write another slot than it reads."""
    out, x = ctx.row_slot(row.result(ir.Ref), env), ctx.row_slot(row.operand(ir.Ref), env)
    return [] if out == x else [f"TMOV({out}, {x});", "pipe_barrier(PIPE_V);"]


def place_in(ctx: Context, ref: ir.Ref, at: Corner) -> str:
    """A row and a column of a slot, as arithmetic takes it: a column lies as one row."""
    row, col = at[::-1] if ctx.kernel.buffer(ref.name).layout == "dn" else at
    return f"{row}, {col}"


def inserted(row: ir.Row, ctx: Context, env: Env, tile: ir.Ref, at: Corner) -> str:
    """A tile into the result of a row."""
    out, call = row.result(ir.Ref), OPS[row.op].instruction["tile"]
    place = place_in(ctx, out, at)
    return f"{call}({ctx.row_slot(out, env)}, {ctx.row_slot(tile, env)}, {place});"


def concat(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """Tile after tile, to places that are apart: V need not wait for any of them."""
    tiles, whole = [a for a in row.args if isinstance(a, ir.Ref)], shape_of(ctx, row.result(ir.Ref))
    shapes = [shape_of(ctx, t) for t in tiles]
    axis, lines, at = int(shapes[0][1] != whole[1]), list[str](), 0
    for tile, shape in zip(tiles, shapes, strict=True):
        lines.append(inserted(row, ctx, env, tile, (0, at) if axis else (at, 0)))
        at += shape[axis]
    return lines


def put(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return [*in_place(row, ctx, env), inserted(row, ctx, env, row.operand(ir.Ref, 1), corner(row))]


PAD_VALUES = MappingProxyType({0.0: "Zero", -math.inf: "Min", math.inf: "Max"})


def pad_value(value: ir.Expr, dtype: str, env: Env) -> str:
    """The library's pad value for a constant.

    Raises:
        ScheduleError: when it is not known at compile time.
    """
    if not isinstance(value, ir.Const):
        raise ScheduleError(f"where fills with a constant, {expr(value)} is none")
    is_negative_zero = value == ir.Const(-0.0)
    named = None if is_negative_zero else PAD_VALUES.get(float(value.value))
    return f"PadValue::{named}" if named else f"PadValueCustom({literal(value, dtype, env)})"


@dataclass(frozen=True, slots=True)
class Bound:
    """One dimension of a fill: how many elements stay, of how many; a number is at most all of them."""

    kept: str
    size: int
    number: int | None = None

    @property
    def clipped(self) -> str:
        return self.kept if self.number is not None else f"min_of({self.kept}, {self.size})"


def bounds(
    ctx: Context, env: Env, buffer: ir.Buffer, counts: tuple[ir.Expr, ir.Expr]
) -> tuple[list[str], list[Bound]]:
    """(declarations, rows and columns to keep); a bound that is no plain name becomes one."""
    lines: list[str] = []
    found = []
    sizes = (buffer.type.rows, buffer.type.cols)
    for count, size, wish in zip(counts, sizes, ("rows", "cols"), strict=True):
        if isinstance(count, ir.Const):
            number = min(int(count.value), size)
            found.append(Bound(str(number), size, number))
            continue
        text = scalar(count, env)
        if not isinstance(count, ir.Var):
            name = ctx.names.fresh(f"{buffer.name}_{wish}")
            lines.append(f"const int64_t {name} = {text};")
            text = name
        found.append(Bound(text, size))
    return lines, found


def fill_outside(
    row: ir.Row, ctx: Context, env: Env, counts: tuple[ir.Expr, ir.Expr], value: ir.Expr
) -> list[str]:
    """``value`` outside the first ``counts`` rows and columns of a slot, in place.

    Nothing to keep: the whole slot is filled, as the library's padding wants at least one element
    that stays; everything to keep: nothing is done.
    """
    out = row.result(ir.Ref)
    buffer, slot = ctx.kernel.buffer(out.name), ctx.row_slot(out, env)
    if buffer.layout == "dn":  # a column is filled as one row
        buffer, counts = row_view(buffer), counts[::-1]
    declared, both = bounds(ctx, env, buffer, counts)
    partial = [b for b in both if b.number != b.size]
    open_ones = [b for b in partial if b.number is None]
    lines, everything = in_place(row, ctx, env), [filling(ctx, env, out, value)]
    if not partial:
        return lines
    if any(b.number is not None and b.number <= 0 for b in both):
        return [*lines, *everything]
    rows, cols = (b.clipped if len(partial) > 1 else b.kept for b in both)
    source, inside = part_of(ctx, buffer, slot, (rows, cols))
    whole = ctx.names.fresh(f"{buffer.name}_whole")
    padded = ctx.tile_type(buffer, pad=pad_value(value, buffer.type.dtype, env))
    fill = [*source, f"{padded} {whole};", f"TRESHAPE({whole}, {slot});"]
    fill.append(f"TFILLPAD_INPLACE({whole}, {inside});")
    if not open_ones:
        return [*lines, *fill]
    less = f" if ({' || '.join(f'{b.kept} < {b.size}' for b in open_ones)})"
    return [
        *lines,
        *declared,
        f"if ({' || '.join(f'{b.kept} <= 0' for b in open_ones)}) {{",
        *indented(everything),
        f"}} else{less if partial == open_ones else ''} {{",
        *indented(fill),
        "}",
    ]


def where(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    rows = ir.Const(ctx.kernel.buffer(row.result(ir.Ref).name).type.rows)
    return fill_outside(row, ctx, env, (rows, row.scalar(1)), row.scalar(2))


def pad(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    counts = (row.scalar(1), row.scalar(2))
    return fill_outside(row, ctx, env, counts, ZERO)


# ------------------------------------------------------------------------------------ order


def sync(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return []


def barrier(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return [f"pipe_barrier(PIPE_{row.pipe});"]


def drain(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    if not row.args:
        return []
    flag = f"PIPE_{row.operand(ir.Word).name}, PIPE_S, EVENT_ID{ctx.target.drain_id}"
    return [f"set_flag({flag});", f"wait_flag({flag});"]


def fence(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    return ["dsb(DSB_DDR);"]


OF_KIND: Mapping[str, Emitter] = MappingProxyType(
    {
        "unary": unary_arithmetic,
        "binary": binary_arithmetic,
        "reduce": reduction,
        "select": selection,
    }
)
"""Families of ops that differ in the instruction only."""
OF_OP: Mapping[str, Emitter] = MappingProxyType(
    {
        emitter.__name__: emitter
        for emitter in (
            read, let, fold, load, gather, store, move, part, push, record, pop, matmul, astype, full, iota, expand, where, pad, concat, put, largest, take, cumsum, transpose,
            sync, barrier, drain, fence, debug_check, debug_print,
        )
    }
    | {"scales": scales.moved, "push_data": push}
)  # fmt: skip
"""Ops with an emitter of their own, which is called as they are."""
PASSED: Mapping[str, Emitter] = MappingProxyType(
    {
        "push": partial(push, call="push_nothing", more=", 0"),
        "push_data": partial(push, call="push_nothing", more=", 0"),
        "pop": partial(pop, call="pop_nothing", more=", 0"),
    }
)
"""What goes on by one place although nothing moves."""
EMITTERS: Mapping[str, Emitter] = MappingProxyType(
    {op.name: OF_OP.get(op.name) or OF_KIND[op.kind] for op in OPS.values()}
)
"""Every op by name: its own emitter, else that of its family."""
