"""What a walk over a program checks whatever its form: names, numbers, regions, types.

In: a kernel.  Out: ``Checker``, of which ``pto/value_form.py`` and ``pto/slot_form.py`` make the walks of
the two kinds of programs; it knows what scalars can be (``pto/reach.py``).  Invariant: the first thing that
is not legal is told at its source line.  Non-goals: which scope a name is in, cores and memories.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pto import ir
from pto.arithmetic import BINARY, DIVIDING, NumberError
from pto.errors import LegalityError
from pto.facts import misfit
from pto.folds import known_in
from pto.limits import LIMITS, within
from pto.loc import Loc
from pto.ops import OPS, TRACED
from pto.reach import depth_of, reach_of, spread_of
from pto.row_rules import Types, check_operands, check_types, places_of, seen, view_types
from pto.targets import target_of
from pto.types import BOX_ROWS, SCALAR_DTYPES, TileType, scales_of
from pto.views import is_strided, misfold, rows_together, tiles_of


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


def odd_size(t: TileType) -> str:
    """What is wrong with the size of a tile, '' if nothing is."""
    return within("size", t.rows) or within("size", t.cols)


class Checker:
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
        self.within_row: frozenset[str] = frozenset()
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
            if name not in self.within_row and not self.is_known(name):
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
            why, hint = (why, "") if why else misfit(p, self.kernel.params)
            if why:
                raise LegalityError(f"parameter '{p.name}': {why}", p.loc, hint)
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

    @contextmanager
    def condition(self, row: ir.Row) -> Iterator[None]:
        """Where a row works in some of the steps only, it is in a branch as far as bounds go."""
        for test in row.tests:
            self.number(test, row.loc, "a test")
            if OPS[row.op].kind == "sync" or row.op == "record":
                raise LegalityError(f"{row.op} does no work that a test could leave out", row.loc)
        self.guards += len(row.tests)
        yield
        self.guards -= len(row.tests)

    def statement(self, row: ir.Row) -> None:
        """Everything of a row but its place."""
        check_operands(row, self.form)
        wanted, _ = places_of(row.op, self.form)
        for x, w, inner in zip(row.args, wanted, known_in(row), strict=False):
            self.within_row = inner
            self.guards += bool(inner)  # a fold may have no step
            self.operand(x, row, f"{row.op}: an operand" if w.whole else "")
            self.guards -= bool(inner)
        self.within_row = frozenset()
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
        """What goes between a tile and a tensor has the tile's type; an accumulator is converted on
        its way out (docs/machine.md 12)."""
        view, t = (row.args[0], out) if row.op == "load" else (row.out, args[0] if args else None)
        if row.op == "store" and isinstance(view, ir.View):
            self.view(view, row)
            if self.params[view.tensor].direction == "in":
                raise LegalityError(f"{view.tensor} is an input and is written", row.loc)
            if row.adds and self.params[view.tensor].direction == "out":
                message = f"{view.tensor} is added to, so what it holds before counts"
                raise LegalityError(message, row.loc, f"param {view.tensor} inout")
        if (
            row.op == "load"
            and isinstance(view, ir.View)
            and self.params[view.tensor].direction == "out"
        ):
            message = f"{view.tensor} is loaded from, so what it holds before counts"
            raise LegalityError(message, row.loc, f"param {view.tensor} inout")
        if row.op == "gather":
            self.gathered(row, out)
        if row.op not in ("load", "store") or not isinstance(view, ir.View) or t is None:
            return
        param = self.params[view.tensor]
        types = view_types(view, param, self.form)
        if not any(TileType(d, t.rows, t.cols) in types for d in self.held_as(row, t.dtype)):
            sizes = ", ".join(str(s.size) for s in view.spans)
            message = f"{row.op}: the view is {param.dtype}[{sizes}], the tile {t}"
            if row.scales:
                message += ", and there is a scale"
            raise LegalityError(message, row.loc)
        if any(isinstance(a, ir.Ref) for a in row.scales) and args[1:] != [scales_of(t)]:
            message = f"store: the scales of a tile {t} are {scales_of(t)}, found {args[1]}"
            raise LegalityError(message, row.loc)
        if is_strided(view, param.shape or (), t.rows, t.cols):
            raise LegalityError(
                f"{row.op}: the elements of a row of this view of '{view.tensor}' do not lie side by side",
                row.loc,
                "a column moves as rows of whole units, of each of which one element exists: 5:+8<1",
            )
        if why := misfold(view, param.shape or (), t.rows, t.cols):
            raise LegalityError(f"{row.op}: {why}", row.loc)

    def held_as(self, row: ir.Row, dtype: str) -> tuple[str, ...]:
        """The types of tensors that a load or a store moves a tile of ``dtype`` from or to."""
        if row.scales:
            return self.target.scaled_drains.get(dtype, ()) if row.core != "vector" else ()
        out = row.op == "store" and row.core == "cube"
        return self.target.drains.get(dtype, ()) if out else (dtype,)

    def gathered(self, row: ir.Row, out: TileType | None) -> None:
        """Regions of the columns and dtype of the tile, which has the rows of all."""
        kinds: list[TileType] = []
        boxes = True
        for view in row.args:
            assert isinstance(view, ir.View)
            param = self.params[view.tensor]
            made = [TileType(param.dtype, *t) for t in tiles_of([s.size for s in view.spans])]
            kind = next((t for t in made if out and t.cols == out.cols), made[0])
            kinds.append(kind)
            if param.is_written:
                raise LegalityError(f"gather: '{view.tensor}' is written by this kernel", row.loc)
            place = view, param.shape or (), kind.rows, kind.cols
            if is_strided(*place):
                raise LegalityError(
                    f"gather: rows of '{view.tensor}' are no runs of neighbours", row.loc
                )
            if why := misfold(*place):
                raise LegalityError(f"gather: {why}", row.loc)
            boxes &= row.core != "cube" or rows_together(*place) % BOX_ROWS == 0
        fits = {(k.dtype, k.cols) for k in kinds} == ({(out.dtype, out.cols)} if out else set())
        whole = out is not None and sum(k.rows for k in kinds) == out.rows
        if row.core == "vector" and (why := self.held_in_ub(row)):
            raise LegalityError(f"gather: {why}", row.loc)
        if not fits or not whole or not boxes:
            found = ", ".join(map(str, kinds))
            raise LegalityError(f"gather: regions {found} make no tile {out}", row.loc)

    def held_in_ub(self, row: ir.Row) -> str:
        """What is wrong with regions that become a tile in UB, '' if nothing is: a load leaves open what it does not find."""
        partial = any(
            s.valid is not None for v in row.args if isinstance(v, ir.View) for s in v.spans
        )
        return "in UB every region of a tile of several exists as a whole" if partial else ""

    def view(self, view: ir.View, row: ir.Row) -> None:
        param = self.params.get(view.tensor)
        if param is None or param.shape is None or len(param.shape) != len(view.index):
            message = f"'{view.tensor}' is not a tensor of {len(view.index)} dimensions"
            raise LegalityError(message, row.loc)
        if row.op == "fold" and param.dtype != "i32":
            message = f"fold: '{view.tensor}' is {param.dtype}, only elements of i32 are counted"
            raise LegalityError(message, row.loc)
        if row.op == "read" and param.dtype not in SCALAR_DTYPES:
            message = (
                f"read: '{view.tensor}' is {param.dtype}, only f32 and i32 can be read as a scalar"
            )
            raise LegalityError(message, row.loc)
        if row.op == "read" and ir.names_a_float(row) != (param.dtype != "i32"):
            raise LegalityError(
                f"read: '{view.tensor}' is {param.dtype}, its scalar is not", row.loc
            )
        for axis, (item, dim) in enumerate(zip(view.index, param.shape, strict=True)):
            self.region(item, dim, f"dimension {axis} of '{view.tensor}'", row.loc)

    def region(self, item: ir.Expr | ir.Span, dim: int | str, what: str, loc: Loc | None) -> None:
        """One dimension of a view: whatever is known of it lies inside."""
        span = item if isinstance(item, ir.Span) else ir.Span(item, 1)
        form = self.number(span.start, loc, f"an index of {what}")
        size: int | None = span.size
        if why := within("size", span.size) or within("step", span.step):
            raise LegalityError(f"a view: {why}", loc)
        if span.valid is not None:
            ends = self.reach(self.number(span.valid, loc, f"a count of {what}"))
            size = min(max(ends[0], 0), span.size) if ends and ends[0] == ends[1] else None
        if not size:  # nothing, or nobody knows how much
            return
        size = replace(span, size=size).reach
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
        form = ir.linear(row.scalar(), self.fact) if surely and row.op == "let" else None
        self.facts[self.core, name] = form or ir.as_atom(ir.Var(name))
        self.ranges.pop(name, None)
