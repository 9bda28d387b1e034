"""Rows and loops of a scheduled kernel, one at a time, into the code of the hazard checker.

In: a row or loop and where it stands (``Context``).  Out: instructions and records, added to a ``Code``;
faults of single rows.  Non-goals: walking the tree (``lowering/hazards/compiler.py``, ``flat_code.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, LETTERS, Counter, decidable, plain_test
from lowering.hazards.instructions import (
    BARRIER,
    BARRIER_ALL,
    DRAIN,
    KINDS,
    ON_FIFO,
    PLAIN,
    Guard,
    Guards,
    Leaving,
    LoopCode,
    Refused,
    RowCode,
    Test,
    Variable,
)
from lowering.hazards.operands import queue_of, tiles_of
from lowering.hazards.regions import region_of
from lowering.hazards.row_checks import check_own_overlap, is_sound
from lowering.hazards.scalars import Environments, assuming, conditions, forked, inlined
from pto.ir import CORES, Const, Expr, Loop, Row, Var, View, Word, names_in
from pto.ops import OPS
from pto.text import expr


@dataclass(frozen=True, slots=True)
class Context:
    """Where a node stands: the loops around it, innermost last; what scalars stand for; the tests on
    the way to it in the innermost loop; the cursor of its stage (ABSENT: that of its core)."""

    loops: tuple[int, ...]
    scalars: Environments
    guards: Guards = ()
    stage: int = ABSENT

    @property
    def loop(self) -> int:
        return self.loops[-1] if self.loops else ABSENT


class Emitter:
    """Adds to ``code``.  ``whole``: constant loops are run as often as they say.  ``shuffled``: counters
    of flat loops that do not run in order."""

    def __init__(self, code: Code, whole: bool) -> None:
        self.code, self.whole = code, whole
        self.shuffled: set[str] = set()

    # loops and branches

    def enter(self, node: Loop, at: Context, shifts: tuple[int, int]) -> Context:
        """A new loop, and where its body stands."""
        if node.carry:
            raise Refused("the program is not scheduled: a loop carries tiles")
        code, number = self.code, len(self.code.loops)
        trips = code.scalars.uniform(node.trips, at.scalars, f"the trip count of loop {node.index}")
        constant = int(trips.value) if isinstance(trips, Const) else None
        least, most = code.scalars.facts.limits(trips)
        code.scalars.bound(number, trips, most)
        loop = LoopCode(
            number, node, at.loop, *shifts, trips, constant, max(least, 0), max(most, 0)
        )
        around = code.loops[at.loop].rounds if at.loop != ABSENT else 1
        loop.rounds, loop.whole = around * max(constant or 1, 1), self.whole
        loop.guards = at.guards
        code.loops.append(loop)
        return Context((*at.loops, number), self._counted(loop, at.scalars))

    def _counted(self, loop: LoopCode, scalars: Environments) -> Environments:
        """The scalars inside of a loop: those outside, and its counters."""
        inner = forked(scalars)
        for s in inner:
            s[loop.node.index] = Var(f"i#{loop.number}")
            if loop.node.total:
                s[loop.node.total] = Var(f"u#{loop.number}")
        return inner

    def guard(self, c: int, at: Context, shift: int, counted: bool = True) -> list[Leaving]:
        """Instructions that skip what follows unless every test on the way holds, and, if it is to be
        ``counted``, the loop has that iteration."""
        added: list[Leaving] = []
        offset = self.code.loops[at.loop].high - shift if at.loop != ABSENT else 0
        for test, wanted in at.guards:
            found, same = self._test(self.code.scalars.uniform(test, at.scalars, "a branch"))
            variables = self._variables(found.expr, at.loop, offset) if found.known else {}
            added.append(
                Guard(found.number, wanted == same, at.loop, offset, tuple(variables.values()))
            )
        if counted and not added and at.loop != ABSENT:
            added.append(Guard(ABSENT, True, at.loop, offset, ()))
        self.code.instructions[c].extend(added)
        return added

    def land(self, c: int, leaving: list[Leaving]) -> None:
        """What leaves goes on with the next instruction of core ``c``."""
        for ins in leaving:
            ins.exit = len(self.code.instructions[c])

    def _test(self, e: Expr) -> tuple[Test, bool]:
        """A test, and whether it is ``e`` or, written another way, its opposite."""
        truth, sign = plain_test(e)
        tests = self.code.tests
        for t in tests:
            other, other_sign = plain_test(t.expr)
            if other == truth:
                return t, sign == other_sign
        known = decidable(e, 0, self.code.counters)
        tests.append(Test(len(tests), e, self.code.scalars.scope(e), known))
        return tests[-1], True

    # rows

    def row(self, row: Row, at: Context) -> None:
        """A row; nothing runs for one that is at fault or orders nothing."""
        if row.core not in CORES or not row.pipe:
            raise Refused(f"the program is not scheduled: '{row.op}' has no core and pipe")
        if row.op not in OPS:
            raise Refused(f"'{row.op}' is not in the op table")
        new = self._record(row, at)
        if not is_sound(self.code, row) or OPS[row.op].kind == "scalar":
            return
        skips = self.guard(new.core, at, row.shift, counted=False)
        self._work(new)
        self._place(new, at)
        check_own_overlap(self.code, row, new.tiles, lambda e: self.code.index(e, new))
        self.code.instructions[new.core].append(new)
        self.land(new.core, skips)

    def _record(self, row: Row, at: Context) -> RowCode:
        """What is said of every row, also of one that has no instruction."""
        code, c = self.code, CORES.index(row.core)
        pipe = code.scalar_pipe[c] if row.pipe == "ALL" else code.pipe_number[row.core, row.pipe]
        cursor = c if at.stage == ABSENT else at.stage
        tests = conditions(row, at.scalars[c])
        scalars, tiles = assuming(at.scalars[c], tests), tiles_of(row)
        new = RowCode(len(code.rows), row, c, pipe, at.loops, scalars, cursor, tiles, tests)
        for operand, writes in ((row.out, True), *((a, False) for a in row.args)):
            if isinstance(operand, View):
                new.region = region_of(inlined(operand, scalars))
                new.writes_tensor = writes
                new.adds = writes and Word("add") in row.args
        code.rows.append(new)
        return new

    def _work(self, new: RowCode) -> None:
        """What the row does beside its tiles: its kind, and the FIFO or the pipe that it is about."""
        row = new.row
        new.kind = PLAIN if row.op == "drain" and not row.args else KINDS.get(row.op, PLAIN)
        if new.kind == BARRIER and row.pipe == "ALL":
            new.kind = BARRIER_ALL
        if new.kind in ON_FIFO:
            new.ring = self.code.ring_number[queue_of(row)]
        if new.kind == DRAIN:
            word = row.args[0]
            assert isinstance(word, Word)
            new.drained = self.code.pipe_number[row.core, word.name]

    def _place(self, new: RowCode, at: Context) -> None:
        """Which iteration the row runs for, and the counters that its slots and flags go by."""
        staged = at.stage != ABSENT
        if new.loop != ABSENT and not staged:
            loop = self.code.loops[new.loop]
            new.offset, new.ranged = loop.high - new.row.shift, loop.span > 0
        if new.row.shift == 0 and not staged:
            new.finished = self._finished(new.core, at)
        found: dict[str, Variable] = {}
        for e, modulus, _ in self.code.indices(new.row):
            full = self.code.index(e, new)
            self._check_index(e, full, modulus, new.row)
            found.update(self._variables(full, new.loop, new.offset))
        new.variables = tuple(found.values())

    def _finished(self, c: int, at: Context) -> tuple[int, ...]:
        """Loops that core ``c`` has left for good when a row here runs, the last one first."""

        def left(x: LoopCode) -> bool:
            if c not in x.cursors or x.number in at.loops:
                return False
            if x.parent == at.loop:
                return x.guards == at.guards[: len(x.guards)]
            return not x.guards and (x.parent == ABSENT or x.parent in at.loops)

        return tuple(x.number for x in reversed(self.code.loops) if left(x))

    def _check_index(self, e: Expr, full: Expr, modulus: int, row: Row) -> None:
        """``full``, which ``e`` stands for, is decided by the counters of loops."""
        unknown = [n for n in names_in(full) if not self.code.scalars.known(n)]
        if any(n in self.shuffled for n in names_in(full)):
            raise Refused(f"[{expr(e)}] goes by the item, but empty items come first")
        if unknown:
            self.code.fault("index", f"{unknown[0]} has no value here, in [{expr(e)}]", row)
        elif not decidable(full, modulus, self.code.counters):
            raise Refused(f"cannot tell which slot or flag [{expr(e)}] is, in '{row.op}'")

    def _variables(self, e: Expr, loop: int, offset: int) -> dict[str, Variable]:
        """The loop counters in ``e`` by name, as a row or test of ``loop`` at ``offset`` sees them."""
        found: dict[str, Variable] = {}
        for n in names_in(e):
            if "#" in n:
                where = int(n[2:])
                shifted = offset if where == loop else self.code.loops[where].high
                counter = self.code.counters.setdefault(n, Counter())
                found[n] = Variable(LETTERS.index(n[0]), where, shifted, counter)
        return found


def staged(at: Context, stage: int) -> Context:
    """The same place, in a stage of a flat loop."""
    return replace(at, stage=stage)
