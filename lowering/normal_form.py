"""The normal form of an execution state: equal forms have equal futures.

In: a ``State`` where both cores wait for a decision.  Out: a hashable key.  Invariant: from two
states with one key, the same decisions lead to the same hazards (of the same rows).  The key
forgets, without loss:

* absolute row counts: a clock only ever answers "is row r of pipe q known complete?" for rows that
  some memory, flag or exit rule still remembers, so it is replaced by its rank among those;
* what is settled: a read or write that every pipe which may touch the bytes knows to be complete;
* absolute loop counts: only the classes that indices can tell apart (``Counter``);
* which slot of a ring is current: a ring whose indices are all ``u + constant`` is written down from
  the current slot on.  Rotating its slots is a symmetry of the program, because nothing else names
  them, except rows that name all of them (priming and final waits).

The number of keys is finite unless a core runs ahead of the other without bound.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from lowering.hazard_code import ROW, Code, Counter, Counters, Step
from lowering.happens_before import UNKNOWN, Clock, State
from pto.ir import Bin, Const, Expr, Var


@dataclass(frozen=True, slots=True)
class Rotation:
    """A ring read from its current slot on: the orders of its members, and what drives it."""

    name: str
    core: int
    loop: int
    depth: int


class NormalForm:
    """Computes keys for the states of one program."""

    def __init__(self, code: Code) -> None:
        self.code = code
        compiled = [code.steps[ins[1]] for c in code.code for ins in c if ins[0] == ROW]
        self.counters: Counters = {}
        self.rotations = self._rotations(compiled)
        rotated = {r.name for r in self.rotations}
        for step in compiled:
            for e, modulus, name in code.indices(step):
                if name not in rotated:
                    code.decidable(code.resolve(e, step.scalars), modulus, self.counters)
        for t in code.tests:
            if t.known:
                code.decidable(t.expr, 0, self.counters)
        self._members(rotated)
        self._locals(compiled, rotated)
        self.pipe_sets = sorted(set(code.accessors) | set(code.writers))
        set_number = {s: k for k, s in enumerate(self.pipe_sets)}
        self.access_set = [set_number[s] for s in code.accessors]
        self.write_set = [set_number[s] for s in code.writers]

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
            if len(loops) == 1 and min(loops) >= 0 and self._exclusive(name):
                e = code.events.get(name) or code.buffers[name]
                depth = len(code.event_flags[name]) if name in code.events else code.buffers[name].depth
                if depth > 1:
                    found.append(Rotation(name, ("cube", "vector").index(e.core), min(loops), depth))
        return found

    def _whole(self, column: tuple) -> set[str]:
        """Events of which a column names every position once, by constants."""
        named: dict[str, list[object]] = {}
        for f in column:
            named.setdefault(f.name, []).append(f.index.value if isinstance(f.index, Const) else None)
        return {n for n, found in named.items() if found and set(found) == set(range(len(self.code.events[n].ids))) and len(found) == len(set(found))}

    def _drive(self, drivers: dict[str, set[int]], name: str, e: Expr | None, step: Step, depth: int) -> None:
        """Notes which loop's running total moves the index ``e`` (-1: something else)."""
        full = Const(0) if e is None else self.code.resolve(e, step.scalars)
        while isinstance(full, Bin) and isinstance(full.b, Const):
            if full.op in "+-" or (full.op == "%" and full.b.value % depth == 0):
                full = full.a
            else:
                break
        loop = -1
        if isinstance(full, Var) and "#" in full.name:
            number = int(full.name[2:])
            if full.name[0] == "u" or self.code.loops[number].parent < 0:
                loop = number
        drivers.setdefault(name, set()).add(loop)

    def _exclusive(self, name: str) -> bool:
        """No other name stands for the flags or bytes of this ring."""
        code = self.code
        if name in code.events:
            mine = code.event_flags[name]
            others = [f for n, flags in code.event_flags.items() if n != name for f in flags]
            return len(set(mine)) == len(mine) and not set(mine) & set(others)
        slots = [code.slot_atoms[code.slots[name, s]] for s in range(code.buffers[name].depth)]
        mine = tuple(a for s in slots for a in s)
        others = [a for k, atoms in enumerate(code.slot_atoms) if code.slot_buffer[k] != name for a in atoms]
        return all(len(s) == 1 for s in slots) and len(set(mine)) == len(mine) and not set(mine) & set(others)

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
            self.turns.append((r.core, r.loop, r.depth, _orders(members), is_event))
        self.ring_orders = []
        for ring in code.rings:
            members = tuple(range(ring.first_atom, ring.first_atom + ring.fifo.depth))
            turned_atoms |= set(members)
            self.ring_orders.append(_orders(members))
        self.fixed_atoms = [a for a in range(len(code.atoms)) if a not in turned_atoms]
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
            queue = next(k for k, r in enumerate(code.rings) if any(getattr(a, "name", "") == r.fifo.name for a in step.row.args))
            if name in rotated:
                self.relative.add((queue, driver[name].core, driver[name].loop, driver[name].depth))
            else:
                depth = code.buffers[name].depth
                self.absolute[queue] = self.absolute[queue] * depth

    # keys

    def key(self, s: State) -> tuple:
        """The normal form of ``s``."""
        control = self._control(s)
        atoms, flags, turns = self._order(s)
        unwritten, live_writes, live_reads, live_waits, live_gm, live_tensor = self._live(s, atoms, flags)
        relevant: list[set[int]] = [set() for _ in s.count]
        for _, q, r in live_writes:
            relevant[q].add(r)
        for _, q, r in live_reads:
            relevant[q].add(r)
        for _, q, r in live_waits:
            relevant[q].add(r)
        for q, r in live_gm:
            relevant[q].add(r)
        for _, _, q, r in live_tensor:
            relevant[q].add(r)
        columns = [(q, sorted(found)) for q, found in enumerate(relevant) if found]
        rank = {q: {r: k for k, r in enumerate(found)} for q, found in columns}
        out: list[object] = [control, turns, unwritten]
        out += [(k, q, rank[q][r]) for k, q, r in live_writes]
        out.append(-1)
        out += [(k, q, rank[q][r]) for k, q, r in live_reads]
        out.append(-2)
        out += [(k, rank[q][r]) for k, q, r in live_waits]
        out.append(-3)
        out += [(q, rank[q][r]) for q, r in live_gm]
        out += [(n, age, rank[q][r]) for n, age, q, r in live_tensor]
        for clock in s.clock:
            out += [bisect_right(found, clock[q]) for q, found in columns]
        code = self.code
        for f in flags:
            sent = s.flag[f]
            if sent is None:
                out.append(-4)
            else:
                base = s.clock[code.flags[f].dst]
                out += [bisect_right(found, max(sent[q], base[q])) for q, found in columns]
        for k, ring in enumerate(code.rings):
            producer = 0 if ring.fifo.direction == "c2v" else 1
            for queue, core in ((s.data[k], 1 - producer), (s.free[k], producer)):
                base = s.clock[code.scalar[core]]
                out.append(-5)
                for sent in queue:
                    out += [bisect_right(found, max(sent[q], base[q])) for q, found in columns]
        return tuple(out)

    def _control(self, s: State) -> tuple:
        code = self.code
        out: list[object] = [*s.pc]
        for x in code.loops:
            index = self.counters.get(f"i#{x.number}", _NONE)
            total = self.counters.get(f"u#{x.number}", _NONE)
            for c in x.cores:
                j, n, t = s.step[c][x.number], s.trips[c][x.number], s.total[c][x.number]
                if j < 0:
                    out.append((-1, total.norm(t)))
                    continue
                near = x.span + index.exact
                out.append((j if j < near else near + (j - near) % index.modulus, _shifted(total, x.span, t + j)))
                out.append(-1 if n == UNKNOWN else n - j)
            if len(x.cores) == 2:
                out.append(s.entry[1][x.number] - s.entry[0][x.number])
        for (loop, entry), (n, exact) in s.decided.items():
            x = code.loops[loop]
            seen = tuple((n - s.step[c][loop] if s.entry[c][loop] == entry and s.step[c][loop] >= 0 else (n,)) for c in x.cores)
            out.append((loop, entry - s.entry[x.cores[0]][loop], exact, seen))
        out.append(tuple((g, self._past(s, scope, inst), min(n, 1)) for g, scope, inst, n in self._groups(s)))
        out.append(tuple(sorted((t, self._past(s, code.tests[t].scope, inst), v) for (t, inst), v in s.tests.items())))
        for k, ring in enumerate(code.rings):
            pushed, popped = s.pushed[k], s.popped[k]
            out.append((min(pushed, ring.fifo.depth), pushed % ring.period, pushed - popped, popped % self.absolute[k]))
        for k, core, loop, depth in sorted(self.relative):
            out.append((s.popped[k] - s.total[core][loop] - max(s.step[core][loop], 0)) % depth)
        return tuple(out)

    def _groups(self, s: State) -> list[tuple[int, int, int, int]]:
        scope = {x.group: x.scope for x in self.code.loops}
        return sorted((g, scope[g], inst, n) for (g, inst), n in s.group.items())

    def _past(self, s: State, scope: int, instance: int) -> int:
        if scope < 0:
            return 0
        c = self.code.loops[scope].cores[0]
        return s.total[c][scope] + max(s.step[c][scope], 0) - instance

    def _order(self, s: State) -> tuple[list[int], list[int], tuple[int, ...]]:
        """Atoms and flags, each ring from its current slot on."""
        atoms, flags = self.fixed_atoms[:], self.fixed_flags[:]
        for core, loop, depth, orders, is_event in self.turns:
            at = (s.total[core][loop] + max(s.step[core][loop], 0)) % depth
            (flags if is_event else atoms).extend(orders[at])
        for k, orders in enumerate(self.ring_orders):
            atoms.extend(orders[s.pushed[k] % len(orders)])
        return atoms, flags, tuple(s.slot[a] for a in self.fixed_atoms)

    def _live(self, s: State, atoms: list[int], flags: list[int]) -> tuple:
        """What some pipe may still have to be ordered with, by position in the order given."""
        code, clocks = self.code, s.clock
        known = [_meet([clocks[p] for p in pipes], len(s.count)) for pipes in self.pipe_sets]
        unwritten: list[int] = []
        writes: list[tuple[int, int, int]] = []
        reads: list[tuple[int, int, int]] = []
        for k, a in enumerate(atoms):
            q = s.writer[a]
            if q < 0:
                unwritten.append(k)
                continue
            if s.written[a] > known[self.access_set[a]][q]:
                writes.append((k, q, s.written[a]))
            for q, r in s.reader[a]:
                if r > known[self.write_set[a]][q] and not (code.pipes[q][1] == "V" and code.writers[a] == (q,)):
                    reads.append((k, q, r))
        waits = []
        for k, f in enumerate(flags):
            flag, r = code.flags[f], s.last_wait[f]
            if r > clocks[flag.src][flag.dst]:
                waits.append((k, flag.dst, r))
        gm = [(q, r) for q, r in enumerate(s.gm) if r > clocks[code.scalar[code.core_of[q]]][q]]
        tensor = []
        for n, entries in sorted(s.tensor.items()):
            step = code.steps[n]
            for at, r in entries:
                tensor.append((n, self._age(s, step, at), step.pipe, r))
        reads.sort()
        return tuple(unwritten), writes, reads, waits, gm, tensor

    def _age(self, s: State, step: Step, at: tuple[int, ...]) -> tuple[int, ...]:
        found = []
        for loop, x in zip(step.loops, at, strict=True):
            far = self.code.loops[loop].span + 1
            now = s.total[step.core][loop] + max(s.step[step.core][loop], 0)
            found.append(min(now - x, far + self.code.loops[loop].high))
            if now - x >= far + self.code.loops[loop].high:
                break
        return tuple(found)


_NONE = Counter()


def _shifted(counter: Counter, span: int, value: int) -> int:
    near = counter.exact + span if counter.exact else 0
    return value if value < near else near + (value - near) % counter.modulus


def _orders(members: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(members[k:] + members[:k] for k in range(len(members)))


def _meet(clocks: list[Clock], width: int) -> Clock:
    """What all of them know."""
    return list(map(min, *clocks)) if len(clocks) > 1 else clocks[0] if clocks else [UNKNOWN] * width
