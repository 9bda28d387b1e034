"""One event for several handovers, where the ids of a pair of pipes do not last.

In: the handovers that need events.  Out: fewer, each with those that it stands for.  Invariant: what stands for
several comes from the last of their first accesses and holds back the first of their next ones, so each of
them is ordered; and it is set before it is waited for, in the order of issue.  Non-goals: what to do when ids
are short all the same (sync).

Neighbours are joined first: what they wait for longer than they need to is least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from lowering.schedule.passes.handovers import Access, Handover

Apart = tuple[int, int]
"""How far two handovers are from each other: in steps, then in places of their block."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A handover that stands for all of ``those``."""

    handover: Handover
    those: tuple[Handover, ...]


def within_ids(handovers: list[Handover], ids: int) -> list[Joined]:
    """The handovers of each pair of pipes, of which as few are joined as its ``ids`` ask for; in their order."""
    found = [Joined(h, (h,)) for h in handovers]
    for pair in dict.fromkeys(h.pair for h in handovers):
        while True:
            mine = [x for x in found if x.handover.pair == pair]
            if sum(x.handover.buffer.depth for x in mine) <= ids:
                break
            nearest = min(neighbours(mine), key=lambda n: n[0], default=None)
            if nearest is None:
                break
            _, a, b, both = nearest
            found = [both if x is a else x for x in found if x is not b]
    return found


def neighbours(joined: list[Joined]) -> Iterator[tuple[Apart, Joined, Joined, Joined]]:
    """How far apart two of them are that one event may stand for, the two, and both as one."""
    for a, b in combinations(joined, 2):
        both = as_one(a.handover, b.handover)
        if both:
            yield apart(a.handover, b.handover), a, b, Joined(both, (*a.those, *b.those))


def as_one(a: Handover, b: Handover) -> Handover | None:
    """Both, if they repeat alike and it is sure which comes first of what they connect."""
    alike = (a.kind, a.distance, a.buffer.depth) == (b.kind, b.distance, b.buffer.depth)
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
