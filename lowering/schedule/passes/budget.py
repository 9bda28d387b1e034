"""One event for several handovers, where the ids of a pair of pipes do not last.

In: the handovers that need events.  Out: fewer, each with those that it stands for.  Invariant: what stands for
several comes from the last of their first accesses and holds back the first of their next ones, so each of
them is ordered; and it is set before it is waited for, in the order of issue.  Non-goals: what to do when ids
are short all the same (sync).

Rings of loops one after the other share events first, which costs nothing; then a ring of many slots has an id for
as many as are under way, if those are fewer; then neighbours are joined, those first that then wait least longer
than they need to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from lowering.schedule.passes.handovers import (
    Access,
    Handover,
    Pair,
    chained,
    in_a_row,
    siblings,
)

Apart = tuple[int, int]
"""How far two handovers are from each other: in steps, then in places of their block."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What one event is for: handovers ``in_turns`` of one buffer, which stand for all of ``those``."""

    in_turns: tuple[Handover, ...]
    those: tuple[Handover, ...]

    @property
    def turns(self) -> int:
        return self.in_turns[0].turns

    @property
    def pair(self) -> Pair:
        return self.in_turns[0].pair

    @property
    def name(self) -> str:
        """``x.full``, or ``x.free`` if one of them goes back to a later iteration: it is primed."""
        last = self.in_turns[-1]
        return f"{self.in_turns[0].buffer.name}.{last.kind}"


def within_ids(handovers: list[Handover], ids: int) -> list[Joined]:
    """The handovers of each pair of pipes, of which as few are joined as its ``ids`` ask for; in their order."""
    found = in_turns(handovers)
    for pair in dict.fromkeys(h.pair for h in handovers):
        while sum(x.turns for x in found if x.pair == pair) > ids:
            less = one_after_the_other(found, pair) or shorter(found, handovers, pair)
            less = less or neighbours_as_one(found, pair)
            if not less:
                break
            found = less
    return found


def in_turns(handovers: list[Handover]) -> list[Joined]:
    """One event for what a buffer that holds several values in turns hands over on the same way: it is waited
    for before it is set again, because both are about the same slot."""
    found: list[Joined] = []
    for h in handovers:
        before = next((x for x in found if follows(h, x.in_turns[-1])), None)
        if before is None:
            found.append(Joined((h,), (h,)))
        else:
            more = replace(before, in_turns=(*before.in_turns, h), those=(*before.those, h))
            found[found.index(before)] = more
    return found


def follows(h: Handover, before: Handover) -> bool:
    """``h`` begins behind the end of ``before``, in the same iteration and slot, or in a later loop: between loops
    every ``full`` is clear and every ``free`` is set."""
    alike = (h.buffer, h.pair, h.turns) == (before.buffer, before.pair, before.turns)
    if alike and in_a_row(h, before):
        return (h.kind, h.distance) == (before.kind, before.distance)
    rows = not any(x.is_loop for x in (h.first, h.then, before.first, before.then))
    ends = before.distance == 0 and before.then.begin.surely_before(h.first.begin)
    return alike and rows and ends


def one_after_the_other(joined: list[Joined], pair: Pair) -> list[Joined]:
    """One event for the first two rings, in loops one after the other, that hand over alike, there and back; none
    if no two of this pair of pipes do."""
    mine: dict[str, list[Joined]] = {}
    for x in joined:
        mine.setdefault(x.in_turns[0].buffer.name, []).append(x)
    asked = {x.in_turns[0].buffer.name for x in joined if x.pair == pair}
    for name, other in combinations([n for n in mine if n in asked], 2):
        if takes_turns(mine[name], mine[other]):
            theirs = {kind_of(x): x for x in mine.pop(other)}
            mine[name] = [with_those(x, theirs[kind_of(x)]) for x in mine[name]]
            return [x for found in mine.values() for x in found]
    return []


def takes_turns(one: list[Joined], other: list[Joined]) -> bool:
    """All handovers of two rings are in loops one after the other, and of the same kinds; who has been told that
    a slot is full tells that it is free."""
    rows = [h for x in (*one, *other) for h in x.in_turns]
    apart = all(in_a_row(a, b) for x in one for a in x.in_turns for y in other for b in y.in_turns)
    kinds = [kind_of(x) for x in one]
    back = {(pair[0], pair[2], pair[1]) for kind, pair, _ in kinds if kind == "free"}
    return (
        apart
        and not any(x.is_loop for h in rows for x in (h.first, h.then))
        and len(set(kinds)) == len(kinds)
        and sorted(kinds) == sorted(kind_of(x) for x in other)
        and all(pair in back for kind, pair, _ in kinds if kind == "full")
    )


def kind_of(x: Joined) -> tuple[str, Pair, int]:
    return x.in_turns[-1].kind, x.pair, x.turns


def with_those(one: Joined, other: Joined) -> Joined:
    return Joined((*one.in_turns, *other.in_turns), (*one.those, *other.those))


def shorter(joined: list[Joined], handovers: list[Handover], pair: Pair) -> list[Joined]:
    """All of a pair of pipes with as few ids as they can do with, none if they have no more."""
    less = [fewer(x, handovers) if x.pair == pair else x for x in joined]
    return less if less != joined else []


def fewer(joined: Joined, handovers: list[Handover]) -> Joined:
    """With an id for as many iterations as can be under way: the one that many later is not set before this
    one is waited for, which the other handovers see to."""
    h, *more = joined.in_turns
    for turns in range(2, 0 if h.distance or more else h.turns):
        back = replace(h, first=h.then, then=h.first, distance=turns)
        if chained(back, siblings(h, handovers)):
            return replace(joined, in_turns=(replace(h, turns=turns),))
    return joined


def neighbours_as_one(joined: list[Joined], pair: Pair) -> list[Joined]:
    """One event for the two that are nearest to each other, none if it can stand for no two."""
    mine = [x for x in joined if x.pair == pair]
    nearest = min(neighbours(mine), key=lambda n: n[0], default=None)
    if nearest is None:
        return []
    _, a, b, both = nearest
    return [both if x is a else x for x in joined if x is not b]


def neighbours(joined: list[Joined]) -> Iterator[tuple[Apart, Joined, Joined, Joined]]:
    """How far apart two of them are that one event may stand for, the two, and both as one."""
    lone = [x for x in joined if len(x.in_turns) == 1]
    for a, b in combinations(lone, 2):
        both = as_one(*a.in_turns, *b.in_turns)
        if both:
            yield apart(*a.in_turns, *b.in_turns), a, b, Joined((both,), (*a.those, *b.those))


def as_one(a: Handover, b: Handover) -> Handover | None:
    """Both, if they repeat alike and it is sure which comes first of what they connect."""
    alike = (a.kind, a.distance, a.turns) == (b.kind, b.distance, b.turns)
    if not alike or any(x.is_loop for x in (a.first, b.first, a.then, b.then)):
        return None
    if not (beside(a.first, b.first) and beside(a.then, b.then)):
        return None
    first = b.first if a.first.end.surely_before(b.first.end) else a.first
    then = a.then if a.then.begin.surely_before(b.then.begin) else b.then
    sure = all(
        x.first.end.surely_before(first.end)
        and then.begin.surely_before(x.then.begin)
        and first.end.surely_before(then.begin, a.distance)
        for x in (a, b)
    )
    return replace(a, first=first, then=then) if sure else None


def beside(a: Access, b: Access) -> bool:
    """In one block, with slots that turn together."""
    return a.path[:-1] == b.path[:-1] and a.index == b.index


def apart(a: Handover, b: Handover) -> Apart:
    ends = [(a.first.end, b.first.end), (a.then.begin, b.then.begin)]
    steps = sum(abs(x.step - y.step) for x, y in ends)
    return steps, sum(abs(x.place[-1] - y.place[-1]) for x, y in ends)
