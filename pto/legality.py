"""What a well-formed program is: one walk that checks a kernel against the tables of ops and targets.

``verify`` runs after the tracer, after every pass and after parsing.  It knows names, types,
cores, pipes, memories and layouts: a row that does not fit its row of ``pto/ops.py``, or that the
table of its target (``pto/targets``) has no way for, is refused, so every later stage may rely on both.  It does not know order
(``lowering/hazards/`` proves that), and leaves capacity, alignment and ids to the passes, the proof and
the executors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType

from pto import ir
from pto.arithmetic import BINARY, DIVIDING, NumberError
from pto.errors import LegalityError
from pto.limits import LIMITS, within
from pto.loc import Loc
from pto.ops import ASSIGNED, OPS, PERSISTENT, SCHEDULED, TRACED
from pto.reach import depth_of, reach_of, spread_of
from pto.records import dataclass
from pto.row_rules import Types, check_operands, check_types, on_core, places_of, seen, view_types
from pto.targets import target_of
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType


def verify(kernel: ir.Kernel, form: str = "") -> ir.Kernel:
    """``kernel`` itself, if every row is legal in a program of ``form`` (default: traced, or scheduled
    if any row has a core).

    Raises:
        LegalityError: for the first row that is not, at its source line.
    """
    form = form or (SCHEDULED if any(r.core for r in ir.all_rows(kernel.body)) else TRACED)
    check: _Slots | _Values = _Slots(kernel) if form == SCHEDULED else _Values(kernel, form)
    check.declarations()
    check.block(kernel.body)
    records(kernel)
    return kernel


def records(kernel: ir.Kernel) -> None:
    """Raises LegalityError for a record of a FIFO that no row pushes silently to."""
    rows = list(ir.all_rows(kernel.body))
    silent = {r.out for r in rows if r.op == "push_data"}
    for row in rows:
        if row.op == "record" and row.args[0] not in silent:
            raise LegalityError("record: no push_data belongs to it", row.loc)


def divides(e: ir.Expr, loc: Loc | None) -> None:
    """Raises LegalityError where a part of ``e`` never has a value: a literal zero as divisor, a
    constant beyond the integers of 64 bits, ``cdiv`` of a float."""
    if isinstance(e, ir.Bin):
        divides(e.a, loc)
        divides(e.b, loc)
        if e.op in DIVIDING and isinstance(e.b, ir.Const) and e.b.value == 0:
            raise LegalityError("division by zero", loc)
        if e.op == "cdiv" and (ir.is_float(e.a) or ir.is_float(e.b)):
            raise LegalityError("cdiv takes integers", loc)
        if isinstance(e.a, ir.Const) and isinstance(e.b, ir.Const):
            try:
                BINARY[e.op](ir.constant(e.a), ir.constant(e.b))
            except NumberError as error:
                raise LegalityError(error.message, loc) from None


def overwritten(loop: ir.Loop) -> None:
    """Raises LegalityError for a carry that starts as nothing, unless the first iteration of
    the loop overwrites it (``accumulate`` makes such carries)."""
    made = {
        r.out.name: r for r in loop.body if isinstance(r, ir.Row) and isinstance(r.out, ir.Define)
    }
    for c, r in zip(loop.carry, loop.result, strict=True):
        row = made.get(r.name)
        adds = (ir.Ref(c.name), ir.Var(loop.index))
        if c.init is None and (row is None or row.op != "matmul" or row.args[2:] != adds):
            message = f"carry '{c.name}' starts from nothing, and no matmul overwrites it at first"
            raise LegalityError(message, loop.loc)


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
                why = f"'{name}' counts on as the items run, a scalar is known before"
                raise LegalityError(why, loc)


def straight(block: ir.Block) -> Iterator[ir.Row | ir.Loop]:
    """The nodes of a block of a program without branches.

    Raises:
        LegalityError: at a branch.
    """
    for node in block:
        if not isinstance(node, ir.Row | ir.Loop):
            message = "a branch cannot be scheduled: rows of a traced program always run"
            hint = "choose values: maximum, minimum, where; or write the schedule with the branch"
            raise LegalityError(message, node.loc, hint)
        yield node


def odd_size(t: TileType) -> str:
    """What is wrong with the size of a tile, '' if nothing is."""
    return within("size", t.rows) or within("size", t.cols)


class _Checker:
    """Walks the tree with the names known so far; the forms differ in what a scope is."""

    def __init__(self, kernel: ir.Kernel, form: str) -> None:
        self.kernel, self.form, self.target = kernel, form, target_of(kernel)
        self.params = {p.name: p for p in kernel.params}
        self.launch = {p.name for p in kernel.params if p.shape is None} | set(kernel.dims)
        self.fifos = {f.name: f for f in kernel.fifos}
        self.tiles: dict[str, TileType] = {}
        self.facts: dict[tuple[str, str], ir.Linear] = {}
        self.ranges: dict[str, tuple[int, int]] = {}
        self.guards = 0
        self.core = ""

    # names

    def everywhere(self) -> set[str]:
        """Scalars known everywhere: parameters, dimensions, and what the launch provides."""
        pids = [f"pid{axis}" for axis in range(len(self.kernel.grid))]
        return self.launch.union(pids if self.form == TRACED else ir.BUILTINS)

    def is_known(self, name: str) -> bool:
        raise NotImplementedError

    def fact(self, x: ir.Var) -> ir.Linear:
        return self.facts.get((self.core, x.name)) or ir.as_atom(x)

    def number(self, e: ir.Expr, loc: Loc | None, what: str = "") -> ir.Linear:
        """A scalar expression, and what is known of it; ``what`` it is if it must be an integer."""
        if isinstance(e, ir.Const) and isinstance(e.value, int):
            return e.value, {}
        if depth_of(e) > LIMITS["depth"].high:
            raise LegalityError(f"an expression {within('depth', depth_of(e))}", loc)
        divides(e, loc)
        for name in ir.names_in(e):
            if not self.is_known(name):
                where = f" on the {self.core} core" if self.core else ""
                raise LegalityError(f"'{name}' is not a scalar known here{where}", loc)
        if what and ir.is_float(e):
            raise LegalityError(f"{what} is an integer, found a fraction", loc)
        return ir.linear(e, self.fact)

    def counted(self, name: str, trips: ir.Linear) -> None:
        """``name`` takes every value below ``trips``: surely 0, and all of them if that is a constant."""
        count, terms = trips
        self.ranges[name] = (0, 0 if terms else max(count - 1, 0))

    def may_skip(self, loop: ir.Loop, trips: ir.Linear) -> bool:
        """Whether a loop may not run in some of the steps around it: what is in it is in a branch."""
        count, terms = trips
        return not self.launch.issuperset(ir.names_in(loop.trips)) if terms else count < 1

    def reach(self, form: ir.Linear) -> tuple[int, int] | None:
        """The values of some step; inside of a branch only those of constants are sure."""
        return reach_of(form, {} if self.guards else self.ranges)

    # declarations

    def declarations(self) -> None:
        """Parameters and grid: each name one thing, sizes that can be."""
        if not self.kernel.body:
            raise LegalityError(f"kernel {self.kernel.name} has no rows", self.kernel.loc)
        dims = set(self.kernel.dims)
        for p in self.kernel.params:
            if p.name in dims:
                raise LegalityError(f"'{p.name}' is a parameter and a dimension", p.loc)
            shape = p.shape if p.shape is not None else (1,)
            why = within("rank", len(shape)) or next(
                (w for d in shape if isinstance(d, int) and (w := within("extent", d))), ""
            )
            if why:
                raise LegalityError(f"parameter '{p.name}': {why}", p.loc)
        if not self.kernel.grid:
            raise LegalityError(f"kernel {self.kernel.name} has no grid", self.kernel.loc)
        for axis, g in enumerate(self.kernel.grid):
            trips = self.extent(g)
            if self.form == TRACED:
                self.counted(f"pid{axis}", trips)
        if self.form != TRACED:
            self.ranges |= {"lane": (0, self.target.lanes - 1), "block_idx": (0, 0)}
        for required in self.kernel.requires:
            self.launched(required.condition, "a condition", required.loc)

    def launched(self, e: ir.Expr, what: str, loc: Loc | None) -> None:
        """An expression over what is known where a kernel is launched: parameters and dimensions."""
        for name in ir.names_in(e):
            if name not in self.launch:
                raise LegalityError(f"'{name}' is not known in {what}", loc)
        divides(e, loc)

    def extent(self, e: ir.Expr) -> ir.Linear:
        """One axis of the grid: an integer over parameters and dimensions."""
        self.launched(e, "the grid", self.kernel.loc)
        if ir.is_float(e):
            raise LegalityError("the grid is an integer, found a fraction", self.kernel.loc)
        if isinstance(e, ir.Const) and (why := within("extent", int(e.value))):
            raise LegalityError(f"the grid: {why}", self.kernel.loc)
        return ir.linear(e)

    # rows

    def statement(self, row: ir.Row) -> None:
        """Everything of a row but its place."""
        check_operands(row, self.form)
        wanted, _ = places_of(row.op, self.form)
        for x, w in zip(row.args, wanted, strict=False):
            self.operand(x, row, f"{row.op}: an operand" if w.whole else "")
        args = [seen(x, self.tile(x, row)) for x in row.args if isinstance(x, ir.Ref)]
        out = row.out.type if isinstance(row.out, ir.Define) else None
        if isinstance(row.out, ir.Ref):
            out = self.tile(row.out, row)
        self.memories(row)
        check_types(row, out, args)
        self.moved(row, out, args)

    def memories(self, row: ir.Row) -> None:
        """Values are nowhere yet."""

    def operand(self, x: ir.Operand | ir.Output, row: ir.Row, what: str = "") -> None:
        if isinstance(x, ir.Expr):
            self.number(x, row.loc, what)
        if isinstance(x, ir.View):
            self.view(x, row)
        if isinstance(x, ir.Queue) and x.name not in self.fifos:
            raise LegalityError(f"'{x.name}' is not a FIFO", row.loc)

    def tile(self, x: ir.Ref, row: ir.Row) -> TileType:
        """The type of a tile that is known here."""
        if x.name not in self.tiles:
            raise LegalityError(f"'{x.name}' is not defined here", row.loc)
        if x.index is not None:
            self.number(x.index, row.loc, "a slot")
        return self.tiles[x.name]

    def moved(self, row: ir.Row, out: TileType | None, args: Types) -> None:
        """What goes between a tile and a tensor has the tile's type; an accumulator is rounded on
        its way out (docs/machine.md 12)."""
        view, t = (row.args[0], out) if row.op == "load" else (row.out, args[0] if args else None)
        if row.op == "store" and isinstance(view, ir.View):
            self.view(view, row)
            if self.params[view.tensor].direction == "in":
                raise LegalityError(f"{view.tensor} is an input and is written", row.loc)
        if row.op not in ("load", "store") or not isinstance(view, ir.View) or t is None:
            return
        param = self.params[view.tensor]
        types = view_types(view, param, self.form)
        rounded = row.op == "store" and row.core == "cube" and param.dtype != "i32"
        if t not in types and not (
            rounded and TileType(param.dtype, t.rows, t.cols) in types and t.dtype == "f32"
        ):
            sizes = ", ".join(str(s.size) for s in view.spans)
            message = f"{row.op}: the view is {param.dtype}[{sizes}], the tile {t}"
            raise LegalityError(message, row.loc)
        if ir.is_strided(view, param.shape or (), t.rows, t.cols):
            raise LegalityError(
                f"{row.op}: the elements of a row of this view of '{view.tensor}' do not lie side by side",
                row.loc,
                "a column moves as rows of whole units, of each of which one element exists: 5:+8<1",
            )

    def view(self, view: ir.View, row: ir.Row) -> None:
        param = self.params.get(view.tensor)
        if param is None or param.shape is None or len(param.shape) != len(view.index):
            message = f"'{view.tensor}' is not a tensor of {len(view.index)} dimensions"
            raise LegalityError(message, row.loc)
        if row.op == "read" and param.dtype != "i32":
            message = f"read: '{view.tensor}' is {param.dtype}, only i32 can be read as a scalar"
            raise LegalityError(message, row.loc)
        for axis, (item, dim) in enumerate(zip(view.index, param.shape, strict=True)):
            self.region(item, dim, f"dimension {axis} of '{view.tensor}'", row.loc)

    def region(self, item: ir.Expr | ir.Span, dim: int | str, what: str, loc: Loc | None) -> None:
        """One dimension of a view: whatever is known of it lies inside."""
        span = item if isinstance(item, ir.Span) else ir.Span(item, 1)
        form = self.number(span.start, loc, f"an index of {what}")
        size: int | None = span.size
        if why := within("size", span.size):
            raise LegalityError(f"a view: {why}", loc)
        if span.valid is not None:
            ends = self.reach(self.number(span.valid, loc, f"a count of {what}"))
            size = min(max(ends[0], 0), span.size) if ends and ends[0] == ends[1] else None
        if not size:  # nothing, or nobody knows how much
            return
        first, behind = self.reach(form), None
        if first is None:
            first = spread_of(span.start, {} if self.guards else self.ranges)
        const, terms = form
        if isinstance(dim, str) and terms.get(ir.Var(dim)) == 1:
            behind = self.reach((const, {x: k for x, k in terms.items() if x != ir.Var(dim)}))
        if first and (first[0] < 0 or (isinstance(dim, int) and first[1] + size > dim)):
            low, high = first[0], first[1] + size - 1
            found = f"element {low} is" if low == high else f"elements {low} to {high} are"
        elif behind and behind[1] + size > 0:
            last = behind[1] + size - 1
            found = f"element {dim}{f' + {last}' if last else ''} is"
        else:
            return
        raise LegalityError(f"{found} outside of {what}, which has {dim}", loc)

    def learn(self, name: str, row: ir.Row, surely: bool = True) -> None:
        """What is known of ``name``, a scalar that a row defines, ``surely`` no other one."""
        (x,) = row.args
        form = ir.linear(x, self.fact) if surely and isinstance(x, ir.Expr) else None
        self.facts[self.core, name] = form or ir.as_atom(ir.Var(name))
        self.ranges.pop(name, None)


class _Values(_Checker):
    """Values are defined once, before they are used, in the block that uses them or one around."""

    def __init__(self, kernel: ir.Kernel, form: str) -> None:
        super().__init__(kernel, form)
        self.scalars = self.everywhere()
        self.taken = {p.name for p in kernel.params} | self.scalars | set(self.fifos)

    def is_known(self, name: str) -> bool:
        return name in self.scalars

    def declarations(self) -> None:
        super().declarations()
        fifos = () if self.form == ASSIGNED else self.kernel.fifos
        placed: tuple[ir.Buffer | ir.Event | ir.Fifo, ...] = (
            *self.kernel.buffers,
            *self.kernel.events,
            *fifos,
        )
        for x in placed:
            raise LegalityError(f"'{x.name}' belongs to a scheduled program", x.loc)

    def block(self, block: ir.Block) -> None:
        for node in block:
            VISIT[type(node)](self, node)

    def inner(self, block: ir.Block) -> None:
        """A block whose values end with it."""
        tiles, scalars = dict(self.tiles), set(self.scalars)
        self.block(block)
        self.tiles, self.scalars = tiles, scalars

    def branch(self, branch: ir.Branch) -> None:
        self.number(branch.test, branch.loc, "a test")
        self.guards += 1
        self.inner(branch.then)
        self.inner(branch.orelse)
        self.guards -= 1

    def define(self, name: str, loc: Loc | None) -> None:
        if name in self.taken and self.form != ASSIGNED:  # there each core has its scalars
            raise LegalityError(f"'{name}' is defined twice", loc)
        self.taken.add(name)

    def row(self, row: ir.Row) -> None:
        self.place(row)
        self.statement(row)
        if isinstance(row.out, ir.Define):
            if row.out.name in self.tiles:
                raise LegalityError(f"'{row.out.name}' is defined twice", row.loc)
            self.define(row.out.name, row.loc)
            if why := odd_size(row.out.type):
                raise LegalityError(f"tile '{row.out.name}': {why}", row.loc)
            self.tiles[row.out.name] = row.out.type
        elif isinstance(row.out, ir.Scalar):
            self.define(row.out.name, row.loc)
            self.learn(row.out.name, row)
            self.scalars.add(row.out.name)

    def place(self, row: ir.Row) -> None:
        """No row has a core before they are given out; no row has flags before the last pass."""
        if self.form in (TRACED, PERSISTENT) and (row.core or row.shift or row.pipe):
            raise LegalityError("some rows have a core and some have none", row.loc)
        if row.wait or row.set:
            raise LegalityError("wait and set belong to a scheduled program", row.loc)
        if self.form == ASSIGNED:
            on_core(row, self.target)

    def loop(self, loop: ir.Loop) -> None:
        trips = self.number(loop.trips, loop.loc, "a trip count")
        if loop.flat and self.form != ASSIGNED:
            raise LegalityError("a flat loop belongs to a scheduled program", loop.loc)
        if loop.total:
            raise LegalityError("a loop that counts on belongs to a scheduled program", loop.loc)
        for c in loop.carry:
            start = None if c.init is None else self.tiles.get(c.init.name)
            turned = c.init is not None and c.init != ir.Ref(c.init.name)
            if (start != c.type or turned) and (c.init is not None or self.form == TRACED):
                raise LegalityError(f"carry '{c.name}' does not start from a {c.type}", loop.loc)
        outside, scalars = dict(self.tiles), set(self.scalars)
        for c in loop.carry:
            self.define(c.name, loop.loc)
            self.tiles[c.name] = c.type
        self.define(loop.index, loop.loc)
        self.scalars.add(loop.index)
        self.counted(loop.index, trips)
        skipped = self.may_skip(loop, trips)
        self.guards += skipped
        self.block(loop.body if loop.flat else tuple(ir.in_own_order(loop.body)))
        self.guards -= skipped
        if len(loop.carry) != len(loop.result):
            message = f"the loop carries {len(loop.carry)}, but yields {len(loop.result)}"
            raise LegalityError(message, loop.loc)
        overwritten(loop)
        for c, r in zip(loop.carry, loop.result, strict=True):
            if self.tiles.get(r.name) != c.type or r != ir.Ref(r.name):
                raise LegalityError(f"carry '{c.name}' does not end as a {c.type}", loop.loc)
        self.tiles, self.scalars = outside, scalars
        for c in loop.carry:
            self.define(c.last, loop.loc)
            self.tiles[c.last] = c.type


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


class _Slots(_Checker):
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
        if space is None or space.core != b.core:
            return f"the {b.core} core has no {b.space}"
        if b.layout not in space.layouts:
            return f"a tile in {b.space} lies {' or '.join(space.layouts)}, not {b.layout}"
        if why := odd_size(t):
            return why
        if t.dtype not in space.dtypes:
            return f"{t}: {b.space} holds {' or '.join(space.dtypes)}"
        if space.is_boxed:
            if t.rows % BOX_ROWS or t.cols % BOX_ROWS:
                return f"{t} in {b.space}: rows and columns are multiples of {BOX_ROWS}"
        elif (b.layout == "dn") != (t.cols == 1):
            return f"{t} lies {b.layout}: a column lies dn, every other tile nd"
        elif t.rows > 1 and b.layout == "nd" and t.cols * DTYPE_BYTES[t.dtype] % UNIT_BYTES:
            return f"{t}: a row is not a multiple of {UNIT_BYTES} bytes"
        return within("slots", b.depth) or within("address", b.at) or within("address", b.stride)

    def fifo(self, f: ir.Fifo) -> str:
        """What is wrong with a FIFO, '' if nothing is."""
        if f.direction not in ("c2v", "v2c"):
            return f"'{f.direction}' is not a direction"
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
        self.statement(row)
        self.flags(row)
        if row.op == "matmul" and len(row.args) > 2 and row.args[2] != row.out:
            raise LegalityError("matmul adds in place only: acc is the result", row.loc)
        if isinstance(row.out, ir.Scalar):
            self.define(row.core, row.out.name, row.loc)
            several = len(self.known[row.core][row.out.name]) > 1  # by the side of a branch
            self.learn(row.out.name, row, not several and not self.guards)

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
        """Each tile is in a memory that its place in the row reaches; L0A takes no transpose."""
        op = OPS[row.op]
        for x, w, verb in (
            *((a, w, "read") for a, w in zip(row.args, op.args, strict=False)),
            (row.out, op.out, "write"),
        ):
            if isinstance(x, ir.Ref) and w is not None:
                space = self.buffers[x.name].space
                known = self.reached(row.core, row.pipe, verb == "write")
                able = [s.name for s in known if w.memory in ("", s.name)]
                if space not in able:
                    raise LegalityError(
                        f"{row.op} on the {row.core} core cannot {verb} {space} here "
                        f"({x.name}), only {' or '.join(able) or 'nothing'}",
                        row.loc,
                    )
        for x in (row.out, *row.args):
            if isinstance(x, ir.Queue):
                self.operand(x, row)
        if row.op == "move" and isinstance(row.out, ir.Ref) and isinstance(row.args[0], ir.Ref):
            if (
                row.args[0].transposed
                and self.buffers[row.out.name].space == OPS["matmul"].args[0].memory
            ):
                raise LegalityError("move: only the right operand can be transposed", row.loc)

    def flags(self, row: ir.Row) -> None:
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


VISIT: Mapping[type[ir.Node], Callable[[_Values, ir.Node], None]] = MappingProxyType(
    {ir.Row: _Values.row, ir.Loop: _Values.loop, ir.Branch: _Values.branch}  # type: ignore[dict-item]
)
"""What a block can hold."""
