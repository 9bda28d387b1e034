"""One abstract execution of a compiled schedule, with vector clocks (docs/machine.md 9).

In: ``Code`` and decisions (trip counts, branches).  Out: hazards, or the knowledge of every pipe.

*Why one execution stands for every interleaving.*  Each flag and each cross-core signal has one
in-order sender and one in-order receiver, so the k-th wait always meets the k-th set: which
completion is known before which start does not depend on timing.  So the cores may run here in any
order that respects issue; a pipe's clock says how many rows of each pipe are *known complete* before
its next row starts.  Knowledge comes only from set -> wait, barrier, drain and signal, each of which
covers everything earlier in its pipe, so a count per pipe is enough.  Rows are executed in
issue order: a wait must be issued behind its set (queues are of unknown depth, docs/machine.md 10), and
each row depends only on rows executed before it, so nothing but a FIFO wait can block issue.

*Lanes.*  Both vector lanes run one stream on disjoint rows (``tensor_conflicts`` checks it), a cube
signal reaches each of them and the cube waits for both, so one lane stands for both.  No trip count
and no branch depends on the lane (``hazard_code`` refuses it), so both run the same rows.

*Benign.*  V reads before it writes in order, so V's write-after-read needs nothing; the row-expand
ops of the library share a scratch area at the top of UB, but carry their own barrier.

Non-goals: values, timing.
"""

from __future__ import annotations

from dataclasses import replace

from lowering.hazards.assumptions import (
    COUNTING_FLAGS,
    EARLY_SETS,
    ORDERED_ACCUMULATION,
    OVERTAKING_SIGNALS,
    PASSING_WAITS,
)
from lowering.hazards.code import Code
from lowering.hazards.counters import (
    ABSENT,
    COMPARE,
    LETTERS,
    UNKNOWN,
    Relation,
    Threshold,
    settled,
)
from lowering.hazards.course import Walk
from lowering.hazards.instructions import (
    AGAIN,
    BARRIER,
    BARRIER_ALL,
    DRAIN,
    EDGE,
    ENTER,
    FLAT,
    HEAD,
    NEXT,
    POP,
    PUSH,
    PUSH_DATA,
    RANGE,
    RECORD,
    ROW,
    START,
    Classes,
    Effect,
    Instruction,
    Variable,
)
from lowering.hazards.log import SPOILED, STILL_SET, At, Found, Log
from lowering.hazards.state import Clock, Need, State, join, known_count
from pto.ir import evaluate

NOTHING: Effect = ((), (), (), ())


class Hit(Exception):
    """A hazard was found (fast mode, which keeps no log to describe it)."""


class Run(Walk):
    """Executes ``state`` until it ends or needs a decision."""

    def __init__(self, code: Code, state: State, log: Log | None = None) -> None:
        self.code, self.state, self.log = code, state, log
        self.needs: list[Need | None] = [None, None]
        in_order = ORDERED_ACCUMULATION in code.assume
        self.adder = code.pipe_number.get(("cube", "M"), ABSENT) if in_order else ABSENT

    # control

    def advance(self) -> Need | None:
        """Runs both cores as far as they get.  Returns the decision they wait for, None at the end."""
        state = self.state
        done = [False, False]
        while True:
            before = (state.pc[:], state.count[:], [x[:] for x in state.step])
            for c in (0, 1):
                if not done[c]:
                    done[c] = self._core(c)
            if all(done):
                self._exit()
                return None
            if (state.pc, state.count, state.step) == before:
                break
        if self.needs == [None, None]:
            self._deadlock(done)
        return self.needs[self._behind()] or self.needs[0] or self.needs[1]

    def _behind(self) -> int:
        """The core that has come less far.  Any order of decisions shows all hazards; deciding for
        the slower core first keeps the other from running ahead without bound."""
        state = self.state
        shared = [x.number for x in self.code.loops if len(x.cores) == 2]
        lead = [[(self.code.lead(c, x), x) for x in shared] for c in (0, 1)]
        far = [[state.total[k][x] + state.step[k][x] for k, x in lead[c]] for c in (0, 1)]
        return int(far[1] < far[0])

    def _core(self, c: int) -> bool:
        """Runs core ``c`` until it is blocked, needs a decision (``needs``) or ends (True)."""
        state, code = self.state, self.code.code[c]
        steps, step, trips = state.step, state.step[c], state.trips[c]
        pc = state.pc[c]
        self.needs[c] = None
        while True:
            ins = code[pc]
            op = ins[0]
            if op == ROW:
                loop, k = ins[2], ins[8]
                if loop != ABSENT:
                    i = steps[k][loop] - ins[3]
                    if i < 0 or i >= state.trips[k][loop]:
                        pc += 1
                        continue
                variables = ins[4]
                known: Classes = ()
                if len(variables) == 1:  # nearly every row
                    letter, where, offset, modulus, exact = variables[0]
                    if letter == 2:
                        known = state.last[k][where]
                    else:
                        known = steps[k][where] - offset + (state.total[k][where] if letter else 0)
                    if known >= exact:
                        known = exact + (known - exact) % modulus
                elif variables:
                    known = self._values(k, variables)
                effect = ins[9].get(known)
                if effect is None:
                    effect = self.code.effect_of(ins, known)
                if not self._row(c, ins, effect):
                    break
                pc += 1
            elif op == NEXT:
                if ins[1] == ABSENT:
                    state.pc[c] = pc
                    return True
                step[ins[1]] += 1
                pc = ins[2]
            elif op == HEAD:
                way = self._head(c, ins[1])
                if way == 0:
                    break
                pc = pc + 1 if way == 1 else ins[2]
            elif op == ENTER:
                loop = self.code.loops[ins[1]]
                step[loop.number] = 0
                trips[loop.number] = max(loop.constant or 0, 0) if loop.short else UNKNOWN
                pc += 1
            elif op == START:
                self.start(ins)
                pc += 1
            elif op == FLAT:
                way = self.flat(c, ins)
                if way == 0:
                    break
                pc = pc + 1 if way == 1 else ins[6]
            elif op == EDGE:
                way = self.edge(c, ins)
                if way == 0:
                    break
                pc = pc + 1 if way == 1 else ins[5]
            elif op == AGAIN:
                pc = ins[1]
            elif op == RANGE:
                inside = 0 <= step[ins[1]] - ins[2] < trips[ins[1]]
                pc = pc + 1 if inside else ins[3]
            else:
                way = self._guard(c, ins)
                if way == 0:
                    break
                pc = pc + 1 if way == 1 else ins[6]
        state.pc[c] = pc
        return False

    def _values(self, c: int, variables: tuple[Variable, ...]) -> tuple[int, ...]:
        """The classes of the counters that decide what a row touches."""
        found = []
        for letter, where, offset, modulus, exact in variables:
            v = self._counter(c, letter, where, offset)
            found.append(v if v < exact else exact + (v - exact) % modulus)
        return tuple(found)

    def _counter(self, c: int, letter: int, loop: int, offset: int) -> int:
        """The value of ``i#L``, ``u#L`` or ``n#L``."""
        state = self.state
        if letter == 2:
            return state.last[c][loop]
        return state.step[c][loop] - offset + (state.total[c][loop] if letter else 0)

    def _head(self, c: int, loop: int) -> int:
        """At the head of a loop: 1 one more step, 2 leave, 0 wait for a decision."""
        state, span = self.state, self.code.loops[loop].span
        j, n = state.step[c][loop], state.trips[c][loop]
        if n == UNKNOWN:
            entry = state.entry[c][loop]
            least, exact = state.decided.get((loop, entry), (0, False))
            if exact:
                n = state.trips[c][loop] = least
            elif j < least:
                return 1
            else:
                self.needs[c] = (
                    "loop",
                    loop,
                    entry,
                    j,
                    self.instance(c, self.code.loops[loop].scope),
                )
                return 0
        if n and j < n + span:
            return 1
        self._leave(c, loop, n)
        return 2

    def _leave(self, c: int, loop: int, n: int) -> None:
        state, entry = self.state, self.state.entry[c][loop]
        state.total[c][loop] += n
        state.last[c][loop] = n
        state.step[c][loop] = -1
        state.trips[c][loop] = UNKNOWN
        state.entry[c][loop] += 1
        if (loop, entry) in state.decided:
            if all(state.entry[d][loop] > entry for d in self.code.loops[loop].cursors):
                del state.decided[loop, entry]

    def instance(self, c: int, scope: int, offset: int = ABSENT) -> int:
        """Which iteration of the loop ``scope`` core ``c`` is in, counted over the whole run."""
        if scope == ABSENT:
            return 0
        if offset == ABSENT:
            offset = self.code.loops[scope].high
        return self.state.total[c][scope] + self.state.step[c][scope] - offset

    def _guard(self, c: int, ins: Instruction) -> int:
        """A branch test: 1 holds, 2 skip, 0 wait for a decision."""
        _, number, wanted, loop, offset, variables, _ = ins
        state = self.state
        if loop != ABSENT and not 0 <= state.step[c][loop] - offset < state.trips[c][loop]:
            return 2
        test = self.code.tests[number]
        if test.known:
            values = {}
            for letter, where, off, *_ in variables:
                values[f"{LETTERS[letter]}#{where}"] = self._counter(c, letter, where, off)
            return 1 if bool(evaluate(test.expr, lambda n: values[n])) == wanted else 2
        if isinstance(test.about, Relation):
            return self._related(c, test.about, wanted, loop, offset)
        instance = self.instance(c, test.scope, offset if test.scope == loop else ABSENT)
        if isinstance(test.about, Threshold):
            about = test.about
            least, exact = known_count(self.code, state, about.group, instance)
            near = about.sign * least + about.shift
            if not exact and not settled(about.op, near, about.sign):
                self.needs[c] = ("count", number, instance, least, 0)
                return 0
            return 1 if COMPARE[about.op](near) == wanted else 2
        key = (number, instance)
        if key not in state.tests:
            self.needs[c] = ("test", *key, 0, 0)
            return 0
        return 1 if state.tests[key] == wanted else 2

    def _related(self, c: int, r: Relation, wanted: bool, loop: int, offset: int) -> int:
        """A test of a counter against its trip count, which may have to be decided further first."""
        state = self.state
        i = state.step[c][r.loop] - (offset if r.loop == loop else self.code.loops[r.loop].high)
        n, entry = state.trips[c][r.loop], state.entry[c][r.loop]
        least, exact = state.decided.get((r.loop, entry), (0, False))
        if n != UNKNOWN:
            least, exact = n, True
        near = r.sign * (i - least) + r.shift
        if exact or settled(r.op, near, -r.sign):
            return 1 if COMPARE[r.op](near) == wanted else 2
        scope = self.code.loops[r.loop].scope
        self.needs[c] = ("loop", r.loop, entry, least, self.instance(c, scope))
        return 0

    # rows

    def _row(self, c: int, ins: Instruction, effect: Effect) -> bool:
        """One row.  False if the scalar unit must wait for the other core first."""
        state = self.state
        _, number, _, _, _, p, kind, ring, cursor, _, tensor = ins
        if kind and not self._ready(kind, ring):
            return False
        waits, reads, writes, sets = effect
        clocks = state.clock
        clock = clocks[p]
        row = state.count[p] + 1
        state.count[p] = row
        if self.log is not None:
            self.log.row(self, c, p, row, ins, effect)
        for f in waits:
            sent = state.flag[f]
            if not sent:
                self._hazard(Found("wait", "no set can meet this wait", None, (p, row), flag=f))
                continue
            if self.code.siblings[f]:
                self._check_siblings(f, clocks[p], p, row)
            first, *rest = sent
            clock = [x if x > y else y for x, y in zip(clock, first, strict=True)]
            state.flag[f] = tuple(rest)
            state.last_wait[f] = row
        if kind:
            reads, writes, clock = self._special(c, ins, effect, clock, row)
        elif waits and p == self.code.scalar[c]:
            clock[p] = row
            self._fence(c, clock)
        clocks[p] = clock
        writer, written = state.writer, state.written
        reader, slots = state.reader, state.slot
        for a, s in reads:
            w = writer[a]
            if w == ABSENT:
                self._hazard(Found("uninitialised", "", None, (p, row), a, slot=s))
            elif clock[w] < written[a] and not w == p == self.adder:
                self._hazard(Found("RAW", "", (w, written[a]), (p, row), a, slot=s))
            elif slots[a] != s:
                spoiled = slots[a] == self.code.spoiled.get(s)
                kind, why = ("uninitialised", SPOILED) if spoiled else ("overwritten", "")
                self._hazard(Found(kind, why, (w, written[a]), (p, row), a, slot=s))
        for a, s in writes:
            if reader[a]:
                for q, r in reader[a]:
                    # a pipe reads before it writes: benign on V; own operands: see hazard_places
                    if clock[q] < r and not (q == p and self.code.reads_first(p)):
                        self._hazard(Found("WAR", "", (q, r), (p, row), a, slot=s))
                reader[a] = ()
            w = writer[a]
            adds = w == p == self.adder and (a, s) in reads
            if w != ABSENT and clock[w] < written[a] and not adds:
                self._hazard(Found("WAW", "", (w, written[a]), (p, row), a, slot=s))
            writer[a], written[a], slots[a] = p, row, s
        for a, _ in reads:
            if written[a] == row and writer[a] == p:
                continue  # in place: who comes later meets the write
            old = reader[a]
            if not old or len(old) == 1 and old[0][0] == p:
                reader[a] = ((p, row),)
            else:
                reader[a] = (*(x for x in old if x[0] != p), (p, row))
        if tensor:
            self._tensor(cursor, number, ins, clock, row)
        if kind:
            self._signals(c, ins, clock, row)
        if sets:
            after = clock if EARLY_SETS in self.code.assume else self._complete(clock, p, row)
            for f in sets:
                self._set(f, after, clock, p, row)
        return True

    def _set(self, f: int, sent: Clock, clock: Clock, p: int, row: int) -> None:
        state = self.state
        dst = self.code.flags[f].dst
        if COUNTING_FLAGS in self.code.assume:
            state.flag[f] = (*state.flag[f], sent)
        else:
            if state.flag[f]:
                last = self.log.sender("flag", f, 1) if self.log is not None else None
                self._hazard(Found("double set", STILL_SET, last, (p, row), flag=f))
            elif clock[dst] < state.last_wait[f]:
                self._hazard(Found("double set", "", (dst, state.last_wait[f]), (p, row), flag=f))
            state.flag[f] = (sent,)
        if self.log is not None:
            self.log.sent("flag", f, (p, row))
        if self.code.siblings[f]:
            self._check_siblings(f, clock, p, row)

    def _check_siblings(self, f: int, clock: Clock, p: int, row: int) -> None:
        """One flag under several names: it is clear, and no wait for it may still be pending, when
        another name of it is set or waited for."""
        state = self.state
        for g in self.code.siblings[f]:
            dst, other = self.code.flags[g].dst, self.code.flags[g].name
            if state.flag[g]:
                text = f"{other} has the same id and is still set"
                self._hazard(Found("double set", text, None, (p, row), flag=f))
            elif clock[dst] < state.last_wait[g]:
                text = f"the wait for {other}, which has the same id, may not have ended"
                self._hazard(Found("double set", text, (dst, state.last_wait[g]), (p, row), flag=f))

    def _ready(self, kind: int, ring: int) -> bool:
        """The scalar unit need not wait for the other core."""
        if kind == POP:
            return bool(self.state.data[ring])
        if kind in (PUSH, PUSH_DATA):
            return not self.needs_credit(ring) or bool(self.state.free[ring])
        return True

    def needs_credit(self, ring: int) -> bool:
        r = self.code.rings[ring]
        return r.fifo.credit and self.state.pushed[ring] % r.period == 0

    def _fence(self, c: int, clock: Clock) -> None:
        """Issue of core ``c`` has waited until everything in ``clock`` was complete."""
        clocks, alone = self.state.clock, PASSING_WAITS in self.code.assume
        for q in (self.code.scalar[c],) if alone else self.code.core_pipes[c]:
            clocks[q] = [x if x > y else y for x, y in zip(clocks[q], clock, strict=True)]

    def _special(
        self, c: int, ins: Instruction, effect: Effect, clock: Clock, row: int
    ) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], Clock]:
        """What FIFO rows, barriers and drains do before they touch memory."""
        state, code = self.state, self.code
        _, reads, writes, _ = effect
        p, kind, ring = ins[5], ins[6], ins[7]
        if kind == BARRIER:
            clock = clock[:]
            clock[p] = row - 1
        elif kind in (BARRIER_ALL, DRAIN):
            for q in code.core_pipes[c] if kind == BARRIER_ALL else (ring,):
                whole = state.clock[q][:]
                whole[q] = state.count[q]
                clock = join(clock, whole)
            clock[p] = row  # it is done by the scalar unit itself
            if kind == BARRIER_ALL:
                state.clock[:] = [
                    join(old, clock) if q in code.core_pipes[c] else old
                    for q, old in enumerate(state.clock)
                ]
            else:
                self._fence(c, clock)
        elif kind == POP:
            first, *rest = state.data[ring]
            state.data[ring] = tuple(rest)
            self._fence(c, first)
            clock = join(clock, state.clock[p])
            reads = (*reads, self._ring_slot(ring, state.popped[ring]))
            self._check_local(ins, effect, ring, (p, row))
            state.popped[ring] += 1
        elif kind in (PUSH, PUSH_DATA):
            if self.needs_credit(ring):
                first, *rest = state.free[ring]
                state.free[ring] = tuple(rest)
                self._fence(c, first)
                clock = join(clock, state.clock[p])
            writes = (*writes, self._ring_slot(ring, state.pushed[ring]))
            state.pushed[ring] += 1
            state.gm[p] = row
        return reads, writes, clock

    def _ring_slot(self, ring: int, index: int) -> tuple[int, int]:
        r = self.code.rings[ring]
        return r.first_atom + index % r.fifo.depth, ABSENT

    def _check_local(
        self, ins: Instruction, effect: Effect, ring: int, at: tuple[int, int]
    ) -> None:
        """The library puts pop number k into slot k mod depth of the local ring."""
        slot = effect[2][0][1]
        name = self.code.slot_buffer[slot]
        depth = self.code.buffers[name].depth
        expected = self.code.slots[name, self.state.popped[ring] % depth]
        if slot != expected:
            text = f"the library puts this pop into {self.code.slot_name[expected]}"
            self._hazard(Found("fifo", text, None, at, effect[2][0][0], ring=ring, slot=slot))

    def _signals(self, c: int, ins: Instruction, clock: Clock, row: int) -> None:
        """The cross-core signals that a FIFO row sends when everything earlier in its pipe is done."""
        state = self.state
        p, kind, ring = ins[5], ins[6], ins[7]
        sent = ""
        if kind in (PUSH, RECORD):
            sent, state.data[ring] = "data", (*state.data[ring], self._signal(clock, p, row))
        elif kind == POP:
            r = self.code.rings[ring]
            if r.fifo.credit and state.popped[ring] % r.period == 0:
                sent, state.free[ring] = "free", (*state.free[ring], self._signal(clock, p, row))
        if sent and self.log is not None:
            self.log.sent(sent, ring, (p, row))

    def _signal(self, clock: Clock, p: int, row: int) -> Clock:
        overtakes = OVERTAKING_SIGNALS in self.code.assume
        return clock if overtakes else self._complete(clock, p, row)

    @staticmethod
    def _complete(clock: Clock, p: int, row: int) -> Clock:
        """What is known when row number ``row`` of pipe ``p`` and all before it are complete."""
        sent = clock[:]
        sent[p] = row
        return sent

    # user tensors

    def _tensor(self, k: int, number: int, ins: Instruction, clock: Clock, row: int) -> None:
        state, code = self.state, self.code
        step, p = code.steps[number], ins[5]
        if step.writes_tensor:
            state.gm[p] = row
        if not step.tracked:
            return
        where = self._iterations(k, step.loops, ins)
        for other, levels in code.meets.get(number, ()):
            for at, r in state.tensor.get(other, ()):
                level = 0
                for x, y in zip(at, where, strict=False):
                    if x != y or level + 1 == len(levels):
                        break
                    level += 1
                q = code.steps[other].pipe
                if levels[level] and clock[q] < r:
                    kind = (
                        ("WAW" if step.writes_tensor else "RAW")
                        if code.steps[other].writes_tensor
                        else "WAR"
                    )
                    self._hazard(Found(kind, "tensor", (q, r), (p, row)))
        kept = [(where, row)]
        seen = {code.relative(state, where, step)}
        for at, r in state.tensor.get(number, ()):
            name = code.relative(state, at, step)
            if name not in seen:
                seen.add(name)
                kept.append((at, r))
        state.tensor[number] = tuple(kept)

    def _iterations(self, k: int, loops: tuple[int, ...], ins: Instruction) -> tuple[int, ...]:
        return tuple(self.instance(k, x, ins[3] if x == ins[2] else ABSENT) for x in loops)

    # ends

    def _exit(self) -> None:
        state, code = self.state, self.code
        for f, sent in enumerate(state.flag):
            if sent:
                last = self.log.sender("flag", f, 1) if self.log is not None else None
                text = "the flag is still set at the end of the kernel"
                self._hazard(Found("leftover", text, last, flag=f))
        for k in range(len(code.rings)):
            if state.data[k] or state.pushed[k] != state.popped[k]:
                text = f"{state.pushed[k]} pushes, {state.popped[k]} pops, {len(state.data[k])} records left"
                self._hazard(Found("fifo", text, ring=k))
        for p, row in enumerate(state.gm):
            if row and state.clock[code.scalar[code.core_of[p]]][p] < row:
                self._hazard(
                    Found(
                        "undrained",
                        "a write to GM may be unfinished when the kernel ends",
                        (p, row),
                    )
                )

    def _deadlock(self, done: list[bool]) -> None:
        waiting = []
        for c in (0, 1):
            if not done[c]:
                ins = self.code.code[c][self.state.pc[c]]
                what = "data" if ins[6] == POP else "a free slot"
                waiting.append(
                    f"the {('cube', 'vector')[c]} core waits for {what} of {self.code.rings[ins[7]].fifo.name}"
                )
        text = " and ".join(waiting) + ("; the other core has ended" if len(waiting) == 1 else "")
        if self.log is not None:
            first, second = [self._stuck(c, done[c]) for c in (0, 1)]
            if second is None:
                first, second = None, first
            self.log.found.append(Found("deadlock", text, first, second))
        raise Hit

    def _stuck(self, c: int, done: bool) -> At | None:
        """The row that core ``c`` waits in front of for ever."""
        if done or self.log is None:
            return None
        ins = self.code.code[c][self.state.pc[c]]
        p, row = ins[5], self.state.count[ins[5]] + 1
        self.log.row(self, c, p, row, ins, NOTHING)
        return p, row

    def _known(self, found: Found) -> tuple[int, ...]:
        code = self.code
        if found.second:
            return tuple(self.state.clock[found.second[0]])
        pipe = code.scalar[code.core_of[found.first[0]]] if found.first else ABSENT
        return tuple(self.state.clock[pipe]) if found.first else ()

    def _hazard(self, found: Found) -> None:
        if self.log is None:
            raise Hit
        self.log.found.append(replace(found, known=self._known(found)))
        if len(self.log.found) >= self.log.limit:
            raise Hit
