"""Which folds of a loop go on from one iteration to the next, instead of starting again.

In: a loop with the rows of one core, in the order of an iteration.  Out: the folds whose steps are the same in every
iteration and never fewer than before: what carries the sum of all entries so far adds the next one to it.
Invariant: a fold that goes on has the number of one that starts again.  Non-goals: where that number is kept
(``lowering/ascend/scalars.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pto import ir
from pto.bounds import Known, bounds
from pto.folds import Fold, fold_of


def going_on(loop: ir.Loop, rows: Iterable[ir.Row], known: Known) -> dict[str, Fold]:
    """By the names of the folds among ``rows`` that go on in ``loop``, whose rows they are: the folds, every ``let`` of
    the body replaced by what it names.  ``known``: of the names around the loop."""
    rows = list(rows)
    lets: dict[str, ir.Expr] = {}
    inner = {loop.index, loop.total}
    found: dict[str, Fold] = {}
    for row in rows:
        if not isinstance(row.out, ir.Scalar):
            continue
        name = row.out.name
        if row.op == "let":
            lets[name] = ir.substitute(row.scalar(), lets)
            continue
        if row.op == "fold":
            fold = resolved(row, lets)
            if _is_same(fold, inner) and rises(fold.trips, loop.index, inner, known):
                found[name] = fold
        inner.add(name)
    return found


def resolved(row: ir.Row, lets: Mapping[str, ir.Expr]) -> Fold:
    """A fold, with names replaced."""
    args = (ir.map_exprs(x, lambda e: ir.substitute(e, lets)) for x in row.args)
    return fold_of(replace(row, args=tuple(args)))


def _is_same(fold: Fold, inner: set[str]) -> bool:
    """Whether its steps do not go by what the loop changes."""
    return inner.isdisjoint(
        n for x in fold.args[1:] for e in ir.exprs_of(x) for n in ir.names_in(e)
    )


def rises(e: ir.Expr, index: str, inner: set[str], known: Known) -> bool:
    """Whether ``e`` is surely no less in the next iteration, and goes by nothing else that the loop changes."""
    if inner.isdisjoint(ir.names_in(e)):
        return True
    if isinstance(e, ir.Var):
        return e.name == index
    if not isinstance(e, ir.Bin) or ir.is_float(e):
        return False
    if e.op in ("+", "min", "max"):
        return all(rises(x, index, inner, known) for x in (e.a, e.b))
    scaled, by = (e.a, e.b) if inner.isdisjoint(ir.names_in(e.b)) else (e.b, e.a)
    if not inner.isdisjoint(ir.names_in(by)):
        return False
    least = bounds(by, known).low
    if e.op == "*":
        return least >= 0 and rises(scaled, index, inner, known)
    return (
        e.op in ("-", "//", "cdiv")
        and by is e.b
        and (e.op == "-" or least > 0)
        and rises(scaled, index, inner, known)
    )
