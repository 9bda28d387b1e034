"""The normal form of an execution state: what its future depends on.

In: a ``State`` where both cores wait for a decision.  Out: ``Form``: a hashable part that must be
equal, what was never written, and for each clock the accesses it does *not* know to be complete.  Invariant: from two
states with equal hashable parts, the same decisions run the same rows, and what is unknown evolves
by unions and intersections only; so a state that knows less meets every hazard of one that knows
more (``Seen.covers``).  The form forgets:

* absolute row counts: a clock only ever answers "is this access complete?" for accesses that some
  byte, flag or exit rule still remembers;
* what is settled: an access that every pipe which may touch the bytes knows to be complete, or will
  be told of by what it waits for before it touches them (``lowering/hazards/awaited.py``);
* absolute loop counts: only the classes that indices can tell apart (``Counter``);
* which slot of a ring is current: a ring whose indices are all ``u + constant`` is written down from
  the current slot on.  Rotating its slots is a symmetry of the program, because nothing else names
  them, except rows that name all of them (priming and final waits).

The number of forms is finite unless one core runs ahead of the other without bound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm

from lowering.hazards.awaited import Awaited, Waiting
from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, UNKNOWN, Counter, Counters, decidable
from lowering.hazards.course import ENDED
from lowering.hazards.instructions import FLAT, ROW, Step
from lowering.hazards.places import tiles
from lowering.hazards.state import Clock, State
from pto.ir import CORES, Bin, Const, Expr, Flag, Ref, Var, names_in


@dataclass(frozen=True, slots=True)
class Rotation:
    """A ring read from its current slot on: the orders of its members, and what drives it."""

    name: str
    core: int
    loop: int
    depth: int


@dataclass(frozen=True, slots=True)
class Form:
    """``same`` decides which rows run; ``unwritten`` bytes have never been written (bits by
    position), ``unknown`` says of each clock, flag and signal what it does not know (bits)."""

    same: tuple[object, ...]
    unwritten: int
    unknown: tuple[int, ...]


class Seen:
    """The forms explored so far with one ``same`` part: none of them covers another."""

    def __init__(self) -> None:
        self.unwritten: list[int] = []
        self.unknown: list[tuple[int, ...]] = []

    def covers(self, new: Form) -> bool:
        """True if every hazard met from ``new`` is met from a form seen before; else notes it.

        What is unwritten and what is unknown lead to different hazards, each decided by the rows
        that run, so the two may be covered by two different forms.
        """
        written = any(not new.unwritten & ~x for x in self.unwritten)
        known = any(
            all(not y & ~x for x, y in zip(old, new.unknown, strict=True)) for old in self.unknown
        )
        if not written:
            self.unwritten.append(new.unwritten)
        if not known:
            self.unknown.append(new.unknown)
        return written and known


class NormalForm:
    """Computes normal forms for the states of one program."""

    def __init__(self, code: Code) -> None:
        self.code = code
        compiled = [code.steps[ins[1]] for c in code.code for ins in c if ins[0] == ROW]
        self.counters: Counters = {}
        self.rotations = self._rotations(compiled)
        rotated = {r.name for r in self.rotations}
        for step in compiled:
            for e, modulus, name in code.indices(step):
                if name not in rotated:
                    decidable(code.index(e, step), modulus, self.counters)
        for t in code.tests:
            if t.known:
                decidable(t.expr, 0, self.counters)
        self._members(rotated)
        self._locals(compiled, rotated)
        self.awaited = Awaited(code)
        self.may_be_unwritten = self._read_first(compiled)
        self.benign = [
            [code.reads_first(q) and w == (q,) for q in range(len(code.pipes))]
            for w in code.writers
        ]
        self.in_flat = {
            x for outer, stages in code.flats.items() for x in (outer, *(i for _, i, _ in stages))
        }
        self.orders: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
        self.tensor_records: dict[tuple[int, tuple[int | None, ...]], int] = {}

    def _read_first(self, compiled: list[Step]) -> list[bool]:
        """For every atom: may it be read before it was written?  Not if each row that reads it
        follows one that writes the same slot, in its own iteration or in front of its loop; nor in
        a FIFO, where a pop waits for its push, if the signal comes with the push."""
        code = self.code
        found = [bool(code.tests)] * len(code.atoms)
        writes: dict[tuple[int, str, Expr], list[Step]] = {}
        for step in compiled:
            if isinstance(step.row.out, Ref):
                e = self._slot(step.row.out, step)
                if all(n[:2] in ("i#", "u#") and int(n[2:]) in step.loops for n in names_in(e)):
                    writes.setdefault((step.core, step.row.out.name, e), []).append(step)
        for step in compiled:
            reads, _ = tiles(step.row)
            for ref in reads:
                before = writes.get((step.core, ref.name, self._slot(ref, step)), [])
                if not any(self._precedes(w, step) for w in before):
                    for slot in range(code.buffers[ref.name].depth):
                        for a in code.slot_atoms[code.slots[ref.name, slot]]:
                            found[a] = True
        for k in code.split_rings:
            first = code.rings[k].first_atom
            for a in range(first, first + code.rings[k].fifo.depth):
                found[a] = True
        return found

    def _slot(self, ref: Ref, step: Step) -> Expr:
        """Which slot a row names, by the counters of the loops: equal texts may differ."""
        return Const(0) if ref.index is None else self.code.index(ref.index, step)

    def _precedes(self, w: Step, r: Step) -> bool:
        """``w`` always runs before ``r``: in the same iteration, or in front of the loop that ``r``
        is in.  That loop is at shift 0 of the one around it."""
        if w is r or w.loops != r.loops[: len(w.loops)]:
            return False
        first, shift = w.number < r.number, w.row.shift
        if not w.loops:
            return first
        if (
            w.loops[-1] in self.code.flats
        ):  # at the first position of the item, ``r`` there or later
            return first and shift >= r.row.shift
        other = r.row.shift if w.loops == r.loops else 0
        return shift > other or (shift == other and first)

    # which rings may be rotated

    def _rotations(self, compiled: list[Step]) -> list[Rotation]:
        code = self.code
        drivers: dict[str, set[int]] = {}
        for step in compiled:
            for column in (step.row.wait, step.row.set):
                whole = self._whole(column)
                for f in column:
                    if f.name not in whole:
                        self._drive(drivers, f.name, f.index, step, len(code.events[f.name].ids))
            uses = [(e, n) for e, _, n in code.indices(step) if n in code.buffers]
            for e, n in uses:
                self._drive(drivers, n, e, step, code.buffers[n].depth)
        found = []
        for name, loops in drivers.items():
            if len(loops) == 1 and min(loops) != ABSENT and self._exclusive(name):
                event = code.events.get(name)
                core = event.core if event else code.buffers[name].core
                depth = len(event.ids) if event else code.buffers[name].depth
                if depth > 1:
                    found.append(Rotation(name, CORES.index(core), min(loops), depth))
        return found

    def _whole(self, column: tuple[Flag, ...]) -> set[str]:
        """Events of which a column names every position once, by constants."""
        named: dict[str, list[int | float]] = {}
        for f in column:
            named.setdefault(f.name, []).append(f.index.value if isinstance(f.index, Const) else -1)
        return {
            n
            for n, found in named.items()
            if sorted(found) == list(range(len(self.code.events[n].ids)))
        }

    def _drive(
        self, drivers: dict[str, set[int]], name: str, e: Expr | None, step: Step, depth: int
    ) -> None:
        """Notes which loop's running total moves the index ``e`` (ABSENT: something else)."""
        full = Const(0) if e is None else self.code.index(e, step)
        while isinstance(full, Bin) and isinstance(full.b, Const):
            if full.op in "+-" or (full.op == "%" and full.b.value % depth == 0):
                full = full.a
            else:
                break
        loop = ABSENT
        if isinstance(full, Var) and "#" in full.name:
            number = int(full.name[2:])
            if full.name[0] == "u" or self.code.loops[number].parent == ABSENT:
                loop = number
        drivers.setdefault(name, set()).add(loop)

    def _exclusive(self, name: str) -> bool:
        """No other name stands for the flags or bytes of this ring."""
        code = self.code
        if name in code.events:
            mine = code.event_flags[name]
            if any(code.siblings[f] for f in mine):
                return False
            others = [f for n, flags in code.event_flags.items() if n != name for f in flags]
            return len(set(mine)) == len(mine) and not set(mine) & set(others)
        slots = [code.slot_atoms[code.slots[name, s]] for s in range(code.buffers[name].depth)]
        mine = tuple(a for s in slots for a in s)
        others = [
            a
            for k, atoms in enumerate(code.slot_atoms)
            if code.slot_buffer[k] != name
            for a in atoms
        ]
        return (
            all(len(s) == 1 for s in slots)
            and len(set(mine)) == len(mine)
            and not set(mine) & set(others)
        )

    def _members(self, rotated: set[str]) -> None:
        """Atoms and flags: those in fixed order, and for each rotation its orders by current slot."""
        code = self.code
        turned_atoms: set[int] = set()
        turned_flags: set[int] = set()
        self.turns: list[tuple[int, int, int, tuple[tuple[int, ...], ...], bool]] = []
        for r in self.rotations:
            is_event = r.name in code.events
            if is_event:
                members = code.event_flags[r.name]
                turned_flags |= set(members)
            else:
                members = tuple(code.slot_atoms[code.slots[r.name, s]][0] for s in range(r.depth))
                turned_atoms |= set(members)
            lead = code.lead(r.core, r.loop)
            self.turns.append((lead, r.loop, r.depth, _orders(members), is_event))
        self.ring_orders = []
        for ring in code.rings:
            members = tuple(range(ring.first_atom, ring.first_atom + ring.fifo.depth))
            turned_atoms |= set(members)
            self.ring_orders.append(_orders(members))
        self.fixed_atoms = [a for a in range(len(code.atoms)) if a not in turned_atoms]
        named = [a for atoms in code.slot_atoms for a in atoms]
        self.shared_atoms = [a for a in self.fixed_atoms if named.count(a) > 1]
        self.fixed_flags = [f for f in range(len(code.flags)) if f not in turned_flags]

    def _locals(self, compiled: list[Step], rotated: set[str]) -> None:
        """Pops put number k into local slot k: relative to a rotated ring, or absolute."""
        code = self.code
        self.absolute: list[int] = [1] * len(code.rings)
        self.relative: set[tuple[int, int, int, int]] = set()
        driver = {r.name: r for r in self.rotations}
        for step in compiled:
            if step.row.op != "pop":
                continue
            name = next(n for _, _, n in code.indices(step) if n in code.buffers)
            queue = next(
                k
                for k, r in enumerate(code.rings)
                if any(getattr(a, "name", "") == r.fifo.name for a in step.row.args)
            )
            if name in rotated:
                self.relative.add((queue, driver[name].core, driver[name].loop, driver[name].depth))
            else:
                depth = code.buffers[name].depth
                self.absolute[queue] = self.absolute[queue] * depth

    # normal forms

    def form(self, s: State) -> Form:
        """The normal form of ``s``."""
        atoms, flags = self._order(s)
        unwritten, live = self._live(s, atoms, flags)
        code, clocks = self.code, s.clock
        columns = self._columns(live)
        unknown = [_unknown(clock, columns) for clock in clocks]
        pattern: list[int] = []
        shared: dict[int, int] = {}  # one row sets several flags with one clock
        for f in flags:
            pattern.append(len(s.flag[f]))
            for clock in s.flag[f]:
                bits = shared.get(id(clock))
                if bits is None:
                    bits = shared[id(clock)] = _unknown(clock, columns)
                unknown.append(bits & unknown[code.flags[f].dst])
        for k, ring in enumerate(code.rings):
            producer = 0 if ring.fifo.direction == "c2v" else 1
            for queue, core in ((s.data[k], 1 - producer), (s.free[k], producer)):
                pattern.append(len(queue))
                for sent in queue:
                    unknown.append(_unknown(sent, columns) & unknown[code.scalar[core]])
        last_slot = tuple([s.slot[a] for a in self.shared_atoms])
        return Form((self._control(s), tuple(pattern), last_slot), unwritten, tuple(unknown))

    def _columns(self, live: list[tuple[int, int, int]]) -> list[tuple[int, list[int], list[int]]]:
        """(pipe, its rows that matter, what is unknown to who knows only the first k of them)."""
        rows: dict[int, dict[int, int]] = {}
        for record, q, r in live:
            of_pipe = rows.setdefault(q, {})
            of_pipe[r] = of_pipe.get(r, 0) | 1 << record
        columns = []
        for q, of_pipe in rows.items():
            found = sorted(of_pipe)
            missing = [0]
            for r in reversed(found):
                missing.append(missing[-1] | of_pipe[r])
            missing.reverse()
            columns.append((q, found, missing))
        return columns

    def _control(self, s: State) -> tuple[object, ...]:
        code = self.code
        out: list[object] = [*s.pc, *s.wait]
        for outer, stages in code.flats.items():
            if outer in s.course:
                out += self._course(s, outer, stages)
        for x in code.loops:
            if x.number in self.in_flat:
                continue
            index = self.counters.get(f"i#{x.number}", _NONE)
            total = self.counters.get(f"u#{x.number}", _NONE)
            for c in x.cursors:
                j, n, t = s.step[c][x.number], s.trips[c][x.number], s.total[c][x.number]
                if j < 0:
                    out.append((j, total.norm(t)))
                    continue
                near = max(x.span + index.exact, code.told_apart(x))
                modulus = lcm(index.modulus, code.residue if x.long else 1)
                out.append(
                    (
                        j if j < near else near + (j - near) % modulus,
                        _shifted(total, x.span, t + j),
                    )
                )
                out.append(-1 if n == UNKNOWN else n - j)
            last = self.counters.get(f"n#{x.number}")
            if last is not None:
                out.append(tuple(last.norm(s.last[c][x.number]) for c in x.cursors))
            first = x.cursors[0] if x.cursors else 0
            out += [s.entry[k][x.number] - s.entry[first][x.number] for k in x.cursors[1:]]
        for (loop, entry), (n, exact) in s.decided.items():
            x = code.loops[loop]
            seen = tuple([self._ahead(s, c, loop, entry, n) for c in x.cursors])
            if not exact and not any(seen):
                continue  # as if nothing were decided
            out.append((loop, entry - s.entry[x.cursors[0]][loop], exact, seen))
        out.append(
            tuple(
                (g, self._past(s, scope, inst), known) for g, scope, inst, known in self._groups(s)
            )
        )
        out.append(
            tuple(
                sorted(
                    (t, self._past(s, code.tests[t].scope, inst), v)
                    for (t, inst), v in s.tests.items()
                )
            )
        )
        for k, ring in enumerate(code.rings):
            pushed, popped = s.pushed[k], s.popped[k]
            out.append((pushed % ring.period, pushed - popped, popped % self.absolute[k]))
        for k, core, loop, depth in sorted(self.relative):
            at = code.lead(core, loop)
            out.append((s.popped[k] - s.total[at][loop] - max(s.step[at][loop], 0)) % depth)
        return tuple(out)

    def _course(
        self, s: State, outer: int, stages: list[tuple[int, int, bool]]
    ) -> Iterator[object]:
        """Where the stages of a flat loop are, seen from the positions that are known to exist."""
        code, course = self.code, s.course[outer]
        here = next((s.step[k][outer] for k, _, blind in stages if not blind), 0)
        sighted = any(not blind for _, _, blind in stages)
        yield course.known - course.promised if sighted else 0
        yield tuple([f - course.promised for f in course.firsts])
        yield course.closed, max(course.items - here - 1, 0), course.items_closed
        turn = self.counters.get(f"u#{outer}", _NONE)
        for k, inner, blind in stages:
            at = s.step[k][inner if inner != ABSENT else outer]
            if at == ENDED:
                yield ENDED
                continue
            if inner != ABSENT:
                p = s.total[k][inner] + at
                yield p - course.promised, self.counters.get(f"u#{inner}", _NONE).norm(max(p, 0))
            if blind:
                continue
            w = s.step[k][outer]
            yield w - here, turn.norm(max(w, 0))
            if inner != ABSENT:
                index, loop = self.counters.get(f"i#{inner}", _NONE), code.loops[inner]
                head = code.code[code.cursors[k]][s.pc[code.cursors[k]]][0] == FLAT
                near = (
                    max(index.exact, code.told_apart(loop), 1) - head
                )  # at a head it is left first
                modulus = lcm(index.modulus, code.residue if loop.long else 1)
                yield at if at < near else near + (at - near) % modulus

    @staticmethod
    def _ahead(s: State, k: int, loop: int, entry: int, n: int) -> int | tuple[int, ...]:
        """What a decided trip count still is to cursor ``k``: steps to go, or all of them, or none."""
        if s.entry[k][loop] > entry:
            return ()
        return n - s.step[k][loop] if s.entry[k][loop] == entry else (n,)

    def _groups(self, s: State) -> list[tuple[int, int, int, tuple[int, bool]]]:
        scope = {x.group: x.scope for x in self.code.loops}
        return sorted((g, scope[g], inst, n) for (g, inst), n in s.group.items())

    def _past(self, s: State, scope: int, instance: int) -> int:
        if scope == ABSENT:
            return 0
        c = self.code.loops[scope].cursors[0]
        return s.total[c][scope] + max(s.step[c][scope], 0) - instance

    def _order(self, s: State) -> tuple[list[int], list[int]]:
        """Atoms and flags, each ring from its current slot on."""
        at: list[int] = []
        for k, loop, depth, _, _ in self.turns:
            at.append((s.total[k][loop] + max(s.step[k][loop], 0)) % depth)
        at += [s.pushed[k] % len(orders) for k, orders in enumerate(self.ring_orders)]
        key = tuple(at)
        found = self.orders.get(key)
        if found is None:
            atoms, flags = self.fixed_atoms[:], self.fixed_flags[:]
            for k, (*_, orders, is_event) in enumerate(self.turns):
                (flags if is_event else atoms).extend(orders[at[k]])
            for k, orders in enumerate(self.ring_orders):
                atoms.extend(orders[at[len(self.turns) + k]])
            found = self.orders[key] = (atoms, flags)
        return found

    def _live(
        self, s: State, atoms: list[int], flags: list[int]
    ) -> tuple[int, list[tuple[int, int, int]]]:
        """Positions never written, and (record, pipe, row) of what some pipe may still have to be
        ordered behind; a record is numbered by its position in the order given and its pipe."""
        code, clocks, awaited = self.code, s.clock, self.awaited
        width = len(s.count)
        told = awaited.told(s)

        def is_open(q: int, r: int, who: Waiting) -> bool:
            """Somebody may meet row ``r`` of pipe ``q`` without being told that it is complete."""
            for p, flags in who:
                if clocks[p][q] < r:
                    for f in flags:
                        if told[f][q] >= r:
                            break
                    else:
                        return True
            return False

        unwritten = 0
        live: list[tuple[int, int, int]] = []
        for k, a in enumerate(atoms):
            q = s.writer[a]
            if q == ABSENT:
                if self.may_be_unwritten[a]:
                    unwritten |= 1 << k
                continue
            if a in awaited.kept_apart:
                continue
            if is_open(q, s.written[a], awaited.of_access[a]):
                live.append((2 * k * width + q, q, s.written[a]))
            for q, r in s.reader[a]:
                if is_open(q, r, awaited.of_write[a]) and not self.benign[a][q]:
                    live.append(((2 * k + 1) * width + q, q, r))
        base = 2 * width * len(atoms)
        for k, f in enumerate(flags):
            q, r = code.flags[f].dst, s.last_wait[f]
            if is_open(q, r, awaited.of_set[f]):
                live.append((base + k, q, r))
        base += len(flags)
        for q, r in enumerate(s.gm):
            if r > clocks[code.scalar[code.core_of[q]]][q]:
                live.append((base + q, q, r))
        base += width
        for n, entries in s.tensor.items():
            step = code.steps[n]
            for at, r in entries:
                name = (n, code.relative(s, at, step))
                live.append(
                    (
                        base + self.tensor_records.setdefault(name, len(self.tensor_records)),
                        step.pipe,
                        r,
                    )
                )
        return unwritten, live


_NONE = Counter()


def _shifted(counter: Counter, span: int, value: int) -> int:
    near = counter.exact + span if counter.exact else 0
    return value if value < near else near + (value - near) % counter.modulus


def _orders(members: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(members[k:] + members[:k] for k in range(len(members)))


def _unknown(clock: Clock, columns: list[tuple[int, list[int], list[int]]]) -> int:
    """The live records that ``clock`` does not know to be complete, as bits."""
    bits = 0
    for q, found, missing in columns:
        bits |= missing[bisect_right(found, clock[q])]
    return bits
