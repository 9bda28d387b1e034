"""Work that is done or left out, by a number that only a run knows: ``when``.

In: a condition and a body.  Out: a loop of at most one step (``ir.Loop.is_guard``), which whatever knows loops
knows: the scheduler, the proof, every executor; the emitted text has an ``if`` for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from pto import ir
from pto.arithmetic import COMPARING
from pto.errors import TraceError
from pto.loop import Caller, carried_by, check_body, like, once, repeated
from pto.scalar import Scalar, as_index
from pto.tile import Tile
from pto.tracer import Traced, current, fail

Carried = TypeVar("Carried", bound=Tile | tuple[Tile, ...])

WHEN = Caller("pto.when", "pto.when", "pto.when(condition, body, start)", 2, False)
NEVER = Scalar(ir.ZERO)
"""The index of what does not count."""


@overload
def when(condition: Scalar | bool, body: Callable[[], None]) -> None: ...
@overload
def when(
    condition: Scalar | bool,
    body: Callable[[], None],
    *,
    otherwise: Callable[[], None],
) -> None: ...
@overload
def when(
    condition: Scalar | bool,
    body: Callable[[Carried], Carried],
    carry: Carried,
    otherwise: Callable[[Carried], Carried] | None = None,
) -> Carried: ...
def when(
    condition: Any,
    body: Callable[..., Any],
    carry: Any = None,
    otherwise: Callable[..., Any] | None = None,
) -> Any:
    """``carry = body(carry)`` where the condition holds, else ``carry = otherwise(carry)``, if that is given.

    ``condition``: a comparison of scalars, or an integer that is not 0; both cores find the same.  A Python bool
    is decided while tracing.  ``carry``: a tile or a tuple of tiles whose types never change; without one
    the bodies take nothing and return None: they store.  What is not done is not loaded, either.

    Raises:
        TraceError: when the condition is a tile, the carry is no tile or changes in count, or a value leaks out.
        DTypeError: for a float as condition.
        ShapeError, DTypeError: when a carried tile changes its shape or dtype.
    """
    test = truth(condition, "the condition of pto.when", 0)
    bodies = [body] if otherwise is None else [body, otherwise]
    for each in bodies:
        check_body(each, WHEN)
    if isinstance(test, ir.Const):
        return _decided(bodies[not test.value :][:1], carry)
    name = current().fresh("when")
    made = repeated(WHEN, name, test, body, carry, NEVER, (name, True))
    if otherwise is None:
        return made
    index = current().fresh("otherwise")
    return repeated(WHEN, index, opposite(test), otherwise, made, NEVER, (name, False))


def truth(condition: Any, what: str, operand: int | None = None) -> ir.Expr:
    """A condition as what is 0 or 1; ``what`` it is, in messages, and which operand of the call."""
    if isinstance(condition, bool):
        return ir.Const(int(condition))
    if isinstance(condition, Traced) and not isinstance(condition, Scalar):
        fail(
            TraceError,
            f"{condition.described()} has many elements, and {what} is one scalar",
            "pto.where(mask, x, y) chooses by elements; scalars are sizes, indices, parameters, elements of tensors",
            operand,
        )
    found = as_index(condition, what).expr
    if isinstance(found, ir.Const):
        return ir.Const(int(bool(found.value)))
    if isinstance(found, ir.Bin) and found.op in COMPARING:
        return found
    return ir.Bin("!=", found, ir.ZERO)


def opposite(test: ir.Expr) -> ir.Expr:
    """What holds where a comparison does not; of floats by its result, since NaN is not less and not more."""
    assert isinstance(test, ir.Bin), test
    if ir.is_float(test.a) or ir.is_float(test.b):
        return ir.Bin("==", test, ir.ZERO)
    op, swapped = OPPOSITE[test.op]
    return ir.Bin(op, test.b, test.a) if swapped else ir.Bin(op, test.a, test.b)


OPPOSITE = {"<": ("<=", True), "<=": ("<", True), "==": ("!=", False), "!=": ("==", False)}
"""Of a comparison of integers: that of the opposite, and whether its sides change places."""


def _decided(bodies: list[Callable[..., Any]], carry: Any) -> Any:
    """What the one that surely runs makes of the carry; the carry, if there is none."""
    tiles = carried_by(carry, WHEN)
    for body in bodies:
        tiles = once(WHEN, NEVER, body, carry, tiles)
    return like(carry, tiles) if tiles else None
