"""What a well-formed program is: tables, and one walk that checks a kernel against them.

``verify`` runs after the tracer, after every pass and after parsing.  It knows names, types,
cores, pipes and memories; it does not know order (``lowering/hazards/`` proves that) and not
capacity (``lowering/passes/place.py`` and the proof do).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pto.errors import PtoError
from pto.ir import (
    CORES,
    DIVIDING,
    Bin,
    Block,
    Branch,
    Const,
    Define,
    Expr,
    Kernel,
    Loc,
    Loop,
    Operand,
    Output,
    Queue,
    Ref,
    Row,
    Scalar,
    Span,
    Var,
    View,
    Word,
    all_rows,
    names_in,
)
from pto.ops import OPS
from pto.types import TileType


class LegalityError(PtoError):
    """A program that no machine of this family can run as written."""


UB, L1, L0A, L0B, L0C, GM, FIFO = "ub", "l1", "l0a", "l0b", "l0c", "gm", "fifo"

MOVES: Mapping[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        ("load", "cube"): ((GM,), (L1,)),
        ("load", "vector"): ((GM,), (UB,)),
        ("store", "cube"): ((L0C,), (GM,)),
        ("store", "vector"): ((UB,), (GM,)),
        ("move", "cube"): ((L1,), (L0A, L0B)),
        ("matmul", "cube"): ((L0A, L0B, L0C), (L0C,)),
        ("push", "cube"): ((L0C,), (FIFO,)),
        ("push", "vector"): ((UB,), (FIFO,)),
        ("push_data", "cube"): ((L0C,), (FIFO,)),
        ("push_data", "vector"): ((UB,), (FIFO,)),
        ("record", "cube"): ((FIFO,), ()),
        ("record", "vector"): ((FIFO,), ()),
        ("pop", "cube"): ((FIFO,), (L1,)),
        ("pop", "vector"): ((FIFO,), (UB,)),
    }
)
"""(op, core) -> memories its tile operands may come from, memories its result may go to
(docs/machine.md 2.4, 3.2).  Vector arithmetic stays in UB."""

PIPES_OF = MappingProxyType(
    {"cube": ("S", "MTE2", "MTE1", "M", "FIX", "MTE3"), "vector": ("S", "MTE2", "V", "MTE3")}
)
"""The pipes that each core has (docs/machine.md 1)."""

STORE_PIPE = MappingProxyType({"cube": "FIX", "vector": "MTE3"})
"""The pipe that leaves the core: L0C through FIX, UB through MTE3 (docs/machine.md 3.1)."""

VECTOR_DTYPES = ("f32", "f16", "i32")
"""Element types the vector unit computes with (docs/machine.md 12)."""

ANY_DTYPE = ("astype", "full", "copy", "pad")
"""Vector ops that move or fill elements, whatever their type."""


def verify(kernel: Kernel) -> Kernel:
    """``kernel`` itself, if every row is legal.

    Raises:
        LegalityError: for the first row that is not, at its source line.
    """
    return verify_scheduled(kernel) if kernel.buffers else _verify_traced(kernel)


def verify_scheduled(kernel: Kernel) -> Kernel:
    """``kernel`` itself, if it is legal as a scheduled program.

    Raises:
        LegalityError: for the first row that is not, at its source line.
    """
    check = _Scheduled(kernel)
    check.declarations()
    check.block(kernel.body)
    return kernel


def _verify_traced(kernel: Kernel) -> Kernel:
    _Traced(kernel).block(kernel.body)
    return kernel


def divides(e: Expr, loc: Loc | None) -> None:
    """Raises LegalityError where ``e`` divides by a literal zero."""
    if isinstance(e, Bin):
        divides(e.a, loc)
        divides(e.b, loc)
        if e.op in DIVIDING and isinstance(e.b, Const) and e.b.value == 0:
            raise LegalityError("division by zero", loc)


def whole_count(loop: Loop) -> None:
    """Raises LegalityError for a literal trip count that is not an integer."""
    if isinstance(loop.trips, Const) and not isinstance(loop.trips.value, int):
        raise LegalityError(f"a loop cannot run {loop.trips.value} times", loop.loc)


def overwritten(loop: Loop) -> None:
    """Raises LegalityError for a carry that starts as nothing, unless the first iteration of
    the loop overwrites it (``accumulate`` makes such carries)."""
    made = {r.out.name: r for r in loop.body if isinstance(r, Row) and isinstance(r.out, Define)}
    for c, r in zip(loop.carry, loop.result, strict=True):
        row = made.get(r.name)
        adds = (Ref(c.name), Var(loop.index))
        if c.init is None and (row is None or row.op != "matmul" or row.args[2:] != adds):
            raise LegalityError(
                f"carry '{c.name}' starts from nothing, and no matmul overwrites it at first",
                loop.loc,
            )


def flat_nest(loop: Loop) -> None:
    """Raises LegalityError unless a flat loop holds rows and one loop of rows, scalars in front."""
    inner = [n for n in loop.body if isinstance(n, Loop)]
    rows = [n for n in loop.body if isinstance(n, Row)]
    if len(inner) != 1 or len(rows) + 1 != len(loop.body):
        raise LegalityError("a flat loop holds rows and one loop", loop.loc)
    if not all(isinstance(n, Row) for n in inner[0].body):
        raise LegalityError("the loop in a flat loop holds rows only", inner[0].loc)
    for row in rows:
        if OPS[row.op].kind == "scalar" and (row.shift or row in loop.body[loop.inner :]):
            raise LegalityError(
                "a scalar of a flat loop stands in front of the loop in it, at shift 0", row.loc
            )


class _Checker:
    """Walks the tree with the names known so far."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.params = {p.name: p for p in kernel.params}
        self.scalars = {p.name for p in kernel.params if p.shape is None} | set(kernel.dims)
        self.scalars |= {f"pid{a}" for a in range(len(kernel.grid))}
        self.scalars |= {"block_idx", "block_num", "lane"}
        self.tiles: dict[str, TileType] = {}

    def block(self, block: Block) -> None:
        for node in block:
            if isinstance(node, Row):
                self.row(node)
            elif isinstance(node, Loop):
                self.loop(node)
            else:
                self.expr(node.test, node.loc)
                self.block(node.then)
                self.block(node.orelse)

    def loop(self, loop: Loop) -> None:
        whole_count(loop)
        self.expr(loop.trips, loop.loc)
        self.scalars |= {loop.index, loop.total} - {""}
        self.block(loop.body if loop.flat else in_own_order(loop.body))

    def row(self, row: Row) -> None:
        raise NotImplementedError

    def expr(self, e: object, loc: Loc | None) -> None:
        if isinstance(e, Const | Var | Bin):
            divides(e, loc)
            for name in names_in(e):
                if name not in self.scalars:
                    raise LegalityError(f"'{name}' is not a scalar known here", loc)

    def view(self, view: View, row: Row, tile: TileType | None) -> None:
        param = self.params.get(view.tensor)
        if param is None or param.shape is None or len(param.shape) != len(view.index):
            raise LegalityError(
                f"'{view.tensor}' is not a tensor of {len(view.index)} dimensions", row.loc
            )
        for item in view.index:
            self.expr(item.start if isinstance(item, Span) else item, row.loc)
            if isinstance(item, Span) and item.valid is not None:
                self.expr(item.valid, row.loc)
        if tile is None:
            return
        sizes = [s.size for s in view.spans]
        rows, cols = [1, *sizes] if len(sizes) == 1 else sizes
        if TileType(param.dtype, rows, cols) != tile:
            raise LegalityError(
                f"{row.op}: the view is {param.dtype}[{rows}, {cols}], the tile {tile}", row.loc
            )


def in_own_order(body: Block) -> Block:
    """The nodes of a loop body as one iteration meets them: larger shifts run in earlier steps."""
    return tuple(sorted(body, key=lambda n: -n.shift if isinstance(n, Row) else 0))


def _shape_of(x: Ref, t: TileType) -> TileType:
    return TileType(t.dtype, t.cols, t.rows) if x.transposed else t


def check_types(row: Row, out: TileType | None, args: list[TileType]) -> None:
    """Types of the tile operands of an arithmetic row against its result."""
    op = OPS[row.op]

    def bad(why: str) -> LegalityError:
        found = ", ".join(map(str, args))
        return LegalityError(f"{row.op}: {why}; operands {found}, result {out}", row.loc)

    if out is None or op.kind in ("move", "sync", "scalar"):
        return
    if op.kind in ("unary", "binary", "reduce", "fill") and row.op not in ANY_DTYPE:
        if any(t.dtype not in VECTOR_DTYPES for t in (out, *args)):
            raise bad("the vector unit computes in f32, f16 and i32 only")
    if row.op == "matmul":
        a, b = args[0], args[1]
        want = TileType("f32", a.rows, b.cols)
        if a.cols != b.rows or a.dtype != b.dtype or out != want or args[2:] not in ([], [want]):
            raise bad(f"[m, k] @ [k, n] of one dtype gives {want}")
    elif op.kind == "reduce":
        if (out.dtype, out.rows, out.cols) != (args[0].dtype, args[0].rows, 1):
            raise bad("the result has one column")
    elif row.op == "astype":
        if (out.rows, out.cols) != (args[0].rows, args[0].cols) or row.args[1] != Word(out.dtype):
            raise bad("shape and dtype must follow the operands")
    elif op.kind in ("unary", "binary"):
        x, *rest = args
        forms = [x, TileType(x.dtype, x.rows, 1), TileType(x.dtype, 1, x.cols)]
        if out != x or any(y not in forms for y in rest):
            raise bad(
                "the second operand must be a tile of that shape, [rows, 1], [1, cols] or a scalar"
            )


class _Traced(_Checker):
    """Values are defined once, before they are used, and no row has a place yet."""

    def row(self, row: Row) -> None:
        if row.op not in OPS:
            raise LegalityError(f"'{row.op}' is not an op", row.loc)
        args = [self.argument(a, row) for a in row.args]
        if isinstance(row.out, Define):
            if row.out.name in self.tiles:
                raise LegalityError(f"'{row.out.name}' is defined twice", row.loc)
            check_types(row, row.out.type, [t for t in args if t is not None])
            if row.op == "load" and isinstance(row.args[0], View):
                self.view(row.args[0], row, row.out.type)
            self.tiles[row.out.name] = row.out.type
        elif isinstance(row.out, Scalar):
            self.scalars.add(row.out.name)
        elif isinstance(row.out, View):
            self.view(row.out, row, args[0])

    def argument(self, x: Operand, row: Row) -> TileType | None:
        if isinstance(x, Ref):
            if x.name not in self.tiles:
                raise LegalityError(f"'{x.name}' is not defined here", row.loc)
            return _shape_of(x, self.tiles[x.name])
        if isinstance(x, View):
            self.view(x, row, None)
        self.expr(x, row.loc)
        return None

    def loop(self, loop: Loop) -> None:
        for c in loop.carry:
            if c.init and self.tiles.get(c.init.name) != c.type:
                raise LegalityError(f"carry '{c.name}' does not start from a {c.type}", loop.loc)
            self.tiles[c.name] = c.type
        overwritten(loop)
        super().loop(loop)
        for c, r in zip(loop.carry, loop.result, strict=True):
            if self.tiles.get(r.name) != c.type:
                raise LegalityError(f"carry '{c.name}' does not end as a {c.type}", loop.loc)
            self.tiles[c.last] = c.type


Tests = tuple[tuple[int, bool], ...]
"""The sides of the branches around a node, from outside; each branch by its place in its block,
and between them the loops, by their number."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One row or loop of a loop body, with the branches around it."""

    node: Row | Loop
    branches: tuple[Branch, ...]
    tests: Tests

    @property
    def shift(self) -> int:
        return self.node.shift if isinstance(self.node, Row) else 0


def _places(block: Block, tests: Tests, branches: tuple[Branch, ...] = ()) -> Iterator[_Place]:
    """The rows and loops of a block, out of their branches."""
    for k, node in enumerate(block):
        if isinstance(node, Branch):
            for side, taken in ((node.then, True), (node.orelse, False)):
                yield from _places(side, (*tests, (k, taken)), (*branches, node))
        else:
            yield _Place(node, branches, tests)


def _cores(node: Row | Loop) -> tuple[str, ...]:
    """The cores that have rows in ``node``."""
    rows = (node,) if isinstance(node, Row) else all_rows(node.body)
    found = {r.core for r in rows}
    return tuple(c for c in CORES if c in found)


class _Scheduled(_Checker):
    """Every row has a core and a pipe that can run it, on buffers in the right memories.

    A scalar belongs to one core, to the loop body or the side of a branch that defines it, and to
    the iteration that does: it is defined once, before it is used, where rows of larger shift come
    first.  A loop or a branch needs its scalar on every core that has rows inside.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        launch = self.scalars - {f"pid{a}" for a in range(len(kernel.grid))}
        self.known: dict[str, dict[str, tuple[Tests, ...]]] = {
            core: dict.fromkeys(launch, ((),)) for core in CORES
        }
        del self.known["cube"]["lane"]
        self.core = ""
        self.tests: Tests = ()
        self.loops = 0
        self.buffers = {b.name: b for b in kernel.buffers}
        self.fifos = {f.name: f for f in kernel.fifos}
        self.events = {e.name: e for e in kernel.events}
        self.tiles = {b.name: b.type for b in kernel.buffers}

    def declarations(self) -> None:
        """Buffers and events are on cores and pipes that exist."""
        for e in self.kernel.events:
            for pipe in (e.src, e.dst):
                if pipe not in PIPES_OF.get(e.core, ()):
                    raise LegalityError(f"event '{e.name}': the {e.core} core has no pipe {pipe}")

    def block(self, block: Block, as_written: bool = False) -> None:
        places = list(_places(block, self.tests))
        for place in places if as_written else sorted(places, key=lambda p: -p.shift):
            self.tests = place.tests
            for core in _cores(place.node):
                self.core = core
                for branch in place.branches:
                    self.expr(branch.test, branch.loc)
            if isinstance(place.node, Row):
                self.core = place.node.core
                self.row(place.node)
            else:
                self.loop(place.node, as_written)

    def loop(self, loop: Loop, beside: bool = False) -> None:
        whole_count(loop)
        outside, tests = {c: dict(self.known[c]) for c in CORES}, self.tests
        for core in _cores(loop):
            self.core = core
            self.expr(loop.trips, loop.loc)
        for core in CORES:
            for name in filter(None, (loop.index, loop.total)):
                if not (beside and name == loop.total):  # known outside already
                    self.define(core, name, loop.loc)
        if loop.flat:
            flat_nest(loop)
        low, high = loop.shifts
        if not low <= 0 <= high and any(isinstance(p.node, Loop) for p in _places(loop.body, ())):
            raise LegalityError(
                "a loop inside runs at shift 0, all rows beside it at others", loop.loc
            )
        self.loops += 1
        if loop.flat:
            inner = loop.body[loop.inner]
            assert isinstance(inner, Loop)
            for core in CORES:
                self.known[core][inner.total] = (tests,)
        self.tests = (*tests, (-self.loops, True))  # no branch inside is one of those outside
        self.block(loop.body, loop.flat)
        self.known, self.tests = outside, tests

    def define(self, core: str, name: str, loc: Loc | None) -> None:
        """``name`` is a scalar of ``core`` from here on."""
        others = self.known[core].get(name, ())
        for tests in others:
            if all(x == y for x, y in zip(tests, self.tests, strict=False)):
                raise LegalityError(f"'{name}' is defined twice on the {core} core", loc)
        self.known[core][name] = (*others, self.tests)

    def expr(self, e: object, loc: Loc | None) -> None:
        if not isinstance(e, Const | Var | Bin):
            return
        divides(e, loc)
        for name in names_in(e):
            found = self.known[self.core].get(name, ())
            if not any(self.tests[: len(tests)] == tests for tests in found):
                raise LegalityError(
                    f"'{name}' is not a scalar known here on the {self.core} core", loc
                )

    def row(self, row: Row) -> None:
        op = OPS.get(row.op)
        if op is None:
            raise LegalityError(f"'{row.op}' is not an op", row.loc)
        if row.core not in CORES or row.pipe not in op.pipes:
            raise LegalityError(
                f"{row.op} cannot run on pipe '{row.pipe}' of core '{row.core}'", row.loc
            )
        for pipe in (
            row.pipe,
            *(a.name for a in row.args if row.op == "drain" and isinstance(a, Word)),
        ):
            if pipe not in (*PIPES_OF[row.core], "ALL"):
                raise LegalityError(f"{row.op}: the {row.core} core has no pipe {pipe}", row.loc)
        for x in (*row.args, row.out):
            self.operand(x, row)
        self.places(row)
        self.flags(row)
        out = self.tiles[row.out.name] if isinstance(row.out, Ref) else None
        args = [_shape_of(a, self.tiles[a.name]) for a in row.args if isinstance(a, Ref)]
        check_types(row, out, args)
        if row.op == "load" and isinstance(row.args[0], View):
            self.view(row.args[0], row, out)
        if isinstance(row.out, View):
            self.view(row.out, row, args[0])
        if row.op == "move" and out != args[0]:
            raise LegalityError(f"move: {args[0]} to {out}", row.loc)
        if isinstance(row.out, Scalar):
            self.define(row.core, row.out.name, row.loc)

    def operand(self, x: Operand | Output | None, row: Row) -> None:
        if isinstance(x, Scalar) and OPS[row.op].kind != "scalar":
            raise LegalityError(f"'{x.name}' is not a buffer", row.loc)
        if isinstance(x, Ref):
            if x.name not in self.buffers:
                raise LegalityError(f"'{x.name}' is not a buffer", row.loc)
            if self.buffers[x.name].core != row.core:
                raise LegalityError(f"buffer '{x.name}' belongs to the other core", row.loc)
            if (x.index is None) != (self.buffers[x.name].depth == 1):
                raise LegalityError(
                    f"'{x.name}' needs a slot exactly if it has more than one", row.loc
                )
            self.expr(x.index, row.loc)
        elif isinstance(x, Queue) and x.name not in self.fifos:
            raise LegalityError(f"'{x.name}' is not a FIFO", row.loc)
        elif isinstance(x, View):
            self.view(x, row, None)
        self.expr(x, row.loc)

    def places(self, row: Row) -> None:
        """Memories of the operands against ``MOVES``."""
        if OPS[row.op].kind in ("scalar", "sync"):
            return
        sources, results = MOVES.get((row.op, row.core), ((UB,), (UB,)))
        for x in row.args:
            if self.space(x) not in (*sources, None):
                raise LegalityError(
                    f"{row.op} on the {row.core} core cannot read {self.space(x)}", row.loc
                )
        if self.space(row.out) not in (*results, None):
            raise LegalityError(
                f"{row.op} on the {row.core} core cannot write {self.space(row.out)}", row.loc
            )
        if row.op in ("store", "push", "push_data", "record") and row.pipe != STORE_PIPE[row.core]:
            raise LegalityError(
                f"{row.op} of the {row.core} core runs on {STORE_PIPE[row.core]}", row.loc
            )

    def space(self, x: object) -> str | None:
        if isinstance(x, Ref):
            return self.buffers[x.name].space
        return GM if isinstance(x, View) else FIFO if isinstance(x, Queue) else None

    def flags(self, row: Row) -> None:
        for kind, flags, end in (("wait", row.wait, "dst"), ("set", row.set, "src")):
            for flag in flags:
                event = self.events.get(flag.name)
                if event is None or event.core != row.core:
                    raise LegalityError(
                        f"'{flag.name}' is not an event of the {row.core} core", row.loc
                    )
                if getattr(event, end) != row.pipe:
                    raise LegalityError(
                        f"'{flag.name}' goes {event.src} -> {event.dst}: a row of {row.pipe} cannot {kind} it",
                        row.loc,
                    )
                if (flag.index is None) != (len(event.ids) == 1):
                    raise LegalityError(
                        f"'{flag.name}' has {len(event.ids)} ids, an index must pick one", row.loc
                    )
                self.expr(flag.index, row.loc)
