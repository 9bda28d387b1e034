"""One core of the scheduled program in numpy: its rows in the order in which it issues them.

In: a scheduled kernel and the table of what each op becomes.  Out: the rows of the core, each with
the scalars of its iteration; a core yields where it has to wait for another one.
Invariant: a row runs for the iteration that its shift says, in a flat loop at the position of its
stage (``docs/language.md``); a branch is tested for that iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lowering.execute import access
from lowering.execute.access import Array, Env, Locate, Scope
from lowering.execute.memory import Memory, Ring, Slot
from lowering.execute.said import Heard
from lowering.execute.sums import Kept
from lowering.walk import Entry, Issue, Walk
from pto import ir
from pto.errors import MemoryAccessError, ScheduleError
from pto.targets import Target
from pto.text import statement


class Action(NamedTuple):
    """One row of one iteration, its slots and FIFO places fixed: reads first, writes last."""

    fetch: Callable[[], Any]
    commit: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What a row becomes when it is issued (None: it only orders pipes), and whether a row that
    may block can be issued now."""

    issue: Callable[[Scope], Action] | None = None
    ready: Callable[[], bool] | None = None


NOTHING = Step()
IDLE = Action(lambda: None, lambda nothing: None)


@dataclass
class Machine:
    """What the cores of one hardware block share.  ``written``: the tensors that rows store to.  ``rules``: what
    each op becomes on a core.  ``heard``: what rows that only watch say."""

    kernel: ir.Kernel
    target: Target
    tensors: Mapping[str, Array]
    written: Mapping[str, Kept]
    rings: Mapping[str, Ring]
    rules: Mapping[str, Callable[[Core, ir.Row], Step]]
    progress: int = 0
    heard: Heard = field(default_factory=Heard)


@dataclass
class Core:
    """One core of one hardware block: its memories and its rows as steps."""

    machine: Machine
    name: str
    lane: int
    memories: dict[str, Memory] = field(default_factory=dict)
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    """By the id of its row."""
    loops: dict[int, tuple[Callable[[Env], Any], frozenset[str]]] = field(default_factory=dict)
    """By the id of a loop: how often it runs, the scalars that it defines."""
    blocked: ir.Row | None = None

    def __post_init__(self) -> None:
        spaces = self.machine.target.spaces
        for b in self.machine.kernel.buffers:
            if b.core == self.name:
                if b.space not in self.memories:
                    self.memories[b.space] = Memory(spaces[b.space].capacity_bytes)
                self.slots[b.name] = self.memories[b.space].slots(b)
        body, rules = self.machine.kernel.body, self.machine.rules
        mine = (r for r in ir.all_rows(body) if r.core == self.name)
        self.steps = {id(r): conditional(r, rules[r.op](self, r)) for r in mine}
        self.walk = Walk(body, self.name, self)

    def __str__(self) -> str:
        return f"{self.name} lane {self.lane}" if self.name == "vector" else self.name

    # operands

    def pick(self, ref: ir.Ref) -> Callable[[Env], Slot]:
        """The slot that ``ref`` stands for: its index modulo the depth."""
        if ref.name not in self.slots:
            raise ScheduleError(f"the {self.name} core has no buffer '{ref.name}'")
        slots = self.slots[ref.name]
        if ref.index is None:
            return lambda env: slots[0]
        index, depth = access.compiled(ref.index), len(slots)
        return lambda env: slots[int(index(env)) % depth]

    def reader(self, row: ir.Row, ref: ir.Ref) -> Callable[[Scope], Array]:
        """The tile in the slot, all of which must have been written."""
        pick = self.pick(ref)

        def read(scope: Scope) -> Array:
            slot = pick(scope)
            if not slot.written.all():
                raise self.uninitialised(row, slot, slot.written, scope)
            return slot.values.T if ref.transposed else slot.values

        return read

    def operand(self, row: ir.Row, o: ir.Operand) -> Callable[[Scope], Any]:
        if isinstance(o, ir.Ref):
            return self.reader(row, o)
        if isinstance(o, ir.Word):
            return lambda scope: o.name
        assert isinstance(o, ir.Expr)
        return access.compiled(o)

    def locate(self, row: ir.Row, view: ir.View) -> Locate:
        shape = self.machine.tensors[view.tensor].shape
        kernel = self.machine.kernel
        return access.locator(
            view, shape, access.outside(kernel, row, view, shape, MemoryAccessError)
        )

    def uninitialised(
        self, row: ir.Row, slot: Slot, seen: Array, scope: Scope
    ) -> MemoryAccessError:
        missing, bad = int(seen.size - seen.sum()), np.argwhere(~seen)[0]
        column = int(bad[1]) // slot.values.itemsize
        what = f"{self}: {statement(row, self.machine.kernel)}"
        detail = f"{missing} of its {seen.size} bytes, the first at [{bad[0]}, {column}]"
        where = ", ".join(f"{n} = {v}" for n, v in indices(scope).items())
        message = f"{what}\nreads {slot.label} of {slot.buffer.space}, which was never written"
        return MemoryAccessError(f"{message} ({detail}; {where})", row.loc)

    # execution

    def start(self, names: Mapping[str, Any]) -> Iterator[None]:
        """The whole program of this core; yields while it is blocked."""
        for entry, scope in self.rows(names):
            step = self.steps[id(entry.row)]
            if step.ready is not None:
                while not step.ready():
                    self.blocked = entry.row
                    yield
                self.blocked = None
                self.machine.progress += 1
            if step.issue is not None:
                fetch, commit = step.issue(scope)
                commit(fetch())

    def rows(self, names: Mapping[str, Any]) -> Iterator[Issue[Scope]]:
        """The rows of this core in the order it issues them, each with its iteration's scalars.

        A ``read`` or ``let`` must be done before the next row is asked for.
        """
        for memory in self.memories.values():
            memory.reset()
        scope = Scope()
        scope.update(names)
        scope["lane"] = self.lane
        return self.walk.rows(scope)

    # the domain of numbers (``lowering/walk.py``)

    def trips(self, loop: ir.Loop, scope: Scope, ahead: Sequence[Entry] = ()) -> int:
        for entry in ahead:
            self.define(entry.row, scope)
        count, _ = self.known(loop)
        return max(int(count(scope)), 0)

    def define(self, row: ir.Row, scope: Scope) -> None:
        """Runs a row that nothing has to wait for."""
        issue = self.steps[id(row)].issue
        assert issue is not None
        fetch, commit = issue(scope)
        commit(fetch())

    def holds(self, branch: ir.Branch, scope: Scope) -> bool:
        return bool(access.compiled(branch.test)(scope))

    def inside(self, loop: ir.Loop, scope: Scope, i: int, total: int) -> Scope:
        found = Scope(scope, self.known(loop)[1])
        found[loop.index], found[loop.total] = i, total
        return found

    def known(self, loop: ir.Loop) -> tuple[Callable[[Env], Any], frozenset[str]]:
        """The entry of ``loops``, made where it is first asked for."""
        found = self.loops.get(id(loop))
        if found is None:
            own = access.scalars_in(loop.body, self.name) | {loop.index, loop.total}
            found = self.loops[id(loop)] = access.compiled(loop.trips), own
        return found

    def count(self, scope: Scope, counters: Mapping[str, int]) -> None:
        scope.update(counters)


def conditional(row: ir.Row, step: Step) -> Step:
    """What a row does only where its test is not 0; elsewhere a FIFO goes on by one place, and a scalar is 0."""
    if row.test is None or step.issue is None:
        return step
    issue, test = step.issue, access.compiled(row.test)

    def chosen(scope: Scope) -> Action:
        if test(scope):
            return issue(scope)
        if row.queue:
            issue(scope)  # its place is taken here, its data moves in the action
        if isinstance(row.out, ir.Scalar):
            scope[row.out.name] = 0
        return IDLE

    return replace(step, issue=chosen)


def indices(scope: Scope | None) -> dict[str, Any]:
    """The integers known here, innermost first: what to say in an error."""
    found: dict[str, Any] = {}
    while scope is not None and scope.outer is not None:
        found |= {n: v for n, v in scope.items() if n and n not in found}
        scope = scope.outer
    return found
