"""Decisions and trip counts: what given trip counts decide, and which ones decisions amount to.

In: trip counts, one entry per work item, or decisions.  Out: the answers to decisions, or trip counts
in the user's terms.  The decisions themselves are in ``lowering/hazards/decisions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.instructions import LoopCode
from lowering.hazards.state import State
from pto.ir import Const, Loop, names_in
from pto.text import expr

Trips = int | Mapping[str, int]
"""Trip counts of one work item: of all its loops, or by loop index, trip count or test as printed."""


def items_loop(code: Code) -> int:
    """The loop over work items, or ABSENT."""
    outer = (x for x in code.loops if x.parent == ABSENT)
    return next((x.number for x in outer if "block_num" in names_in(x.trips)), ABSENT)


def current_item(code: Code, items: int, state: State) -> int:
    """The work item that the leading core is in; -1 before the first."""
    if items == ABSENT:
        return 0
    loop = code.loops[items]
    return max((state.step[k][items] for k in loop.cursors), default=-1) - loop.high


class Oracle:
    """Trip counts, one entry per work item; ``counts``: of the loop in a flat loop over the items."""

    def __init__(self, code: Code, trips: Sequence[Trips]) -> None:
        self.code, self.trips = code, trips
        self.items = items_loop(code)
        self.counts: list[int] = []
        if self.items != ABSENT and code.loops[self.items].node.flat:
            inner = next(x for x in code.loops if x.parent == self.items)
            self.counts = [inner.within(self._iterations(x)) for x in trips]

    def _iterations(self, entry: Trips) -> int:
        """What ``entry`` says of the loop in a flat loop."""
        outer = self.code.loops[self.items].node
        inner = outer.body[outer.inner]
        assert isinstance(inner, Loop)
        if isinstance(inner.trips, Const):
            return self.code.shown(next(x for x in self.code.loops if x.node is inner))
        names = (inner.index, expr(inner.trips))
        if isinstance(entry, int):
            return entry
        return next((entry[n] for n in names if n in entry), 0)

    def runs(self, state: State, loop: LoopCode) -> int:
        """How often a loop runs in this entry of it."""
        if loop.number == self.items:
            return len(self.trips)
        if loop.node.flat:
            return self.counts.count(0)  # items whose inner loop is empty
        return self.code.shown(loop) if loop.constant is not None else self.count(state, loop)

    def count(self, state: State, loop: LoopCode) -> int:
        """The trip count given for a loop, within what is sure of it."""
        return loop.within(self.given(state, 0, loop.node.index, expr(loop.node.trips)))

    def given(self, state: State, default: int, *names: str) -> int:
        """What the entry of the current work item says of one of ``names``."""
        item = current_item(self.code, self.items, state)
        entry = self.trips[min(max(item, 0), len(self.trips) - 1)] if self.trips else 0
        if not isinstance(entry, Mapping):
            return entry if default == 0 else default
        return next((entry[n] for n in names if n in entry), default)


@dataclass(slots=True)
class Replay:
    """Decisions of a run in the user's terms: per work item the trip counts and tests by name.

    ``empty``: work items of a flat loop whose inner loop is empty, so far.
    """

    code: Code
    items: int
    by_item: dict[int, dict[str, int]] = field(default_factory=dict)
    empty: int = 0

    def given(self, state: State) -> dict[str, int]:
        """The entry of the current work item."""
        return self.by_item.setdefault(current_item(self.code, self.items, state), {})

    def step(self, state: State, loop: LoopCode, step: int, choice: bool) -> None:
        """``loop`` has run ``step`` times, and runs again or not."""
        if loop.number == self.items:
            if choice:  # an item of which nothing else is decided is one, too
                self.by_item.setdefault(step, {})
        elif loop.constant is None:
            self.given(state)[expr(loop.node.trips)] = step + choice

    def trips(self, state: State) -> list[dict[str, int]]:
        """Trip counts and tests, one entry per work item, where the run has come to ``state``."""
        if self.items in state.flat:
            return self._flat_trips(state)
        return [self.by_item[k] for k in sorted(self.by_item) if k >= 0]

    def _flat_trips(self, state: State) -> list[dict[str, int]]:
        """The trip counts of the inner loop in a flat one, as far as they are decided; empty items
        come first, those of which only is decided that they exist last."""
        inner = next(x for x in self.code.loops if x.parent == self.items)
        items, promised = state.items[self.items], state.flat[self.items].promised
        edges = (*(items.firsts or (0,)), max(promised, items.known))
        counts = [0] * self.empty + [y - x for x, y in pairwise(edges) if y > x]
        counts += [1] * (items.begun - len(counts))
        return [{expr(inner.node.trips): n} for n in counts]
