"""What rows that only watch become: calls of the library that print.

In: a ``debug_check`` or a ``debug_print`` of the vector core.  Out: C++ lines.  All pipes stop, then the scalar unit
reads and prints (docs/machine.md 12); a tile of which each lane has a part is told by both, with the number of the
lane in front, others by the first.  Integers are printed in 32 bits.
Non-goals: who reads what the device prints.
"""

from __future__ import annotations

import json

from lowering.ascend.text import FLOATS, Context, Env, braced, condition, indented, scalar
from pto import ir
from pto.row_rules import parted
from pto.texts import FAILED, pieces


def debug_check(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    first, text, *values = row.args
    assert isinstance(text, ir.Text)
    told = printed(FAILED, text.value, values, row, ctx, env)
    if isinstance(first, ir.Ref):
        t = ctx.kernel.buffer(first.name).type
        holds = f"all_of<{t.rows * t.cols}>({ctx.row_slot(first, env)})"
        return stopped(row, ctx, braced(f"if (!{holds})", told))
    assert isinstance(first, ir.Expr)
    return stopped(row, ctx, braced(f"if (!({condition(first, env)}))", told))


def debug_print(row: ir.Row, ctx: Context, env: Env) -> list[str]:
    text, *values = row.args
    assert isinstance(text, ir.Text)
    told = printed("", text.value, values, row, ctx, env)
    tiles = [
        f"TPRINT({ctx.slot(x, env)});" for x in values if isinstance(x, ir.Ref) and is_wide(x, ctx)
    ]
    return stopped(row, ctx, [*told, *tiles])


def stopped(row: ir.Row, ctx: Context, lines: list[str]) -> list[str]:
    """What is done once all pipes stand; of both lanes, as they stay in step."""
    own = lines if parted(row, ctx.kernel) else braced("if (lane == 0)", lines)
    return ["pipe_barrier(PIPE_ALL);", *own]


def is_wide(x: ir.Ref, ctx: Context) -> bool:
    """Whether a tile is more than one number."""
    t = ctx.kernel.buffer(x.name).type
    return t.rows * t.cols > 1


def printed(
    front: str, text: str, values: list[ir.Operand], row: ir.Row, ctx: Context, env: Env
) -> list[str]:
    """The line of text, numbers in it; of a larger tile its type, as it comes below."""
    form, args = front, list[str]()
    if parted(row, ctx.kernel):
        form, args = f"{front}lane=%d: ", ["static_cast<int>(lane)"]
    rest = iter(values)
    for literal, place in pieces(text):
        form += literal.replace("%", "%%")
        if place:
            mark, given = placed(next(rest), ctx, env)
            form, args = form + mark, args + given
    *before, last = quoted(form), *args
    if not before:
        return [f"cce::printf({last});"]
    return ["cce::printf(", *indented([*(f"{x}," for x in before), f"{last});"])]


def placed(x: ir.Operand, ctx: Context, env: Env) -> tuple[str, list[str]]:
    """(what stands in the text, the argument for it)."""
    if isinstance(x, ir.Ref):
        t = ctx.kernel.buffer(x.name).type
        if is_wide(x, ctx):
            return f"{t.dtype}[{t.rows}, {t.cols}]", []
        is_float, value = t.dtype in FLOATS, f"{ctx.row_slot(x, env)}.GetValue(0)"
    else:
        assert isinstance(x, ir.Expr)
        is_float, value = ir.is_float(x), scalar(x, env)
    mark, kind = ("%f", "float") if is_float else ("%d", "int")
    return mark, [f"static_cast<{kind}>({value})"]


def quoted(text: str) -> str:
    """A line as a C++ literal, whatever is in it."""
    plain = (json.dumps(c)[1:-1] if c.isascii() else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(plain)}\\n"'
