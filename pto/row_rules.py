"""One row against its row of ``pto/ops.py``: arity and kinds of its operands, its place, its types.

In: a row, and the types of its tiles.  Out: nothing, or a ``LegalityError`` at its line.  Invariant: what
no table accepts is refused.  Non-goals: names, and whatever more than one row is needed to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from pto import folds, ir
from pto.conversions import DIRECT, rounds
from pto.errors import LegalityError
from pto.limits import within
from pto.ops import (
    DEBUG,
    DTYPE,
    ELEMENT,
    EVERY,
    FILL,
    FILLS,
    FORMS,
    LARGEST_AT_ONCE,
    NUMBER,
    OPS,
    PIPE,
    QUEUE,
    ROUNDING,
    ROUNDINGS,
    SCALAR,
    SCHEDULED,
    SUM_OF,
    TEXT,
    TILE,
    TRACED,
    UPDATE,
    UPDATES,
    VIEW,
    Op,
    form_of,
)
from pto.ops import Operand as Wanted
from pto.targets import Target
from pto.types import BOX_ROWS, DTYPE_BYTES, INTEGERS, UNIT_BYTES, TileType, box_unit, holds

# ------------------------------------------------------------------------------------ operands


def kind_of(x: ir.Operand | ir.Output) -> str:
    """What an operand or a result is, in the words of ``pto/ops.py``."""
    if isinstance(x, ir.View):
        return VIEW if x.spans else ELEMENT
    if isinstance(x, ir.Word):
        kinds = ((DTYPE, DTYPE_BYTES), (FILL, FILLS), (ROUNDING, ROUNDINGS), (UPDATE, UPDATES))
        return next((kind for kind, words in kinds if x.name in words), PIPE)
    if isinstance(x, ir.Text):
        return TEXT
    if isinstance(x, ir.Ref | ir.Define):
        return TILE
    if isinstance(x, ir.Queue):
        return QUEUE
    return NUMBER if isinstance(x, ir.Const) else SCALAR


def fits(kind: str, wanted: Wanted) -> bool:
    """A number is a scalar."""
    return kind in wanted.kinds or (kind == NUMBER and SCALAR in wanted.kinds)


@cache
def places_of(op: str, form: str) -> tuple[list[Wanted], int]:
    """The operands that a row of ``form`` can have, and how many of them it must."""
    known = [a for a in EVERY[op].args if FORMS.index(a.start) <= FORMS.index(form)]
    return known, sum(a.needed for a in known)


def touched(
    row: ir.Row, adds: Callable[[ir.Expr], bool] = lambda test: True
) -> tuple[tuple[ir.Operand, ...], tuple[ir.Operand | ir.Output, ...]]:
    """(what a row reads, what it writes: its result, then its scratch).

    ``adds``: says of the test of a matmul whether it holds, and so whether the product is added to
    a tile, which is read; by default it may be.
    """
    op, reads = OPS[row.op], row.args
    writes: tuple[ir.Operand | ir.Output, ...] = () if row.out is None else (row.out,)
    if op.scratch and len(reads) == len(op.args):
        return reads[:-1], (*writes, reads[-1])
    if row.op == "matmul" and isinstance(reads[-1], ir.Expr) and not adds(reads[-1]):
        return reads[:2], writes
    return reads, writes


def filled(row: ir.Row) -> tuple[str, ...]:
    """The dimensions, of rows and cols, in which a load writes zero for what does not exist."""
    if row.core == "vector":
        return ()  # UB keeps what it held; a ``pad`` writes the zeros
    return FILLS[row.operand(ir.Word, 1).name] if len(row.args) > 1 else ("rows", "cols")


def check_operands(row: ir.Row, form: str) -> None:
    """Arity and kinds of the operands and of the result.

    Raises:
        LegalityError: when the row does not fit its op.
    """
    op = EVERY.get(row.op)
    if op is None:
        raise LegalityError(f"'{row.op}' is not an op", row.loc)
    if op.name in DEBUG and form != TRACED:
        raise LegalityError(f"{row.op} belongs to a traced program", row.loc)
    if FORMS.index(op.start) > FORMS.index(form):
        raise LegalityError(f"{row.op} belongs to a scheduled program", row.loc)
    wanted, least = places_of(row.op, form)
    if not least <= len(row.args) <= len(wanted):
        names = [" or ".join(w.kinds) for w in wanted]
        takes = ", ".join(names[:least]) or "no operand"
        takes += f" and at most {', '.join(names[least:])}" if names[least:] else ""
        raise LegalityError(f"{row.op} takes {takes}, found {len(row.args)} operands", row.loc)
    for k, (x, w) in enumerate(zip(row.args, wanted, strict=False)):
        if not fits(kind_of(x), w):
            message = f"operand {k + 1} is {' or '.join(w.kinds)}, found {kind_of(x)}"
            raise LegalityError(f"{row.op}: {message}", row.loc)
        if isinstance(x, ir.Ref) and x.transposed and form not in w.turned:
            raise LegalityError(f"{row.op}: operand {k + 1} cannot be transposed", row.loc)
    if row.op == "store" and (ir.SCALED in row.args) != bool(row.scales):
        raise LegalityError("store: 'scaled' and a scale belong together", row.loc)
    if row.op == "fold" and (why := folds.misfit(row)):
        raise LegalityError(f"fold takes its steps, where it ends, {why}", row.loc)
    if op.out is None or row.out is None:
        if op.out is not None or row.out is not None:
            wants = op.out.kinds[0] if op.out else "nothing"
            raise LegalityError(f"{row.op} gives {wants}", row.loc)
        return
    if isinstance(row.out, ir.Ref) and (form != SCHEDULED or row.out.transposed):
        raise LegalityError(f"'{row.out.name}' cannot be written like that", row.loc)
    if kind_of(row.out) not in op.out.kinds or (
        form == SCHEDULED and isinstance(row.out, ir.Define)
    ):
        name = getattr(row.out, "name", "")
        if TILE in op.out.kinds and form == SCHEDULED:
            raise LegalityError(f"'{name}' is not a buffer", row.loc)
        raise LegalityError(f"{row.op} gives {op.out.kinds[0]}, which '{name}' is not", row.loc)


def check_rows(kernel: ir.Kernel) -> None:
    """``check_operands`` of every row on a core: who reads operands by their place may rely on it.

    Raises:
        LegalityError: for the first row that does not fit its op.
    """
    for row in ir.all_rows(kernel.body):
        if row.core:
            check_operands(row, SCHEDULED)


def view_types(view: ir.View, param: ir.Param, form: str) -> list[TileType]:
    """The types of tile that a view can be: one kept dimension is a row, or on a core a column."""
    sizes = [s.size for s in view.spans]
    if len(sizes) == 1:
        found = [TileType(param.dtype, 1, sizes[0])]
        return found + [TileType(param.dtype, sizes[0], 1)] * (form == SCHEDULED)
    return [TileType(param.dtype, sizes[0], sizes[1])] if len(sizes) == 2 else []


def on_core(row: ir.Row, target: Target) -> None:
    """Raises LegalityError unless the row's core and pipe can run it."""
    op = EVERY.get(row.op)
    if op is None:
        raise LegalityError(f"'{row.op}' is not an op", row.loc)
    if row.core not in ir.CORES:
        raise LegalityError(f"{row.op} has no core, but other rows have one", row.loc)
    if row.pipe != "ALL" and target.pipe_of(row.core, row.pipe) is None:
        raise LegalityError(f"{row.op}: the {row.core} core has no pipe {row.pipe}", row.loc)
    able = op.on.get(row.core, ())
    if row.pipe not in able or (row.op == "barrier" and row.pipe not in _stopped(row.core, target)):
        known = " or ".join(_stopped(row.core, target) if row.op == "barrier" else able)
        where = f"it runs on {known}" if known else "that core has nothing to run it"
        message = f"{row.op} cannot run on pipe '{row.pipe}' of core '{row.core}': {where}"
        raise LegalityError(message, row.loc)
    if len(row.args) > 1 and kind_of(row.args[1]) == FILL and row.core == "vector":
        raise LegalityError("a load into UB fills nothing: a pad behind it does", row.loc)
    for x in row.args:
        if isinstance(x, ir.Word) and kind_of(x) == PIPE:
            if x.name == "S" or target.pipe_of(row.core, x.name) is None:
                raise LegalityError(f"{row.op}: the {row.core} core has no pipe {x.name}", row.loc)
    if why := within("shift", row.shift):
        raise LegalityError(f"a shift: {why}", row.loc)


def _stopped(core: str, target: Target) -> list[str]:
    """The pipes of a core that a barrier can stop."""
    return [*(p.name for p in target.pipes.values() if core in p.cores and p.barrier), "ALL"]


# --------------------------------------------------------------------------------------- types


def seen(x: ir.Ref, t: TileType) -> TileType:
    return TileType(t.dtype, t.cols, t.rows) if x.transposed else t


Types = list[TileType]
UNIT = UNIT_BYTES // DTYPE_BYTES["i32"]
"""Elements of 32 bits in a unit of UB."""


def _product(row: ir.Row, out: TileType, args: Types) -> str:
    a, b, *acc = args
    want, unit = TileType(SUM_OF[a.dtype], a.rows, b.cols), box_unit(a.dtype)
    if a.cols != b.rows or a.dtype != b.dtype or out != want or acc not in ([], [want]):
        return f"[m, k] @ [k, n] of one dtype gives {want}"
    if a.rows % BOX_ROWS or b.cols % BOX_ROWS or a.cols % unit:
        inner = f", the inner one of {a.dtype} of {unit}" if unit > BOX_ROWS else ""
        return f"the matmul unit takes every size in multiples of {BOX_ROWS}{inner}"
    return ""


def _reduced(row: ir.Row, out: TileType, args: Types) -> str:
    (x,) = args
    made, what = (x.column, "column") if OPS[row.op].along == "cols" else (x.row, "row")
    if OPS[row.op].along == "rows" and x.cols == 1:
        return "a tile of one column lies down, as one row would: there are no rows to join"
    return "" if out == made else f"the result has one {what}"


def _converted(row: ir.Row, out: TileType, args: Types) -> str:
    (x,) = args
    if replace(out, dtype=x.dtype) != x or row.args[1] != ir.Word(out.dtype):
        return "shape and dtype must follow the operands"
    if out.dtype not in DIRECT[x.dtype]:
        return f"no instruction converts {x.dtype} to {out.dtype}"
    if len(row.args) > 2 and not rounds(x.dtype, out.dtype):
        return f"a named rounding is of floats to integers, not of {x.dtype} to {out.dtype}"
    return ""


def _elementwise(row: ir.Row, out: TileType, args: Types) -> str:
    x, *rest = args
    forms = (x, x.column, x.row)
    if out != x or any(y not in forms for y in rest):
        return "the second operand must be a tile of that shape, [rows, 1], [1, cols] or a scalar"
    lacking = OPS[row.op].kind == "binary" and any(
        form_of((out.rows, out.cols), (y.rows, y.cols)) not in OPS[row.op].instruction for y in rest
    )
    return "the second operand must be a tile of that shape, or a scalar" if lacking else ""


def _shifted(row: ir.Row, out: TileType, args: Types) -> str:
    (x,), count = args, row.args[1]
    bits = 8 * DTYPE_BYTES[x.dtype]
    if not isinstance(count, ir.Const) or not 0 <= count.value < bits:
        return f"the elements of an {x.dtype} tile are shifted by 0 to {bits - 1}"
    return "" if out == x else "the result is like the operand"


def _selected(row: ir.Row, out: TileType, args: Types) -> str:
    """(a, b, x, y), of which b may be a scalar."""
    a, *b, x, y = args
    if a.dtype == "i32" and row.op != "select_eq":
        return "the vector unit orders floats only"
    if x != out or y != out or any(t != a for t in b):
        return "what is compared is of one type, and so is what is chosen from and the result"
    return "" if replace(a, dtype=out.dtype) == out else "all shapes are one"


def _expanded(row: ir.Row, out: TileType, args: Types) -> str:
    (x,) = args
    return (
        ""
        if x in (out.column, out.row) and x != out
        else "a [rows, 1] or a [1, cols] tile becomes [rows, cols]"
    )


def _numbered(row: ir.Row, out: TileType, args: Types) -> str:
    """A line of a tile, as the vector unit counts it."""
    return "" if 1 in (out.rows, out.cols) else "the result is one row or one column"


def _ordered(row: ir.Row, out: TileType, args: Types) -> str:
    x, numbers = args
    if x.dtype != "f32" or x.cols % LARGEST_AT_ONCE:
        return f"it orders rows of f32, of a multiple of {LARGEST_AT_ONCE} elements"
    if numbers != replace(x.row, dtype="i32"):
        return "the numbers are one row of i32, one for each column"
    fits = replace(out, cols=x.cols) == replace(x, dtype="i32") and out.cols <= x.cols
    return "" if fits and out.cols % UNIT == 0 else f"the result has its rows, a multiple of {UNIT} of the numbers in each"  # fmt: skip


def _taken(row: ir.Row, out: TileType, args: Types) -> str:
    x, places = args
    right = replace(places, cols=x.cols) == replace(x, dtype="i32")
    if not right or out != replace(places, dtype=x.dtype):
        return "the places are i32, with the rows of x, and say the shape of the result"
    return f"rows of a multiple of {UNIT} elements" if x.cols % UNIT or out.cols % UNIT else ""


def _summed(row: ir.Row, out: TileType, args: Types) -> str:
    if args != [out]:
        return "the result is a tile like the operand"
    return "" if out.cols % BOX_ROWS == 0 else f"rows of a multiple of {BOX_ROWS} elements"


def _turned(row: ir.Row, out: TileType, args: Types) -> str:
    (x,) = args
    made = x.turned if row.core else TileType(x.dtype, x.cols, x.rows)
    if out != made:
        return "the rows of the operand are the columns of the result"
    whole = 1 in (x.rows, x.cols) or out.cols % BOX_ROWS == 0
    return "" if whole else f"columns of a multiple of {BOX_ROWS}"


def _same(row: ir.Row, out: TileType, args: Types) -> str:
    return "" if args == [out] else "the result is the operand in another place"


Corner = tuple[int, int]
"""Where a part begins: row, column."""


def corner(row: ir.Row) -> Corner:
    """Where a ``part`` or a ``put`` begins; before the tile, where that is no number."""
    at, to = (e.value if isinstance(e, ir.Const) else -1 for e in row.args[-2:])
    return int(at), int(to)


def in_boxes(x: TileType, part: TileType, at: Corner) -> bool:
    """Whether L1 can be left by a part of a tile: whole boxes, whichever way it lies."""
    unit = box_unit(x.dtype)
    return not any(n % unit for n in at) and (part.rows == x.rows or x.rows % unit == 0)


def in_units(x: TileType, part: TileType, at: Corner) -> bool:
    """Whether a part of a tile in UB begins and ends at whole units of its rows; a column lies as one row."""
    unit, lying = UNIT_BYTES // DTYPE_BYTES[x.dtype], x.cols == 1
    begin, size, whole = (
        (at[0], part.rows, x.rows) if lying else (at[1], part.cols, x.cols)
    )  # fmt: skip
    return (begin, size) == (0, whole) or (begin % unit, size % unit) == (0, 0)


def _placed(x: TileType, part: TileType, at: Corner) -> str:
    """What is wrong with a part of a tile, wherever that is."""
    if part.dtype != x.dtype:
        return "it keeps the dtype"
    if min(at) < 0:
        return "it begins at a row and a column of the tile"
    if at[0] + part.rows > x.rows or at[1] + part.cols > x.cols:
        return "it ends beyond the tile"
    return ""


def _inside(row: ir.Row, out: TileType, args: Types) -> str:
    (x,), at = args, corner(row)
    if why := _placed(x, out, at):
        return why
    if row.core == "cube":
        unit = box_unit(x.dtype)
        return "" if in_boxes(x, out, at) else f"it begins and ends at multiples of {unit}"
    return "" if in_units(x, out, at) else IN_UNITS


IN_UNITS = f"in UB rows are cut at whole units of {UNIT_BYTES} bytes"


def _put(row: ir.Row, out: TileType, args: Types) -> str:
    (x, y), at = args, corner(row)
    if out != x or (y.rows, y.cols) == (x.rows, x.cols):
        return "the result is like x, and y is smaller"
    if why := _placed(x, y, at):
        return why
    return "" if in_units(x, y, at) else IN_UNITS


def _concatenated(row: ir.Row, out: TileType, args: Types) -> str:
    below = args[0].cols == out.cols
    at = [0, 0]
    for t in args:
        if why := _placed(out, t, (at[0], at[1])):
            return why
        if (t.cols != out.cols) if below else (t.rows != out.rows):
            return "tiles one below the other have the columns of the result, those side by side its rows"
        if not in_units(out, t, (at[0], at[1])):
            return IN_UNITS
        at[0 if below else 1] += t.rows if below else t.cols
    ends = out.rows if below else out.cols
    return "" if at[0 if below else 1] == ends else "the result has all of every tile"


def crossed(op: Op, tiles: Types) -> tuple[str, ...]:
    """The dimensions in which an element of the result may come from another place: a lane needs all of them."""
    if not op.places:
        return (op.along,) if op.along else ()
    sizes = {"rows": {t.rows for t in tiles}, "cols": {t.cols for t in tiles}}
    return tuple(dim for dim, found in sizes.items() if len(found) > 1)


def _on_lanes(op: Op, tiles: Types) -> str:
    """What is wrong with how the lanes share the tiles of a row, its result the last."""
    shares = dict.fromkeys(t.share for t in (tiles if op.places else tiles[:1]))
    if len(shares) > 1:
        return "the lanes share its tiles in several ways"
    dim = next((d for d in crossed(op, tiles) if d in shares), "")
    if not dim:
        return ""
    verb = "moves elements along" if op.places else "joins"
    return f"it {verb} {dim}, of which each lane has a part only"


def _of_integers(place: tuple[ir.Operand, Wanted], dtype: str) -> str:
    """A number that becomes an element of a tile of integers is one."""
    x, wanted = place
    if not isinstance(x, ir.Expr) or wanted.whole:
        return ""
    if ir.is_float(x):
        return f"the elements of an {dtype} tile are integers"
    fits = not isinstance(x, ir.Const) or holds(dtype, x.value)
    return "" if fits else f"the elements of an {dtype} tile have {8 * DTYPE_BYTES[dtype]} bits"


TypeRule = Callable[[ir.Row, TileType, Types], str]
TYPES: Mapping[str, TypeRule] = MappingProxyType(
    {
        "matmul": _product,
        "reduce": _reduced,
        "astype": _converted,
        **dict.fromkeys(("left_shift", "right_shift"), _shifted),
        "unary": _elementwise,
        "binary": _elementwise,
        "select": _selected,
        "expand": _expanded,
        "iota": _numbered,
        "largest": _ordered,
        "take": _taken,
        "cumsum": _summed,
        "transpose": _turned,
        "move": _same,
        "part": _inside,
        "concat": _concatenated,
        "put": _put,
    }
)
"""Op, or kind of op that takes tiles -> what is wrong with the types of a row that makes a tile."""


def check_types(row: ir.Row, out: TileType | None, args: Types) -> None:
    """Types of the tiles of a row: of its result, and of its operands from left to right.

    Raises:
        LegalityError: when they do not fit the op.
    """
    op = EVERY[row.op]
    spares = args[-1:] if op.scratch and len(row.args) == len(op.args) else []
    values = args[: len(args) - len(spares)]
    why = ""
    for t in (*values, *([] if out is None else [out])):
        if t.dtype not in op.dtypes and not (row.op == "matmul" and t is not args[0]):
            why = f"it takes {', '.join(op.dtypes)}"
    if not why and out is not None and out.dtype in INTEGERS and not op.compares:
        places = zip(row.args, op.args, strict=False)
        why = next(filter(None, (_of_integers(place, out.dtype) for place in places)), "")
    if not why and row.core == "vector" and out is not None:
        why = _on_lanes(op, [*values, out])
    rule = TYPES.get(row.op) or (TYPES.get(op.kind) if values else None)
    if not why and out is not None and rule is not None:
        why = rule(row, out, values)
    if not why and any(t != op.spare(values) for t in spares):
        why = f"the scratch tile is {op.spare(values)}"
    if why:
        found = ", ".join(map(str, args))
        raise LegalityError(f"{row.op}: {why}; operands {found}, result {out}", row.loc)
