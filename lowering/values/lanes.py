"""What both vector lanes have together, of what each of them has.

In: a view, a count or a first number of a row of the vector core, and what a lane holds of the row's tile.
Out: the same of the whole tile, without ``lane``; an error where the parts of the lanes do not follow each other.
Non-goals: whether the lanes' regions lie apart (``lowering/hazards``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pto import ir
from pto.errors import ScheduleError
from pto.loc import Loc
from pto.types import TileType
from pto.views import sides


def lane_zero(e: ir.Expr) -> ir.Expr:
    return ir.substitute(e, {"lane": ir.Const(0)})


@dataclass(frozen=True, slots=True)
class Part:
    """One dimension of a tile: how long it is on a lane, and altogether."""

    mine: int
    whole: int
    loc: Loc | None

    @property
    def step(self) -> int:
        """From what a lane has to what the next one has."""
        return self.mine if self.mine < self.whole else 0

    def apart(self, what: str) -> ScheduleError:
        return ScheduleError(f"{what} of the two lanes do not follow each other", self.loc)

    def span(self, span: ir.Span) -> ir.Span:
        """rewrite: ``start + lane * mine * step :+ mine by step``  -->  ``start :+ whole by step``

        Of a tile that both hold one lane may have all, and the other what lies behind it, where nothing exists.
        """
        moved = ir.coefficient(span.start, "lane")
        steps = {None if moved is None or moved % span.step else moved // span.step}
        if span.valid is not None:
            behind = ir.coefficient(span.valid, "lane")
            steps.add(None if behind is None else -behind)
        found = replace(ir.map_exprs(span, lane_zero), size=self.whole if self.step else span.size)
        alone = self.step == 0 and found.valid is not None and at_most(found.valid, span.size)
        if steps != {self.step} and not (alone and steps == {span.size}):
            raise self.apart("the regions")
        return found

    def count(self, count: ir.Expr) -> ir.Expr:
        """How many elements are kept, of how many each lane keeps of its part."""
        if isinstance(count, ir.Const) and count.value >= self.whole:
            return count
        if ir.coefficient(count, "lane") != -self.step:
            raise self.apart("the elements that are kept")
        return lane_zero(count)

    def first(self, start: ir.Expr) -> ir.Expr:
        """What a row of numbers begins with."""
        if ir.coefficient(start, "lane") != self.step:
            raise self.apart("the numbers")
        return lane_zero(start)


def at_most(e: ir.Expr, most: int) -> bool:
    if isinstance(e, ir.Bin) and e.op == "min":
        return at_most(e.a, most) or at_most(e.b, most)
    return isinstance(e, ir.Const) and e.value <= most


def parts(mine: TileType, lanes: int, loc: Loc | None) -> tuple[Part, Part]:
    """Rows and columns of a tile of which a lane holds ``mine``."""
    whole = mine.of_all(lanes)
    return Part(mine.rows, whole.rows, loc), Part(mine.cols, whole.cols, loc)


def view_of_both(view: ir.View, mine: TileType, lanes: int, loc: Loc | None) -> ir.View:
    """What both lanes have of a view, of what each has.  ``mine``: of the tile, or of one of several regions with rows
    of it.

    Raises:
        ScheduleError: when that is no part of a tensor.
    """
    mine = replace(mine, rows=prod(s.size for s in view.spans) // mine.cols)
    both = parts(mine, lanes, loc)
    items = list(view.index)
    for side, whole in zip(sides(view, mine.rows, mine.cols), both, strict=True):
        shared = [k for k in side if ir.coefficient(ir.as_span(view.index[k]).start, "lane") != 0]
        for k in side:
            span = ir.as_span(view.index[k])
            times = whole.whole // whole.mine if k in (shared or side)[:1] else 1
            items[k] = Part(span.size, times * span.size, loc).span(span)
    for item in items:
        if not isinstance(item, ir.Span) and ir.coefficient(item, "lane") != 0:
            raise both[0].apart("the regions")
    return ir.View(view.tensor, tuple(items))


def counts_of_both(
    op: str, args: Sequence[Any], mine: TileType, lanes: int, loc: Loc | None
) -> tuple[Any, ...]:
    """The operands of a row whose result a lane has ``mine`` of: what counts its elements counts those of both.

    Raises:
        ScheduleError: when the lanes count apart.
    """
    rows, cols = parts(mine, lanes, loc)
    counted: Mapping[str, Mapping[int, Callable[[ir.Expr], ir.Expr]]] = {
        "pad": {1: rows.count, 2: cols.count},
        "where": {1: cols.count},
        "iota": {0: (cols if rows.whole == 1 else rows).first},
    }
    change = counted.get(op, {})
    return tuple(change[k](a) if k in change else a for k, a in enumerate(args))
