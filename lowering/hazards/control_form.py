"""The part of a normal form that decides which rows run: where the cores are, and what is decided.

In: a ``State``.  Out: a hashable tuple without absolute counts: loop counters as far as indices can tell
them apart (``Counter``), decisions as far as some core can still ask for them, FIFOs by what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, LETTERS, UNKNOWN, Counter, Counters
from lowering.hazards.instructions import Edge, Flat, LoopCode, Stage
from lowering.hazards.rotations import LocalRing
from lowering.hazards.state import ENDED, State

_NONE = Counter()


class ControlForm:
    """Computes that part.  ``counters``: the classes of counters that indices of rings which are not
    rotated, and tests, can tell apart.  ``relative``, ``absolute``: see ``rotations.local_rings``."""

    def __init__(
        self, code: Code, counters: Counters, relative: list[LocalRing], absolute: list[int]
    ) -> None:
        self.code = code
        found = [[counters.get(f"{x}#{n}", _NONE) for n in range(len(code.loops))] for x in LETTERS]
        self.steps, self.totals, self.counts = found
        self.relative, self.absolute = relative, absolute
        self.edges = [ABSENT] * len(
            code.cursors
        )  # by stage: the last row, or rows, of first positions
        for side in code.instructions:
            for pc, ins in enumerate(side):
                if isinstance(ins, Edge) and ins.first:
                    self.edges[ins.stage.cursor] = pc
        in_flat = {
            x for outer, stages in code.flat.items() for x in (outer, *(s.inner for s in stages))
        }
        self.loops = [x for x in code.loops if x.number not in in_flat]
        self.scopes = {x.group: x.scope for x in code.loops}

    def of(self, s: State) -> tuple[object, ...]:
        """The control part of the normal form of ``s``."""
        out: list[object] = [*s.pc, *s.wait]
        for outer, stages in self.code.flat.items():
            out += self._flat_loop(s, outer, stages)
        for x in self.loops:
            out += self._loop(s, x)
        out += self._decided(s)
        out += self._groups(s), self._tests(s)
        out += self._rings(s)
        return tuple(out)

    def _loop(self, s: State, x: LoopCode) -> Iterator[object]:
        """Where the cores are in a loop, and how many iterations are to come."""
        number = x.number
        total = self.totals[number]
        for c in x.cursors:
            j, n, t = s.step[c][number], s.trips[c][number], s.total[c][number]
            if j < 0:
                yield j, total.norm(t)
                continue
            yield self._step(x, j, self._near(x)), _shifted(total, x.span, t + j)
            yield -1 if n == UNKNOWN else n - j
        last = self.counts[number]
        if last is not _NONE:
            yield tuple(last.norm(s.last[c][number]) for c in x.cursors)
        first = x.cursors[0] if x.cursors else 0
        for k in x.cursors[1:]:
            yield s.entry[k][number] - s.entry[first][number]

    def _near(self, x: LoopCode) -> int:
        """Steps up to which the rows of a loop, or the ways to go on, tell each from the others."""
        return max(x.span + self.steps[x.number].exact, self.code.told_apart(x))

    def _step(self, x: LoopCode, j: int, near: int) -> int:
        """Step ``j`` of a loop as far as it can be told, exactly if it is ``near``."""
        if j < near:
            return j
        modulus = self.steps[x.number].modulus
        return near + (j - near) % lcm(modulus, self.code.residue if x.long else 1)

    def _flat_loop(self, s: State, outer: int, stages: list[Stage]) -> Iterator[object]:
        """Where the stages of a flat loop are, seen from the positions that are known to exist."""
        here: dict[int, int] = {}
        promised = s.flat[outer].promised
        yield s.flat[outer].closed
        for stage in stages:
            if not stage.by_position and stage.group not in here:
                items = s.items[stage.group]
                here[stage.group] = at = s.step[stage.cursor][outer]
                yield items.known - promised
                yield tuple([f - promised for f in items.firsts])
                yield max(items.begun - at - 1, 0), items.closed
        for stage in stages:
            yield from self._stage(s, outer, stage, here.get(stage.group, 0))

    def _stage(self, s: State, outer: int, stage: Stage, here: int) -> Iterator[object]:
        """Where a stage is; ``here``: the item that the first stage of its group is in."""
        k, inner = stage.cursor, stage.inner
        at, w = s.step[k][stage.own], s.step[k][outer]
        turns = self.totals[outer]
        turn = turns.norm(w) if turns is not _NONE else 0  # -1 in front of the first item
        if at == ENDED:
            yield ENDED, turn  # where empty items come first, another item may follow
            return
        if inner != ABSENT:
            p = s.total[k][inner] + at
            yield p - s.flat[outer].promised, self.totals[inner].norm(max(p, 0))
        if not stage.by_position:
            yield w - here, turn
            if inner != ABSENT:
                yield self._step(self.code.loops[inner], at, self._near_in_item(s, stage))

    def _near_in_item(self, s: State, stage: Stage) -> int:
        """Steps of a stage in its item that what it still does at its position, or the ways to go on, tell
        from the others: at the head of the loop nothing is left, and only an edge asks for the first."""
        loop, c = self.code.loops[stage.inner], self.code.cursors[stage.cursor]
        pc, ways = s.pc[c], self.code.told_apart(loop) - 1  # it is left first
        rows = loop.span + self.steps[loop.number].exact
        if isinstance(self.code.instructions[c][pc], Flat):
            return max(rows - 1, ways, 0)
        return max(rows, ways, pc <= self.edges[stage.cursor])

    def _decided(self, s: State) -> Iterator[object]:
        """What decided trip counts still are to the cores."""
        for (loop, entry), (n, exact) in s.decided.items():
            x = self.code.loops[loop]
            seen = tuple([_ahead(s, c, loop, entry, n) for c in x.cursors])
            if exact or any(seen):  # else as if nothing were decided
                yield loop, entry - s.entry[x.cursors[0]][loop], exact, seen

    def _groups(self, s: State) -> tuple[object, ...]:
        """Trip counts that several loops or tests go by."""
        return tuple(
            (group, self._past(s, self.scopes[group], instance), known)
            for (group, instance), known in sorted(s.group.items())
        )

    def _tests(self, s: State) -> tuple[object, ...]:
        """Tests on data that have been decided."""
        return tuple(
            sorted(
                (test, self._past(s, self.code.tests[test].scope, instance), holds)
                for (test, instance), holds in s.tests.items()
            )
        )

    def _past(self, s: State, scope: int, instance: int) -> int:
        """How many iterations of a loop ago an instance was."""
        if scope == ABSENT:
            return 0
        c = self.code.loops[scope].cursors[0]
        return s.begun(c, scope) - instance

    def _rings(self, s: State) -> Iterator[object]:
        """Where in its period each FIFO is, how much is in it, and where its local ring is."""
        for k, ring in enumerate(self.code.rings):
            pushed, popped = s.pushed[k], s.popped[k]
            period = ring.period if ring.fifo.credit else 1
            yield pushed % period, pushed - popped, popped % self.absolute[k]
        for k, into in self.relative:
            steps = s.begun(into.cursor, into.loop)
            yield (s.popped[k] - into.current(steps)) % len(into.members)


def _ahead(s: State, k: int, loop: int, entry: int, n: int) -> int | tuple[int, ...]:
    """What a decided trip count still is to cursor ``k``: steps to go, or all of them, or none."""
    if s.entry[k][loop] > entry:
        return ()
    return n - s.step[k][loop] if s.entry[k][loop] == entry else (n,)


def _shifted(counter: Counter, span: int, value: int) -> int:
    near = counter.exact + span if counter.exact else 0
    return value if value < near else near + (value - near) % counter.modulus
