"""What is legal where rows work on slots of buffers: the scheduled form.

In: a kernel.  Out: nothing, or the first thing that is wrong.  Every row has a core and a pipe, its tiles are
in memories that the pipe reaches, its flags belong to events of its core.  Non-goals: order
(``lowering/hazards``), what both kinds of programs share (``pto/checker.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pto import ir
from pto.checker import Checker, odd_size
from pto.errors import LegalityError
from pto.limits import within
from pto.loc import Loc
from pto.ops import OPS, SCHEDULED
from pto.row_rules import on_core
from pto.types import DTYPE_BYTES, PAIRS, UNIT_BYTES, TileType, box_of, is_pairs


def flat_nest(loop: ir.Loop) -> None:
    """Raises LegalityError unless a flat loop holds rows and one loop of rows, scalars in front, which
    say how often that runs before there is an order of the items to count."""
    inner = [n for n in loop.body if isinstance(n, ir.Loop)]
    rows = [n for n in loop.body if isinstance(n, ir.Row)]
    if len(inner) != 1 or len(rows) + 1 != len(loop.body):
        raise LegalityError("a flat loop holds rows and one loop", loop.loc)
    if not all(isinstance(n, ir.Row) for n in inner[0].body):
        raise LegalityError("the loop in a flat loop holds rows only", inner[0].loc)
    if inner[0].flat:
        raise LegalityError("the loop in a flat loop is not flat itself", inner[0].loc)
    told = [(inner[0].trips, inner[0].loc)]
    for row in rows:
        op = OPS.get(row.op)
        if op is not None and op.kind == "scalar":
            if row.shift or row in loop.body[loop.inner :]:
                why = "a scalar of a flat loop stands in front of the loop in it, at shift 0"
                raise LegalityError(why, row.loc)
            told += ((e, row.loc) for a in row.args for e in ir.exprs_of(a))
    for e, loc in told:
        for name in ir.names_in(e):
            if name in (loop.total, inner[0].total):
                why = f"'{name}' is not known yet: scalars of a flat loop say which items there are to count"
                raise LegalityError(why, loc)


Tests = tuple[tuple[int, bool] | int, ...]
"""The sides of the branches around a node, from outside; each branch by its place in its block,
and between them the loops, by their identity."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One row or loop of a loop body, with the branches around it."""

    node: ir.Row | ir.Loop
    branches: tuple[ir.Branch, ...]
    tests: Tests

    @property
    def shift(self) -> int:
        return self.node.shift if isinstance(self.node, ir.Row) else 0


def _places(
    block: ir.Block, tests: Tests, branches: tuple[ir.Branch, ...] = ()
) -> Iterator[_Place]:
    """The rows and loops of a block, out of their branches."""
    for k, node in enumerate(block):
        if isinstance(node, ir.Branch):
            for side, taken in ((node.then, True), (node.orelse, False)):
                yield from _places(side, (*tests, (k, taken)), (*branches, node))
        else:
            yield _Place(node, branches, tests)


class SlotForm(Checker):
    """Every row has a core and a pipe that can run it, on buffers in the right memories.

    A scalar belongs to one core, to the loop body or the side of a branch that defines it, and to
    the iteration that does: it is defined once, before it is used, where rows of larger shift come
    first.  A loop or a branch needs its scalar on every core that has rows inside.
    """

    def __init__(self, kernel: ir.Kernel) -> None:
        super().__init__(kernel, SCHEDULED)
        self.known: dict[str, dict[str, tuple[Tests, ...]]] = {
            core: dict.fromkeys(self.everywhere(), ((),)) for core in ir.CORES
        }
        del self.known["cube"]["lane"]
        self.tests: Tests = ()
        self.reached = cache(self.target.reach)
        self.buffers = {b.name: b for b in kernel.buffers}
        self.events = {e.name: e for e in kernel.events}
        self.tiles = {b.name: b.type for b in kernel.buffers}

    def is_known(self, name: str) -> bool:
        found = self.known[self.core].get(name, ())
        return any(self.tests[: len(tests)] == tests for tests in found)

    # declarations

    def declarations(self) -> None:
        """Buffers, FIFOs and events are what their core has."""
        super().declarations()
        if not self.kernel.target:
            message = f"kernel {self.kernel.name} is scheduled and names no target"
            hint = f"kernel {self.kernel.name} on {self.target.name}"
            raise LegalityError(message, self.kernel.loc, hint)
        for b in self.kernel.buffers:
            if why := self.buffer(b):
                raise LegalityError(f"buffer '{b.name}': {why}", b.loc)
        for f in self.kernel.fifos:
            if why := self.fifo(f):
                raise LegalityError(f"fifo '{f.name}': {why}", f.loc)
        for e in self.kernel.events:
            for pipe in (e.src, e.dst):
                if self.target.pipe_of(e.core, pipe) is None:
                    message = f"event '{e.name}': the {e.core} core has no pipe {pipe}"
                    raise LegalityError(message, e.loc)
            why = next((w for n in e.ids if (w := within("id", n))), "")
            if why or not e.ids:
                raise LegalityError(f"event '{e.name}': {why or 'it has no id'}", e.loc)

    def buffer(self, b: ir.Buffer) -> str:
        """What is wrong with a buffer, '' if nothing is."""
        t, space = b.type, self.target.spaces.get(b.space)
        if t.lanes and b.core != "vector":
            return f"{t}: only the vector core has lanes"
        if space is None or space.core != b.core:
            return f"the {b.core} core has no {b.space}"
        if b.layout not in space.layouts:
            return f"a tile in {b.space} lies {' or '.join(space.layouts)}, not {b.layout}"
        if why := odd_size(t):
            return why
        if t.dtype not in space.dtypes:
            return f"{t}: {b.space} holds {' or '.join(space.dtypes)}"
        if b.layout == "pairs":
            return "" if is_pairs(t) else f"{t} lies in pairs, which are {PAIRS}"
        if space.is_boxed:
            rows, cols = box_of(b.layout, t.dtype, space.layouts[b.layout].turned)
            if t.rows % rows or t.cols % cols:
                sides = f"rows and columns are multiples of {rows}"
                if rows != cols:
                    sides = f"rows are multiples of {rows}, columns of {cols}"
                return f"{t} in {b.space}: {sides}"
        elif (b.layout == "dn") != (t.cols == 1):
            return f"{t} lies {b.layout}: a column lies dn, every other tile nd"
        elif t.rows > 1 and b.layout == "nd" and t.cols * DTYPE_BYTES[t.dtype] % UNIT_BYTES:
            return f"{t}: a row is not a multiple of {UNIT_BYTES} bytes"
        return within("slots", b.depth) or within("address", b.at) or within("address", b.stride)

    def fifo(self, f: ir.Fifo) -> str:
        """What is wrong with a FIFO, '' if nothing is."""
        if f.direction not in ("c2v", "v2c"):
            return f"'{f.direction}' is not a direction"
        if f.type.lanes:
            return f"{f.type}: a slot is what both lanes have together"
        return odd_size(f.type) or within("slots", f.depth) or within("flag", f.flag)

    # tree

    def block(self, block: ir.Block, as_written: bool = False) -> None:
        places = list(_places(block, self.tests))
        for place in places if as_written else ir.in_own_order(places):
            self.tests = place.tests
            for core in ir.cores_of((place.node,)) if place.branches else ():
                self.core = core
                for branch in place.branches:
                    self.number(branch.test, branch.loc, "a test")
            self.guards += len(place.branches)
            if isinstance(place.node, ir.Row):
                self.core = place.node.core
                self.row(place.node)
            else:
                self.loop(place.node, as_written)
            self.guards -= len(place.branches)

    def loop(self, loop: ir.Loop, beside: bool = False) -> None:
        outside, tests = {c: dict(self.known[c]) for c in ir.CORES}, self.tests
        if loop.carry or loop.result:
            raise LegalityError("a loop of a scheduled program carries no tiles", loop.loc)
        trips = ir.as_atom(loop.trips)
        for core in ir.cores_of((loop,)):
            self.core = core
            trips = self.number(loop.trips, loop.loc, "a trip count")
        for core in ir.CORES:
            for name in filter(None, (loop.index, loop.total)):
                if not (beside and name == loop.total):  # known outside already
                    self.define(core, name, loop.loc)
                    self.facts.pop((core, name), None)
        if loop.flat:
            flat_nest(loop)
        low, high = loop.shifts
        if not low <= 0 <= high and any(
            isinstance(p.node, ir.Loop) for p in _places(loop.body, ())
        ):
            message = "a loop inside runs at shift 0, all rows beside it at others"
            raise LegalityError(message, loop.loc)
        if loop.flat:
            for core in ir.cores_of((loop.inside,)):  # known beside it, too
                self.known[core][loop.inside.total] = (tests,)
        self.tests = (*tests, id(loop))  # no branch inside is one of those outside
        self.counted(loop.index, trips)
        self.ranges.pop(loop.total, None)
        skipped = self.may_skip(loop, trips)
        self.guards += skipped
        self.block(loop.body, loop.flat)
        self.guards -= skipped
        self.known, self.tests = outside, tests

    def define(self, core: str, name: str, loc: Loc | None) -> None:
        """``name`` is a scalar of ``core`` from here on."""
        others = self.known[core].get(name, ())
        for tests in others:
            if all(x == y for x, y in zip(tests, self.tests, strict=False)):
                raise LegalityError(f"'{name}' is defined twice on the {core} core", loc)
        if name in self.buffers or name in self.fifos or name in self.params:
            raise LegalityError(f"'{name}' is declared as something else", loc)
        self.known[core][name] = (*others, self.tests)

    # rows

    def row(self, row: ir.Row) -> None:
        on_core(row, self.target)
        with self.condition(row):
            self.statement(row)
        if row.other is not None:
            raise LegalityError(
                "a slot that is not written keeps what it holds: no 'else'", row.loc
            )
        self.flags(row)
        if row.op == "matmul" and len(row.args) > 2 and row.args[2] != row.out:
            raise LegalityError("matmul adds in place only: acc is the result", row.loc)
        if isinstance(row.out, ir.Scalar):
            self.define(row.core, row.out.name, row.loc)
            several = len(self.known[row.core][row.out.name]) > 1  # by the side of a branch
            self.learn(row.out.name, row, not (several or self.guards or row.tests))

    def operand(self, x: ir.Operand | ir.Output, row: ir.Row, what: str = "") -> None:
        if isinstance(x, ir.Queue) and x.name in self.fifos:
            direction = self.fifos[x.name].direction
            producer = "cube" if direction == "c2v" else "vector"
            if (row.core == producer) == (row.op == "pop"):
                message = f"{row.op} of the {direction} fifo {x.name} on the {row.core} core"
                raise LegalityError(message, row.loc)
        super().operand(x, row, what)

    def tile(self, x: ir.Ref, row: ir.Row) -> TileType:
        buffer = self.buffers.get(x.name)
        if buffer is None:
            raise LegalityError(f"'{x.name}' is not a buffer", row.loc)
        if buffer.core != row.core:
            raise LegalityError(f"buffer '{x.name}' belongs to the other core", row.loc)
        if (x.index is None) != (buffer.depth == 1):
            raise LegalityError(f"'{x.name}' needs a slot exactly if it has more than one", row.loc)
        return super().tile(x, row)

    def memories(self, row: ir.Row) -> None:
        """Each tile is in a memory that its place in the row reaches."""
        op = OPS[row.op]
        for x, w, verb in (
            *((a, w, "read") for a, w in zip(row.args, op.args, strict=False)),
            (row.out, op.out, "write"),
        ):
            if isinstance(x, ir.Ref) and w is not None:
                space = self.buffers[x.name].space
                known = self.reached(row.core, row.pipe, verb == "write")
                able = [s.name for s in known if not w.memory or s.name in w.memory]
                if space not in able:
                    raise LegalityError(
                        f"{row.op} on the {row.core} core cannot {verb} {space} here "
                        f"({x.name}), only {' or '.join(able) or 'nothing'}",
                        row.loc,
                    )
        for x in (row.out, *row.args):
            if isinstance(x, ir.Queue):
                self.operand(x, row)

    def flags(self, row: ir.Row) -> None:
        if row.op == "drain" and not row.args and not row.wait:
            raise LegalityError("drain takes a pipe, or waits for an event of one", row.loc)
        if (row.wait or row.set) and OPS[row.op].kind == "scalar":
            message = f"{row.op} has no wait and set"
            raise LegalityError(message, row.loc, f"{row.core} {row.shift} S sync | ...")
        for kind, flags, end in (("wait", row.wait, "dst"), ("set", row.set, "src")):
            for flag in flags:
                event = self.events.get(flag.name)
                if event is None or event.core != row.core:
                    message = f"'{flag.name}' is not an event of the {row.core} core"
                    raise LegalityError(message, row.loc)
                if getattr(event, end) != row.pipe:
                    raise LegalityError(
                        f"'{flag.name}' goes {event.src} -> {event.dst}: a row of {row.pipe} cannot {kind} it",
                        row.loc,
                    )
                if (flag.index is None) != (len(event.ids) == 1):
                    message = f"'{flag.name}' has {len(event.ids)} ids, an index must pick one"
                    raise LegalityError(message, row.loc)
                if flag.index is not None:
                    self.number(flag.index, row.loc, "a flag")
