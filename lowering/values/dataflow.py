"""What a scheduled program computes, with the schedule itself resolved away.

In: a scheduled kernel (``pto/ir.py``): rows of two cores, skewed over iterations, slots and FIFOs.
Out: a ``Flow``, one tree of steps in which every operand names the *value* it reads.  Slots, FIFOs,
moves and flags are gone; a loop carries exactly the values that are read later (its phis).

Invariant: for every trip count the flow stores the same values as the scheduled program.
``dataflow`` proves it on the way out: it runs both with tokens instead of numbers, the scheduled
program literally (cores, steps, shifts, slots), for ragged trip counts (``lowering/values/world.py``),
and compares every store.  A slot that is overwritten too early, or a FIFO read out
of turn, is a ``ScheduleError`` that names the row and the iteration.

How: rows of one iteration run together (the shift of a row says when, not what); the two cores are
merged by running each until it waits for a FIFO.  A slot is a symbolic key, ``i + 1`` modulo the
depth; at the end of an iteration ``i + 1`` becomes ``i``.  A key that an iteration reads before it
writes becomes a phi of the loop, and so does one that is read behind the loop.

Vector rows stand for both lanes: a tile that is split between the lanes has its whole number of
rows here and ``lane`` is 0.

Non-goals: races and capacity (``lowering/hazards/``), timing, numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial

from lowering.one_by_one import one_by_one
from lowering.values.flow import (
    ALIASES,
    SILENT,
    Choice,
    Flow,
    Merge,
    Part,
    Phi,
    Repeat,
    Step,
    Use,
    tidy,
)
from lowering.values.tokens import same_stores
from pto.errors import ScheduleError
from pto.ir import (
    CORES,
    Bin,
    Block,
    Branch,
    Const,
    Expr,
    Kernel,
    Loop,
    Node,
    Operand,
    Queue,
    Ref,
    Row,
    Scalar,
    Span,
    Var,
    View,
    Word,
    all_rows,
    binary,
    in_own_order,
    linear,
    names_in,
    own_rows,
    substitute,
)
from pto.ops import OPS
from pto.row_rules import touched
from pto.text import expr as expr_text
from pto.text import statement
from pto.types import TileType

# ------------------------------------------------------------------------------- keys


ZERO = Const(0)


@dataclass(frozen=True)
class Key:
    """A place that holds a value: slot ``index`` (modulo ``depth``) of a buffer, or a tensor."""

    name: str
    index: Expr = ZERO
    depth: int = 1

    def at(self, values: dict[str, Expr]) -> Key:
        """The same place with names replaced."""
        return slot_key(self.name, substitute(self.index, values), self.depth)


def slot_key(name: str, index: Expr | None, depth: int) -> Key:
    """The key of a ring slot in normal form: sorted terms, coefficients modulo the depth."""
    const, terms = linear(index or Const(0))
    out: Expr = Const(0)
    for atom, k in sorted(terms.items(), key=lambda t: expr_text(t[0])):
        if k % depth:
            out = binary("+", out, binary("*", atom, Const(k % depth)))
    if out == Const(0):
        return Key(name, Const(const % depth), depth)
    return Key(name, binary("+", out, Const(const % depth)), depth)


# ----------------------------------------------------------------------- lanes and halves


def split_buffers(kernel: Kernel) -> dict[str, bool]:
    """Which buffers hold a half of the rows per lane (the others hold the same on both lanes).

    A FIFO twice as high as the slot, or ``lane`` in a view, says so; ops hand it on to operands of
    the same height.  Without a hint a one-row buffer is replicated and any other is split.
    """
    vector = {b.name: b.type for b in kernel.buffers if b.core == "vector"}
    group = {name: name for name in vector}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    hints: list[tuple[str, bool]] = []
    for r in all_rows(kernel.body):
        refs = [x for x in (r.out, *touched(r)[0]) if isinstance(x, Ref)]
        tiles = [x.name for x in refs if x.name in vector]
        for x in (r.out, *r.args):
            if isinstance(x, Queue) and tiles:
                hints.append((tiles[0], kernel.fifo(x.name).type.rows != vector[tiles[0]].rows))
            if isinstance(x, View) and tiles:
                hints.append((tiles[0], any("lane" in names for names in view_names(x))))
        if OPS[r.op].kind in ("unary", "binary", "reduce"):
            for name in tiles[1:]:
                if vector[name].rows == vector[tiles[0]].rows:
                    group[root(name)] = root(tiles[0])
    known = {root(name): split for name, split in hints}
    return {
        b.name: known.get(root(b.name), b.type.rows > 1) if b.core == "vector" else False
        for b in kernel.buffers
    }


def view_names(view: View) -> Iterator[set[str]]:
    """The names in each dimension's place."""
    for item in view.index:
        yield set(names_in(item.start if isinstance(item, Span) else item))


def both_lanes(item: Expr | Span, row: Row, kernel: Kernel) -> Expr | Span:
    """rewrite: ``start + lane * size :+ size``  -->  ``start :+ 2 * size``"""
    start, size = (item.start, item.size) if isinstance(item, Span) else (item, 1)
    if "lane" not in names_in(start):
        return item if not isinstance(item, Span) else Span(start, size, lane_zero(item.valid))
    if linear(start)[1].get(Var("lane")) != size:
        text = statement(row, kernel)
        raise ScheduleError(f"'{text}' does not split its rows evenly over the lanes", row.loc)
    valid = lane_zero(item.valid) if isinstance(item, Span) else None
    return Span(substitute(start, {"lane": Const(0)}), 2 * size, valid)


def lane_zero(e: Expr | None) -> Expr | None:
    return None if e is None else substitute(e, {"lane": Const(0)})


# ---------------------------------------------------------------------------- block order


def cores_of(node: Node) -> tuple[str, ...]:
    """The cores that do something in ``node``."""
    rows = (node,) if isinstance(node, Row) else tuple(all_rows((node,)))
    return tuple(c for c in CORES if any(r.core == c and r.op not in SILENT for r in rows))


def shift_on(core: str, node: Node) -> int:
    """How far ahead ``core`` runs ``node`` of its own iteration."""
    if isinstance(node, Loop):
        return 0
    return max((r.shift for r in own_rows((node,)) if r.core == core), default=0)


def interleaved(block: Block, ready: Callable[[Row], bool]) -> Generator[Node]:
    """Rows of both cores for one iteration; a pop comes once ``ready`` says that it can."""
    mine = {core: [n for n in block if core in cores_of(n)] for core in CORES}
    todo = {core: in_own_order(nodes, partial(shift_on, core)) for core, nodes in mine.items()}
    while any(todo.values()):
        progress = False
        for core in CORES:
            while todo[core]:
                node = todo[core][0]
                if isinstance(node, Row) and node.op == "pop" and not ready(node):
                    break
                if any(todo[c][:1] != [node] for c in cores_of(node)):
                    break
                for c in cores_of(node):
                    todo[c].pop(0)
                progress = True
                yield node
        if not progress:
            stuck = next(n for core in CORES for n in todo[core])
            raise ScheduleError("a pop here waits for a push of a later iteration", stuck.loc)


# -------------------------------------------------------------------------------- builder


class Scope:
    """What is known at one point of the program: the value at each key, and the scalars.

    ``outer`` finds a key that this scope has not written.  A value may be lazy: asking for it
    makes a loop carry it, or a branch hand it on.
    """

    def __init__(self, outer: Callable[[Key], int | None], scalars: dict[str, Expr]) -> None:
        self.local: dict[Key, int | Callable[[], int | None]] = {}
        self.outer = outer
        self.scalars = scalars
        self.parts: list[Part] = []

    def find(self, key: Key) -> int | None:
        found = self.local.get(key)
        if found is None:
            return self.outer(key)
        if callable(found):
            return found()
        return found

    def snapshot(self) -> Callable[[Key], int | None]:
        """``find`` as of now."""
        now = Scope(self.outer, self.scalars)
        now.local = dict(self.local)
        return now.find


class LoopScope:
    """A loop while it is built, and afterwards for those who ask for its results."""

    def __init__(self, builder: Builder, loop: Repeat, total: str, outside: Scope) -> None:
        self.builder, self.loop = builder, loop
        self.total = total
        self.before = outside.snapshot()
        self.carried: dict[Key, Phi] = {}
        self.open = True
        self.inside = Scope(self.at_top, dict(outside.scalars))

    def later(self, key: Key, by: int) -> Key:
        """The key that means the same slot ``by`` iterations earlier in the names of now."""
        names = [n for n in (self.loop.index, self.total) if n]
        return key.at({n: binary("+", Var(n), Const(by)) for n in names})

    def at_top(self, key: Key) -> int:
        """The value at ``key`` when an iteration starts."""
        phi = self.carried.get(key)
        if phi is None:
            init = self.before(key.at({self.loop.index: Const(0)}))
            phi = Phi(self.builder.fresh(key), init, type=self.builder.type_of(key))
            phi.last = self.builder.fresh(key)
            self.carried[key] = phi
            self.loop.phis.append(phi)
            if not self.open:
                self.finish(key, phi)
        return phi.inner

    def finish(self, key: Key, phi: Phi) -> None:
        found = self.inside.find(self.later(key, 1))
        assert found is not None
        phi.next = found

    def close(self, outside: Scope) -> None:
        """Finds what each phi becomes; every written key is available (lazily) behind the loop."""
        for key in iter_growing(self.carried):
            self.finish(key, self.carried[key])
        self.open = False
        written = {k.name for k in self.inside.local}
        for key in [k for k in outside.local if k.name in written and k.depth > 1]:
            del outside.local[key]  # which of the slots were overwritten depends on the trips
        for key in self.inside.local:
            top = self.later(key, -1)
            for trips in (self.loop.trips, binary("max", self.loop.trips, Const(0))):
                outside.local[top.at({self.loop.index: trips})] = self.result(top)

    def result(self, top: Key) -> Callable[[], int | None]:
        def ask() -> int:
            self.at_top(top)
            return self.carried[top].last

        return ask


def iter_growing(d: dict[Key, Phi]) -> Iterator[Key]:
    """Every key, those added on the way included."""
    done: set[Key] = set()
    while len(done) < len(d):
        for key in [k for k in d if k not in done]:
            done.add(key)
            yield key


class Builder:
    """Turns the tree of rows into a flow, one scope at a time."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.count = 0
        self.depth = {b.name: b.depth for b in kernel.buffers}
        self.split = split_buffers(kernel)
        self.queues: dict[str, list[int]] = {f.name: [] for f in kernel.fifos}
        self.types: dict[int, TileType | str] = {}
        self.written = tuple(p.name for p in kernel.params if p.direction in ("out", "inout"))
        self.first = {name: self.fresh(Key(name)) for name in self.written}
        self.reads: list[dict[tuple[str, tuple[Expr | Span, ...]], Expr]] = [{}]

    # values

    def fresh(self, key: Key) -> int:
        return self.value(self.type_of(key))

    def value(self, kind: TileType | str) -> int:
        self.count += 1
        self.types[self.count] = kind
        return self.count

    def type_of(self, key: Key) -> TileType | str:
        return key.name if key.name in self.written else self.tile_type(key.name)

    def tile_type(self, name: str) -> TileType:
        """The whole tile of a buffer, both halves included."""
        t = self.kernel.buffer(name).type
        return TileType(t.dtype, t.rows * (2 if self.split[name] else 1), t.cols)

    # operands

    def scalar(self, e: Expr, core: str, scope: Scope) -> Expr:
        found = scope.scalars
        names = {n: x for n in names_in(e) if (x := found.get(f"{core} {n}", found.get(n)))}
        return substitute(e, names)

    def key(self, ref: Ref, core: str, scope: Scope) -> Key:
        index = None if ref.index is None else self.scalar(ref.index, core, scope)
        return slot_key(ref.name, index, self.depth[ref.name])

    def use(self, ref: Ref, row: Row, scope: Scope) -> Use:
        found = scope.find(self.key(ref, row.core, scope))
        if found is None:
            text = statement(row, self.kernel)
            raise ScheduleError(f"'{text}' reads '{ref.name}', which nothing has written", row.loc)
        return Use(found, ref.transposed)

    def view(self, view: View, row: Row, scope: Scope) -> View:
        items: list[Expr | Span] = []
        for item in view.index:
            x = both_lanes(item, row, self.kernel) if row.core == "vector" else item
            if isinstance(x, Span):
                valid = None if x.valid is None else self.scalar(x.valid, row.core, scope)
                items.append(Span(self.scalar(x.start, row.core, scope), x.size, valid))
            else:
                items.append(self.scalar(x, row.core, scope))
        return View(view.tensor, tuple(items))

    # rows

    def row(self, row: Row, scope: Scope) -> None:
        if row.op == "let":
            assert isinstance(row.out, Scalar)
            assert isinstance(row.args[0], Const | Var | Bin)
            value = self.scalar(row.args[0], row.core, scope)
            scope.scalars[f"{row.core} {row.out.name}"] = value
        elif row.op == "read":
            self.read(row, scope)
        elif row.op in ALIASES:
            self.hand_on(row, scope)
        else:
            self.step(row, scope)

    def read(self, row: Row, scope: Scope) -> None:
        """``name = read tensor[...]``; a tensor that nobody writes is read once per place."""
        assert isinstance(row.out, Scalar)
        assert isinstance(row.args[0], View)
        place = self.view(row.args[0], row, scope)
        state = scope.find(Key(place.tensor)) if place.tensor in self.written else None
        known = next(
            (r[place.tensor, place.index] for r in self.reads if (place.tensor, place.index) in r),
            None,
        )
        if known is None or state is not None:
            out = self.value("scalar")
            scope.parts.append(Step("read", out, None, (place,), state, row))
            known = Var(f"%{out}")
            self.reads[-1][place.tensor, place.index] = known
        scope.scalars[f"{row.core} {row.out.name}"] = known

    def hand_on(self, row: Row, scope: Scope) -> None:
        """The value keeps its number, unless its place has another element type."""
        (source,) = row.args
        if isinstance(source, Queue):
            used = Use(self.queues[source.name].pop(0))
        else:
            assert isinstance(source, Ref)
            used = self.use(source, row, scope)
        if isinstance(row.out, Queue):
            kind = self.kernel.fifo(row.out.name).type
        else:
            assert isinstance(row.out, Ref)
            kind = self.tile_type(row.out.name)
        value = used.value
        old = self.types[value]
        assert isinstance(old, TileType)
        if used.transposed or old.dtype != kind.dtype:
            value = self.value(kind)
            scope.parts.append(Step("move", value, kind, (used,), None, row))
        if isinstance(row.out, Queue):
            self.queues[row.out.name].append(value)
        else:
            scope.local[self.key(row.out, row.core, scope)] = value

    def kept_rows(self, count: Expr, row: Row) -> Expr:
        """How many rows of both lanes a padding keeps: as many as lane 0 would if it had them all."""
        assert isinstance(row.out, Ref)
        whole = self.tile_type(row.out.name).rows
        sure = isinstance(count, Const) and count.value >= whole
        if self.split[row.out.name] and not sure and "lane" not in names_in(count):
            raise ScheduleError(
                "the rows that a padding keeps are not the first of both lanes", row.loc
            )
        return substitute(count, {"lane": Const(0)})

    def step(self, row: Row, scope: Scope) -> None:
        args, _ = touched(row)
        if row.op == "matmul" and len(args) == 4:
            args = self.accumulated(row, scope)
        found: list[Use | Expr | View | Word] = []
        for a in args:
            if isinstance(a, Ref):
                found.append(self.use(a, row, scope))
            elif isinstance(a, View):
                found.append(self.view(a, row, scope))
            elif isinstance(a, Word):
                found.append(a)
            else:
                assert isinstance(a, Const | Var | Bin)
                e = self.kept_rows(a, row) if row.op == "pad" and len(found) == 1 else a
                found.append(self.scalar(e, row.core, scope))
        if isinstance(row.out, View):
            place = self.view(row.out, row, scope)
            key = Key(place.tensor)
            state = scope.find(key)
            out = self.value(place.tensor)
            scope.parts.append(Step(row.op, out, None, (place, *found), state, row))
        else:
            assert isinstance(row.out, Ref), row
            key = self.key(row.out, row.core, scope)
            tensors = [a.tensor for a in found if isinstance(a, View) and a.tensor in self.written]
            state = scope.find(Key(tensors[0])) if tensors else None
            kind = self.tile_type(row.out.name)
            out = self.value(kind)
            scope.parts.append(Step(row.op, out, kind, tuple(found), state, row))
        scope.local[key] = out

    def accumulated(self, row: Row, scope: Scope) -> tuple[Operand, ...]:
        """``matmul a, b, acc, test`` as read: without the test where the phi starts from zero."""
        a, b, acc, test = row.args
        assert isinstance(test, Const | Var | Bin)
        assert isinstance(acc, Ref)
        when = self.scalar(test, row.core, scope)
        if isinstance(when, Const):
            return (a, b, acc) if when.value else (a, b)
        for level in self.loops:
            index, zero = Var(level.loop.index), Const(0)
            if when in (index, Bin("!=", index, zero), Bin("<", zero, index)):
                return self.from_zero(level, row, scope)
        return row.args

    def from_zero(self, level: LoopScope, row: Row, scope: Scope) -> tuple[Operand, ...]:
        a, b, acc = row.args[:3]
        assert isinstance(acc, Ref)
        key = self.key(acc, row.core, scope)
        if scope is not level.inside or key in scope.local or key in level.carried:
            return row.args
        level.at_top(key)
        level.carried[key].init = None  # iteration 0 overwrites: undefined is zero here
        return (a, b, acc)

    # tree

    loops: list[LoopScope]

    def block(self, block: Block, scope: Scope) -> None:
        def ready(row: Row) -> bool:
            (queue,) = row.args
            assert isinstance(queue, Queue)
            return bool(self.queues[queue.name])

        for node in interleaved(block, ready):
            if isinstance(node, Row):
                self.row(node, scope)
            elif isinstance(node, Loop):
                self.repeat(node, scope)
            else:
                self.choice(node, scope)

    def repeat(self, node: Loop, scope: Scope) -> None:
        self.count += 1
        index = f"{node.index}.{self.count}"
        core = cores_of(node)[0]
        loop = Repeat(index, self.scalar(node.trips, core, scope))
        level = LoopScope(self, loop, f"{node.total}.{self.count}" if node.total else "", scope)
        level.inside.scalars[node.index] = Var(index)
        if node.total:
            level.inside.scalars[node.total] = Var(level.total)
        for c in CORES:
            level.inside.scalars.pop(f"{c} {node.index}", None)
        waiting = self.enter_queues(loop)
        self.loops.append(level)
        self.reads.append({})
        self.block(node.body, level.inside)
        self.reads.pop()
        self.loops.pop()
        self.leave_queues(loop, waiting, node)
        level.close(scope)
        loop.body = level.inside.parts
        scope.parts.append(loop)

    def enter_queues(self, loop: Repeat) -> dict[str, list[Phi]]:
        """A FIFO that is not empty when the loop starts is carried, entry by entry."""
        waiting: dict[str, list[Phi]] = {}
        for name, entries in self.queues.items():
            kind = self.kernel.fifo(name).type
            phis = [Phi(self.value(kind), v, last=self.value(kind), type=kind) for v in entries]
            loop.phis += phis
            waiting[name] = phis
            self.queues[name] = [p.inner for p in phis]
        return waiting

    def leave_queues(self, loop: Repeat, waiting: dict[str, list[Phi]], node: Loop) -> None:
        for name, phis in waiting.items():
            if len(self.queues[name]) != len(phis):
                raise ScheduleError(
                    f"an iteration pushes '{name}' more or less often than it pops it", node.loc
                )
            for phi, value in zip(phis, self.queues[name], strict=True):
                phi.next = value
            self.queues[name] = [p.last for p in phis]

    def choice(self, node: Branch, scope: Scope) -> None:
        if "lane" in names_in(node.test):
            raise ScheduleError("a branch on 'lane' sends the two lanes different ways", node.loc)
        core = cores_of(node)[0]
        choice = Choice(self.scalar(node.test, core, scope))
        queues = {name: list(q) for name, q in self.queues.items()}
        before = scope.snapshot()
        arms = []
        for block in (node.then, node.orelse):
            arm = Scope(before, dict(scope.scalars))
            self.queues = {name: list(q) for name, q in queues.items()}
            self.reads.append({})
            self.block(block, arm)
            self.reads.pop()
            arms.append((arm, self.queues))
        self.join_queues(choice, arms[0][1], arms[1][1], node)
        self.join(choice, arms[0][0], arms[1][0], scope)
        choice.then, choice.orelse = arms[0][0].parts, arms[1][0].parts
        scope.parts.append(choice)

    def join(self, choice: Choice, then: Scope, orelse: Scope, scope: Scope) -> None:
        def ask_for(key: Key) -> Callable[[], int | None]:
            made: list[int] = []

            def ask() -> int:
                if not made:
                    made.append(self.fresh(key))
                    merge = Merge(then.find(key), orelse.find(key), made[0], self.type_of(key))
                    choice.merges.append(merge)
                return made[0]

            return ask

        for key in dict.fromkeys((*then.local, *orelse.local)):
            scope.local[key] = ask_for(key)

    def join_queues(
        self, choice: Choice, a: dict[str, list[int]], b: dict[str, list[int]], node: Branch
    ) -> None:
        for name in a:
            if len(a[name]) != len(b[name]):
                raise ScheduleError(
                    f"the two ways push or pop '{name}' differently often", node.loc
                )
            for k, (x, y) in enumerate(zip(a[name], b[name], strict=True)):
                if x != y:
                    kind = self.kernel.fifo(name).type
                    choice.merges.append(Merge(x, y, self.value(kind), kind))
                    a[name][k] = choice.merges[-1].out
        self.queues = a

    def build(self) -> Flow:
        self.loops = []
        top = Scope(lambda key: None, {})
        top.local.update({Key(name): v for name, v in self.first.items()})
        self.block(self.kernel.body, top)
        last = {}
        for name in self.written:
            found = top.find(Key(name))
            assert found is not None
            last[name] = found
        return Flow(self.kernel, top.parts, self.first, last)


def dataflow(kernel: Kernel) -> Flow:
    """The flow of a scheduled kernel, proven to store what the scheduled program stores.

    Raises:
        ScheduleError: a slot or a FIFO does not hand on the value of the row's own iteration.
    """
    flow = Builder(replace(kernel, body=one_by_one(kernel.body))).build()
    tidy(flow)
    same_stores(flow)
    return flow
