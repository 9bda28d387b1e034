"""Which stores may have left something in a region that is loaded, in a made-up world.

In: places, as the value check notes them.  Out: whether two share an element.  Sizes and trip counts have the
numbers of that world.  A number that a table holds is no size: entries lie far from each other where its type
states how they differ, and else all are the same; so whatever may meet does meet here, and an order
that the traced program has is asked for.
Non-goals: values, and whether an order is kept (``lowering/hazards/``).
"""

from __future__ import annotations

from dataclasses import dataclass

from lowering.values.world import World
from pto.arithmetic import Number, NumberError
from pto.in_place import told_apart
from pto.ir import Expr, evaluate
from pto.overlap import FAR, meet


@dataclass(frozen=True, slots=True)
class Regions:
    """Places as intervals, with the numbers of a world."""

    world: World

    def meet(self, a: object, b: object) -> bool:
        """Whether two places share an element; a place that is no region may be anywhere in its tensor."""
        assert isinstance(a, tuple)
        assert isinstance(b, tuple)
        if "apart" in (a[0], b[0]):
            return _tensor(a) == _tensor(b)
        return a[0] == b[0] and meet(self._region(a), self._region(b))

    def _region(self, place: tuple[object, ...]) -> tuple[tuple[int, int], ...]:
        return tuple(self._interval(*x) for x in place[1:] if isinstance(x, tuple))

    def _interval(self, start: Expr, size: int, valid: Expr | None) -> tuple[int, int]:
        first, count = self._number(start), max(size, 1)
        exists = count if valid is None else min(count, max(self._number(valid), 0))
        return first, first + exists

    def _number(self, e: Expr) -> int:
        try:
            return int(evaluate(e, self._value))
        except NumberError:
            return 0

    def _value(self, name: str) -> Number:
        table = self.world.tables.get(name)
        if table is None:
            return self.world.number_of(name)
        stated = ((p.name, p.facts) for p in self.world.kernel.params)
        return FAR * int(name[1:]) if told_apart(table, stated) else FAR


def _tensor(place: tuple[object, ...]) -> object:
    return getattr(place[1], "tensor", place[0]) if place[0] == "apart" else place[0]
