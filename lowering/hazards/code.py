"""A scheduled kernel as flat code for the hazard checker, one instruction list per core.

In: a scheduled ``Kernel``.  Out: ``Code``: instructions as plain tuples over the numbers of
``lowering/hazards/places.py``, and what no execution is needed to see is wrong (``Code.faults``).

Scalars are inlined, so an index is an expression over loop counters ``i#L`` (iteration of loop L)
and ``u#L`` (running total of loop L).  The values of a counter that any index can tell apart
are finitely many (``Counter``): that is what makes a state space finite.

Non-goals: order and time (``lowering/hazards/happens_before.py``), reports (``lowering/hazards/prover.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import product
from math import lcm
from typing import TYPE_CHECKING

from lowering.hazards.counters import (
    ABSENT,
    COMPARE,
    LETTERS,
    Counter,
    Counters,
    Relation,
    Threshold,
    Values,
    constant,
    decidable,
    plain_test,
    settled,
)
from lowering.hazards.flat_code import FlatLoops
from lowering.hazards.instructions import (
    BARRIER,
    BARRIER_ALL,
    DRAIN,
    ENTER,
    GUARD,
    HEAD,
    KINDS,
    LONG,
    MOST_RESIDUES,
    MOST_ROUNDS,
    NEXT,
    PLAIN,
    POP,
    PUSH,
    PUSH_DATA,
    RANGE,
    RECORD,
    ROW,
    Classes,
    Effect,
    Instruction,
    LoopCode,
    Refused,
    Step,
    Test,
    Variable,
)
from lowering.hazards.limits import INFINITE, Facts
from lowering.hazards.places import MEMORY_OF, tiles
from lowering.hazards.regions import region_of, terms_of
from lowering.hazards.tensor_conflicts import tensor_conflicts
from lowering.target import Target
from pto.ir import (
    BUILTINS,
    CORES,
    Bin,
    Block,
    Const,
    Expr,
    Kernel,
    Loop,
    Queue,
    Ref,
    Row,
    Scalar,
    Span,
    Var,
    View,
    Word,
    binary,
    evaluate,
    names_in,
    substitute,
)
from pto.ops import OPS
from pto.text import expr

if TYPE_CHECKING:
    from lowering.hazards.state import State


class Code(FlatLoops):
    """The compiled kernel.  ``code[c]`` is the instruction list of core ``c``."""

    def __init__(
        self,
        kernel: Kernel,
        target: Target,
        assume: frozenset[str] = frozenset(),
        blind: bool = True,
        whole: bool = False,
    ) -> None:
        super().__init__(kernel, target, assume)
        self.whole = whole
        self.may_be_blind = blind
        self.loops: list[LoopCode] = []
        self.steps: list[Step] = []
        self.tests: list[Test] = []
        self.counters: Counters = {}
        self.opaque: dict[str, frozenset[str]] = {}
        self.opaque_of: dict[tuple[str, tuple[Expr | Span, ...]], str] = {}
        floats = {p.name for p in kernel.params if p.shape is None and p.dtype != "i32"}
        counts = frozenset(p.name for p in kernel.params if p.shape is None and p.dtype == "i32")
        self.facts = Facts(frozenset(kernel.dims), frozenset(floats), counts=counts)
        self.code: list[list[Instruction]] = [[], []]
        self.cursor = ABSENT
        self.shuffled = set()
        self.leads = {}
        self.flats = {}
        self.cursors = [0, 1]
        self._compile(kernel.body, ABSENT, [{}, {}], (), ())
        for c in (0, 1):
            self.code[c].append((NEXT, ABSENT, 0))
        self._group_loops()
        self._relate_tests()
        self.meets = tensor_conflicts(self, self.steps)
        self._finish_flat_loops()
        self._finish_variables()
        self._accessors()

    # rows

    def _compile(
        self,
        block: Block,
        loop: int,
        scalars: list[dict[str, Expr]],
        loops: tuple[int, ...],
        guards: tuple[tuple[Expr, bool], ...],
    ) -> None:
        self._define_scalars(block, scalars)
        for node in block:
            if isinstance(node, Row):
                self._compile_row(node, loop, scalars, loops, guards)
            elif isinstance(node, Loop):
                compile_loop = self._compile_flat if node.flat else self._compile_loop
                compile_loop(node, loop, scalars, loops, guards)
            else:
                always = self.facts.holds(self._uniform(node.test, scalars, "a branch"))
                for side, taken in ((node.then, True), (node.orelse, False)):
                    inner = [dict(s) for s in scalars]
                    if always is None:
                        self._compile(side, loop, inner, loops, (*guards, (node.test, taken)))
                    elif always == taken:
                        self._compile(side, loop, inner, loops, guards)

    def _define_scalars(self, block: Block, scalars: list[dict[str, Expr]]) -> None:
        """The scalars of a block, in the order of one iteration: larger shifts come first.  Each is
        defined once, on its core, before any use of it (``pto/legality.py``)."""
        rows = [n for n in block if isinstance(n, Row) and isinstance(n.out, Scalar)]
        for row in sorted(rows, key=lambda r: -r.shift):
            if row.core in CORES and row.op in ("read", "let"):  # others are not legal
                self._scalar_row(row, scalars[CORES.index(row.core)])

    def resolve(self, e: Expr, scalars: dict[str, Expr]) -> Expr:
        """``e`` over loop counters, launch scalars and values read."""
        return substitute(e, scalars)

    def _uniform(self, e: Expr, scalars: list[dict[str, Expr]], what: str) -> Expr:
        """``e`` for both cores and both lanes, which must agree on it.

        Lanes that disagree would send different numbers of signals, so a lane-dependent value is
        refused wherever it decides what runs, directly or through a read or a ``let``.
        """
        seen = [self.resolve(e, s) for s in scalars]
        if any("lane" in self._base_names(x) for x in seen):
            raise Refused(f"{what} depends on the lane, and the lanes must run the same rows")
        unknown = [
            any(n not in s and (n in scalars[0] or n in scalars[1]) for n in names_in(e))
            for s in scalars
        ]
        best = seen[1] if unknown[0] and not unknown[1] else seen[0]
        if not any(unknown) and seen[0] != seen[1]:
            raise Refused(f"the cores do not agree on {what}")
        return best

    def _compile_loop(
        self,
        node: Loop,
        parent: int,
        scalars: list[dict[str, Expr]],
        loops: tuple[int, ...],
        guards: tuple[tuple[Expr, bool], ...],
    ) -> None:
        number = self._enter(node, parent, scalars, node.shifts, guards)
        inner = self._counted(number, scalars)
        patches = []
        for c in (0, 1):
            skips = self._guard_code(c, parent, 0, guards, scalars)
            if parent != ABSENT:
                skips.append(len(self.code[c]))
                self.code[c].append((RANGE, parent, self.loops[parent].high))
            self.code[c].append((ENTER, number))
            head = len(self.code[c])
            self.code[c].append((HEAD, number))
            patches.append((skips, head))
        self._compile(node.body, number, inner, (*loops, number), ())
        for c, (skips, head) in enumerate(patches):
            if not any(ins[0] == ROW for ins in self.code[c][head:]):
                del self.code[c][skips[0] if skips else head - 1 :]  # a core without rows here
                continue
            self.loops[number].cores.append(c)
            self.loops[number].cursors.append(c)
            self.code[c].append((NEXT, number, head))
            self._patch(c, [*skips, head])

    def _enter(
        self,
        node: Loop,
        parent: int,
        scalars: list[dict[str, Expr]],
        shifts: tuple[int, int],
        guards: tuple[tuple[Expr, bool], ...],
    ) -> int:
        """The number of a new loop."""
        if node.carry:
            raise Refused("the program is not scheduled: a loop carries tiles")
        number = len(self.loops)
        trips = self._uniform(node.trips, scalars, f"the trip count of loop {node.index}")
        constant = int(trips.value) if isinstance(trips, Const) else None
        least, most = self.facts.limits(trips)
        self._bound(number, trips, most)
        loop = LoopCode(number, node, parent, *shifts, trips, constant, max(least, 0))
        self.loops.append(loop)
        self.loops[number].guards = guards
        around = self.loops[parent].rounds if parent != ABSENT else 1
        self.loops[number].rounds = around * max(constant or 1, 1)
        self.loops[number].whole = self.whole
        return number

    def _bound(self, number: int, trips: Expr, most: int) -> None:
        """The largest values of the counters of a loop, and of the work items of a constant grid."""
        greatest = self.facts.greatest
        match trips:  # this block's share of the items
            case Bin("cdiv", Bin("-", Const(int(n)), Var("block_idx")), Var("block_num")):
                greatest[f"item#i#{number}"] = max(n - 1, 0)
        if most < INFINITE:
            greatest[f"i#{number}"] = max(most - 1, 0)

    def _counted(self, number: int, scalars: list[dict[str, Expr]]) -> list[dict[str, Expr]]:
        """The scalars inside of a loop: those outside, and its counters."""
        inner = [dict(s) for s in scalars]
        node = self.loops[number].node
        for s in inner:
            s[node.index] = Var(f"i#{number}")
            if node.total:
                s[node.total] = Var(f"u#{number}")
        return inner

    def _patch(self, c: int, places: list[int]) -> None:
        for k in places:
            self.code[c][k] = (*self.code[c][k], len(self.code[c]))

    def _guard_code(
        self,
        c: int,
        loop: int,
        shift: int,
        guards: tuple[tuple[Expr, bool], ...],
        scalars: list[dict[str, Expr]],
    ) -> list[int]:
        """Instructions that skip what follows unless every test on the way holds."""
        places = []
        offset = self.loops[loop].high - shift if loop != ABSENT else 0
        for test, wanted in guards:
            number, same = self._test(self._uniform(test, scalars, "a branch"))
            self.tests[number].at.append(loop)
            places.append(len(self.code[c]))
            variables = (
                self._variables(self.tests[number].expr, loop, offset)
                if self.tests[number].known
                else ()
            )
            self.code[c].append((GUARD, number, wanted == same, loop, offset, variables))
        return places

    def _test(self, e: Expr) -> tuple[int, bool]:
        """The number of a test, and whether it is ``e`` or, written another way, its opposite."""
        truth, sign = plain_test(e)
        for t in self.tests:
            other, other_sign = plain_test(t.expr)
            if other == truth:
                return t.number, sign == other_sign
        known = decidable(e, 0, self.counters)
        self.tests.append(Test(len(self.tests), e, self._scope(e), known))
        return len(self.tests) - 1, True

    def _scope(self, e: Expr) -> int:
        """The innermost loop that ``e`` depends on, or ABSENT."""
        found = ABSENT
        for n in self._base_names(e):
            if "#" in n:
                found = max(found, int(n.split("#")[1]))
        return found

    def _base_names(self, e: Expr) -> Iterator[str]:
        for n in names_in(e):
            if n in self.opaque:
                yield from self.opaque[n]
            else:
                yield n

    def _scalar_row(self, row: Row, scalars: dict[str, Expr]) -> None:
        assert isinstance(row.out, Scalar)
        if row.op == "let":
            arg = row.args[0]
            if isinstance(arg, Const | Var | Bin):
                scalars[row.out.name] = self.resolve(arg, scalars)
            return
        view = row.args[0]
        assert isinstance(view, View)
        index = self._inline_view(view, scalars).index
        key = (view.tensor, index)
        if key not in self.opaque_of:
            name = f"read${len(self.opaque_of)}"
            self.opaque_of[key] = name
            found: set[str] = set()
            for item in index:
                for e in (item.start, item.valid) if isinstance(item, Span) else (item,):
                    found.update(self._base_names(e) if e is not None else ())
            self.opaque[name] = frozenset(found)
        scalars[row.out.name] = Var(self.opaque_of[key])

    def _inline_view(self, v: View, scalars: dict[str, Expr]) -> View:
        def inline(item: Expr | Span) -> Expr | Span:
            if isinstance(item, Span):
                valid = None if item.valid is None else self.resolve(item.valid, scalars)
                return Span(self.resolve(item.start, scalars), item.size, valid)
            return self.resolve(item, scalars)

        return View(v.tensor, tuple(inline(i) for i in v.index))

    def _compile_row(
        self,
        row: Row,
        loop: int,
        scalars: list[dict[str, Expr]],
        loops: tuple[int, ...],
        guards: tuple[tuple[Expr, bool], ...],
    ) -> None:
        if row.core not in CORES or not row.pipe:
            raise Refused(f"the program is not scheduled: '{row.op}' has no core and pipe")
        if row.op not in OPS:
            raise Refused(f"'{row.op}' is not in the op table")
        c = CORES.index(row.core)
        step = self._step(row, c, loops, scalars[c])
        if not self._sound(step) or OPS[row.op].kind == "scalar":  # they order nothing
            return
        guard = self._guard_code(c, loop, row.shift, guards, scalars)
        staged = self.cursor != ABSENT
        offset = self.loops[loop].high - row.shift if loop != ABSENT and not staged else 0
        plain = row.shift == 0 and not staged
        step.finished = self._finished(c, loops, guards) if plain else ()
        variables = self._row_variables(step, loop, offset)
        self.check_own_overlap(row, lambda e: self.index(e, step))
        ring = (
            self.ring_number[self._queue(row)]
            if KINDS.get(row.op) in (PUSH, PUSH_DATA, RECORD, POP)
            else ABSENT
        )
        kind = KINDS.get(row.op, PLAIN)
        if row.op == "barrier":
            kind = BARRIER_ALL if row.pipe == "ALL" else BARRIER
        if kind == DRAIN:
            word = row.args[0]
            assert isinstance(word, Word)
            ring = self.pipe_number[row.core, word.name]
        cursor = self.cursor if staged else c
        self.code[c].append(
            (ROW, step.number, loop, offset, variables, step.pipe, kind, ring, cursor)
        )
        self._patch(c, guard)

    def _step(self, row: Row, c: int, loops: tuple[int, ...], scalars: dict[str, Expr]) -> Step:
        pipe = self.scalar[c] if row.pipe == "ALL" else self.pipe_number[row.core, row.pipe]
        step = Step(len(self.steps), row, c, pipe, loops, dict(scalars))
        for operand, writes in ((row.out, True), *((a, False) for a in row.args)):
            if isinstance(operand, View):
                step.region = region_of(self._inline_view(operand, scalars))
                step.writes_tensor = writes
        self.steps.append(step)
        return step

    @staticmethod
    def _queue(row: Row) -> str:
        found = [o.name for o in (row.out, *row.args) if isinstance(o, Queue)]
        return found[0] if found else ""

    def _sound(self, step: Step) -> bool:
        """The row names what exists, on the right core and pipe; what does not is a fault."""
        row, before = step.row, len(self.faults)
        allowed = OPS[row.op].pipes
        if row.pipe not in allowed:
            self.fault("pipe", f"{row.op} runs on {' or '.join(allowed)}, not on {row.pipe}", row)
        for flag, column in (*((f, "wait") for f in row.wait), *((f, "set") for f in row.set)):
            e = self.events.get(flag.name)
            if e is None:
                self.fault("event", f"no event is called {flag.name}", row)
                continue
            pipe = e.dst if column == "wait" else e.src
            if (e.core, pipe) != (row.core, row.pipe):
                text = f"{column} {flag.name} belongs on {e.core} {pipe}, the row is on {row.core} {row.pipe}"
                self.fault("event", text, row)
        if row.op in ("push", "push_data", "record", "pop"):
            self._check_queue(row)
        for operand, writes in ((row.out, True), *((a, False) for a in row.args)):
            if isinstance(operand, Ref):
                self._check_ref(row, operand, writes)
            elif (
                isinstance(operand, View)
                and writes
                and self.kernel.param(operand.tensor).direction == "in"
            ):
                self.fault("input", f"{operand.tensor} is an input and is written", row)
        return len(self.faults) == before

    def _check_queue(self, row: Row) -> None:
        f = self.fifos.get(self._queue(row))
        if f is None:
            self.fault("fifo", f"{row.op} names no fifo", row)
            return
        tile = row.out if row.op == "pop" else row.args[0]
        if row.op != "record" and not isinstance(tile, Ref):
            self.fault("fifo", f"{row.op} of {f.name} moves no tile", row)
        producer = "cube" if f.direction == "c2v" else "vector"
        if (row.core == producer) == (row.op == "pop"):
            self.fault(
                "fifo", f"{row.op} of the {f.direction} fifo {f.name} on the {row.core} core", row
            )
        buffer = self.buffers.get(tile.name) if isinstance(tile, Ref) else None
        if buffer is not None:
            self.check_tile(f, buffer, row)
        if row.op == "pop" and buffer is not None:
            self.check_local_ring(f, buffer, row)

    def _check_ref(self, row: Row, ref: Ref, writes: bool) -> None:
        b = self.buffers.get(ref.name)
        if b is None:
            self.fault("place", f"no buffer is called {ref.name}", row)
            return
        if b.core != row.core:
            self.fault(
                "place",
                f"{ref.name} is on the {b.core} core, the row on the {row.core} core",
                row,
                b.name,
            )
        elif row.pipe in MEMORY_OF and b.space not in MEMORY_OF[row.pipe][int(writes)]:
            verb = "write" if writes else "read"
            self.fault("pipe", f"{row.pipe} does not {verb} {b.space} ({ref.name})", row, b.name)

    # indices

    @cached_property
    def residue(self) -> int:
        """What a long constant trip count is remembered modulo."""
        moduli = [c.modulus for c in self.counters.values()]
        found = lcm(*moduli, *(r.fifo.depth for r in self.rings))
        return found if found <= MOST_RESIDUES else 1

    def told_apart(self, loop: LoopCode) -> int:
        """Steps of a loop up to which the ways to go on may differ (``Exploration``)."""
        cap = self.caps[loop.group] if loop.reused else 0
        return max(self.run_exactly(loop) if loop.long else loop.least, cap)

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
        if not loop.long:
            return (
                i == loop.constant
                if loop.constant is not None
                else None
                if i >= loop.least
                else False
            )
        apart = i - (loop.constant or 0)
        return None if i >= self.run_exactly(loop) and apart % self.residue == 0 else False

    def run_exactly(self, loop: LoopCode) -> int:
        """Steps that a long constant loop takes before it may leave early: whatever tests and
        indices can tell apart has passed by then."""
        names = [f"{letter}#{loop.number}" for letter in LETTERS]
        exact = max((self.counters[n].exact for n in names if n in self.counters), default=0)
        return max(LONG if loop.rounds <= MOST_ROUNDS else 1, exact + loop.span)

    def relative(self, s: State, at: tuple[int, ...], step: Step) -> tuple[int | None, ...]:
        """Iterations seen from where the cores are now; None: before all that may still run.

        Whatever a later row of either core is compared with, two accesses that look alike from here
        meet it alike.
        """
        found: list[int | None] = []
        for number, x in zip(step.loops, at, strict=True):
            loop = self.loops[number]
            lowest = [
                s.total[k][number] + max(s.step[k][number] - loop.span, 0) for k in loop.cursors
            ]
            if x < min(lowest):
                return (*found, None)
            k = self.lead(step.core, number)
            found.append(x - s.total[k][number] - max(s.step[k][number], 0))
        return tuple(found)

    def _finished(
        self, c: int, loops: tuple[int, ...], guards: tuple[tuple[Expr, bool], ...]
    ) -> tuple[int, ...]:
        """Loops that core ``c`` has left for good when a row here runs, the last one first."""
        inner = loops[-1] if loops else ABSENT

        def left(x: LoopCode) -> bool:
            if c not in x.cores or x.number in loops:
                return False
            if x.parent == inner:
                return x.guards == guards[: len(x.guards)]
            return not x.guards and (x.parent == ABSENT or x.parent in loops)

        return tuple(x.number for x in reversed(self.loops) if left(x))

    def index(self, e: Expr, step: Step) -> Expr:
        """An index over loop counters; what names the trip count of a loop before, by ``n#L``."""
        full = self.resolve(e, step.scalars)
        if all("#" in n for n in names_in(full)):
            return full
        whole = terms_of(full)
        for number in step.finished:
            trips = self.loops[number].trips
            for count in (trips, Bin("max", trips, Const(0))):
                apart = constant(whole, terms_of(count), 1)
                if apart is not None:
                    return binary("+", Var(f"n#{number}"), Const(apart))
        return full

    def _variables(self, e: Expr, loop: int, offset: int) -> tuple[Variable, ...]:
        found: dict[str, Variable] = {}
        for n in names_in(e):
            if "#" in n:
                where = int(n[2:])
                shifted = offset if where == loop else self.loops[where].high
                found[n] = (LETTERS.index(n[0]), where, shifted, 0, 0)
        return tuple(found.values())

    def _row_variables(self, step: Step, loop: int, offset: int) -> tuple[Variable, ...]:
        """The counters that decide the slots and flags of a row."""
        found: dict[Variable, None] = {}
        for e, modulus, _ in self.indices(step):
            full = self.index(e, step)
            unknown = [n for n in names_in(full) if not self._known(n)]
            flat = [n for n in names_in(full) if n in self.shuffled]
            if flat:
                raise Refused(f"[{expr(e)}] goes by the item, but empty items come first")
            if unknown:
                self.fault("index", f"{unknown[0]} has no value here, in [{expr(e)}]", step.row)
            elif not decidable(full, modulus, self.counters):
                raise Refused(f"cannot tell which slot or flag [{expr(e)}] is, in '{step.row.op}'")
            found.update(dict.fromkeys(self._variables(full, loop, offset)))
        return tuple(found)

    def _known(self, name: str) -> bool:
        """``name`` is a loop counter, a value read, or a scalar of the launch."""
        k = self.kernel
        launch = {p.name for p in k.params} | set(k.dims) | {n for n, _ in k.statics}
        return "#" in name or name in self.opaque or name in launch or name in BUILTINS

    def indices(self, step: Step) -> Iterator[tuple[Expr, int, str]]:
        """(index, modulus, buffer or event) of everything that a row names; modulus 0: a test."""
        row = step.row
        for o in (row.out, *row.args):
            if isinstance(o, Ref):
                yield o.index or Const(0), self.buffers[o.name].depth, o.name
        for f in (*row.wait, *row.set):
            yield f.index or Const(0), len(self.events[f.name].ids), f.name
        if row.op == "matmul" and len(row.args) > 3 and isinstance(row.args[3], Const | Var | Bin):
            yield Bin("!=", row.args[3], Const(0)), 0, ""

    def effect(self, step: Step, values: Values) -> Effect:
        """(waits, reads, writes, sets): flags, slots and atoms that the row touches when the
        loop counters have these values."""

        def at(index: Expr | None) -> int:
            e = Const(0) if index is None else self.index(index, step)
            return int(evaluate(e, lambda n: values[n]))

        def slot(r: Ref) -> int:
            return self.slots[r.name, at(r.index) % self.buffers[r.name].depth]

        row = step.row
        refs, out = tiles(row)
        if row.op == "matmul" and len(row.args) > 3 and isinstance(row.args[3], Const | Var | Bin):
            if not at(row.args[3]):
                del refs[2:]
        flags = [
            tuple(
                self.event_flags[f.name][at(f.index) % len(self.event_flags[f.name])]
                for f in column
            )
            for column in (row.wait, row.set)
        ]
        reads = tuple((a, s) for s in dict.fromkeys(map(slot, refs)) for a in self.slot_atoms[s])
        made = dict.fromkeys(map(slot, out))
        for scratch in out[1:]:
            s = slot(scratch)
            del made[s]  # a row that writes its own scratch is a fault
            made[self.spoiled.get(s, s)] = None
        writes = tuple((a, s) for s in made for a in self.slot_atoms[s])
        return flags[0], reads, writes, flags[1]

    def effect_of(self, ins: Instruction, classes: Classes) -> Effect:
        """The effect of a row for these classes of its counters; found once."""
        found: Effect | None = ins[9].get(classes)
        if found is None:
            each = classes if isinstance(classes, tuple) else (classes,) * len(ins[4])
            named = zip(ins[4], each, strict=True)
            values = {f"{LETTERS[v[0]]}#{v[1]}": value for v, value in named}
            found = ins[9][classes] = self.effect(self.steps[ins[1]], values)
        return found

    def effects(self, ins: Instruction) -> Iterator[Effect]:
        """Every effect that a row can have."""
        for classes in product(*(range(v[3] + v[4]) for v in ins[4])):
            yield self.effect_of(ins, classes[0] if len(classes) == 1 else classes)

    @cached_property
    def split_rings(self) -> frozenset[int]:
        """FIFOs whose push is two rows: what the signal tells depends on where the second one is."""
        rows = [ins for side in self.code for ins in side if ins[0] == ROW]
        return frozenset(ins[7] for ins in rows if ins[6] in (PUSH_DATA, RECORD))

    # after all rows

    def _group_loops(self) -> None:
        """Loops with one trip count expression run equally often while its scalars are the same."""
        groups: dict[Expr, list[LoopCode]] = {}
        for x in self.loops:
            groups.setdefault(x.trips, []).append(x)
        for number, members in enumerate(groups.values()):
            for x in members:
                x.group, x.scope = number, self._scope(x.trips)
                x.reused = len(members) > 1 or x.scope != x.parent

    def _relate_tests(self) -> None:
        """Tests that a trip count decides; all loops with that count agree with them, so trip
        counts are told apart up to where no test does any more (``caps``, by group).

        A loop of a negative count runs no step, but a test sees the number itself (``floors``: -1
        stands for any negative count).
        """
        self.caps = dict.fromkeys((x.group for x in self.loops), 1)
        self.floors = dict.fromkeys((x.group for x in self.loops), 0)
        for t in (t for t in self.tests if not t.known):
            t.about = next((a for x in self.loops if (a := self._about(t, x))), None)
            if isinstance(t.about, Threshold):
                group = t.about.group
                self.caps[group] = max(self.caps[group], t.about.decided_from)
                for x in self.loops:
                    x.reused |= x.group == group

    def _about(self, t: Test, loop: LoopCode) -> Relation | Threshold | None:
        e = t.expr
        if not isinstance(e, Bin) or e.op not in COMPARE or loop.constant is not None:
            return None
        apart, trips = terms_of(Bin("-", e.a, e.b)), terms_of(loop.trips)
        for sign in (1, -1):
            behind = terms_of(Bin("-", Var(f"i#{loop.number}"), loop.trips))
            shift = constant(apart, behind, sign)
            if shift is not None:
                return Relation(loop.number, sign, shift, e.op)
            shift = constant(apart, trips, sign)
            if shift is not None and self.facts.never_negative(loop.trips):
                return Threshold(loop.group, sign, shift, e.op)
            if shift is not None and settled(e.op, shift - sign, -sign):
                self.floors[loop.group] = -1
                return Threshold(loop.group, sign, shift, e.op)
        return None

    def _finish_variables(self) -> None:
        """Counters are known only now: write them into the variables of every row."""

        def done(v: Variable) -> Variable:
            counter = self.counters.setdefault(f"{LETTERS[v[0]]}#{v[1]}", Counter())
            return v[0], v[1], v[2], counter.modulus, counter.exact

        for code in self.code:
            for k, ins in enumerate(code):
                if ins[0] == ROW:
                    step = self.steps[ins[1]]
                    variables = tuple(done(v) for v in ins[4])
                    touches = step.writes_tensor or step.tracked
                    code[k] = (*ins[:4], variables, *ins[5:], {}, touches)

    def _accessors(self) -> None:
        """For every atom the pipes that read it and those that write it, over all slots of a buffer."""
        readers: list[set[int]] = [set() for _ in self.atoms]
        writers: list[set[int]] = [set() for _ in self.atoms]
        compiled = {ins[1] for code in self.code for ins in code if ins[0] == ROW}
        for s in (s for s in self.steps if s.number in compiled):
            for refs, side in zip(tiles(s.row), (readers, writers), strict=True):
                for o in refs:
                    for slot in range(self.buffers[o.name].depth):
                        for a in self.slot_atoms[self.slots[o.name, slot]]:
                            side[a].add(s.pipe)
            if s.row.op in ("push", "push_data", "pop"):
                ring = self.rings[self.ring_number[self._queue(s.row)]]
                for a in range(ring.first_atom, ring.first_atom + ring.fifo.depth):
                    (readers if s.row.op == "pop" else writers)[a].add(s.pipe)
        self.writers = [tuple(sorted(w)) for w in writers]
        self.accessors = [tuple(sorted(w | r)) for w, r in zip(writers, readers, strict=True)]
