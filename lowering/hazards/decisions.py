"""The decisions that an abstract execution waits for, each with yes or no.

In: a state that cannot go on by itself.  Out: one of six ``Need`` classes.  Each says which ways are
open (``options``), takes one (``decide``), knows what given trip counts say (``answer``), and notes a
choice in the user's terms (``note``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate

from lowering.hazards.code import Code
from lowering.hazards.counters import Threshold
from lowering.hazards.state import Items, Positions, State, count_steps, known_count
from lowering.hazards.trips import Oracle, Replay
from pto.text import expr

BOTH = (False, True)
"""Leaving first."""


@dataclass(frozen=True, slots=True)
class Need(ABC):
    """A decision to take.  ``about``: the number of the loop or test that it is about.  An *instance* is the
    iteration of the loop that the trip count or test depends on, counted over the whole run."""

    about: int

    @property
    def whose(self) -> tuple[int, ...]:
        """What tells it from others of its class in states that look alike."""
        return (self.about,)

    @property
    def steps(self) -> int:
        """Steps that the loop has run in this entry."""
        return 0

    @property
    def least(self) -> int:
        """What the trip count in question is known to be at least."""
        return self.steps

    @abstractmethod
    def decide(self, code: Code, state: State, choice: bool) -> None:
        """Takes the decision."""

    def options(self, code: Code, state: State) -> tuple[bool, ...]:
        """The ways to go on, leaving first."""
        return BOTH

    @abstractmethod
    def answer(self, oracle: Oracle, state: State) -> bool:
        """What given trip counts say."""

    @abstractmethod
    def note(self, replay: Replay, state: State, choice: bool) -> None:
        """Notes the choice."""


class Undecided(Exception):
    """A core cannot go on without a decision."""

    def __init__(self, need: Need) -> None:
        self.need = need


@dataclass(frozen=True, slots=True)
class OneMoreStep(Need):
    """Does a loop, which has run ``step`` steps in its entry number ``entry``, run one more?"""

    entry: int
    step: int
    instance: int

    @property
    def steps(self) -> int:
        return self.step

    def decide(self, code: Code, state: State, choice: bool) -> None:
        loop, steps = code.loops[self.about], self.step + choice
        state.decided[self.about, self.entry] = (steps, not choice)
        if loop.reused:
            count_steps(code, state, loop.group, self.instance, steps, not choice)

    def options(self, code: Code, state: State) -> tuple[bool, ...]:
        loop = code.loops[self.about]
        over = code.ends(loop, self.step)
        if over is not None:
            return (not over,)
        if loop.reused and not loop.long:
            known, exact = known_count(code, state, loop.group, self.instance)
            if self.step < known:
                return (True,)
            if exact and known < code.caps[loop.group]:
                return (False,)
        return BOTH

    def answer(self, oracle: Oracle, state: State) -> bool:
        return self.step < oracle.runs(state, oracle.code.loops[self.about])

    def note(self, replay: Replay, state: State, choice: bool) -> None:
        loop = replay.code.loops[self.about]
        replay.empty += loop.node.flat and choice
        replay.step(state, loop, self.step, choice)


@dataclass(frozen=True, slots=True)
class TestHolds(Need):
    """Does a test, which nothing known decides, hold?"""

    instance: int

    def decide(self, code: Code, state: State, choice: bool) -> None:
        state.tests[self.about, self.instance] = choice

    def answer(self, oracle: Oracle, state: State) -> bool:
        return bool(oracle.given(state, 1, expr(oracle.code.tests[self.about].expr)))

    def note(self, replay: Replay, state: State, choice: bool) -> None:
        replay.given(state)[expr(replay.code.tests[self.about].expr)] = int(choice)


@dataclass(frozen=True, slots=True)
class CountAbove(Need):
    """Is the trip count that a test is about above ``count``, which it is at least?"""

    instance: int
    count: int

    @property
    def least(self) -> int:
        return self.count

    def decide(self, code: Code, state: State, choice: bool) -> None:
        about = code.tests[self.about].about
        assert isinstance(about, Threshold)
        count_steps(code, state, about.group, self.instance, self.count + choice, not choice)

    def options(self, code: Code, state: State) -> tuple[bool, ...]:
        sure = max(x.least for x in code.loops_about(self.about))
        return (True,) if self.count < sure and sure > 0 else BOTH

    def answer(self, oracle: Oracle, state: State) -> bool:
        return self.count < oracle.count(state, oracle.code.loops_about(self.about)[0])

    def note(self, replay: Replay, state: State, choice: bool) -> None:
        for x in replay.code.loops_about(self.about):
            replay.given(state).setdefault(expr(x.node.trips), self.count + choice)


# ----------------------------------------------------------------------------------- flat loops


@dataclass(frozen=True, slots=True)
class FlatNeed(Need):
    """A decision about a flat loop (``lowering/hazards/flat_walk.py``)."""

    def note(self, replay: Replay, state: State, choice: bool) -> None:
        replay.step(state, replay.code.loops[self.about], 0, choice)


@dataclass(frozen=True, slots=True)
class PositionExists(FlatNeed):
    """Does it have a position number ``position``?"""

    position: int

    def decide(self, code: Code, state: State, choice: bool) -> None:
        state.flat[self.about] = Positions(self.position + choice, not choice)

    def answer(self, oracle: Oracle, state: State) -> bool:
        return self.position < sum(oracle.counts)


@dataclass(frozen=True, slots=True)
class ItemNeed(FlatNeed):
    """One about its items, as the stages of a group see them."""

    group: int

    @property
    def whose(self) -> tuple[int, ...]:
        return self.about, self.group

    def decide(self, code: Code, state: State, choice: bool) -> None:
        state.items[self.group] = self.decided(state.items[self.group], choice)

    @abstractmethod
    def decided(self, items: Items, choice: bool) -> Items:
        """What is decided of the items then."""


@dataclass(frozen=True, slots=True)
class StartsItem(ItemNeed):
    """Is ``position`` the first of an item, which would be ``item``?"""

    position: int
    item: int

    def decided(self, items: Items, choice: bool) -> Items:
        return items.noted(self.position, self.item, choice)

    def answer(self, oracle: Oracle, state: State) -> bool:
        return self.position in accumulate(oracle.counts)


@dataclass(frozen=True, slots=True)
class ItemExists(ItemNeed):
    """Does it have an item number ``item``?"""

    item: int

    def decided(self, items: Items, choice: bool) -> Items:
        return items._replace(begun=self.item + choice, closed=not choice)

    def answer(self, oracle: Oracle, state: State) -> bool:
        return self.item < len(oracle.trips)
