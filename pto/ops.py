"""The op table: one row per op, read by the tracer, the executors, the checker and the emitter.

Each row says what the op means (``rule``, written against an array module so that numpy and
``jax.numpy`` share it), where it may run, and which library instruction it becomes.  Ops with
``rule = None`` move data or order pipes; every executor has its own entry for those.

Operand forms of a two-operand vector op, by the shape of its second operand:
``tile`` the same shape, ``rows`` a ``[rows, 1]`` column, ``cols`` a ``[1, cols]`` row, ``scalar``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Rule = Callable[..., Any]
FORMS = ("tile", "rows", "cols", "scalar")


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table.

    ``kind``: scalar (S), move (between memories), cube (matmul), unary / binary / reduce (vector
    arithmetic), fill (vector, needs no tile), sync (orders pipes).
    ``signature``: the operands as the text has them.  ``pipes``: where it may run.
    ``instruction``: the tile-library call by operand form (docs/machine.md 12).
    ``scratch``: the last operand is a scratch tile that the op overwrites.
    """

    name: str
    kind: str
    signature: str
    pipes: tuple[str, ...]
    rule: Rule | None = None
    instruction: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scratch: bool = False
    meaning: str = ""


def _binary(name: str, symbol: str, rule: Rule) -> Op:
    call = {
        "tile": f"T{symbol}",
        "rows": f"TROWEXPAND{symbol}",
        "cols": f"TCOLEXPAND{symbol}",
        "scalar": f"T{symbol}S",
    }
    return Op(name, "binary", "x, y", ("V",), rule, MappingProxyType(call), False, f"x {name} y")


def _unary(name: str, call: str, rule: Rule) -> Op:
    forms = MappingProxyType({"tile": call})
    return Op(name, "unary", "x", ("V",), rule, forms, False, f"{name}(x), element by element")


def _reduce(name: str, call: str, rule: Rule) -> Op:
    forms = MappingProxyType({"tile": call})
    meaning = f"{name[4:]} of every row, a [rows, 1] column"
    return Op(name, "reduce", "x, scratch", ("V",), rule, forms, True, meaning)


def _where(xp: Any, x: Any, count: Any, other: Any) -> Any:
    columns = xp.arange(x.shape[1])[None, :]
    return xp.where(columns < count, x, xp.asarray(other, x.dtype))


def _pad(xp: Any, x: Any, rows: Any, cols: Any) -> Any:
    inside = (xp.arange(x.shape[0])[:, None] < rows) & (xp.arange(x.shape[1])[None, :] < cols)
    return xp.where(inside, x, xp.zeros((), x.dtype))


def _instr(**forms: str) -> Mapping[str, str]:
    return MappingProxyType(forms)


_ROWS = (
    # scalars
    Op("read", "scalar", "tensor[i, ...]", ("S",), meaning="one integer from GM"),
    Op("let", "scalar", "expr", ("S",), meaning="names a scalar expression"),
    # data movement
    Op("load", "move", "view", ("MTE2",), None, _instr(tile="TLOAD"), meaning="GM to L1 or UB"),
    Op("store", "move", "x", ("MTE3", "FIX"), None, _instr(tile="TSTORE"), meaning="UB or L0C to GM"),
    Op("move", "move", "x", ("MTE1",), None, _instr(tile="TMOV"), meaning="L1 to L0A or L0B"),
    Op("push", "move", "x", ("MTE3", "FIX"), None, _instr(tile="TPUSH"), meaning="UB or L0C to a FIFO slot, then record it"),
    Op("push_data", "move", "x", ("MTE3", "FIX"), None, _instr(tile="TPUSH"), meaning="push that a later record makes visible"),
    Op("record", "move", "fifo", ("MTE3", "FIX"), meaning="tells the other core that a pushed slot is full"),
    Op("pop", "move", "fifo", ("MTE2",), None, _instr(tile="TPOP"), meaning="FIFO slot to L1 or UB, then free it"),
    # cube
    Op("matmul", "cube", "a, b[, acc]", ("M",), None, _instr(tile="TMATMUL", acc="TMATMUL_ACC"), meaning="acc + a @ b in f32"),
    # vector
    _binary("add", "ADD", lambda xp, x, y: x + y),
    _binary("sub", "SUB", lambda xp, x, y: x - y),
    _binary("mul", "MUL", lambda xp, x, y: x * y),
    _binary("div", "DIV", lambda xp, x, y: x / y),
    _binary("maximum", "MAX", lambda xp, x, y: xp.maximum(x, y)),
    _binary("minimum", "MIN", lambda xp, x, y: xp.minimum(x, y)),
    _unary("exp", "TEXP", lambda xp, x: xp.exp(x)),
    _unary("log", "TLOG", lambda xp, x: xp.log(x)),
    _unary("sqrt", "TSQRT", lambda xp, x: xp.sqrt(x)),
    _unary("reciprocal", "TRECIP", lambda xp, x: 1 / x),
    _unary("copy", "TMOV", lambda xp, x: x),
    _reduce("row_max", "TROWMAX", lambda xp, x: xp.max(x, axis=1, keepdims=True)),
    _reduce("row_min", "TROWMIN", lambda xp, x: xp.min(x, axis=1, keepdims=True)),
    _reduce("row_sum", "TROWSUM", lambda xp, x: xp.sum(x, axis=1, keepdims=True)),
    Op("astype", "unary", "x, dtype", ("V",), None, _instr(tile="TCVT"), meaning="converts, to the nearest, ties to even"),
    Op("full", "fill", "value", ("V",), None, _instr(tile="TEXPANDS"), meaning="every element is value"),
    Op("where", "unary", "x, count, other", ("V",), _where, _instr(tile="TFILLPAD_INPLACE"), meaning="x in the first count columns, other behind"),
    Op("pad", "unary", "x, rows, cols", ("V",), _pad, _instr(tile="TFILLPAD_INPLACE"), meaning="x in the first rows and cols, zero outside"),
    # order
    Op("sync", "sync", "", ("S", "MTE1", "MTE2", "MTE3", "M", "V", "FIX"), meaning="nothing but its wait and set columns"),
    Op("barrier", "sync", "", ("MTE1", "MTE2", "MTE3", "M", "V", "FIX", "ALL"), meaning="later work of the pipe waits for all earlier work of it"),
    Op("drain", "sync", "pipe", ("S",), meaning="the scalar unit waits until the pipe has finished all earlier work"),
)  # fmt: skip

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for op in _ROWS})
"""Every op by name."""


def form_of(dst: tuple[int, int], other: tuple[int, int] | None) -> str:
    """The operand form of a two-operand op: result shape and second operand's (None: scalar)."""
    if other is None:
        return "scalar"
    if other == dst:
        return "tile"
    return "rows" if other == (dst[0], 1) else "cols"
