"""Accesses that no later row can meet unordered, because of what it waits for first.

In: the compiled kernel.  Out: which flags all rows of a pipe wait for before they touch certain bytes,
and for a state, what each flag will tell whoever waits for it next.

An access is *awaited* by a pipe if one flag will tell that it is complete, and every row of that pipe
that may meet it waits for that flag itself: whatever is decided from here on, such a row finds it
ordered.  (The next wait for the flag may be in another row: it is on the same pipe, which then
knows.)  A flag that is set will tell what its set knew.  One that is clear will tell what its sender
knows today at least, and all that the sender is told by what it waits for in every row that sets it.
So no state has to remember an awaited access (``lowering/hazards/normal_form.py``), which makes the
first steps of a loop, whose flags are set in advance, and its later ones alike.

A wait or a set that is missing is found all the same: which flags are set is part of every form.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from lowering.hazards.assumptions import OVERTAKING_FREES, PASSING_WAITS
from lowering.hazards.code import Code
from lowering.hazards.signals import tells_of_data
from lowering.hazards.state import State

EFFECTS_LIMIT = 64
"""A row with more of them is not looked into, and its pipe counts as one that waits for nothing."""

Waiting = list[tuple[int, tuple[int, ...]]]
"""(pipe, the flags that each of its rows in question waits for)."""


class Awaited:
    """The flags in front of accesses and of sets, and the FIFO slots that need none.

    ``of_access``, ``of_write``: by byte range, in front of all rows that touch or write it.
    ``before_set``: by flag, what all rows that set it wait for; nothing if it has another name, which
    is looked at before the waits of a row.  ``of_set``: the same, by pipe that must know of its last
    wait.  ``kept_apart``: byte ranges of FIFO slots.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        access: dict[tuple[int, int], set[int]] = {}
        write: dict[tuple[int, int], set[int]] = {}
        sets: dict[int, set[int]] = {}
        varied = {
            r.pipe
            for r in code.running
            if prod(v.counter.classes for v in r.variables) > EFFECTS_LIMIT
        }
        for row in (r for r in code.running if r.pipe not in varied):
            p = row.pipe
            for waits, reads, writes, raised in code.effects(row):
                for b, _ in (*reads, *writes):
                    access.setdefault((b, p), set(waits)).intersection_update(waits)
                for b, _ in writes:
                    write.setdefault((b, p), set(waits)).intersection_update(waits)
                for f in raised:
                    sets.setdefault(f, set(waits)).intersection_update(waits)
        self.of_access = [_waiting(b, who, access) for b, who in enumerate(code.accessors)]
        self.of_write = [_waiting(b, who, write) for b, who in enumerate(code.writers)]
        self.before_set = [
            () if code.siblings[f] or flag.src in varied else tuple(sorted(sets.get(f, ())))
            for f, flag in enumerate(code.flags)
        ]
        self.of_set = [
            [(p, self.before_set[f]) for p in pipes] for f, pipes in enumerate(code.flag_pipes)
        ]
        self.kept_apart = frozenset(self._kept_apart())

    def _kept_apart(self) -> Iterator[int]:
        """Slots of FIFOs whose signals keep every push and pop apart that meet.

        Pop n waits for the signal of push n, which tells its store.  Push n waits for a free signal
        once a period, so it has been told of pop ``depth`` places before it if the period divides
        the depth, and by that pop of the push there.  Not so where there are no free signals, where
        they hold back S alone or overtake the pop, or where a signal does not tell of its store.
        """
        code = self.code
        if code.assume & {OVERTAKING_FREES, PASSING_WAITS}:
            return
        for k, ring in enumerate(code.rings):
            depth = ring.fifo.depth
            if ring.fifo.credit and depth % ring.period == 0 and tells_of_data(code, k):
                yield from range(ring.first_range, ring.first_range + depth)


class Told:
    """What the flags of a state will tell whoever waits for them next."""

    def __init__(self, awaited: Awaited, s: State) -> None:
        self.clock, self.flag, self.before_set = s.clock, s.flag, awaited.before_set
        flags = zip(awaited.code.flags, s.flag, strict=True)
        self.known = [sent[0] if sent else s.clock[flag.src] for flag, sent in flags]

    def is_open(self, q: int, r: int, who: Waiting) -> bool:
        """Somebody may meet row ``r`` of pipe ``q`` without being told that it is complete."""
        for p, flags in who:
            if self.clock[p][q] < r:
                for f in flags:
                    if self.known[f][q] >= r:
                        break
                else:
                    if not self._is_passed_on(q, r, flags):
                        return True
        return False

    def _is_passed_on(self, q: int, r: int, flags: tuple[int, ...]) -> bool:
        """Who sets one of ``flags``, none of which knows of the row, will be told of it before."""
        todo = [f for f in flags if not self.flag[f]]
        for f in todo:
            for g in self.before_set[f]:
                if self.known[g][q] >= r:
                    return True
                if not self.flag[g] and g not in todo:
                    todo.append(g)
        return False


def _waiting(b: int, pipes: tuple[int, ...], waits: dict[tuple[int, int], set[int]]) -> Waiting:
    return [(p, tuple(sorted(waits.get((b, p), ())))) for p in pipes]
