"""Scales of columns: from GM to L1, from there to the fixpipe buffer, and into the store that multiplies.

In: rows on tiles of pairs (``pto/scales.py``).  Out: C++ lines.  The library takes a pair for one element of 64 bits,
and all pairs for one row.  Non-goals: a scale of all columns (``lowering/ascend/transfers.py``).
"""

from __future__ import annotations

from lowering.ascend.text import Context, Env, braced, literal, scalar
from pto import ir
from pto.errors import ShapeError
from pto.text import expr
from pto.types import PAIR
from pto.views import Axis

CALL = "stored_by_columns"


def is_pairs(ref: ir.Ref, ctx: Context) -> bool:
    """Whether a tile is scales of columns."""
    return ctx.kernel.buffer(ref.name).layout == "pairs"


def loaded(row: ir.Row, first: str, pairs: Axis, ctx: Context, env: Env) -> list[str]:
    """A load into L1.  ``first``: of the region in GM.

    Raises:
        ShapeError: when words of something else lie between the pairs.
    """
    out, view = row.result(ir.Ref), row.operand(ir.View)
    if pairs.step != ir.Const(PAIR):
        message = f"scales of a view of {view.tensor} are {expr(pairs.step)} elements apart"
        raise ShapeError(f"{message}; they are the rows of a tensor i32[n, {PAIR}]", row.loc)
    slot, name = ctx.slot(out, env), ctx.kernel.buffer(out.name).name
    most, gm = pairs.size, ctx.names.fresh(f"{name}_gm")
    words = f"reinterpret_cast<__gm__ uint64_t *>({first})"
    if pairs.valid is None or (isinstance(pairs.valid, ir.Const) and pairs.valid.value >= most):
        return [f"GmRows<uint64_t, 1, {most}, {most}> {gm}({words});", f"TLOAD({slot}, {gm});"]
    count, part = ctx.names.fresh(f"{name}_count"), ctx.names.fresh(f"{name}_part")
    given = "DYNAMIC"
    some = [
        f"GmRows<uint64_t, 1, {given}, {most}> {gm}({words}, {{{count}}});",
        f"L1Scales<{most}, {given}> {part}({count});",
        f"TRESHAPE({part}, {slot});",
        f"TLOAD({part}, {gm});",
    ]
    lines = braced(f"if ({count} > 0)", some)
    lines[-1:] = ["} else {", f"    nothing_loaded({slot});", "}"]
    return [f"const int64_t {count} = clipped({scalar(pairs.valid, env)}, {most});", *lines]


def moved(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    """L1 to the fixpipe buffer."""
    return [f"TMOV({ctx.slot(row.result(ir.Ref), env)}, {ctx.slot(row.operand(ir.Ref), env)});"]


def argument(given: ir.Expr | ir.Ref, dtype: str, ctx: Context, env: Env) -> str:
    """The last argument of a store to a tensor of ``dtype``; of a number the library takes the bits, and whether the
    result has a sign."""
    if isinstance(given, ir.Ref):
        return ctx.slot(given, env)
    return f"scale_bits({literal(given, 'f32', env)}, {'true' if dtype == 'i8' else 'false'})"
