"""What a kernel says of itself while it is looked into: ``debug_check`` and ``debug_print``.

In: conditions, texts and values.  Out: rows of the table ``DEBUG`` (``pto/ops.py``) in the watched form of a kernel
(``Kernel.watched``), which ``pto run`` performs, and which is scheduled and emitted where that is asked for; nothing
at all in the traced form, so that no other schedule, proof and emitted text can change by them.
Non-goals: conditions that a call must fulfil (``pto/require.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from pto import ir, source
from pto.errors import InputError, ShapeError, TraceError
from pto.masks import Mask
from pto.ops import MOST_PRINTED
from pto.scalar import Number, Scalar, as_index, as_number
from pto.selection import where
from pto.texts import braced, places
from pto.tile import Tile, as_tile, astype
from pto.tracer import Trace, current, fail, noun

__all__ = ["debug_check", "debug_print"]

Operands = Callable[[], tuple[ir.Operand, ...]]


def debug_check(condition: Mask | Scalar | bool, message: str) -> None:
    """Where a kernel is looked into, a condition that must hold: ``pto.debug_check(x == x, "no NaN")``. A mask holds
    where all its elements do. ``pto run`` tells where it does not; schedules and emitted text have nothing of it
    without ``--watch``.

    Elements behind the end of a partial load count, too: they are zero.

    Raises:
        InputError: for a condition that Python knows to be false.
        TraceError: for a condition that is none, and a message that is no text of one line.
        DTypeError: for a float as condition.
        ShapeError: for a mask of places alone, which has no shape.
    """
    trace = current()
    text = ir.Text(braced(_text("the message of debug_check", message, 1).value))
    if isinstance(condition, Mask):
        if not condition.tiles:
            why = "debug_check: a mask of places alone has no shape"
            fail(ShapeError, why, "compare a tile: pto.debug_check(x < y, 'message')", 0)
        _watch(trace, "debug_check", lambda: (where(condition, 1.0, 0.0).ref(), text))
    elif not isinstance(condition, bool):
        if isinstance(condition, Tile):
            why = f"the condition of debug_check is a comparison, found {noun(condition)}"
            fail(TraceError, why, "of all elements: pto.debug_check(x < y, 'message')", 0)
        test = as_index(condition, "the condition of debug_check").expr
        _watch(trace, "debug_check", lambda: (test, text))
    elif not condition:
        fail(InputError, f"debug_check: {message}", "", 0)


def debug_print(text: str, *values: Tile | Scalar | Number) -> None:
    """Where a kernel is looked into, a line of text with values in the places of its ``{}``:
    ``pto.debug_print("largest {} of {}", m, s)``. ``pto run`` prints it for every work item and iteration; schedules
    and emitted text have nothing of it without ``--watch``.

    Raises:
        TraceError: for a text that is none, other places than ``{}``, another number of values, or a value that is
            no tile and no number.
    """
    trace = current()
    word = _text("the text of debug_print", text, 0)
    count = _places(text)
    if count != len(values) or count > MOST_PRINTED:
        found = f"debug_print: the text has {count} places, found {len(values)} values"
        fail(TraceError, found, f"a {{}} for each value, {MOST_PRINTED} at most", 0)
    for k, value in enumerate(values):
        if not isinstance(value, Scalar) and as_number(value) is None:
            as_tile(value, f"value {k + 1} of debug_print", k + 1)
        if isinstance(value, Tile | Scalar):
            value.check_usable()
    _watch(trace, "debug_print", lambda: (word, *map(_printed, values)))


def _watch(trace: Trace, op: str, operands: Operands) -> None:
    """A row of ``op``, where the trace is of the watched form; else its operands are not even made."""
    if trace.watched:
        with trace.parts():
            args = operands()
        trace.emit(ir.Row(op, None, args, loc=source.here()))


def _printed(value: Tile | Scalar | Number) -> ir.Operand:
    """Of 16-bit floats the device prints one kind only (docs/machine.md 12)."""
    if isinstance(value, Tile):
        return (astype(value, "f32") if value.dtype == "bf16" else value).ref()
    if isinstance(value, Scalar):
        return value.expr
    number = as_number(value)
    assert number is not None, value
    return ir.Const(number)


def _text(what: str, text: object, operand: int) -> ir.Text:
    if not isinstance(text, str) or not text or not text.isprintable():
        fail(TraceError, f"{what} is a text of one line, found {noun(text)}", "", operand)
    return ir.Text(text)


def _places(text: str) -> int:
    """How many ``{}`` there are."""
    try:
        return places(text)
    except ValueError as error:
        hint = "a place is {}, without a name, a number or a format; {{ and }} stand for braces"
        fail(TraceError, f"debug_print: {error}", hint, 0)
