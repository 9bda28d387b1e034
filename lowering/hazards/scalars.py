"""What the scalars of a kernel stand for: expressions over loop counters and what the launch gives.

In: the scalar rows of blocks, in the order of the program.  Out: for every scalar an expression over
``i#L`` (iteration of loop L), ``u#L`` (running total of loop L), launch scalars, and a name for each
value read: the same one for the same element of a table.  Non-goals: what an index decides
(``lowering/hazards/counters.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lowering.hazards.counters import ABSENT
from lowering.hazards.forms import normalise
from lowering.hazards.instructions import Environment, Refused
from lowering.hazards.limits import INFINITE, Entry, Facts
from pto.folds import NAMES, fold_of
from pto.ir import (
    BUILTINS,
    CORES,
    Bin,
    Block,
    Const,
    Expr,
    Kernel,
    Operand,
    Row,
    Scalar,
    Span,
    Var,
    View,
    as_span,
    exprs_of,
    map_exprs,
    names_in,
    substitute,
)
from pto.ops import OPS
from pto.targets import target_of

Environments = tuple[Environment, Environment]
"""By core: what each scalar stands for."""


def forked(scalars: Environments) -> Environments:
    """The scalars of a block inside, which may define more."""
    return dict(scalars[0]), dict(scalars[1])


def inlined(view: View, scalars: Environment) -> View:
    """``view`` with its scalars replaced by what they stand for."""

    def inline(item: Expr | Span) -> Expr | Span:
        if isinstance(item, Span):
            valid = None if item.valid is None else substitute(item.valid, scalars)
            return Span(substitute(item.start, scalars), item.size, valid)
        return substitute(item, scalars)

    return View(view.tensor, tuple(inline(i) for i in view.index))


class Scalars:
    """``launch``: scalars with one value in the whole launch.  ``opaque``: value read -> the names that
    its index goes by.  ``reads``: (tensor, index) -> the name of the value read there, ``folds``: operands -> that of
    the number of a fold."""

    def __init__(self, kernel: Kernel) -> None:
        given = [p for p in kernel.params if p.shape is None]
        floats = frozenset(p.name for p in given if p.dtype != "i32")
        counts = frozenset(p.name for p in given if p.dtype == "i32")
        stated = {p.name: p.facts for p in kernel.params}
        self.facts = Facts(frozenset(kernel.dims), floats, counts=counts, stated=stated)
        names = {p.name for p in kernel.params} | set(kernel.dims) | {n for n, _ in kernel.statics}
        self.launch = frozenset(names | {"block_num"})
        self.lanes = target_of(kernel).lanes
        self.opaque: dict[str, frozenset[str]] = {}
        self.reads: dict[tuple[str, tuple[Expr | Span, ...]], str] = {}
        self.folds: dict[tuple[Operand, ...], str] = {}

    def define(self, block: Block, scalars: Environments) -> None:
        """Adds the scalars of a block, in the order of one iteration: larger shifts come first.  Each is
        defined once, on its core, before any use of it (``pto/legality.py``)."""
        rows = [n for n in block if isinstance(n, Row) and isinstance(n.out, Scalar)]
        for row in sorted(rows, key=lambda r: -r.shift):
            if row.core in CORES and OPS[row.op].kind == "scalar":  # others are not legal
                self._define(row, scalars[CORES.index(row.core)])

    def _define(self, row: Row, scalars: Environment) -> None:
        name = row.result(Scalar).name
        if row.op == "read":
            scalars[name] = Var(self._read(inlined(row.operand(View), scalars)))
        elif row.op == "fold":
            scalars[name] = Var(self._folded(row, scalars))
        else:
            scalars[name] = substitute(row.scalar(), scalars)

    def _read(self, view: View) -> str:
        """The name of the value that a ``read`` of ``view`` gives."""
        key = (view.tensor, view.index)
        if key not in self.reads:
            self.reads[key] = name = f"read${len(self.reads)}"
            found: set[str] = set()
            for item in view.index:
                for e in (item.start, item.valid) if isinstance(item, Span) else (item,):
                    found.update(self.base_names(e) if e is not None else ())
            self.opaque[name] = frozenset(found)
            place = tuple(normalise(as_span(item).start) for item in view.index)
            self.facts.entry(name, Entry(view.tensor, place))
        return self.reads[key]

    def _folded(self, row: Row, scalars: Environment) -> str:
        """The name of the number that a ``fold`` gives: one for all that are written alike, on either core."""
        args = tuple(
            inlined(x, scalars)
            if isinstance(x, View)
            else map_exprs(x, lambda e: substitute(e, scalars))
            for x in row.args
        )
        if args not in self.folds:
            self.folds[args] = name = f"fold${len(self.folds)}"
            names = (n for x in args for e in exprs_of(x) for n in self.base_names(e))
            self.opaque[name] = frozenset(names) - NAMES
            self.facts.fold(name, fold_of(replace(row, args=args)))
        return self.folds[args]

    def base_names(self, e: Expr) -> Iterator[str]:
        """The names that ``e`` goes by, those behind values read included."""
        for n in names_in(e):
            if n in self.opaque:
                yield from self.opaque[n]
            else:
                yield n

    def scope(self, e: Expr) -> int:
        """The innermost loop that ``e`` depends on, or ABSENT."""
        found = ABSENT
        for n in self.base_names(e):
            if "#" in n:
                found = max(found, int(n.split("#")[1]))
        return found

    def known(self, name: str) -> bool:
        """``name`` is a loop counter, a value read, or a scalar of the launch."""
        return "#" in name or name in self.opaque or name in self.launch or name in BUILTINS

    def uniform(self, e: Expr, scalars: Environments, what: str) -> Expr:
        """``e`` for both cores and both lanes, which must agree on it.

        Lanes that disagree would send different numbers of signals, so a lane-dependent value is
        refused wherever it decides what runs, directly or through a read or a ``let``.
        """
        seen = [substitute(e, s) for s in scalars]
        if any("lane" in self.base_names(x) for x in seen):
            raise Refused(f"{what} depends on the lane, and the lanes must run the same rows")
        unknown = [
            any(n not in s and (n in scalars[0] or n in scalars[1]) for n in names_in(e))
            for s in scalars
        ]
        if not any(unknown) and seen[0] != seen[1]:
            raise Refused(f"the cores do not agree on {what}")
        return seen[1] if unknown[0] and not unknown[1] else seen[0]

    def bound(self, loop: int, trips: Expr, most: int) -> None:
        """Notes what the counters of a loop, and the work items that it numbers, are less than."""
        match trips:  # this block's share of the items
            case Bin("cdiv", Bin("-", items, Var("block_idx")), Var("block_num")):
                self.facts.trips[f"item#i#{loop}"] = items
                if isinstance(items, Const) and isinstance(items.value, int):
                    self.facts.greatest[f"item#i#{loop}"] = max(items.value - 1, 0)
        self.facts.trips[f"i#{loop}"] = trips
        if most < INFINITE:
            self.facts.greatest[f"i#{loop}"] = max(most - 1, 0)
