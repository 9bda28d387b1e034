"""Loops: their body runs once on tracers and becomes one loop with carried tiles; carried integers become folds.

In: what ``fori_loop`` is called with, and ``when`` (``pto/control.py``).  Out: one loop of the traced form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NoReturn, TypeVar, overload

from pto import ir, source
from pto.errors import DTypeError, PtoError, ShapeError, TraceError
from pto.folds import STATES, Fold
from pto.scalar import Index, Scalar, as_index, as_number, as_scalar
from pto.steps import Steps, known
from pto.tile import Tile
from pto.tracer import Scope, Trace, Way, current, fail, innermost, noun

Body = Callable[..., Any]

INTEGERS = "integers are sizes, loop indices, i32 parameters, elements of i32 tensors"


Value = Tile | Scalar
"""What goes from iteration to iteration."""

Carried = TypeVar("Carried", bound=Tile | Index | tuple[Tile | Index, ...])


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
    def step(self) -> str:
        """One run of the body."""
        return "an iteration" if self.counts else self.what

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

    ``lo`` and ``hi`` may be traced; no step is run when ``hi <= lo``.  ``carry`` is a tile, an integer, or a
    tuple of these; the types of tiles never change, and an integer goes by integers and elements of i32 tensors
    only (``pto.fold``).  Without a carry the body is ``body(i)`` and returns None.

    Raises:
        TraceError: when the carry is no tile and no integer, or changes in count, or a value leaks out of the body.
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
    inits = carried_by(carry, caller)
    names = source.assigned_names(frame) if frame is not None else ()
    hints = carry_hints(body, len(inits), names, caller)
    what = f"the body of loop '{index}'" if caller.counts else f"the body of {caller.name}"
    with trace.block(index, what, trips, way) as scope:
        inside = [_inside(trace, index, h, x) for h, x in zip(hints, inits, strict=True)]
        scope.carries = tuple(hints)
        i = Scalar(ir.binary("+", ir.Var(index), first.expr), innermost(first._scope, scope))
        made = once(caller, i, body, carry, inside)
        refs = tuple(t.ref() for t in made if isinstance(t, Tile))
    steps = _steps(scope, index, inits, inside, made)
    heads = [replace(steps.row(n, k, ir.Var(index)), loc=loc) for k, n in enumerate(steps.names)]
    trace.found(heads)
    ends = [
        (name, Tile(trace, trace.fresh(name), x.type) if isinstance(x, Tile) else None)
        for name, x in zip(_last_names(hints, names), inits, strict=True)
    ]
    carries = tuple(
        ir.Carry(a.name, t.type, t.ref(), z.name)
        for a, t, (_, z) in zip(inside, inits, ends, strict=True)
        if isinstance(a, Tile) and isinstance(t, Tile) and z is not None
    )
    trace.emit(ir.Loop(index, trips, (*heads, *scope.nodes), "", carries, refs, loc=loc))
    numbers = count()
    lasts = [
        steps.emit(trace, name, next(numbers), trips, loc) if z is None else z for name, z in ends
    ]
    return like(carry, lasts) if inits else None


def _inside(trace: Trace, index: str, hint: str, start: Value) -> Value:
    """What is carried, as the body sees it; of a number it is known by now that it goes by the index."""
    name = trace.fresh(hint)
    if isinstance(start, Tile):
        return Tile(trace, name, start.type)
    until_known = Fold(ir.Var(index), ir.ZERO, (start.expr,), STATES[:1], ())
    trace.handed.add(name)
    return known(trace, ir.Row("fold", ir.Scalar(name), until_known.args))


def _steps(
    scope: Scope,
    index: str,
    inits: Sequence[Value],
    inside: Sequence[Value],
    made: Sequence[Value],
) -> Steps:
    """What the body makes of the integers that it is given."""
    names = [name_of(x) for x in inside if isinstance(x, Scalar)]
    starts, nexts = ([x.expr for x in values if isinstance(x, Scalar)] for values in (inits, made))
    return Steps(scope, index, names, starts, nexts)


def once(caller: Caller, i: Scalar, body: Body, carry: Any, inside: Sequence[Value]) -> list[Value]:
    """What the body makes of the carry ``inside``, one value for each."""
    returned = called(caller, body, i, carry, inside)
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


def carried_by(carry: Any, caller: Caller) -> list[Value]:
    """What is carried, as it starts: tiles, and integers by a loop."""
    if carry is None:
        return []
    values = list(carry) if isinstance(carry, tuple | list) else [carry]
    for k, value in enumerate(values):
        if isinstance(value, Tile):
            value.ref()
        elif caller.counts and is_integer(value):
            values[k] = as_scalar(value)
        else:
            what = (
                f"carry {k} of {caller.what}" if len(values) > 1 else f"the carry of {caller.what}"
            )
            kinds = "a tile or an integer" if caller.counts else "a tile"
            hint = "start from pto.full or pto.zeros"
            if isinstance(value, tuple | list | dict):
                hint = "a carry is one value or one flat tuple: (a, b, c)"
            elif is_integer(value) and not caller.counts:
                hint = "n + condition * step is n, and where the condition holds n + step"
            elif isinstance(value, Scalar | float):
                hint += "; of scalars, integers are carried"
            fail(TraceError, f"{what} must be {kinds}, found {noun(value)}", hint, caller.place)
    return values


def is_integer(value: object) -> bool:
    """Whether it is a scalar without a fraction, traced or not."""
    if isinstance(value, Scalar):
        return not value.is_float
    return isinstance(as_number(value), int)


def name_of(value: Value) -> str:
    """What a carried value is called in the body."""
    if isinstance(value, Tile):
        return value.name
    assert isinstance(value.expr, ir.Var), value
    return value.expr.name


def carry_hints(body: Body, count: int, names: Sequence[str], caller: Caller) -> list[str]:
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


def _last_names(hints: Sequence[str], names: Sequence[str]) -> list[str]:
    """What the values behind the loop are called: as the variables that the call is assigned to."""
    if len(names) == 1 and len(hints) > 1:
        names = [f"{names[0]}_{k}" for k in range(len(hints))]
    is_named = (k < len(names) and names[k].strip("_") for k in range(len(hints)))
    return [names[k] if named else f"{hints[k]}_last" for k, named in enumerate(is_named)]


def like(carry: Any, values: Sequence[Value]) -> Any:
    """The values as the carry has them: one, or a tuple."""
    return tuple(values) if isinstance(carry, tuple | list) else values[0]


def called(caller: Caller, body: Body, i: Scalar, carry: Any, inside: Sequence[Value]) -> Any:
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
    fail_at(body, None, TraceError, f"{caller.what} calls {wanted}, but {why}", whole=True)


def fail_at(
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
    caller: Caller, returned: Any, carry: Any, inside: Sequence[Value], body: Body
) -> list[Value]:
    """What the body returned as one value per carry, each of the type it had before."""
    if not inside:
        if returned is not None:
            fail_at(
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
        what = "tile" if all(isinstance(x, Tile) for x in inside) else "value"
        want = f"one {what}" if is_single else f"{len(inside)} {what}s"
        names = ", ".join(map(name_of, inside))
        fail_at(
            body, None, TraceError,
            f"{caller.what} carries {want} ({names}), but its body returns {found}",
            "return the next value of every carry, in the same order",
            whole=returned is None,
        )  # fmt: skip
    for k, (value, before) in enumerate(zip(values, inside, strict=True)):
        if isinstance(before, Tile):
            _check_tile(caller, value, before, body, k)
        elif not is_integer(value):
            fail_at(
                body, k, TraceError,
                f"carry '{name_of(before)}' must stay an integer, but the body returns {noun(value)}",
                value._value_hint() if isinstance(value, Tile) else INTEGERS,
                whole=value is None,
            )  # fmt: skip
        else:
            values[k] = as_scalar(value)
    return values


def _check_tile(caller: Caller, value: Any, before: Tile, body: Body, k: int) -> None:
    if not isinstance(value, Tile):
        fail_at(
            body, k, TraceError,
            f"carry '{before.name}' must stay a tile, but the body returns {noun(value)}",
            "return the next value of every carry, in the same order",
            whole=value is None,
        )  # fmt: skip
    if value.type != before.type:
        hint = f"a carry keeps its type: convert the result with .astype('{before.dtype}')"
        if value.shape != before.shape:
            hint = f"a carry keeps its shape: start {caller.what} from a tile of the shape it ends with"
        fail_at(
            body, k, ShapeError if value.shape != before.shape else DTypeError,
            f"carry '{before.name}' is {before.type} before {caller.step}, but "
            f"{value.type} ('{value.name}') after it",
            hint,
        )  # fmt: skip
