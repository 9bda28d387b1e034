"""Who does what: cores, pipes, moves and FIFOs.

In: the persistent form.  Out: the same tree where every row has a core and a pipe, values are still
named once, tiles of the vector core are what one lane holds (``lanes``), and values that cross cores go
through a push and a pop.  Invariant: each core's rows, in the order written, compute the traced
values.  Non-goals: iterations (skew), memory (place), order between pipes (sync).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lowering.schedule.passes.choose import chosen, hands_on, maker, under
from lowering.schedule.passes.fills import DIMS, zeros_that_count
from lowering.schedule.passes.in_place import crossings, meetings, overlap
from lowering.schedule.passes.lanes import Lanes
from lowering.schedule.passes.mentions import count_uses, names_taken, scalars_of
from pto import ir
from pto.errors import LegalityError, ShapeError
from pto.legality import straight
from pto.loc import Loc
from pto.names import fresh
from pto.ops import FILLS, OPS
from pto.row_rules import corner, in_boxes
from pto.targets import target_of
from pto.types import BOX_ROWS, TileType, box_of
from pto.views import counts, edge, rows_of, rows_together, sides


@dataclass(frozen=True, slots=True)
class Need:
    """One use of a traced tile: in which memory form, in which block."""

    form: str  # ub, left, left.T, right, right.T, l1, scales, store
    block: int


SIDES = {"left": "l0a", "left.T": "l0a", "right": "l0b", "right.T": "l0b", "scales": "fb"}
"""Where an operand of a matmul lies, and scales of columns.  Each comes from L1, which has a tile once, whichever way
products see it; one of which only parts are operands is there, too."""


def fill(view: ir.View, t: TileType, zeros: frozenset[str]) -> list[ir.Word]:
    """What a load into L1 is told: nothing where all that is missing becomes zero, or nothing is."""
    partial = {d for d, n in zip(DIMS, counts(view, t.rows, t.cols), strict=True) if n}
    if partial <= zeros:
        return []
    return [ir.Word(word) for word, dims in FILLS.items() if set(dims) == zeros & partial]


def assign(kernel: ir.Kernel, choices: bool = True) -> ir.Kernel:
    """Rows to cores and pipes; moves, pushes and pops inserted; vector rows split over the lanes.  ``choices``: those
    in loops become rows under tests (``choose``), which run ahead like all others."""
    return _Assigner(kernel, chosen(kernel) if choices else frozenset()).run()


class _Assigner:
    def __init__(self, kernel: ir.Kernel, chosen: frozenset[int]) -> None:
        self.kernel, self.target, self.chosen = kernel, target_of(kernel), chosen
        self.test: ir.Expr | None = None
        """Where the rows that are made work."""
        self.taken = names_taken(kernel)
        self.uses = count_uses(kernel.body)
        self.zeros = zeros_that_count(kernel)
        self.sums = added_to(kernel.body)
        self.cut = cut_by_v(kernel)
        self.lanes = Lanes(kernel, self.sums, self.cut)
        self.needs: dict[str, list[Need]] = {}
        self.types = self.lanes.types
        self.mine: dict[str, TileType] = {}
        """What a lane has of each tile of the vector core."""
        self.producer: dict[str, str] = {}
        self.fifos: list[ir.Fifo] = []
        self.stores = Counter(
            r.operand(ir.Ref).name for r in stores_of(kernel.body) if self.drains(r)
        )
        self.drained: dict[str, str] = {}
        """What is converted on its way out of L0C -> the sum there."""
        self.parts: dict[str, ir.Row] = {}
        """The rows that take a part of a tile out of L1, by its name."""
        self.home: dict[tuple[str, str], str] = {}
        """(traced tile, ub | l0c | l1 | a side) -> name of the value there"""
        self.out: list[ir.Node] = []
        self._survey(kernel.body)
        self._in_halves()
        self.told = self._told()
        """Stores, by their ids, of which the other core is told, as it loads what they store."""
        self.roomy = {side: self._fits(side) for side in SIDES.values()}

    # what is needed where

    def _survey(self, block: ir.Block) -> None:
        for node in straight(block):
            if isinstance(node, ir.Loop):
                for c in node.carry:
                    for name in (c.name, c.last):
                        self.producer[name] = "matmul" if c.name in self.sums else "carry"
                    if c.init and c.name not in self.sums:
                        self._need(c.init.name, "ub", id(block))
                self._survey(node.body)
                for c, r in zip(node.carry, node.result, strict=True):
                    if c.name not in self.sums:
                        self._need(r.name, "ub", id(node.body))
            else:
                self._survey_row(node, id(block))

    def _survey_row(self, row: ir.Row, block: int) -> None:
        if isinstance(row.out, ir.Define):
            self.producer[row.out.name] = row.op
        refs = [a for a in row.args if isinstance(a, ir.Ref)]
        if row.op == "part":
            self._survey_part(row, block)
            return
        if row.op == "matmul":
            for ref, side in zip(refs[:2], ("left", "right"), strict=True):
                form = f"{side}.T" if ref.transposed else side
                self._need(ref.name, form, block)
                if ref.name in self.parts:
                    self._need(self.parts[ref.name].operand(ir.Ref).name, "l1", block)
            return
        if self._is_drained(row):
            self.drained[row.result(ir.Define).name] = refs[0].name
            return
        if isinstance(row.out, ir.View):
            name = self.source(refs[0].name)
            drains = self.producer[name] == "matmul" and self.drains(row)
            self._need(name if drains else refs[0].name, "store" if drains else "ub", block)
            for scale in refs[1:]:
                self._need(scale.name, "scales", block)
            return
        for ref in refs:
            self._need(ref.name, "ub", block)

    def _survey_part(self, row: ir.Row, block: int) -> None:
        name, whole = row.result(ir.Define).name, row.operand(ir.Ref).name
        if leaves_l1(row, self.types[whole]):
            self.parts[name] = row
        if name in self.cut:
            self._need(whole, "ub", block)

    def _is_drained(self, row: ir.Row) -> bool:
        """A conversion of a sum in L0C that is only stored, and that the way out does alike."""
        if row.op != "astype" or self.producer[row.operand(ir.Ref).name] != "matmul":
            return False
        out = row.result(ir.Define)
        given = self.types[row.operand(ir.Ref).name].dtype
        alike = out.type.dtype in self.target.drains_alike.get(given, ())
        return alike and self.uses.get(out.name) == self.stores[out.name]

    def source(self, name: str) -> str:
        """What lies in L0C of a stored value, if that does."""
        return self.drained.get(name, name)

    def _need(self, name: str, form: str, block: int) -> None:
        need = Need(form, block)
        found = self.needs.setdefault(name, [])
        if need not in found:
            found.append(need)

    def forms(self, name: str) -> list[str]:
        return [n.form for n in self.needs.get(name, [])]

    def in_l1(self, name: str) -> bool:
        """Whether a product takes it, or parts of it."""
        return any(form == "l1" or form in SIDES for form in self.forms(name))

    def _fits(self, side: str) -> bool:
        """All operands that come from L1 have room in L0A or L0B at once."""
        forms = {(name, n.form) for name, needs in self.needs.items() for n in needs}
        size = sum(self.types[name].size_bytes for name, form in forms if SIDES.get(form) == side)
        return size <= self.target.spaces[side].capacity_bytes

    # order of memory

    def _told(self) -> set[int]:
        """The stores behind which the other core loads.

        Raises:
            LegalityError: where a store would wait for a load of the other core, or a load for a store of what
                cannot be handed over.
        """
        told = set[int]()  # several regions are not gathered of what is stored to
        moved = (r for r in ir.all_rows(self.kernel.body) if r.op in ("load", "store"))
        for first, then in crossings(self.kernel.body, {id(r): self.cores(r) for r in moved}):
            if first.op != "store" or not self.can_tell(first):
                raise unordered(first, then)
            told.add(id(first))
        return told

    def _in_halves(self) -> None:
        """Every lane stores only what no other one loads.

        Raises:
            LegalityError: where both load all of what one of them stores.
        """
        for load, store in meetings(self.kernel.body, overlap):
            name = load.result(ir.Define).name
            on_vector = "vector" in self.cores(load) and "vector" in self.cores(store)
            if on_vector and self.lanes.type(name).share == "both":
                raise whole(name, self.lanes.why_whole(name), load, store)

    def cores(self, row: ir.Row) -> set[str]:
        """Which cores load a tile, or store it."""
        if row.op == "store":
            name = self.source(row.operand(ir.Ref).name)
            return {"cube" if self.producer[name] == "matmul" and self.drains(row) else "vector"}
        out = row.result(ir.Define)
        boxes = self.in_boxes(row.operand(ir.View), out.type)
        by_vector = "ub" in self.forms(out.name) or not boxes
        return {*["vector"] * by_vector, *["cube"] * (boxes and self.in_l1(out.name))}

    def can_tell(self, store: ir.Row) -> bool:
        """Whether what is stored can be handed to the other core: from the cube core any tile, to it whole boxes."""
        t, l1 = self.types[store.operand(ir.Ref).name], self.target.spaces["l1"]
        rows, cols = box_of(next(iter(l1.layouts)), t.dtype)
        boxed = t.dtype in l1.dtypes and not (t.rows % rows or t.cols % cols)
        return boxed or self.cores(store) == {"cube"}

    def tell(self, store: ir.Row, core: str, source: str) -> None:
        """store t --> store t; x = push t; y = pop x on the other core, whose loads of it stand behind."""
        if id(store) in self.told:
            to = "ub" if core == "cube" else "l1"
            self.cross(self.source(store.operand(ir.Ref).name), source, to, store.loc)

    # rows

    def run(self) -> ir.Kernel:
        body = self.block(self.kernel.body)
        fifos = tuple(replace(f, flag=2 * k) for k, f in enumerate(self.fifos))
        notes = (*self.kernel.notes, *self.lanes.notes())
        return replace(
            self.kernel,
            body=spread_scalars(body),
            fifos=fifos,
            target=self.target.name,
            notes=notes,
        )

    def block(self, block: ir.Block) -> ir.Block:
        outer, self.out = self.out, []
        for node in straight(block):
            if isinstance(node, ir.Loop):
                (self.choice if id(node) in self.chosen else self.loop)(node, block)
            else:
                self.row(node, block)
        done, self.out = tuple(self.out), outer
        return done

    def emit(
        self, op: str, core: str, out: ir.Output | None, args: Iterable[ir.Operand], loc: Loc | None
    ) -> None:
        """A row on the first pipe of a core that runs its op."""
        pipe, *_ = OPS[op].on[core]
        self.out.append(ir.Row(op, out, tuple(args), core, pipe, loc=loc, test=self.test))

    def row(self, row: ir.Row, block: ir.Block) -> None:
        if OPS[row.op].kind == "scalar":
            self.out.append(replace(row, pipe="S", test=self.test))
        elif row.op == "load":
            self.load(row, block)
        elif row.op == "gather":
            self.gather(row, block)
        elif row.op == "store":
            self.store(row)
        elif row.op == "matmul":
            self.matmul(row, block)
        elif row.op == "astype" and row.result(ir.Define).name in self.drained:
            return  # the store does it
        elif row.op == "part":
            self.part(row, block)
        elif OPS[row.op].kind == "debug":
            self.emit(row.op, "vector", None, self.in_ub(row), row.loc)
        else:
            self.vector(row, block)

    def vector(self, row: ir.Row, block: ir.Block) -> None:
        out = row.result(ir.Define)
        made = self.on_lane(out.name, out.name)
        args = self.in_ub(row)
        if row.op == "iota":  # each lane goes on where the one before ends
            run = made.type.cols if made.type.rows == 1 else made.type.rows
            args = [row.scalar() if made.type.share == "both" else beyond(row.scalar(), "+", run)]
        if row.op == "pad":
            args[1:] = kept_on_lane(row, self.types[out.name], made.type)
        if row.op == "where" and made.type.share == "cols":
            args[1] = beyond(row.scalar(1), "-", made.type.cols)
        self.emit(row.op, "vector", made, args, row.loc)
        self.home[out.name, "ub"] = out.name
        if out.name not in self.parts:
            self.to_cube(out.name, block, row.loc)

    def in_ub(self, row: ir.Row) -> list[ir.Operand]:
        """The operands of a row as the vector core has them."""
        return [ir.Ref(self.at(a.name, "ub")) if isinstance(a, ir.Ref) else a for a in row.args]

    def part(self, row: ir.Row, block: ir.Block) -> None:
        """Out of L1 for products, by V for all else, and for products of what is no whole boxes."""
        if row.result(ir.Define).name in self.cut:
            self.vector(row, block)
        self.early_moves(row.result(ir.Define).name, block, row.loc)

    def at(self, name: str, form: str) -> str:
        return self.home[name, form]

    def on_lane(self, value: str, traced: str) -> ir.Define:
        """``value``, which is what a lane has of a traced tile."""
        self.mine[value] = self.lanes.type(traced)
        return ir.Define(value, self.mine[value])

    def lane_view(self, view: ir.View, mine: TileType, alone: bool = False) -> ir.View:
        """What belongs to this lane of ``view``.  ``alone``: of a tile that both hold, one lane has all, the
        other what lies behind it, where nothing exists."""
        share = mine.share
        if share == "both" and not alone:
            return view
        last = share == "cols" or (share == "both" and mine.rows == 1)
        whole = mine.of_all(self.lanes.count)
        side = sides(view, whole.rows, whole.cols)[last]
        at = side[edge([ir.as_span(view.index[k]) for k in side])]
        span = ir.as_span(view.index[at])
        size = span.size if share == "both" else span.size // self.lanes.count
        valid = span.valid
        if share == "both":
            valid = ir.Const(size) if valid is None else ir.binary("min", valid, ir.Const(size))
        if valid is not None:
            valid = beyond(valid, "-", size)
        start = beyond(span.start, "+", size * span.step)
        own = replace(span, start=start, size=size, valid=valid)
        return ir.View(view.tensor, (*view.index[:at], own, *view.index[at + 1 :]))

    def load(self, row: ir.Row, block: ir.Block) -> None:
        out, view = row.result(ir.Define), row.operand(ir.View)
        name, type = out.name, out.type
        forms, zeros = self.forms(name), self.zeros.get(name, frozenset())
        boxes = self.in_boxes(view, type)
        if "ub" in forms or not boxes:
            value, lane = name, self.on_lane(name, name)
            mine = self.lane_view(view, lane.type)
            self.emit("load", "vector", lane, [mine], row.loc)
            if zeros:
                value = fresh(f"{name}_padded", self.taken)
                made = self.on_lane(value, name)
                kept = self.kept(mine, lane.type, type, zeros)
                self.emit("pad", "vector", made, [ir.Ref(name), *kept], row.loc)
            self.home[name, "ub"] = value
        if not boxes:
            self.to_cube(name, block, row.loc)
            return
        if self.in_l1(name):
            value = fresh(f"{name}_l1", self.taken) if (name, "ub") in self.home else name
            self.emit(
                "load", "cube", ir.Define(value, type), [view, *fill(view, type, zeros)], row.loc
            )
            self.home[name, "l1"] = value
        self.early_moves(name, block, row.loc)

    def gather(self, row: ir.Row, block: ir.Block) -> None:
        """Regions of whole boxes to where they are needed; others to UB, and from there to the cube."""
        name, forms = row.result(ir.Define).name, self.forms(row.result(ir.Define).name)
        views = [a for a in row.args if isinstance(a, ir.View)]
        cols = row.result(ir.Define).type.cols
        boxes = not any(self.together(v, rows_of(v, cols), cols) % BOX_ROWS for v in views)
        if "ub" in forms or not boxes:
            self.gather_in_ub(row, views)
        if not boxes:
            self.to_cube(name, block, row.loc)
            return
        if self.in_l1(name):
            value = fresh(f"{name}_l1", self.taken) if (name, "ub") in self.home else name
            out = ir.Define(value, row.result(ir.Define).type)
            self.emit("gather", "cube", out, row.args, row.loc)
            self.home[name, "l1"] = value
        self.early_moves(name, block, row.loc)

    def gather_in_ub(self, row: ir.Row, views: list[ir.View]) -> None:
        made = self.on_lane(row.result(ir.Define).name, row.result(ir.Define).name)
        if any(s.valid is not None for v in views for s in v.spans):
            raise ShapeError(
                f"'{made.name}' is of several regions that may be partial, and the vector core computes with it",
                row.loc,
                "pto.load_rows(t, indices) loads rows of which the last may be missing",
            )
        cols = self.types[made.name].cols
        mine = [self.lane_view(v, replace(made.type, rows=rows_of(v, cols))) for v in views]
        self.emit("gather", "vector", made, mine, row.loc)
        self.home[made.name, "ub"] = made.name

    def drains(self, store: ir.Row) -> bool:
        """Whether L0C can be stored so."""
        return self.in_boxes(store.result(ir.View), self.types[store.operand(ir.Ref).name])

    def in_boxes(self, view: ir.View, t: TileType) -> bool:
        """Whether rows that lie equally far apart are whole boxes, or those of the whole tile: the cube core moves
        no others."""
        run = self.together(view, t.rows, t.cols)
        return run == t.rows or run % BOX_ROWS == 0

    def together(self, view: ir.View, rows: int, cols: int) -> int:
        """Rows of a region that lie equally far apart."""
        return rows_together(view, self.kernel.param(view.tensor).shape or (), rows, cols)

    def kept(
        self, mine: ir.View, lane: TileType, t: TileType, zeros: frozenset[str]
    ) -> list[ir.Expr]:
        """How many rows and columns of a lane's load a padding keeps: what exists, where zeros count;
        elsewhere all of them, which are more than a lane has."""
        found = zip(DIMS, counts(mine, lane.rows, lane.cols), (t.rows, t.cols), strict=True)
        return [n if n is not None and dim in zeros else ir.Const(size) for dim, n, size in found]

    def store(self, row: ir.Row) -> None:
        name, out, more = self.source(row.operand(ir.Ref).name), row.result(ir.View), row.args[1:]
        if (name, "l0c") in self.home and "store" in self.forms(name):
            more = tuple(self.scale(a, row.loc) if isinstance(a, ir.Ref) else a for a in more)
            self.emit("store", "cube", out, [ir.Ref(self.at(name, "l0c")), *more], row.loc)
            self.tell(row, "cube", self.at(name, "l0c"))
            return
        if row.scales:
            raise ShapeError(
                f"store: '{name}' has a scale, but is no sum of products as the cube core has it",
                row.loc,
                f"{name} * scale, then .astype, converts any tile",
            )
        source = self.at(name, "ub")
        if self.producer[name] == "carry":
            source = self.copy(source, f"{name}_copy", row.loc)
        mine = self.lane_view(out, self.mine[source], alone=True)
        self.emit("store", "vector", mine, [ir.Ref(source), *more], row.loc)
        self.tell(row, "vector", source)

    def scale(self, tile: ir.Ref, loc: Loc | None) -> ir.Ref:
        """Scales of columns in the fixpipe buffer.

        Raises:
            ShapeError: for scales that are not loaded as they are, or fewer than the columns that are stored.
        """
        if (tile.name, "l1") not in self.home or self.producer[tile.name] != "load":
            raise ShapeError(
                f"store: the scales '{tile.name}' are not loaded as they are",
                loc,
                "scales that a kernel computes: x * scales, then .astype, converts any tile",
            )
        if self.zeros.get(tile.name):
            raise ShapeError(
                f"store: of the scales '{tile.name}' fewer may exist than columns are stored",
                loc,
                "one count for both: pto.ds(start, size, valid=count)",
            )
        return ir.Ref(self.moved(tile.name, "scales", loc))

    # matmul operands and results

    def matmul(self, row: ir.Row, block: ir.Block) -> None:
        left, right = row.operand(ir.Ref), row.operand(ir.Ref, 1)
        a, b = (
            self.moved(ref.name, f"{side}.T" if ref.transposed else side, row.loc)
            for ref, side in ((left, "left"), (right, "right"))
        )
        out = row.result(ir.Define)
        self.emit("matmul", "cube", out, [ir.Ref(a), ir.Ref(b), *row.args[2:]], row.loc)
        self.home[out.name, "l0c"] = out.name
        self.from_cube(out.name, block, row.loc)

    def early_moves(self, name: str, block: ir.Block, loc: Loc | None) -> None:
        """L1 to L0 right here for the uses inside loops below: once, not once per iteration, if L0 has room."""
        for need in self.needs.get(name, []):
            if need.form in SIDES and need.block != id(block) and self.roomy[SIDES[need.form]]:
                self.moved(name, need.form, loc)

    def moved(self, name: str, form: str, loc: Loc | None) -> str:
        """The name of ``name`` in L0A or L0B, moved there now unless it is there already."""
        if (name, form) not in self.home:
            part, turned = self.parts.get(name), form.endswith(".T")
            source = self.at(part.operand(ir.Ref).name if part else name, "l1")
            t = self.types[name]
            type = TileType(t.dtype, t.cols, t.rows) if turned else t
            value = fresh(f"{name}_{SIDES[form].removeprefix('l0')}", self.taken)
            place = part.args[1:] if part else ()
            operands = [ir.Ref(source, None, turned), *(place[::-1] if turned else place)]
            op = "part" if part else "scales" if form == "scales" else "move"
            self.emit(op, "cube", ir.Define(value, type), operands, loc)
            self.home[name, form] = value
        return self.home[name, form]

    def cross(self, name: str, source: str, to: str, loc: Loc | None) -> str:
        """A push on the core that has ``name`` and a pop on the core that wants it."""
        type = self.types[name]
        producer, consumer = ("cube", "vector") if to == "ub" else ("vector", "cube")
        if type.rows == 1:
            raise ShapeError(
                f"'{name}' has one row; a tile that changes cores needs {BOX_ROWS}", loc
            )
        fifo = fresh(f"{name}_fifo", self.taken)
        self.fifos.append(ir.Fifo(fifo, "c2v" if to == "ub" else "v2c", 2, type, 0))
        value = fresh(f"{name}_{'v' if to == 'ub' else 'l1'}", self.taken)
        made = self.on_lane(value, name) if to == "ub" else ir.Define(value, type)
        self.emit("push", producer, ir.Queue(fifo), [ir.Ref(source)], loc)
        self.emit("pop", consumer, made, [ir.Queue(fifo)], loc)
        return value

    def from_cube(self, name: str, block: ir.Block, loc: Loc | None) -> None:
        """A matmul result that the vector core (or another matmul) needs."""
        forms = [f for f in self.forms(name) if f != "store"]
        if forms:
            self.home[name, "ub"] = self.cross(name, self.at(name, "l0c"), "ub", loc)
            self.to_cube(name, block, loc)

    def to_cube(self, name: str, block: ir.Block, loc: Loc | None) -> None:
        """A vector value that a matmul needs."""
        if self.in_l1(name):
            source = self.at(name, "ub")
            if self.producer[name] in ("carry", "load"):
                source = self.copy(source, f"{name}_copy", loc)
            self.home[name, "l1"] = self.cross(name, source, "l1", loc)
            self.early_moves(name, block, loc)

    # loops

    def loop(self, loop: ir.Loop, block: ir.Block) -> None:
        vector = [c for c in loop.carry if c.name not in self.sums]
        here = set(made_in(block))
        inits = {c.name: self.own_copy(c, here, loop.loc) for c in vector}
        for c in loop.carry:
            self.home[c.name, "ub" if c in vector else "l0c"] = c.name
        for c in vector:
            self.mine[c.name] = self.mine[c.last] = self.lanes.type(c.name)
        outer, self.out = self.out, []
        for c in vector:
            self.to_cube(c.name, loop.body, loop.loc)
        head = self.out
        self.out = outer
        local = dict(self.home)
        body = (*head, *self.block(loop.body))
        results, tail = self.results(loop, body)
        self.home = {k: v for k, v in self.home.items() if k in local}
        carries = tuple(
            replace(
                c,
                init=ir.Ref(inits[c.name]) if c in vector else c.init,
                type=self.mine[c.name] if c in vector else c.type,
            )
            for c in loop.carry
        )
        self.out.append(replace(loop, body=(*body, *tail), carry=carries, result=results))
        for c in loop.carry:
            self.last(c, loop, block, c.last)

    def own_copy(self, c: ir.Carry, here: set[str], loc: Loc | None) -> str:
        """The initial value, copied if something else needs it, an earlier iteration of a loop around
        included, or it is not made by V.  ``here``: what is made next to the loop."""
        assert c.init is not None
        name = c.init.name
        source = self.at(name, "ub")
        users = self.uses.get(name, 0)
        if (
            users == 1
            and name in here
            and OPS.get(self.producer[name], OPS["load"]).kind != "move"
            and self.producer[name] != "carry"
        ):
            return source
        return self.copy(source, f"{c.name}_first", loc)

    def copy(self, source: str, hint: str, loc: Loc | None) -> str:
        value = fresh(hint, self.taken)
        self.mine[value] = self.mine[source]
        self.emit("copy", "vector", ir.Define(value, self.mine[value]), [ir.Ref(source)], loc)
        return value

    def results(self, loop: ir.Loop, body: ir.Block) -> tuple[tuple[ir.Ref, ...], list[ir.Node]]:
        """What the loop yields; values that V did not make for this purpose alone are copied."""
        outer, self.out = self.out, []
        made = {
            r.out.name
            for r in body
            if isinstance(r, ir.Row) and isinstance(r.out, ir.Define) and r.pipe == "V"
        }
        leaving = {
            a.name
            for r in body
            if isinstance(r, ir.Row) and r.op in ("store", "push")
            for a in r.args
            if isinstance(a, ir.Ref)
        }
        refs: list[ir.Ref] = []
        taken: set[str] = set()
        for c, r in zip(loop.carry, loop.result, strict=True):
            if c.name in self.sums:
                refs.append(r)
                continue
            source = self.at(r.name, "ub")
            if source not in made or source in taken or source in leaving:
                source = self.copy(source, f"{c.name}_next", loop.loc)
            taken.add(source)
            refs.append(ir.Ref(source))
        tail, self.out = self.out, outer
        return tuple(refs), tail

    def choice(self, loop: ir.Loop, block: ir.Block) -> None:
        """The rows of a loop of one step at most, under its test, among those around it."""
        around, begin = self.test, len(self.out)
        local, inits = dict(self.home), [self.begin(c, loop) for c in loop.carry]
        self.test = under(loop, around, self.out)
        for c in loop.carry:
            if c.name not in self.sums:
                self.to_cube(c.name, loop.body, loop.loc)
        self.out += self.block(loop.body)
        ends = [
            self.end(c, init, self.at(r.name, self.form(c)), begin, loop.loc)
            for c, r, init in zip(loop.carry, loop.result, inits, strict=True)
        ]
        self.test, self.home = around, local
        for c, end in zip(loop.carry, ends, strict=True):
            self.last(c, loop, block, end)

    def begin(self, c: ir.Carry, loop: ir.Loop) -> str:
        """What a choice starts from, where it is."""
        assert c.init is not None
        name = self.home[c.name, self.form(c)] = self.at(c.init.name, self.form(c))
        return name

    def end(self, c: ir.Carry, init: str, end: str, begin: int, loc: Loc | None) -> str:
        """What a choice hands on, which is ``init`` where it is not taken; its rows are those from ``begin`` on."""
        if hands_on(self.out[begin:], init, end):
            return end
        k = maker(self.out[begin:], self.test, init, end)
        if k is None:
            end, k = self.copy(end, f"{c.name}_next", loc), len(self.out) - begin - 1
        row = self.out[begin + k]
        assert isinstance(row, ir.Row)
        self.out[begin + k] = replace(row, other=ir.Ref(init))
        return end

    def form(self, c: ir.Carry) -> str:
        """Where a carry lies."""
        return "l0c" if c.name in self.sums else "ub"

    def last(self, c: ir.Carry, loop: ir.Loop, block: ir.Block, name: str) -> None:
        """The value after the loop, which is called ``name``, where it is needed."""
        self.home[c.last, self.form(c)] = name
        if c.name not in self.sums:
            self.to_cube(c.last, block, loop.loc)
        else:
            self.from_cube(c.last, block, loop.loc)


# ------------------------------------------------------------------------------------ memory


def unordered(first: ir.Row, then: ir.Row) -> LegalityError:
    """Two rows on two cores that touch the same elements, and nothing can order them."""
    view = next(x for x in (first.out, *first.args) if isinstance(x, ir.View))
    hint = (
        f"keep the tile instead of loading it again, store whole boxes of {BOX_ROWS} rows and columns, "
        if first.op == "store"
        else "store what is made of the tile that is loaded, "
    )
    return LegalityError(
        f"{then.op}: '{view.tensor}' has elements here that the {first.op} at {first.loc} has, too; the two are "
        f"on different cores, and nothing keeps their order",
        then.loc,
        f"{hint}or make it two kernels",
    )


def whole(name: str, why: str, load: ir.Row, store: ir.Row) -> LegalityError:
    """A tile in place that both lanes hold all of."""
    tensor = store.result(ir.View).tensor
    return LegalityError(
        f"store: '{tensor}' has elements here that the load at {load.loc} has, too; both vector lanes load all of "
        f"'{name}', as {why}, one of them stores, and neither waits for the other",
        store.loc,
        "store to a tensor of its own, or make it two kernels: one for what is made of the whole tile, one that "
        "updates it",
    )


# ------------------------------------------------------------------------------------ parts


def leaves_l1(part: ir.Row, whole: TileType) -> bool:
    """Whether an operand of a product can leave L1 as this part of a tile there."""
    return in_boxes(whole, part.result(ir.Define).type, corner(part))


def cut_by_v(kernel: ir.Kernel) -> frozenset[str]:
    """Parts that something but a product reads, or that are no whole boxes."""
    types = {
        r.out.name: r.out.type for r in ir.all_rows(kernel.body) if isinstance(r.out, ir.Define)
    }
    loops = list(ir.loops_of(kernel.body))
    types |= {n: c.type for loop in loops for c in loop.carry for n in (c.name, c.last)}
    read = {
        r.name for loop in loops for r in (*(c.init for c in loop.carry if c.init), *loop.result)
    }
    odd = set[str]()
    for row in ir.all_rows(kernel.body):
        refs = [a for a in row.args if isinstance(a, ir.Ref)]
        if row.op == "part" and not leaves_l1(row, types[refs[0].name]):
            odd.add(row.result(ir.Define).name)
        read |= {a.name for a in refs[2 * (row.op == "matmul") :]}
    parts = (r.result(ir.Define).name for r in ir.all_rows(kernel.body) if r.op == "part")
    return frozenset(name for name in parts if name in read or name in odd)


# ------------------------------------------------------------------------------ scalar rows


def spread_scalars(block: ir.Block) -> ir.Block:
    """Scalar rows without a core --> one copy on every core that needs the value."""
    return _spread(block, {core: set() for core in ir.CORES})


def _spread(block: ir.Block, wanted: dict[str, set[str]]) -> ir.Block:
    out: list[ir.Node] = []
    for node in reversed(tuple(straight(block))):
        if isinstance(node, ir.Loop):
            out.append(replace(node, body=_spread(node.body, wanted)))
            for core in ir.cores_of(node.body):
                wanted[core].update(ir.names_in(node.trips))
        elif not node.core:
            assert isinstance(node.out, ir.Scalar)
            for core in reversed(ir.CORES):
                if node.out.name in wanted[core]:
                    out.append(replace(node, core=core))
                    wanted[core].update(scalars_of(node))
        else:
            out.append(node)
            wanted[node.core].update(scalars_of(node))
    return tuple(reversed(out))


def kept_on_lane(pad: ir.Row, whole: TileType, mine: TileType) -> list[ir.Expr]:
    """How many rows and columns a padding keeps of what a lane has; all of them stay all of them."""
    counts = (pad.scalar(1), pad.scalar(2))
    sizes = ((whole.rows, mine.rows), (whole.cols, mine.cols))
    return [
        n if size == of or (isinstance(n, ir.Const) and n.value >= of) else beyond(n, "-", size)
        for n, (of, size) in zip(counts, sizes, strict=True)
    ]


def beyond(e: ir.Expr, way: str, size: int) -> ir.Expr:
    """``e`` moved by ``size`` for every lane in front of this one."""
    return ir.binary(way, e, ir.binary("*", ir.Var("lane"), ir.Const(size)))


def added_to(block: ir.Block) -> set[str]:
    """Values in L0C to which a matmul adds: products, sums, and the carries of loops that begin as one."""
    rows = ir.all_rows(block)
    sums = {a.name for r in rows if r.op == "matmul" for a in r.args[2:] if isinstance(a, ir.Ref)}
    for loop in reversed(list(ir.loops_of(block))):
        sums |= {c.init.name for c in loop.carry if c.init and c.name in sums}
    return sums


def stores_of(block: ir.Block) -> Iterable[ir.Row]:
    """Every store that adds nothing: a tensor is added to in its own type."""
    return (r for r in ir.all_rows(block) if r.op == "store" and not r.adds)


def made_in(block: ir.Block) -> Iterable[str]:
    """Tiles that rows and loops of ``block`` itself give a value to."""
    for node in straight(block):
        if isinstance(node, ir.Row) and isinstance(node.out, ir.Define):
            yield node.out.name
        elif isinstance(node, ir.Loop):
            yield from (c.last for c in node.carry)
