"""A schedule taken out again: what a scheduled program computes, as a program of values.

In: a scheduled kernel (``docs/language.md``): rows of two cores, skewed over iterations, slots, FIFOs.
Out: the same kernel in the form of traced ones.  Slots, FIFOs, flags, cores and shifts are gone: every
row defines a value, and a loop carries exactly the values that are read later.

Invariant: for every trip count both store the same values.  ``unscheduled`` proves it on the way out:
it runs both with numbers for expressions, the scheduled program literally (cores, steps, shifts,
slots), for ragged trip counts (``lowering/values/world.py``), and compares every store.  A slot that is
overwritten too early, or a FIFO read out of turn, is a ``ScheduleError`` that names the row and the
iteration.

How: rows of one iteration run together (the shift of a row says when, not what); the two cores are
merged by running each until it waits for a FIFO.  ``scopes`` finds the value of a slot.

Vector rows stand for both lanes: a tile of which each lane has a part is whole here (``lanes``), and
``lane`` is 0.  Loop indices (``i.7``) and scalars that are read (``%12``) are
named once in the program.

Non-goals: races and capacity (``lowering/hazards/``), timing, numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from lowering.one_by_one import one_by_one
from lowering.values.equivalence import Traced
from lowering.values.lanes import counts_of_both, view_of_both
from lowering.values.scopes import Fork, Key, LoopScope, Scope, slot_key
from lowering.values.tokens import ALIASES, SILENT, Log, Scheduled
from lowering.values.world import World, worlds
from pto import ir
from pto.errors import ScheduleError
from pto.loc import Loc
from pto.row_rules import touched
from pto.targets import target_of
from pto.text import statement
from pto.types import TileType

# ---------------------------------------------------------------------------- block order


def cores_of(node: ir.Node) -> tuple[str, ...]:
    """The cores that do something in ``node``."""
    rows = (node,) if isinstance(node, ir.Row) else tuple(ir.all_rows((node,)))
    return tuple(c for c in ir.CORES if any(r.core == c and r.op not in SILENT for r in rows))


def shift_on(core: str, node: ir.Node) -> int:
    """How far ahead ``core`` runs ``node`` of its own iteration."""
    if isinstance(node, ir.Loop):
        return 0
    return max((r.shift for r in ir.own_rows((node,)) if r.core == core), default=0)


def interleaved(block: ir.Block, ready: Callable[[ir.Row], bool]) -> Generator[ir.Node]:
    """Rows of both cores for one iteration; a pop comes once ``ready`` says that it can."""
    mine = {core: [n for n in block if core in cores_of(n)] for core in ir.CORES}
    todo = {core: ir.in_own_order(nodes, partial(shift_on, core)) for core, nodes in mine.items()}
    while any(todo.values()):
        progress = False
        for core in ir.CORES:
            while todo[core]:
                node = todo[core][0]
                if isinstance(node, ir.Row) and node.op == "pop" and not ready(node):
                    break
                if any(todo[c][:1] != [node] for c in cores_of(node)):
                    break
                for c in cores_of(node):
                    todo[c].pop(0)
                progress = True
                yield node
        if not progress:
            stuck = next(n for core in ir.CORES for n in todo[core])
            raise ScheduleError("a pop here waits for a push of a later iteration", stuck.loc)


def check_test(test: ir.Expr, loc: Loc | None) -> None:
    """Raises ScheduleError where the lanes may not agree."""
    if "lane" in ir.names_in(test):
        raise ScheduleError("a branch on 'lane' sends the two lanes different ways", loc)


def test_of(node: ir.Node) -> ir.Expr | None:
    """The test under which a row works; a scalar does no harm where it is not needed."""
    return node.test if isinstance(node, ir.Row) and not isinstance(node.out, ir.Scalar) else None


# -------------------------------------------------------------------------------- builder


Queues = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Some:
    """Rows of one iteration that work ``under`` one test, one behind the other, as a choice; ``queues``: what waits
    in each FIFO where they do not ('': nothing that anybody reads)."""

    under: ir.Expr
    fork: Fork
    queues: Queues


class Builder:
    """Turns the tree of rows into values, one scope at a time."""

    def __init__(self, kernel: ir.Kernel) -> None:
        self.kernel = kernel
        self.count = 0
        self.depth = {b.name: b.depth for b in kernel.buffers}
        self.lanes = target_of(kernel).lanes
        self.queues: Queues = {f.name: [] for f in kernel.fifos}
        self.types: dict[str, TileType] = {}
        self.written = {p.name for p in kernel.params if p.is_written}
        self.numbers: list[dict[tuple[ir.Operand, ...], ir.Var]] = []
        self.loops: list[LoopScope] = []
        self.origin: dict[int, ir.Row] = {}
        """By the id of a row: the scheduled one that it stands for."""

    # values

    def fresh(self, name: str = "") -> str:
        """A name that nothing else has."""
        self.count += 1
        return f"{name}.{self.count}"

    def value(self, kind: TileType) -> str:
        name = self.fresh()
        self.types[name] = kind
        return name

    def carry_of(self, buffer: str, init: str | None) -> ir.Carry:
        return self.carry(self.tile_type(buffer), init)

    def carry(self, kind: TileType, init: str | None) -> ir.Carry:
        before = ir.Ref(init) if init else None
        return ir.Carry(self.value(kind), kind, before, self.value(kind))

    def tile_type(self, name: str) -> TileType:
        """The whole tile of a buffer, what both lanes have included."""
        buffer = self.kernel.buffer(name)
        return buffer.type.of_all(self.lanes) if buffer.core == "vector" else buffer.type

    def add(
        self,
        row: ir.Row,
        scope: Scope,
        out: ir.Define | ir.View | ir.Scalar | None,
        *args: ir.Operand,
    ) -> None:
        """What ``row`` does, on values."""
        new = ir.Row(row.op, out, args, loc=row.loc)
        self.origin[id(new)] = row
        scope.nodes.append(new)

    # operands

    def scalar(self, e: ir.Expr, core: str, scope: Scope) -> ir.Expr:
        found = scope.scalars
        names = {n: x for n in ir.names_in(e) if (x := found.get(f"{core} {n}", found.get(n)))}
        return ir.substitute(e, names)

    def key(self, ref: ir.Ref, core: str, scope: Scope) -> Key:
        index = None if ref.index is None else self.scalar(ref.index, core, scope)
        return slot_key(ref.name, index, self.depth[ref.name])

    def use(self, ref: ir.Ref, row: ir.Row, scope: Scope) -> ir.Ref:
        found = scope.find(self.key(ref, row.core, scope))
        if found is None:
            text = statement(row, self.kernel)
            raise ScheduleError(f"'{text}' reads '{ref.name}', which nothing has written", row.loc)
        return ir.Ref(found, transposed=ref.transposed)

    def view(self, view: ir.View, row: ir.Row, scope: Scope) -> ir.View:
        found = ir.map_exprs(view, lambda e: self.scalar(e, row.core, scope))
        tile = next((x for x in (row.out, *row.args) if isinstance(x, ir.Ref)), None)
        if row.core != "vector" or tile is None:
            return found
        return view_of_both(found, self.kernel.buffer(tile.name).type, self.lanes, row.loc)

    def operand(self, a: ir.Operand, row: ir.Row, scope: Scope) -> ir.Operand:
        if isinstance(a, ir.Ref):
            return self.use(a, row, scope)
        if isinstance(a, ir.View):
            return self.view(a, row, scope)
        return self.scalar(a, row.core, scope) if isinstance(a, ir.Expr) else a

    # rows

    def row(self, row: ir.Row, scope: Scope) -> None:
        if row.op == "let":
            value = self.scalar(row.scalar(), row.core, scope)
            for test in row.tests:
                value = ir.binary("*", self.scalar(test, row.core, scope), value)
            scope.scalars[f"{row.core} {row.result(ir.Scalar).name}"] = value
        elif row.op in ("read", "fold"):
            self.number(row, scope)
        elif row.op in ALIASES:
            self.hand_on(row, scope)
        else:
            self.step(row, scope)

    def number(self, row: ir.Row, scope: Scope) -> None:
        """``name = read tensor[...]``, or a fold: once for each way to write it, if nobody writes its tables."""
        args = tuple(self.operand(a, row, scope) for a in row.args)
        known = next((known[args] for known in self.numbers if args in known), None)
        if known is None or any(isinstance(a, ir.View) and a.tensor in self.written for a in args):
            known = ir.Var(self.fresh("%"), ir.names_a_float(row))
            self.add(row, scope, ir.Scalar(known.name, known.is_float), *args)
            self.numbers[-1][args] = known
        scope.scalars[f"{row.core} {row.result(ir.Scalar).name}"] = known

    def hand_on(self, row: ir.Row, scope: Scope) -> None:
        """The value keeps its name, unless its place has another element type."""
        (source,) = row.args
        if isinstance(source, ir.Queue):
            used = ir.Ref(self.queues[source.name].pop(0))
        else:
            used = self.use(row.operand(ir.Ref), row, scope)
        assert isinstance(row.out, ir.Queue | ir.Ref)
        name, to_queue = row.out.name, isinstance(row.out, ir.Queue)
        kind = self.kernel.fifo(name).type if to_queue else self.tile_type(name)
        value = used.name
        if used.transposed or self.types[value].dtype != kind.dtype:
            value = self.value(kind)
            self.add(replace(row, op="move"), scope, ir.Define(value, kind), used)
        if isinstance(row.out, ir.Queue):
            self.queues[name].append(value)
        else:
            scope.local[self.key(row.out, row.core, scope)] = value

    def step(self, row: ir.Row, scope: Scope) -> None:
        args, _ = touched(row)
        if row.op == "matmul" and len(args) == 4:
            args = self.accumulated(row, scope)
        if row.core == "vector" and isinstance(row.out, ir.Ref):
            mine = self.kernel.buffer(row.out.name).type
            args = counts_of_both(row.op, args, mine, self.lanes, row.loc)
        found = [self.operand(a, row, scope) for a in args]
        if row.out is None:
            self.add(row, scope, None, *found)
            return
        if isinstance(row.out, ir.View):
            self.check_lanes(row, row.out)
            self.add(row, scope, self.view(row.out, row, scope), *found)
            return
        out = row.result(ir.Ref)
        kind = self.tile_type(out.name)
        value = scope.local[self.key(out, row.core, scope)] = self.value(kind)
        self.add(row, scope, ir.Define(value, kind), *found)

    def check_lanes(self, row: ir.Row, view: ir.View) -> None:
        """Raises ScheduleError where both lanes add to the same elements: a value of both is added once."""
        starts = (n for item in view.index for n in ir.names_in(ir.as_span(item).start))
        if row.adds and row.core == "vector" and "lane" not in starts:
            text = statement(row, self.kernel)
            raise ScheduleError(f"'{text}' adds on both lanes to the same elements", row.loc)

    def accumulated(self, row: ir.Row, scope: Scope) -> tuple[ir.Operand, ...]:
        """``matmul a, b, acc, test`` as read: without the test where what is carried starts as zero."""
        when = self.scalar(row.scalar(3), row.core, scope)
        if isinstance(when, ir.Const):
            return row.args[:3] if when.value else row.args[:2]
        for level in self.loops:
            index, zero = ir.Var(level.loop.index), ir.Const(0)
            if when in (index, ir.Bin("!=", index, zero), ir.Bin("<", zero, index)):
                return self.from_zero(level, row, scope)
        return row.args

    def from_zero(self, level: LoopScope, row: ir.Row, scope: Scope) -> tuple[ir.Operand, ...]:
        acc = row.operand(ir.Ref, 2)
        key = self.key(acc, row.core, scope)
        known = key in scope.local or key in level.carried
        if acc != row.out or scope is not level.inside or known:
            return row.args
        level.carried[key] = self.carry_of(key.name, None)
        return row.args[:3]  # iteration 0 overwrites: undefined is zero here

    # tree

    def block(self, block: ir.Block, scope: Scope) -> None:
        def ready(row: ir.Row) -> bool:
            return bool(self.queues[row.operand(ir.Queue).name])

        self.numbers.append({})
        some: Some | None = None
        for node in interleaved(block, ready):
            test = test_of(node)
            if some is not None and some.under != test:
                self.close(some, scope)
                some = None
            if isinstance(node, ir.Row) and test is not None:
                some = some or self.open(node, test, scope)
                self.conditional(node, some)
            elif isinstance(node, ir.Row):
                self.row(node, scope)
            elif isinstance(node, ir.Loop):
                self.repeat(node, scope)
            else:
                self.choice(node, scope)
        if some is not None:
            self.close(some, scope)
        self.numbers.pop()

    def repeat(self, node: ir.Loop, scope: Scope) -> None:
        named = {n: self.fresh(n) for n in (node.index, node.total) if n}
        trips = self.scalar(node.trips, cores_of(node)[0], scope)
        own = replace(node, index=named[node.index], total=named.get(node.total, ""), trips=trips)
        level = LoopScope(own, scope, self.carry_of)
        level.inside.scalars |= {n: ir.Var(x) for n, x in named.items()}
        for core in ir.CORES:
            level.inside.scalars.pop(f"{core} {node.index}", None)
        self.enter_queues(level)
        self.loops.append(level)
        self.block(node.body, level.inside)
        self.loops.pop()
        self.leave_queues(level, node)
        level.close(scope)
        scope.nodes.append(level)

    def enter_queues(self, level: LoopScope) -> None:
        """A FIFO that is not empty when the loop starts is carried, entry by entry."""
        for name, entries in self.queues.items():
            kind = self.kernel.fifo(name).type
            level.queued[name] = [self.carry(kind, v) for v in entries]
            self.queues[name] = [c.name for c in level.queued[name]]

    def leave_queues(self, level: LoopScope, node: ir.Loop) -> None:
        for name, carries in level.queued.items():
            if len(self.queues[name]) != len(carries):
                raise ScheduleError(
                    f"an iteration pushes '{name}' more or less often than it pops it", node.loc
                )
            names = (c.name for c in carries)
            level.next.update(zip(names, self.queues[name], strict=True))
            self.queues[name] = [c.last for c in carries]

    def choice(self, node: ir.Branch, scope: Scope) -> None:
        check_test(node.test, node.loc)
        before, queues = scope.snapshot(), self.queues
        arms, left = [], []
        for block in (node.then, node.orelse):
            arms.append(Scope(before, dict(scope.scalars)))
            self.queues = {name: list(q) for name, q in queues.items()}
            self.block(block, arms[-1])
            left.append(self.queues)
        test = self.scalar(node.test, cores_of(node)[0], scope)
        self.fork(Fork(replace(node, test=test), *arms), left, scope)

    def fork(self, fork: Fork, left: Sequence[Queues], scope: Scope) -> None:
        """What a choice hands on; ``left``: what waits in the FIFOs behind each of its ways."""
        self.queues = self.joined(fork, *left)
        for key in dict.fromkeys((*fork.then.local, *fork.orelse.local)):
            scope.local[key] = cache(partial(self.handed_on, fork, key))
        scope.nodes.append(fork)

    def open(self, row: ir.Row, test: ir.Expr, scope: Scope) -> Some:
        """For ``row`` and those behind it that work under the same test."""
        check_test(test, row.loc)
        before = scope.snapshot()
        branch = ir.Branch(self.scalar(test, row.core, scope), (), (), row.loc)
        fork = Fork(branch, *(Scope(before, dict(scope.scalars)) for _ in range(2)))
        return Some(test, fork, {name: list(q) for name, q in self.queues.items()})

    def conditional(self, row: ir.Row, some: Some) -> None:
        self.row(row, some.fork.then)
        if row.op == "pop":
            some.queues[row.queue].pop(0)
        elif isinstance(row.out, ir.Queue):
            some.queues[row.queue].append("")

    def close(self, some: Some, scope: Scope) -> None:
        self.fork(some.fork, (self.queues, some.queues), scope)

    def handed_on(self, fork: Fork, key: Key) -> str:
        kind = self.tile_type(key.name)
        return fork.join(self.value(kind), kind, fork.then.find(key), fork.orelse.find(key))

    def joined(self, fork: Fork, then: Queues, orelse: Queues) -> Queues:
        """What waits in each FIFO behind a branch."""
        found: Queues = {}
        for name, values in then.items():
            kind = self.kernel.fifo(name).type
            if len(values) != len(orelse[name]):
                raise ScheduleError(
                    f"the two ways push or pop '{name}' differently often", fork.branch.loc
                )
            found[name] = [
                x if x == y else fork.join(self.value(kind), kind, x or None, y or None)
                for x, y in zip(values, orelse[name], strict=True)
            ]
        return found

    def of_schedule(self, log: Log) -> Log:
        """A log of what was built, by the rows of the schedule."""
        known = ((at, x) for at, x in log.items() if at[0] in self.origin)
        return {(id(self.origin[row]), when): x for (row, when), x in known}

    def build(self) -> ir.Kernel:
        top = Scope(lambda key: None, {})
        self.block(self.kernel.body, top)
        return replace(self.kernel, body=top.made(), buffers=(), fifos=(), events=(), notes=())


# ----------------------------------------------------------------------------- comparison


def unscheduled(kernel: ir.Kernel) -> ir.Kernel:
    """A scheduled kernel in values, proven to store what it stores.

    Raises:
        ScheduleError: a slot or a FIFO does not hand on the value of the row's own iteration.
    """
    kernel = replace(kernel, body=one_by_one(kernel.body))
    builder = Builder(kernel)
    values = builder.build()
    cores = Scheduled(kernel)
    for trips in worlds(kernel):
        world = World(trips, kernel)
        shared, left = cores.run(world), world.memory
        mine = Traced(world, world.start())
        mine.block(values.body, {})
        if mine.tensors != shared.tensors and not world.memory.agrees(left):
            raise first_difference(kernel, shared.log, builder.of_schedule(mine.log))
    return values


def first_difference(kernel: ir.Kernel, schedule: Log, values: Log) -> ScheduleError:
    """The first row, in the order of the schedule, that makes something else."""
    rows = {id(r): r for r in ir.all_rows(kernel.body)}
    for (row, at), token in schedule.items():
        if values.get((row, at), token) != token:
            text = statement(rows[row], kernel)
            when = ", ".join(map(str, at))
            message = f"'{text}' in iteration {when} reads the value of another iteration"
            return ScheduleError(message, rows[row].loc, "run 'pto check' on the schedule")
    return ScheduleError("the schedule stores in another order than its iterations do")
