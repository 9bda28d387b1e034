"""Steps of a loop over scalars, in the words of a ``fold`` row.

In: a block that was traced once, for any of its steps.  Out: rows of the op ``fold`` (``pto/folds.py``) for the
numbers that it hands on.  Non-goals: what users call (``pto/scalar_loops.py``, ``pto/loop.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pto import ir
from pto.errors import DTypeError, TraceError
from pto.folds import ENTRIES, INDEX, MOST_ENTRIES, MOST_STATES, STATES, Fold
from pto.loc import Loc
from pto.scalar import Scalar
from pto.tracer import Scope, Trace, fail


class Steps:
    """Steps in the words of a ``fold``: the rows of a block that has run once, for each number that it hands on.

    ``index``: the name that the block has for the number of the step, ``names``: those of the numbers.
    """

    def __init__(
        self,
        scope: Scope,
        index: str,
        names: Sequence[str],
        starts: Sequence[ir.Expr],
        nexts: Sequence[ir.Expr],
    ) -> None:
        rows = (n for n in scope.nodes if isinstance(n, ir.Row) and isinstance(n.out, ir.Scalar))
        self.rows: Mapping[str, ir.Row] = {r.result(ir.Scalar).name: r for r in rows}
        self.index, self.names = index, list(names)
        self.starts, self.nexts = starts, nexts

    def fold(self, k: int, trips: ir.Expr, until: ir.Expr = ir.ZERO) -> Fold:
        """Number ``k`` behind so many steps, which hands on what it needs of the others."""
        writing = _Writing(self, [k])
        ends = writing.expr(until)
        steps: list[ir.Expr] = []
        while len(steps) < len(writing.order):
            steps.append(writing.expr(self.nexts[writing.order[len(steps)]]))
        starts = tuple(self.starts[j] for j in writing.order)
        return Fold(trips, ends, starts, tuple(steps), tuple(writing.entries))

    def row(self, name: str, k: int, trips: ir.Expr, until: ir.Expr = ir.ZERO) -> ir.Row:
        """The row that calls number ``k`` behind so many steps ``name``."""
        return ir.Row("fold", ir.Scalar(name), self.fold(k, trips, until).args)

    def emit(
        self,
        trace: Trace,
        hint: str,
        k: int,
        trips: ir.Expr,
        loc: Loc | None,
        until: ir.Expr = ir.ZERO,
    ) -> Scalar:
        """That number, from here on."""
        row = replace(self.row(trace.fresh(hint), k, trips, until), loc=loc)
        trace.emit(row)
        return known(trace, row)


def known(trace: Trace, row: ir.Row) -> Scalar:
    """The number that a ``fold`` which is in the block gives."""
    name = row.result(ir.Scalar).name
    trace.folds[name] = row
    return Scalar(ir.Var(name), trace.scope)


class _Writing:
    """One ``fold`` as it is written: the numbers that it hands on so far, in ``order``, and what it reads."""

    def __init__(self, steps: Steps, order: list[int]) -> None:
        self.steps, self.order = steps, order
        self.entries: list[ir.View] = []
        self.known: dict[str, ir.Expr] = {steps.index: INDEX}

    def expr(self, e: ir.Expr) -> ir.Expr:
        """``e`` with the names of the block replaced by what they are in the fold."""
        names = dict.fromkeys(ir.names_in(e))
        return ir.substitute(e, {n: x for n in names if (x := self.meaning(n)) is not None})

    def meaning(self, name: str) -> ir.Expr | None:
        """What a name of the block stands for; None for one from around it."""
        if name in self.steps.names:
            return self.state(self.steps.names.index(name))
        if name not in self.known and name in self.steps.rows:
            self.known[name] = self.made(self.steps.rows[name])
        return self.known.get(name)

    def state(self, j: int) -> ir.Expr:
        if j not in self.order:
            self.order.append(j)
        if len(self.order) > MOST_STATES:
            names = ", ".join(self.steps.names[k] for k in self.order)
            message = f"{names} go by each other: that many integers are no {MOST_STATES}"
            fail(TraceError, message, "hand on fewer, the others follow from them")
        return STATES[self.order.index(j)]

    def made(self, row: ir.Row) -> ir.Expr:
        """What a row of the block defines."""
        if row.op == "let":
            return self.expr(row.scalar())
        if row.op == "fold":
            message = "a number that a loop hands on goes by another fold in each of its steps"
            raise TraceError(message, row.loc, "compute in front of the loop what does not change")
        view = ir.map_exprs(row.operand(ir.View), self.expr)
        if row.result(ir.Scalar).is_float:
            message = f"'{view.tensor}' is f32, and what goes from step to step are integers"
            raise DTypeError(message, row.loc, "a sum of floats is one of tiles: pto.fori_loop")
        if view not in self.entries:
            self.entries.append(view)
        if len(self.entries) > MOST_ENTRIES:
            message = f"a step of scalars reads at most {MOST_ENTRIES} elements of tables"
            raise TraceError(message, row.loc, "the rest is another fold")
        return ENTRIES[self.entries.index(view)]
