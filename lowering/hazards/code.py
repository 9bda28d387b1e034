"""A scheduled kernel as code for the hazard checker, one list of instructions per core.

In: what ``lowering/hazards/compiler.py`` makes of a scheduled ``Kernel``.  Out: ``Code``: instructions over
the numbers of ``lowering/hazards/places.py``, what each row touches for given values of its counters,
when a loop may be over, and what no execution is needed to see is wrong (``Code.faults``).

Scalars are inlined, so an index is an expression over loop counters.  The values of a counter that any
index can tell apart are finitely many (``Counter``): that is what makes a state space finite.

Non-goals: order and time (``lowering/hazards/happens_before.py``), reports (``lowering/hazards/prover.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import product
from math import lcm

from lowering.hazards.counters import LETTERS, Counters, Threshold, Values, constant
from lowering.hazards.forms import terms_of
from lowering.hazards.instructions import (
    LONG,
    PUSH_DATA,
    RECORD,
    ROUNDS_LIMIT,
    Classes,
    Effect,
    Instruction,
    LoopCode,
    RowCode,
    SlotRanges,
    Stage,
    Test,
)
from lowering.hazards.places import Places
from lowering.hazards.scalars import Scalars
from lowering.hazards.tensor_conflicts import Meets
from pto.ir import (
    Bin,
    Const,
    Expr,
    Flag,
    Kernel,
    Ref,
    Row,
    Var,
    binary,
    evaluate,
    names_in,
    substitute,
)

RESIDUE_LIMIT = 24
"""What a long constant trip count is remembered modulo, at most."""


class Code(Places):
    """The compiled kernel: its places, and what its cores do with them.

    ``instructions``: by core.  ``rows``: all of them, also those that order nothing and have no
    instruction.  ``cursors``: the core of every cursor.  ``flat``: the stages of every flat loop.
    ``leads``: of (core, flat loop) the cursor that is furthest.  ``caps``, ``floors``: trip counts of a
    group of loops are not told apart from here on; what is below 0 is -1 where a test sees it.
    ``writers``, ``accessors``: the pipes that write, or touch, a byte range, in any slot of a buffer.
    ``merged``: rings that are taken for one slot (``lowering/hazards/uncoupled.py``).
    """

    def __init__(self, kernel: Kernel, assume: frozenset[str]) -> None:
        super().__init__(kernel, assume)
        self.scalars = Scalars(kernel)
        self.instructions: tuple[list[Instruction], list[Instruction]] = ([], [])
        self.loops: list[LoopCode] = []
        self.rows: list[RowCode] = []
        self.tests: list[Test] = []
        self.counters: Counters = {}
        self.cursors = [0, 1]
        self.flat: dict[int, list[Stage]] = {}
        self.leads: dict[tuple[int, int], int] = {}
        self.caps: dict[int, int] = {}
        self.floors: dict[int, int] = {}
        self.meets: Meets = {}
        self.writers: list[tuple[int, ...]] = []
        self.accessors: list[tuple[int, ...]] = []
        self.merged: frozenset[str] = frozenset()

    @cached_property
    def running(self) -> tuple[RowCode, ...]:
        """The rows that have an instruction, core by core."""
        return tuple(x for side in self.instructions for x in side if isinstance(x, RowCode))

    @cached_property
    def groups(self) -> dict[int, list[Stage]]:
        """The stages of flat loops that agree on where items begin."""
        found: dict[int, list[Stage]] = {}
        for stage in (x for stages in self.flat.values() for x in stages):
            found.setdefault(stage.group, []).append(stage)
        return found

    @cached_property
    def split_rings(self) -> frozenset[int]:
        """FIFOs whose push is two rows: what the signal tells depends on where the second one is."""
        return frozenset(r.ring for r in self.running if r.kind in (PUSH_DATA, RECORD))

    def lead(self, core: int, loop: int) -> int:
        """The cursor of a core that is furthest in ``loop``."""
        return self.leads.get((core, loop), core)

    @cached_property
    def shared_leads(self) -> list[list[tuple[int, int]]]:
        """By core: the cursor that is furthest, and the loop, for each loop that both cores run."""
        cores = {x.number: {self.cursors[k] for k in x.cursors} for x in self.loops}
        shared = [x for x, found in cores.items() if len(found) == 2]
        inside = {self.loops[x].parent for x in shared} & set(self.flat)  # positions say it all
        shared = [x for x in shared if x not in inside]
        return [[(self.lead(c, x), x) for x in shared] for c in (0, 1)]

    # what a row touches

    def index(self, e: Expr, row: RowCode) -> Expr:
        """An index over loop counters; what names the trip count of a loop before, by ``n#L``."""
        full = substitute(e, row.scalars)
        if all("#" in n for n in names_in(full)):
            return full
        whole = terms_of(full)
        for number in row.finished:
            trips = self.loops[number].trips
            for count in (trips, Bin("max", trips, Const(0))):
                apart = constant(whole, terms_of(count), 1)
                if apart is not None:
                    return binary("+", Var(f"n#{number}"), Const(apart))
        return full

    def indices(self, row: Row) -> Iterator[tuple[Expr, int, str]]:
        """(index, modulus, buffer or event) of everything that a row names; modulus 0: a test."""
        for o in (row.out, *row.args):
            if isinstance(o, Ref):
                yield self._slot(o) or Const(0), self.buffers[o.name].depth, o.name
        for f in (*row.wait, *row.set):
            yield f.index or Const(0), len(self.events[f.name].ids), f.name
        adds = _adds(row)
        if adds is not None:
            yield Bin("!=", adds, Const(0)), 0, ""

    def _slot(self, ref: Ref) -> Expr | None:
        """The index of a slot; of a merged ring there is only one."""
        return None if ref.name in self.merged else ref.index

    def effect_of(self, row: RowCode, classes: Classes) -> Effect:
        """What a row does for these classes of its counters; found once."""
        found = row.effects.get(classes)
        if found is None:
            each = classes if isinstance(classes, tuple) else (classes,) * len(row.variables)
            values = {v.name: value for v, value in zip(row.variables, each, strict=True)}
            found = row.effects[classes] = self._effect(row, values)
        return found

    def effects(self, row: RowCode) -> Iterator[Effect]:
        """Everything that a row can do."""
        for classes in product(*(range(v.counter.classes) for v in row.variables)):
            yield self.effect_of(row, classes[0] if len(classes) == 1 else classes)

    def _effect(self, code: RowCode, values: Values) -> Effect:
        """What the row does when the loop counters have these values."""

        def at(index: Expr | None) -> int:
            if index is None:
                return 0
            return int(evaluate(self.index(index, code), values.__getitem__))

        reads, writes = self._accesses(code, at)
        flags = [self._flags(column, at) for column in (code.row.wait, code.row.set)]
        return Effect(flags[0], reads, writes, flags[1])

    def _flags(self, column: tuple[Flag, ...], at: Callable[[Expr | None], int]) -> tuple[int, ...]:
        found = []
        for f in column:
            numbers = self.event_flags[f.name]
            found.append(numbers[at(f.index) % len(numbers)])
        return tuple(found)

    def _accesses(
        self, code: RowCode, at: Callable[[Expr | None], int]
    ) -> tuple[SlotRanges, SlotRanges]:
        """The byte ranges that a row reads, and those that it writes or leaves spoiled."""

        def slot(r: Ref) -> int:
            return self.slots[r.name, at(self._slot(r)) % self.buffers[r.name].depth]

        def ranges(slots: dict[int, None]) -> SlotRanges:
            return tuple((b, s) for s in slots for b in self.slot_ranges[s])

        tiles, adds = code.tiles, _adds(code.row)
        read = tiles.read if adds is None or at(adds) else tiles.read[:2]
        written = dict.fromkeys(map(slot, tiles.written))
        if tiles.scratch is not None:
            s = slot(tiles.scratch)
            del written[s]  # a row that writes its own scratch is a fault
            written[self.spoiled.get(s, s)] = None
        return ranges(dict.fromkeys(map(slot, read))), ranges(written)

    # when a loop is over

    @cached_property
    def residue(self) -> int:
        """What a long constant trip count is remembered modulo."""
        moduli = [c.modulus for c in self.counters.values()]
        found = lcm(*moduli, *(r.fifo.depth for r in self.rings))
        return found if found <= RESIDUE_LIMIT else 1

    def told_apart(self, loop: LoopCode) -> int:
        """Steps of a loop up to which the ways to go on may differ (``Exploration``)."""
        cap = self.caps[loop.group] if loop.reused else 0
        sure = loop.most if loop.is_guard else loop.least
        return max(self.run_exactly(loop) if loop.long else sure, cap)

    def shown(self, loop: LoopCode) -> int:
        """The smallest number of iterations that looks like the constant one of a loop."""
        assert loop.constant is not None
        few = self.run_exactly(loop)
        return few + (loop.constant - few) % self.residue if loop.long else loop.constant

    def ends(self, loop: LoopCode, i: int) -> bool | None:
        """Whether a loop is over after ``i`` iterations; None: it may be.

        A long constant loop may be over after any number of them that looks like the constant from
        inside: what holds for all of those holds for the constant.
        """
        if loop.is_guard and i >= loop.most:
            return True
        if loop.constant is None:
            return None if i >= loop.least else False
        if not loop.long:
            return i == loop.constant
        alike = (i - loop.constant) % self.residue == 0
        return None if alike and i >= self.run_exactly(loop) else False

    def run_exactly(self, loop: LoopCode) -> int:
        """Steps that a long constant loop takes before it may leave early: whatever tests and
        indices can tell apart has passed by then."""
        names = [f"{letter}#{loop.number}" for letter in LETTERS]
        exact = max((self.counters[n].exact for n in names if n in self.counters), default=0)
        return max(LONG if loop.rounds <= ROUNDS_LIMIT else 1, exact + loop.span)

    def loops_about(self, test: int) -> list[LoopCode]:
        """The loops whose trip count decides a test."""
        about = self.tests[test].about
        assert isinstance(about, Threshold)
        return [x for x in self.loops if x.group == about.group]


def _adds(row: Row) -> Expr | None:
    """The last operand of a matmul: where it is 0, the product does not add to what was there."""
    last = row.args[3] if row.op == "matmul" and len(row.args) > 3 else None
    return last if isinstance(last, Expr) else None
