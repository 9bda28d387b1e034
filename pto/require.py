"""``pto.require``: what a kernel needs of its static parameters, its sizes and its scalars.

In: a condition and a sentence.  Out: an error where tracing shows that it does not hold; a
``Require`` of the kernel where only a call can tell, which binding its inputs checks, and the
emitted launch.  Non-goals: conditions on the contents of tensors.
"""

from __future__ import annotations

from typing import NoReturn

from pto import ir, source
from pto.errors import InputError, TraceError
from pto.scalar import Scalar
from pto.tracer import Traced, current, fail, noun

COMPARISONS = ("<", "<=", "==", "!=")


def require(condition: bool | Scalar, message: str) -> None:
    """State what the kernel needs: ``pto.require(heads % kv_heads == 0, "heads share kv heads")``.

    Raises:
        InputError: the condition does not hold for these static parameters.
        TraceError: it is no comparison of sizes, scalar parameters and static parameters.
    """
    if not isinstance(message, str) or not message or not message.isprintable():
        fail(
            TraceError,
            f"the message of require is a text of one line, found {noun(message)}",
            "",
            1,
        )
    trace = current()
    if not isinstance(condition, Scalar):
        if not _known(condition):
            fail(InputError, message)
        return
    condition.check_usable()
    e = trace.resolved(condition.expr)
    if not (isinstance(e, ir.Const) or isinstance(e, ir.Bin) and e.op in COMPARISONS):
        _no_condition(condition)
    for name in dict.fromkeys(ir.names_in(e)):
        if name not in trace.launch:
            what = "is read from data" if trace.is_data(name) else "changes within a launch"
            fail(
                TraceError,
                f"require: '{name}' {what}",
                "a condition holds on sizes, scalar parameters and static parameters",
                0,
            )
    if isinstance(e, ir.Const):
        require(bool(e.value), message)
    else:
        trace.requires.append(ir.Require(e, message, source.here()))


def _known(condition: object) -> bool:
    """A condition that Python has evaluated; numpy has a bool of its own."""
    is_array = not isinstance(condition, Traced) and getattr(condition, "shape", None) == ()
    value = getattr(condition, "item", None) if is_array else None
    value = condition if value is None else value()
    return value if isinstance(value, bool) else _no_condition(condition)


def _no_condition(found: object) -> NoReturn:
    fail(
        TraceError,
        f"the condition of require is a comparison, found {noun(found)}",
        'one for each comparison: pto.require(n % 16 == 0, "n is a multiple of 16")',
        0,
    )
