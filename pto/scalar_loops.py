"""Loops over scalars: ``fold``, ``first_where``, and the integers that ``fori_loop`` carries.

In: a step as a Python function of scalars, or what the body of a loop makes of an integer that it carries.
Out: rows of the op ``fold`` (``pto/folds.py``), each of which says by itself how its number comes about: the value
in iteration ``i`` is the fold of ``i`` steps, so rows that run ahead know that of their own iteration.
Non-goals: floats and tiles as what goes from step to step; how such a row is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from pto import ir, source
from pto.control import truth
from pto.errors import TraceError
from pto.folds import MOST_STATES
from pto.loop import Caller, called, carry_hints, check_body, fail_at, like
from pto.scalar import Index, Scalar, as_index
from pto.steps import Steps
from pto.tracer import current, fail, noun

Numbers = TypeVar("Numbers", bound=Index | tuple[Index, ...])

FOLD = Caller("pto.fold", "pto.fold", "pto.fold(count, step, start)", 2, True)
SEARCH = Caller("pto.first_where", "pto.first_where", "pto.first_where(count, condition)", 1, True)
UNTIL = {FOLD: "until", SEARCH: "the condition"}
"""What ends a fold, as its caller calls it."""


@overload
def fold(
    count: Index,
    step: Callable[[Scalar, Scalar], Index],
    start: Index,
    until: Callable[[Scalar, Scalar], Index] | None = None,
) -> Scalar: ...
@overload
def fold(
    count: Index,
    step: Callable[[Scalar, tuple[Scalar, ...]], tuple[Index, ...]],
    start: tuple[Index, ...],
    until: Callable[[Scalar, tuple[Scalar, ...]], Index] | None = None,
) -> tuple[Scalar, ...]: ...
def fold(count: Index, step: Any, start: Any, until: Any = None) -> Any:
    """``for i in range(count): s = step(i, s)`` over integers, from ``s = start`` on; the last ``s``.

    ``pto.fold(b, lambda i, s: s + counts[i], 0)`` is the sum of the first ``b`` entries of a table.  The scalar units
    compute it: what ``step`` and ``until`` are made of is integers, comparisons and elements of i32 tensors that
    nothing stores to.  ``start``: an integer, or a tuple of at most 4 of them, and so are ``s`` and what ``step`` returns.
    ``until(i, s)``: a condition that ends the fold in front of step ``i``, which is not done; what only ``step``
    reads is then not read.  A step reads at most 8 elements.

    Raises:
        TraceError: when a step makes more than scalars, returns another number of them, or reads too much.
        DTypeError: for a float as what is handed on, and for an element of an f32 tensor.
    """
    return _folded(FOLD, as_index(count, "the count of pto.fold"), step, start, until)


def first_where(count: Index, condition: Callable[[Scalar], Index]) -> Scalar:
    """The first ``i`` of ``range(count)`` where ``condition(i)`` holds; ``count`` where it holds for none.

    ``pto.first_where(8, lambda i: pages[b, i] < 0)`` is how many pages a list has that ends at its first negative
    one.  Nothing behind it is read.  ``condition``: of scalars, as that of ``pto.fold``.

    Raises:
        TraceError, DTypeError: as ``pto.fold``.
    """
    check_body(condition, SEARCH)
    found: Scalar = _folded(
        SEARCH,
        as_index(count, "the count of pto.first_where"),
        lambda i, s: s + 1,
        0,
        lambda i, s: called(SEARCH, condition, i, None, []),
    )
    return found


def _folded(caller: Caller, count: Scalar, step: Any, start: Any, until: Any) -> Any:
    """One row for each number that is handed on."""
    trace, frame, loc = current(), source.user_frame(), source.here()
    for body in (step, *([] if until is None else [until])):
        check_body(body, caller)
    starts = [as_index(x, f"the start of {caller.what}") for x in listed(start)]
    if not 1 <= len(starts) <= MOST_STATES:
        fail(TraceError, f"{caller.what} hands on 1 to {MOST_STATES} integers, found {len(starts)}")
    names = source.assigned_names(frame) if frame is not None else ()
    kept = dict(trace.lets), dict(trace.reads), set(trace.taken)
    index = trace.fresh("i")
    states = [trace.fresh(h) for h in carry_hints(step, len(starts), (), caller)]
    reached = count.expr if until is None else ir.Var(index)  # nobody knows how far it comes
    with trace.block(index, f"the step of {caller.what}", reached) as scope:
        i, s = Scalar(ir.Var(index), scope), [Scalar(ir.Var(n), scope) for n in states]
        ends: ir.Expr = ir.ZERO
        if until is not None:
            ends = truth(called(caller, until, i, start, s), f"{UNTIL[caller]} of {caller.what}")
        nexts = returned(caller, called(caller, step, i, start, s), start, len(s), step)
    trace.lets, trace.reads, trace.taken = kept
    for node in scope.nodes:
        _check_scalar(node, caller)
    steps = Steps(scope, index, states, [x.expr for x in starts], [x.expr for x in nexts])
    made = [
        steps.emit(trace, name, k, count.expr, loc, ends)
        for k, name in enumerate(names if len(names) == len(s) else ["fold"] * len(s))
    ]
    return like(start, made)


def _check_scalar(node: ir.Node, caller: Caller) -> None:
    """Raises unless a step may do this."""
    op = node.op if isinstance(node, ir.Row) else ""
    if op == "fold":
        hint = "one fold over all entries: table[i // columns, i % columns]"
        raise TraceError(f"the step of {caller.what} is a loop over scalars itself", node.loc, hint)
    if op not in ("let", "read"):
        hint = "what it needs of tiles and loops is computed in front of it"
        raise TraceError(f"the step of {caller.what} makes more than scalars", node.loc, hint)


def listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, tuple | list) else [values]


def returned(caller: Caller, found: Any, start: Any, count: int, body: Any) -> list[Scalar]:
    """What a step returned, one integer for each that it is given."""
    many, wanted = isinstance(found, tuple | list), isinstance(start, tuple | list)
    values = listed(found)
    if many != wanted or len(values) != count or found is None:
        want = f"{count} integers" if wanted else "one integer"
        what = "nothing" if found is None else f"{len(values)} values" if many else noun(found)
        fail_at(
            body, None, TraceError,
            f"{caller.what} hands on {want}, but its step returns {what}",
            "return the next value of each, in the same order",
            whole=found is None,
        )  # fmt: skip
    return [as_index(x, f"what a step of {caller.what} returns") for x in values]
