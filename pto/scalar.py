"""Index arithmetic on values that are known only at run time.

``Scalar`` is the user's handle; the hashable expression node inside is ``ir.Expr``.  A scalar that
the user assigns to a variable becomes a ``let`` row of that name.
"""

from __future__ import annotations

import math
from typing import Any, overload

from pto import ir, source
from pto.arithmetic import COMPARING, DIVIDING, GREATEST, LEAST, rounded
from pto.errors import DTypeError, ShapeError, TraceError
from pto.tracer import Scope, Traced, current, fail, innermost, is_tracing, noun


def ir_text(e: ir.Expr) -> str:
    """``e`` as the text form has it."""
    from pto.text import expr

    return expr(e)


class Scalar(Traced):
    """A traced number: a scalar parameter, a symbolic dimension, a loop index, or made of those.

    ``+ - * / // %``, comparisons, ``pto.cdiv``, ``pto.minimum``, ``pto.maximum``; never a branch.  A comparison is 1
    where it holds, else 0, and so is a Python bool beside a scalar; ``&``, ``|`` and ``~`` combine these.
    """

    _noun = "scalar"
    __hash__ = Traced.__hash__

    def __init__(self, expr: ir.Expr, scope: Scope | None = None) -> None:
        self.expr, self._scope = expr, scope

    @property
    def is_float(self) -> bool:
        """Whether it is a float of 32 bits (else an integer of 64)."""
        return ir.is_float(self.expr)

    def __repr__(self) -> str:
        return f"Scalar({ir_text(self.expr)})"

    def described(self) -> str:
        return f"scalar '{ir_text(self.expr)}'"

    def _branch_hint(self, where: str) -> str:
        """Of a branch on sizes: what they must be is said, and a last tile is no case of its own."""
        trace = current()
        names = set(ir.names_in(trace.resolved(self.expr)))
        of_launch, chooses = names <= set(trace.launch), where in ("if", "if expression")
        if not of_launch:
            return WHEN_HINT if chooses else super()._branch_hint(where)
        if not chooses and where != "assert":
            return super()._branch_hint(where)
        return (
            "a branch may only depend on static parameters; pto.require(condition, message) says what must "
            "hold, pto.ds(start, size, valid=count) takes a last, partial tile, pto.minimum and pto.where choose"
        )

    def _with(self, op: str, other: object, swap: bool = False) -> Scalar:
        if isinstance(other, Traced) and not isinstance(other, Scalar):
            return NotImplemented  # type: ignore[no-any-return]
        a, b = self, beside(other)
        return combined(op, b, a) if swap else combined(op, a, b)

    def __add__(self, other: Number | Scalar) -> Scalar:
        return self._with("+", other)

    def __radd__(self, other: Number | Scalar) -> Scalar:
        return self._with("+", other, swap=True)

    def __sub__(self, other: Number | Scalar) -> Scalar:
        return self._with("-", other)

    def __rsub__(self, other: Number | Scalar) -> Scalar:
        return self._with("-", other, swap=True)

    def __mul__(self, other: Number | Scalar) -> Scalar:
        return self._with("*", other)

    def __rmul__(self, other: Number | Scalar) -> Scalar:
        return self._with("*", other, swap=True)

    def __truediv__(self, other: Number | Scalar) -> Scalar:
        return self._with("/", other)

    def __rtruediv__(self, other: Number | Scalar) -> Scalar:
        return self._with("/", other, swap=True)

    def __floordiv__(self, other: Number | Scalar) -> Scalar:
        return self._with("//", other)

    def __rfloordiv__(self, other: Number | Scalar) -> Scalar:
        return self._with("//", other, swap=True)

    def __mod__(self, other: Number | Scalar) -> Scalar:
        return self._with("%", other)

    def __rmod__(self, other: Number | Scalar) -> Scalar:
        return self._with("%", other, swap=True)

    def __neg__(self) -> Scalar:
        if self.is_float:  # 0 - x would lose the sign of a zero
            return combined("*", self, Scalar(ir.Const(-1.0)))
        return combined("-", Scalar(ir.Const(0)), self)

    def _of_conditions(self, symbol: str, op: str, other: object) -> Scalar:
        """``self op other`` of what is 0 or 1, which ``symbol`` says."""
        if isinstance(other, Traced) and not isinstance(other, Scalar):
            return NotImplemented  # type: ignore[no-any-return]
        b = beside(other)
        if not (is_condition(self) and is_condition(b)):
            self._no_operator(symbol)
        return combined(op, self, b)

    def __and__(self, other: Scalar | bool) -> Scalar:
        return self._of_conditions("&", "*", other)

    __rand__ = __and__

    def __or__(self, other: Scalar | bool) -> Scalar:
        return self._of_conditions("|", "max", other)

    __ror__ = __or__

    def __invert__(self) -> Scalar:
        if not is_condition(self):
            self._no_operator("~")
        return combined("-", Scalar(ir.Const(1)), self)

    def __lt__(self, other: Number | Scalar) -> Scalar:
        return self._with("<", other)

    def __le__(self, other: Number | Scalar) -> Scalar:
        return self._with("<=", other)

    def __gt__(self, other: Number | Scalar) -> Scalar:
        return self._with("<", other, swap=True)

    def __ge__(self, other: Number | Scalar) -> Scalar:
        return self._with("<=", other, swap=True)

    def __eq__(self, other: object) -> Any:
        return self._with("==", other)

    def __ne__(self, other: object) -> Any:
        return self._with("!=", other)

    def _operator_hint(self, symbol: str) -> str:
        if symbol == "**":
            return "multiply it with itself"
        if symbol in ("&", "|", "~"):
            return (
                "it combines comparisons, each in parentheses: (a < b) & (c < d); bit k of an integer is "
                "n // 2**k % 2"
            )
        return "scalars know + - * / // % and comparisons"

    def _index_hint(self) -> str:
        return "an integer is read by indexing a tensor in every dimension"


WHEN_HINT = (
    "pto.when(condition, body, carry, otherwise) does work where a scalar says so; "
    "pto.minimum, pto.maximum and pto.where (elements of a tile) choose values"
)

Number = int | float
Index = int | Scalar
"""A size, an index or a count: static, or traced."""


def as_number(value: object) -> int | float | None:
    """A Python or numpy number as int or float; None for everything else, bools too."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) else int(value)
    if not isinstance(value, Traced) and getattr(value, "shape", None) == ():
        return as_number(value.item())  # type: ignore[attr-defined]
    return None


def as_scalar(value: object, what: str = "a number or a traced scalar") -> Scalar:
    """The operand as a Scalar that may be used here.

    Raises:
        TraceError: for what is no number, or a scalar from another loop body or trace.
    """
    if isinstance(value, Scalar):
        value.check_usable()
        return value
    number = as_number(value)
    if number is None:
        is_array = not isinstance(value, Traced) and getattr(value, "shape", None)
        hint = "give the kernel a tensor parameter for it and pto.load it" if is_array else ""
        if isinstance(value, bool):
            hint = "int(flag) is the number 0 or 1"
        if isinstance(value, Traced):
            hint = value._value_hint()
        fail(TraceError, f"expected {what}, found {noun(value)}", hint)
    if isinstance(number, float):
        _check_held(number)
    elif not LEAST <= number <= GREATEST:
        fail(TraceError, f"the number {number} is beyond the integers of 64 bits")
    return Scalar(ir.Const(number))


def beside(value: object) -> Scalar:
    """The other operand of a scalar: as ``as_scalar``, but a Python bool is 0 or 1, as comparisons are."""
    return as_scalar(int(value) if isinstance(value, bool) else value)


def is_condition(x: Scalar) -> bool:
    """Whether it is 0 or 1 by what it is made of: comparisons, their products and extremes, ``1 - a`` of one."""
    return _is_condition(current().resolved(x.expr) if is_tracing() else x.expr)


def _is_condition(e: ir.Expr) -> bool:
    if isinstance(e, ir.Const):
        return e in (ir.Const(0), ir.Const(1))
    if not isinstance(e, ir.Bin) or e.op in COMPARING:
        return isinstance(e, ir.Bin)
    if e.op == "-":
        return e.a == ir.Const(1) and _is_condition(e.b)
    return e.op in ("*", "min", "max") and _is_condition(e.a) and _is_condition(e.b)


def _check_held(number: float) -> None:
    """A finite float must be one for f32, too."""
    if math.isfinite(number) and math.isinf(rounded(number)):
        fail(TraceError, f"the number {number!r} is more than f32 holds (3.4e38)", "use math.inf")


def as_index(value: object, what: str) -> Scalar:
    """An integer operand: an index, a count, a trip count.

    Raises:
        DTypeError: for a float.
        TraceError: for what is no number.
    """
    found = as_scalar(value, f"an integer for {what}")
    if found.is_float:
        is_known = isinstance(found.expr, ir.Const)
        named = noun(as_number(value)) if is_known else f"the float {noun(value)}"
        fail(DTypeError, f"{what} must be an integer, found {named}", _integer_hint(found.expr))
    return found


def _integer_hint(e: ir.Expr) -> str:
    """How a float becomes an integer, or which scalars are integers."""
    made = current().resolved(e) if is_tracing() else e
    if isinstance(made, ir.Bin) and made.op == "/":
        return "divide with //"
    return "integers are sizes, loop indices, i32 parameters, elements of i32 tensors"


def combined(op: str, a: Scalar, b: Scalar) -> Scalar:
    """``a op b``; when the user assigns it to a variable, a ``let`` row keeps that name."""
    if op in DIVIDING and isinstance(b.expr, ir.Const) and not b.expr.value:
        fail(TraceError, f"{noun(a)} is divided by zero")
    expr = ir.binary(op, a.expr, b.expr)
    if isinstance(a.expr, ir.Const) and isinstance(b.expr, ir.Const):
        if not isinstance(expr, ir.Const):
            fail(TraceError, f"{ir_text(expr)} is beyond the integers of 64 bits")
    return named(expr, innermost(a._scope, b._scope))


def named(expr: ir.Expr, scope: Scope | None) -> Scalar:
    """A Scalar that takes the name of the variable it is assigned to, if it is one."""
    if is_tracing() and not isinstance(expr, ir.Const):
        frame = source.user_frame()
        names = source.assigned_names(frame) if frame is not None else ()
        if len(names) == 1 and (isinstance(expr, ir.Bin) or scope is None):
            trace = current()
            name = trace.let(names[0], expr, frame)
            return Scalar(ir.Var(name, ir.is_float(expr)), trace.scope)
    return Scalar(expr, scope)


@overload
def cdiv(a: int, b: int) -> int: ...
@overload
def cdiv(a: Scalar, b: Index) -> Scalar: ...
@overload
def cdiv(a: Index, b: Scalar) -> Scalar: ...
def cdiv(a: Index, b: Index) -> Index:
    """``a / b`` rounded up, for ints and traced scalars."""
    x, y = (as_index(x, "an operand of cdiv") for x in (a, b))
    found = combined("cdiv", x, y)
    return int(found.expr.value) if isinstance(found.expr, ir.Const) else found


def extreme(op: str, a: object, b: object) -> Any:
    """``min`` or ``max`` of two scalars; a number if both are."""
    found = combined(op, beside(a), beside(b))
    return found.expr.value if isinstance(found.expr, ir.Const) else found


def program_id(axis: int) -> Scalar:
    """Which work item this is, along ``axis`` of the grid.

    Raises:
        ShapeError: when the grid has no such axis.
    """
    trace = current()
    number = as_number(axis)
    if not isinstance(number, int) or not 0 <= number < len(trace.grid):
        found = noun(axis) if number is None else number
        count = len(trace.grid)
        axes = "axis 0 only" if count == 1 else f"the axes 0 to {count - 1}"
        fail(
            ShapeError, f"program_id({found}): the grid has {axes}", "see @pto.kernel(grid=...)", 0
        )
    if trace.grid[number] == ir.Const(1):
        return Scalar(ir.Const(0))
    return named(ir.Var(f"pid{number}"), None)
