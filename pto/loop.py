"""Loops: their body runs once on tracers and becomes one loop with carried tiles.

In: what ``fori_loop`` is called with, and ``when`` (``pto/control.py``).  Out: one loop of the traced form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, overload

from pto import ir, source
from pto.errors import DTypeError, PtoError, ShapeError, TraceError
from pto.scalar import Index, Scalar, as_index
from pto.tile import Tile
from pto.tracer import Trace, Way, current, fail, innermost, noun

Body = Callable[..., Any]


Carried = TypeVar("Carried", bound=Tile | tuple[Tile, ...])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a body, as messages name it; ``start``: how it is given a start of a carry, ``place``: which
    of its operands that is; ``counts``: whether the body takes a loop index."""

    name: str
    what: str
    start: str
    place: int
    counts: bool

    @property
    def takes(self) -> tuple[str, ...]:
        """What the body takes in front of the carry."""
        return ("i",) if self.counts else ()


LOOP = Caller("fori_loop", "the loop", "fori_loop(lo, hi, body, start)", 3, True)


@overload
def fori_loop(lo: Index, hi: Index, body: Callable[[Scalar], None]) -> None: ...
@overload
def fori_loop(
    lo: Index, hi: Index, body: Callable[[Scalar, Carried], Carried], carry: Carried
) -> Carried: ...
def fori_loop(lo: Index, hi: Index, body: Body, carry: Any = None) -> Any:
    """``for i in lo .. hi: carry = body(i, carry)``; returns the last carry.

    ``lo`` and ``hi`` may be traced; no step is run when ``hi <= lo``.  ``carry`` is a tile or a
    tuple of tiles whose types never change; without one the body is ``body(i)`` and returns None.

    Raises:
        TraceError: when the carry is no tile or changes in count, or a value leaks out of the body.
        ShapeError, DTypeError: when a carried tile changes its shape or dtype.
    """
    first, last = as_index(lo, "the start of a loop"), as_index(hi, "the end of a loop")
    check_body(body, LOOP)
    index = current().fresh(_index_hint(body))
    return repeated(LOOP, index, _trip_count(first.expr, last.expr), body, carry, first)


def check_body(body: object, caller: Caller) -> None:
    """Raises unless it can be called."""
    if not callable(body) or isinstance(body, Tile | Scalar):
        fail(TraceError, f"the body of {caller.name} must be a function, found {noun(body)}")


def repeated(
    caller: Caller,
    index: str,
    trips: ir.Expr,
    body: Body,
    carry: Any,
    first: Scalar,
    way: Way | None = None,
) -> Any:
    """One loop over ``index``, of which the body sees ``first + index`` if it counts; the last carry."""
    trace, frame = current(), source.user_frame()
    loc = source.here()
    inits = carry_tiles(carry, caller)
    names = source.assigned_names(frame) if frame is not None else ()
    hints = _carry_hints(body, len(inits), names, caller)
    what = f"the body of loop '{index}'" if caller.counts else f"the body of {caller.name}"
    with trace.block(index, what, trips, way) as scope:
        inside = [Tile(trace, trace.fresh(h), t.type) for h, t in zip(hints, inits, strict=True)]
        scope.carries = tuple(hints)
        i = Scalar(ir.binary("+", ir.Var(index), first.expr), innermost(first._scope, scope))
        refs = tuple(t.ref() for t in once(caller, i, body, carry, inside))
    lasts = _results(trace, inits, hints, names)
    carries = tuple(
        ir.Carry(a.name, t.type, t.ref(), z.name)
        for a, t, z in zip(inside, inits, lasts, strict=True)
    )
    trace.emit(ir.Loop(index, trips, tuple(scope.nodes), "", carries, refs, loc=loc))
    return like(carry, lasts) if inits else None


def once(caller: Caller, i: Scalar, body: Body, carry: Any, inside: list[Tile]) -> list[Tile]:
    """What the body makes of the carry ``inside``, one tile for each."""
    returned = _called(caller, body, i, carry, inside)
    return _checked_result(caller, returned, carry, inside, body)


def _trip_count(first: ir.Expr, last: ir.Expr) -> ir.Expr:
    """``last - first``; never negative, as far as that can be seen here."""
    trips = ir.binary("-", last, first)
    if isinstance(trips, ir.Const) or first != ir.Const(0):
        return ir.binary("max", trips, ir.Const(0))
    return trips


def _index_hint(body: Body) -> str:
    code = getattr(body, "__code__", None)
    return code.co_varnames[0] if code is not None and code.co_argcount else "i"


def carry_tiles(carry: Any, caller: Caller) -> list[Tile]:
    """The tiles of a carry, as they start."""
    if carry is None:
        return []
    values = list(carry) if isinstance(carry, tuple | list) else [carry]
    for k, value in enumerate(values):
        if not isinstance(value, Tile):
            what = (
                f"carry {k} of {caller.what}" if len(values) > 1 else f"the carry of {caller.what}"
            )
            hint = "start from pto.full or pto.zeros; only tiles can be carried"
            if isinstance(value, Scalar):
                hint = (
                    "only tiles can be carried; compute the scalar from the loop index; a sum over a table of "
                    "static length is a Python loop: at = at + table[k] * (k < i) for k in range(8)"
                )
            fail(TraceError, f"{what} must be a tile, found {noun(value)}", hint, caller.place)
        value.ref()
    return values


def _carry_hints(body: Body, count: int, names: Sequence[str], caller: Caller) -> list[str]:
    """Names inside the body: those the body unpacks its carry to, else those of the result."""
    code = getattr(body, "__code__", None)
    if code is not None and count:
        unpacked = source.unpacked_parameter(code)
        if len(unpacked) == count:
            return list(unpacked)
        if code.co_argcount > caller.counts:
            own = code.co_varnames[code.co_argcount - 1]
            return [own] if count == 1 else [f"{own}_{k}" for k in range(count)]
    return [names[k] if k < len(names) else f"carry_{k}" for k in range(count)]


def _results(trace: Trace, inits: list[Tile], hints: list[str], names: Sequence[str]) -> list[Tile]:
    """The tiles behind the loop, named after the variables that the call is assigned to."""
    if len(names) == 1 and len(inits) > 1:
        names = [f"{names[0]}_{k}" for k in range(len(inits))]
    lasts = []
    for k, t in enumerate(inits):
        is_named = k < len(names) and names[k].strip("_")
        name = names[k] if is_named else f"{hints[k]}_last"
        lasts.append(Tile(trace, trace.fresh(name), t.type))
    return lasts


def like(carry: Any, tiles: list[Tile]) -> Any:
    """The tiles as the carry has them: one, or a tuple."""
    return tuple(tiles) if isinstance(carry, tuple | list) else tiles[0]


def _called(caller: Caller, body: Body, i: Scalar, carry: Any, inside: list[Tile]) -> Any:
    """``body(i, carry)``; a wrong number of parameters is the user's mistake."""
    arguments = (*[i] * caller.counts, *[like(carry, inside) for _ in inside[:1]])
    try:
        return body(*arguments)
    except TypeError as error:
        if (
            isinstance(error, PtoError)
            or error.__traceback__ is None
            or error.__traceback__.tb_next
        ):
            raise
        why = str(error).replace(getattr(body, "__qualname__", ""), getattr(body, "__name__", ""))
    takes = ", ".join([*caller.takes, *["carry"] * bool(inside)])
    wanted = f"body({takes})" if inside else f"body({takes}), because {caller.what} has no carry"
    _fail_at(body, None, TraceError, f"{caller.what} calls {wanted}, but {why}", whole=True)


def _fail_at(
    body: Body,
    k: int | None,
    kind: type[PtoError],
    message: str,
    hint: str = "",
    whole: bool = False,
) -> NoReturn:
    """Raise at what the body returns (element ``k``), or at its ``def`` line."""
    code = getattr(body, "__code__", None)
    if code is None:
        fail(kind, message, hint)
    loc = source.definition(code) if whole else source.returned(code, k)
    raise kind(message, loc or source.here(), hint)


def _checked_result(
    caller: Caller, returned: Any, carry: Any, inside: list[Tile], body: Body
) -> list[Tile]:
    """What the body returned as one tile per carry, each of the type it had before."""
    if not inside:
        if returned is not None:
            _fail_at(
                body, None, TraceError,
                f"the body of {caller.what} returns {noun(returned)}, but {caller.what} has no carry",
                f"give {caller.name} a start for it: {caller.start}",
            )  # fmt: skip
        return []
    is_single = not isinstance(carry, tuple | list)
    many = isinstance(returned, tuple | list)
    values: list[Any] = list(returned) if many and not is_single else [returned]
    if len(values) != len(inside) or (is_single and many):
        count = len(returned) if many else 1
        found = "nothing" if returned is None else f"{count} value{'s' * (count != 1)}"
        if is_single and many:
            found = f"a {type(returned).__name__} of {count}"
        want = "one tile" if is_single else f"{len(inside)} tiles"
        names = ", ".join(t.name for t in inside)
        _fail_at(
            body, None, TraceError,
            f"{caller.what} carries {want} ({names}), but its body returns {found}",
            "return the next value of every carry, in the same order",
            whole=returned is None,
        )  # fmt: skip
    for k, (value, before) in enumerate(zip(values, inside, strict=True)):
        _check_carry(value, before, body, k)
    return values


def _check_carry(value: Any, before: Tile, body: Body, k: int) -> None:
    if not isinstance(value, Tile):
        _fail_at(
            body, k, TraceError,
            f"carry '{before.name}' must stay a tile, but the body returns {noun(value)}",
            "return the next value of every carry, in the same order",
            whole=value is None,
        )  # fmt: skip
    if value.type != before.type:
        hint = f"a carry keeps its type: convert the result with .astype('{before.dtype}')"
        if value.shape != before.shape:
            hint = "a carry keeps its shape: start the loop from a tile of the shape it ends with"
        _fail_at(
            body, k, ShapeError if value.shape != before.shape else DTypeError,
            f"carry '{before.name}' is {before.type} before an iteration, but "
            f"{value.type} ('{value.name}') after it",
            hint,
        )  # fmt: skip
