"""Both cores of a compiled kernel, from a state to the next decision.

In: ``Code``, a ``State``, which decisions have been taken in.  Out: the state moved on until both cores
have ended or one of them waits for a decision; hazards on the way.  What a row does to the state is in
``lowering/hazards/happens_before.py``, how stages walk through a flat loop in ``flat_walk.py`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowering.hazards.code import Code
from lowering.hazards.counters import (
    ABSENT,
    COMPARE,
    COUNT,
    TOTAL,
    UNKNOWN,
    Relation,
    Threshold,
    settled,
)
from lowering.hazards.decisions import CountAbove, Need, OneMoreStep, TestHolds, Undecided
from lowering.hazards.flat_walk import FlatWalk
from lowering.hazards.happens_before import HappensBefore
from lowering.hazards.instructions import (
    Again,
    Classes,
    Edge,
    Effect,
    End,
    Enter,
    Flat,
    Guard,
    Head,
    Instruction,
    Next,
    RowCode,
    Test,
    Variable,
)
from lowering.hazards.log import Log
from lowering.hazards.state import State, known_count
from pto.ir import evaluate


class Run:
    """Executes ``state`` until it ends or needs a decision."""

    def __init__(self, code: Code, state: State, log: Log | None = None) -> None:
        self.code, self.state = code, state
        self.rows, self.flat = HappensBefore(code, state, log), FlatWalk(code, state)
        self.needs: list[Need | None] = [None, None]

    def advance(self) -> Need | None:
        """Runs both cores as far as they get.  Returns the decision they wait for, None at the end."""
        c = waiting = 0
        while waiting < 2:  # one that has moved may let the other go on
            waiting = 1 if self._core(c) else waiting + 1
            c = 1 - c
        if self._ended(0) and self._ended(1):
            self.rows.finish()
            return None
        if self.needs == [None, None]:
            self.rows.deadlock((self._stuck(0), self._stuck(1)))
        return self.needs[self._behind()] or self.needs[0] or self.needs[1]

    def _ended(self, c: int) -> bool:
        return isinstance(self.code.instructions[c][self.state.pc[c]], End)

    def _stuck(self, c: int) -> RowCode | None:
        """The row that core ``c`` waits in front of for ever; None: it has ended."""
        ins = self.code.instructions[c][self.state.pc[c]]
        return ins if isinstance(ins, RowCode) else None

    def _behind(self) -> int:
        """The core that has come less far.  Any order of decisions shows all hazards; deciding for
        the slower core first keeps the other from running ahead without bound."""
        total, step = self.state.total, self.state.step
        far = [[total[k][x] + step[k][x] for k, x in leads] for leads in self.code.shared_leads]
        return int(far[1] < far[0])

    def _core(self, c: int) -> bool:
        """Runs core ``c`` until it ends, is blocked, or needs a decision (``needs``); whether it moved."""
        state, code, take = self.state, self.code.instructions[c], self.rows.row
        pc, steps, trips = state.pc[c], state.step, state.trips
        self.needs[c], moved = None, False
        try:
            while True:
                ins = code[pc]
                if type(ins) is RowCode:
                    loop = ins.loop
                    if not ins.ranged or 0 <= steps[c][loop] - ins.offset < trips[c][loop]:
                        if not take(ins, self._effect(ins)):
                            break
                    pc += 1
                else:
                    following = _CONTROL[type(ins)](self, c, ins, pc)
                    if following is None:
                        break
                    pc = following
                moved = True
        except Undecided as waits:
            self.needs[c] = waits.need
        state.pc[c] = pc
        return moved

    # rows

    def _effect(self, row: RowCode) -> Effect:
        """What a row does for the counters of its cursor."""
        variables, k = row.variables, row.cursor
        if not variables:
            known: Classes = ()
        elif len(variables) == 1:  # nearly every row: without the calls below
            (v,) = variables
            if v.letter == COUNT:
                value = self.state.last[k][v.loop]
            else:
                value = self.state.step[k][v.loop] - v.offset
                if v.letter == TOTAL:
                    value += self.state.total[k][v.loop]
            exact = v.counter.exact
            known = value if value < exact else exact + (value - exact) % v.counter.modulus
        else:
            known = tuple([v.counter.norm(self._counter(k, v)) for v in variables])
        return row.effects.get(known) or self.code.effect_of(row, known)

    def _counter(self, k: int, v: Variable) -> int:
        """The value of ``i#L``, ``u#L`` or ``n#L`` for cursor ``k``."""
        state, loop = self.state, v.loop
        if v.letter == COUNT:
            return state.last[k][loop]
        return state.step[k][loop] - v.offset + (state.total[k][loop] if v.letter else 0)

    # control: each returns where the core goes on, None if it does not

    def _end(self, c: int, ins: End, pc: int) -> None:
        return None

    def _enter(self, c: int, ins: Enter, pc: int) -> int:
        loop = self.code.loops[ins.loop]
        self.state.step[c][ins.loop] = 0
        self.state.trips[c][ins.loop] = max(loop.constant or 0, 0) if loop.short else UNKNOWN
        return pc + 1

    def _next(self, c: int, ins: Next, pc: int) -> int:
        self.state.step[c][ins.loop] += 1
        return ins.head

    def _head(self, c: int, ins: Head, pc: int) -> int:
        """One more step, or out of the loop."""
        state, loop = self.state, ins.loop
        j, n = state.step[c][loop], state.trips[c][loop]
        if n == UNKNOWN:
            entry = state.entry[c][loop]
            least, exact = state.decided.get((loop, entry), (0, False))
            if not exact and j < least:
                return pc + 1
            if not exact:
                instance = self._instance(c, self.code.loops[loop].scope)
                raise Undecided(OneMoreStep(loop, entry, j, instance))
            n = state.trips[c][loop] = least
        if n and j < n + self.code.loops[loop].span:
            return pc + 1
        self._leave(c, loop, n)
        return ins.exit

    def _leave(self, c: int, loop: int, n: int) -> None:
        """Core ``c`` has run ``loop`` for ``n`` iterations."""
        state, entry = self.state, self.state.entry[c][loop]
        state.total[c][loop] += n
        state.last[c][loop] = n
        state.step[c][loop] = -1
        state.trips[c][loop] = UNKNOWN
        state.entry[c][loop] += 1
        if (loop, entry) in state.decided:
            if all(state.entry[d][loop] > entry for d in self.code.loops[loop].cursors):
                del state.decided[loop, entry]

    def _flat(self, c: int, ins: Flat, pc: int) -> int:
        return pc + 1 if self.flat.advance(ins) else ins.exit

    def _edge(self, c: int, ins: Edge, pc: int) -> int:
        return pc + 1 if self.flat.at_edge(ins) else ins.exit

    def _again(self, c: int, ins: Again, pc: int) -> int:
        return ins.head

    # branches

    def _guard(self, c: int, ins: Guard, pc: int) -> int:
        step, trips = self.state.step[c], self.state.trips[c]
        if ins.loop != ABSENT and not 0 <= step[ins.loop] - ins.offset < trips[ins.loop]:
            return ins.exit
        go_on = ins.test == ABSENT or self._holds(c, ins) == ins.wanted
        return pc + 1 if go_on else ins.exit

    def _holds(self, c: int, ins: Guard) -> bool:
        """How a test comes out; what it goes by may have to be decided first."""
        test = self.code.tests[ins.test]
        if test.known:
            values = {v.name: self._counter(c, v) for v in ins.variables}
            return bool(evaluate(test.expr, lambda n: values[n]))
        if isinstance(test.about, Relation):
            return self._related(c, test.about, ins)
        instance = self._instance(c, test.scope, ins.offset if test.scope == ins.loop else ABSENT)
        if isinstance(test.about, Threshold):
            return self._compared(test, test.about, instance)
        if (test.number, instance) not in self.state.tests:
            raise Undecided(TestHolds(test.number, instance))
        return self.state.tests[test.number, instance]

    def _compared(self, test: Test, about: Threshold, instance: int) -> bool:
        """A test of a trip count against a constant."""
        least, exact = known_count(self.code, self.state, about.group, instance)
        near = about.sign * least + about.shift
        if not exact and not settled(about.op, near, about.sign):
            raise Undecided(CountAbove(test.number, instance, least))
        return COMPARE[about.op](near)

    def _related(self, c: int, r: Relation, ins: Guard) -> bool:
        """A test of a counter against its trip count."""
        state, loop = self.state, self.code.loops[r.loop]
        i = state.step[c][r.loop] - (ins.offset if r.loop == ins.loop else loop.high)
        n, entry = state.trips[c][r.loop], state.entry[c][r.loop]
        least, exact = state.decided.get((r.loop, entry), (0, False))
        if n != UNKNOWN:
            least, exact = n, True
        near = r.sign * (i - least) + r.shift
        if not exact and not settled(r.op, near, -r.sign):
            raise Undecided(OneMoreStep(r.loop, entry, least, self._instance(c, loop.scope)))
        return COMPARE[r.op](near)

    def _instance(self, c: int, scope: int, offset: int = ABSENT) -> int:
        """Which iteration of the loop ``scope`` core ``c`` is in, counted over the whole run."""
        if scope == ABSENT:
            return 0
        if offset == ABSENT:
            offset = self.code.loops[scope].high
        return self.state.total[c][scope] + self.state.step[c][scope] - offset


_CONTROL: dict[type[Instruction], Callable[[Run, int, Any, int], int | None]] = {
    Enter: Run._enter,
    Head: Run._head,
    Next: Run._next,
    End: Run._end,
    Guard: Run._guard,
    Flat: Run._flat,
    Edge: Run._edge,
    Again: Run._again,
}
