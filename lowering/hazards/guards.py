"""Accesses that no later row can meet unordered, because of what it waits for first.

In: the compiled kernel.  Out: for a state, what each flag will tell whoever waits for it next, and
who waits for which flags before it touches which bytes.

An access is *guarded* from a pipe if every row of that pipe that may meet it waits, itself, for a
flag that will tell that the access is complete: whatever is decided from here on, such a row finds
it ordered.  A flag that is set will tell what its set knew.  One that is not set will tell what its
sender knows today at least, and all that the sender is told by what it waits for in every row that
sets the flag.  So no state has to remember a guarded access (``lowering/hazards/normal_form.py``), which
makes the first steps of a loop, when flags are set in advance, and its later ones alike.

Invariant: this says what ``lowering/hazards/happens_before.py`` will find, not what is right: a row that does
not wait for its flag is found there, a set that nobody waited for too.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from lowering.hazards.assumptions import OVERTAKING_SIGNALS, PASSING_WAITS
from lowering.hazards.code import Code
from lowering.hazards.instructions import PUSH_DATA, RECORD, ROW
from lowering.hazards.state import Clock, State, join

MOST_EFFECTS = 64
"""A row with more of them is not looked into, and its pipe counts as unguarded."""

SPLIT = (PUSH_DATA, RECORD)
"""A push in two rows: what the signal tells depends on where the second one stands."""

Guarded = list[tuple[int, tuple[int, ...]]]
"""(pipe, the flags that each of its rows in question waits for)."""


class Guards:
    """The flags in front of accesses and of sets, and the FIFO slots that need none.

    ``of_access``, ``of_write``: by atom, in front of all rows that touch or write it.  ``of_set``: by
    flag, in front of all rows that set it, or use another name of it; ``before_set``: what all that
    set it wait for.  ``kept_apart``: atoms of FIFO slots.
    """

    def __init__(self, code: Code) -> None:
        self.code = code
        access: dict[tuple[int, int], set[int]] = {}
        write: dict[tuple[int, int], set[int]] = {}
        sets: dict[int, set[int]] = {}
        rows = [ins for side in code.code for ins in side if ins[0] == ROW]
        varied = {ins[5] for ins in rows if prod(v[3] + v[4] for v in ins[4]) > MOST_EFFECTS}
        for ins in rows:
            p = ins[5]
            if p in varied:
                continue
            for waits, reads, writes, raised in code.effects(ins):
                for a, _ in (*reads, *writes):
                    access.setdefault((a, p), set(waits)).intersection_update(waits)
                for a, _ in writes:
                    write.setdefault((a, p), set(waits)).intersection_update(waits)
                for f in raised:
                    sets.setdefault(f, set(waits)).intersection_update(waits)
        self.of_access = [_guarded(a, who, access) for a, who in enumerate(code.accessors)]
        self.of_write = [_guarded(a, who, write) for a, who in enumerate(code.writers)]
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
        the depth, and by that pop of the push there.
        """
        code = self.code
        if code.assume & {OVERTAKING_SIGNALS, PASSING_WAITS}:
            return
        apart = {ins[7] for side in code.code for ins in side if ins[0] == ROW and ins[6] in SPLIT}
        for k, ring in enumerate(code.rings):
            depth = ring.fifo.depth
            if ring.fifo.credit and depth % ring.period == 0 and k not in apart:
                yield from range(ring.first_atom, ring.first_atom + depth)

    def told(self, s: State) -> list[Clock]:
        """Of each flag what its next wait will tell at least."""
        flags = self.code.flags
        told = [sent[0] if sent else s.clock[f.src] for f, sent in zip(flags, s.flag, strict=True)]
        clear = [f for f, sent in enumerate(s.flag) if not sent and self.before_set[f]]
        more = True
        while more:
            more = False
            for f in clear:
                clock = told[f]
                for g in self.before_set[f]:
                    clock = join(clock, told[g])
                if clock != told[f]:
                    told[f], more = clock, True
        return told


def _guarded(atom: int, pipes: tuple[int, ...], waits: dict[tuple[int, int], set[int]]) -> Guarded:
    return [(p, tuple(sorted(waits.get((atom, p), ())))) for p in pipes]
