"""All decisions of a compiled kernel: the search for one that leads to a hazard.

In: ``Code``.  Out: the decisions on the way to a hazard, or None when every normal form has been explored
or is covered by one that was.  Non-goals: telling what is wrong (``lowering/hazards/failure.py``).
"""

from __future__ import annotations

import gc
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.decisions import Need
from lowering.hazards.happens_before import Hit
from lowering.hazards.instructions import Refused, Stage
from lowering.hazards.normal_form import NormalForm, Seen
from lowering.hazards.run import Run
from lowering.hazards.state import ENDED, Items, State, has_ended, oldest

if TYPE_CHECKING:
    import random

FAR = 24
"""Steps of one loop after which an exploration turns to shorter runs first."""

Path = tuple[bool, ...]
"""Decisions, in the order in which they are asked for."""


class _Open(NamedTuple):
    """A state to explore, the lowest ``rank`` first: runs that are not long, then what knows least, which
    covers most of what comes later, then the latest."""

    rank: tuple[bool, int, int]
    state: State
    need: Need
    path: Path


class Exploration:
    """Follows every decision from every normal form until no new one appears.

    ``states``: normal forms met.  ``longest``: the most steps of a loop before all had repeated itself.
    ``path``: the decisions that lead to a hazard, once one is found.  ``order``: a random order of exploration.
    """

    def __init__(self, code: Code, max_states: int, order: random.Random | None = None) -> None:
        self.code, self.max_states, self.order = code, max_states, order
        self.form = NormalForm(code)
        self.states = self.longest = 0
        self.seen: dict[tuple[object, ...], Seen] = {}
        self.path: Path | None = None
        self.refused = ""
        self.open: list[_Open] | None = None
        """None: it has not begun."""

    @property
    def settled(self) -> bool:
        """It has found a hazard, or that there is none."""
        return self.path is not None or self.open == []

    def search(self, states: float = inf) -> Path | None:
        """Follows decisions until every normal form is covered by one that was explored; the
        decisions that lead to a hazard, or None.  It pauses at so many ``states``, and goes on from there when
        it is asked again.

        Raises:
            Refused: when there are more than ``max_states`` normal forms; then it never goes on.
        """
        if self.refused:
            raise Refused(self.refused)
        collects = gc.isenabled()
        gc.disable()  # nothing here is cyclic, and there is much of it
        try:
            if self.open is None:
                self.open = self._begun()
            while not self.settled and self.states < states:
                self._decide(self.open)
            return self.path
        except Refused as reason:
            self.refused = str(reason)  # not itself, which would hold all of this
            raise
        finally:
            if collects:
                gc.enable()

    def _begun(self) -> list[_Open]:
        """What is open in front of the first decision."""
        start = State(self.code)
        try:
            need = Run(self.code, start).advance()
        except Hit:
            self.path = ()
            return []
        return [] if need is None else [_Open((False, 0, 0), start, need, ())]

    def _decide(self, unexplored: list[_Open]) -> None:
        """Takes every way from one of the states that are open, up to a hazard."""
        _, state, need, path = self._next(unexplored)
        options = self._options(state, need)
        for k, choice in enumerate(options):
            child = state.fork() if k + 1 < len(options) else state
            need.decide(self.code, child, choice)
            try:
                following = Run(self.code, child).advance()
            except Hit:
                self.path = (*path, choice)
                return
            if following is not None:
                self._add(unexplored, child, following, (*path, choice))

    def _next(self, unexplored: list[_Open]) -> _Open:
        return (
            heappop(unexplored)
            if self.order is None
            else unexplored.pop(self.order.randrange(len(unexplored)))
        )

    def _options(self, state: State, need: Need) -> tuple[bool, ...]:
        self.longest = max(self.longest, need.steps)
        options = need.options(self.code, state)
        return options if self.order is None else tuple(self.order.sample(options, len(options)))

    def _add(self, unexplored: list[_Open], s: State, need: Need, path: Path) -> None:
        """Leaves a state to be explored, if none before meets every hazard of it.

        Raises:
            Refused: when there are too many.
        """
        self._forget(s)
        form = self.form.form(s)
        if self.seen.setdefault((type(need), need.whose, form.same), Seen()).covers(form):
            return
        self.states += 1
        if self.states > self.max_states:
            hint = "; a smaller lookahead, or a loop that is not flat (--no-flat), needs fewer"
            fewer = hint if self.code.flat else ""
            raise Refused(f"not closed after {self.max_states} states{fewer}")
        rank = (need.least > FAR, -form.unknown.bit_count(), -self.states)
        heappush(unexplored, _Open(rank, s, need, path))

    def _forget(self, s: State) -> None:
        """Drops decisions that no core can ask for again."""
        for group, stages in self.code.groups.items():
            self._forget_items(s, group, [x for x in stages if not x.by_position])
        if not s.group and not s.tests:
            return
        tests, scopes = self.code.tests, {x.group: x.scope for x in self.code.loops}
        s.group = {k: n for k, n in s.group.items() if not self._past(s, scopes[k[0]], k[1])}
        s.tests = {k: v for k, v in s.tests.items() if not self._past(s, tests[k[0]].scope, k[1])}

    def _forget_items(self, s: State, group: int, stages: list[Stage]) -> None:
        """Drops what no stage of the group will ask for: which positions were first, and where all of them
        are behind the last position of their loop, all."""
        items = s.items[group]
        if stages and all(has_ended(s, x) for x in stages) and s.flat[stages[0].outer].closed:
            s.items[group] = Items(s.flat[stages[0].outer].promised)
            return
        inside = [x for x in stages if x.inner != ABSENT and s.step[x.cursor][x.inner] != ENDED]
        where = [s.total[x.cursor][x.inner] + s.step[x.cursor][x.inner] for x in inside]
        passed = min(where, default=items.known)
        s.items[group] = items._replace(firsts=tuple([p for p in items.firsts if p > passed]))

    def _past(self, s: State, scope: int, instance: int) -> bool:
        return scope != ABSENT and instance < oldest(self.code, s, scope)
