"""How the lanes of the vector core share its tiles: by rows, by columns, or each doing all of it.

In: the persistent form.  Out: for every tile that the vector core may hold, what each lane has of it.  Lanes
cannot see each other's memory, so a row never needs what the other lane has: tiles that meet in a row are
shared alike, what joins the columns of a row needs whole rows, what joins rows whole columns.  Of the ways
that are left, the one that leaves a lane the least of the largest tile is taken, rows before columns.  A tile of one row is on
both lanes where others are shared by rows, one of one column where they are shared by columns.
A transpose has by columns what its tile has by rows; both lanes have all of two that meet.
Invariant: what is stored does not depend on the choice.  Non-goals: who runs what (``assign``), cost in cycles.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from lowering.schedule.passes.mentions import named
from pto import ir
from pto.errors import ShapeError
from pto.loc import Loc
from pto.ops import OPS
from pto.row_rules import crossed
from pto.targets import target_of
from pto.types import BOX_ROWS, DTYPE_BYTES, SHARES, TURNED, UNIT_BYTES, TileType
from pto.views import edge, rows_of, sides


class Alike:
    """Tiles that ``lanes`` share alike, some the other way round, as their transposes would be.

    ``joined``: a dimension along which elements of one of them are joined -> the first row that does.
    ``boxed``: of which a lane has rows of whole boxes.  ``crossed``: one of them meets its transpose.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.tiles: dict[str, TileType] = {}
        self.turned: set[str] = set()
        self.boxed: set[str] = set()
        self.joined: dict[str, ir.Row] = {}
        self.crossed = False

    @cached_property
    def way(self) -> str:
        """Of the ways to share them the one that leaves least to each lane; '' if there is none."""
        ways = ("both",) if self.crossed else SHARES
        able = [way for way in ways if way not in self.joined and self.fit(way)]
        return min(able, key=self.held, default="")

    def fit(self, way: str) -> bool:
        boxes = (self.mine(name, way).rows % BOX_ROWS == 0 for name in self.boxed)
        return all(boxes) and all(
            fits(t, self.lanes, self.seen(name, way)) for name, t in self.tiles.items()
        )

    def seen(self, name: str, what: str) -> str:
        """A way, or a dimension, as it is of one of the tiles."""
        return TURNED[what] if name in self.turned else what

    def mine(self, name: str, way: str) -> TileType:
        """What a lane holds of one of them."""
        return self.tiles[name].of_one(self.lanes, self.seen(name, way))

    def held(self, way: str) -> int:
        """Elements of the largest one on a lane."""
        return max(t.rows * t.cols for t in (self.mine(name, way) for name in self.tiles))


def fits(t: TileType, lanes: int, way: str) -> bool:
    """Every lane has as many whole units (docs/machine.md 12); a single number has one to itself."""
    mine = t.of_one(lanes, way)
    run = mine.rows if mine.cols == 1 else mine.cols
    whole = run == 1 or run * DTYPE_BYTES[t.dtype] % UNIT_BYTES == 0
    return whole and mine.of_all(lanes) == t


def tiles_of(row: ir.Row) -> list[str]:
    """The names of the tiles of a row, its result the first."""
    return list(named(x for x in (row.out, *row.args) if not isinstance(x, ir.View)))


class Lanes:
    """What a lane holds of each tile of a kernel.  ``sums``: tiles that stay in L0C; ``cut``: parts that V makes."""

    def __init__(self, kernel: ir.Kernel, sums: Iterable[str], cut: Iterable[str]) -> None:
        self.count, self.sums = target_of(kernel).lanes, frozenset(sums)
        self.types: dict[str, TileType] = {}
        self.made_at: dict[str, Loc | None] = {}
        self.first: dict[str, tuple[str, bool]] = {}
        """A tile -> another one that is shared alike, or, where that is true, as its transpose; the last of such a
        chain stands for all of them."""
        self.crossed: list[str] = []
        """Tiles that are shared like their own transposes."""
        cut, rows, moved = frozenset(cut), list[ir.Row](), list[ir.Row]()
        for row in ir.all_rows(kernel.body):
            if isinstance(row.out, ir.Define):
                self.types[row.out.name], self.made_at[row.out.name] = row.out.type, row.loc
            if (
                OPS[row.op].pipes == ("V",)
                or row.op == "gather"
                or (row.op == "part" and row.result(ir.Define).name in cut)
            ):
                self.share_alike(tiles_of(row), row.op == "transpose")
                rows.append(row)
            if any(isinstance(x, ir.View) and x.spans for x in (row.out, *row.args)):
                moved.append(row)
        for loop in ir.loops_of(kernel.body):
            for c, r in zip(loop.carry, loop.result, strict=True):
                self.types[c.name] = self.types[c.last] = c.type
                self.made_at[c.name] = self.made_at[c.last] = loop.loc
                if c.name not in self.sums:
                    self.share_alike([*named((c.init, r)), c.name, c.last])
        self.alike: dict[str, Alike] = {}
        for name, t in self.types.items():
            self.of(name).tiles[name] = t
            if self.stands(name)[1]:
                self.of(name).turned.add(name)
        for row in rows:
            self.note(row)
        for row in moved:
            self.note_pages(row)
        for name in self.crossed:
            self.of(name).crossed = True

    def note_pages(self, row: ir.Row) -> None:
        """Of a dimension of a tile that is several of the tensor, lanes share the first; an odd one they cannot."""
        name, *_ = tiles_of(row)
        t, alike = self.types[name], self.of(name)
        for view in (x for x in (row.out, *row.args) if isinstance(x, ir.View)):
            both = sides(view, rows_of(view, t.cols), t.cols)
            for dim, side in zip(("rows", "cols"), both, strict=True):
                spans = [ir.as_span(view.index[k]) for k in side]
                if len(spans) > 1 and spans[edge(spans)].size % self.count:
                    alike.joined.setdefault(alike.seen(name, dim), row)

    def note(self, row: ir.Row) -> None:
        """What a row joins, and turns."""
        name = row.result(ir.Define).name
        alike = self.of(name)
        for dim in crossed(OPS[row.op], [self.types[n] for n in tiles_of(row)]):
            alike.joined.setdefault(alike.seen(name, dim), row)
        if row.op == "transpose" and 1 not in (self.types[name].rows, self.types[name].cols):
            alike.boxed.add(row.operand(ir.Ref).name)

    def share_alike(self, names: Iterable[str], turned: bool = False) -> None:
        """``turned``: the first as the transposes of the others."""
        one, *others = names
        for name in others:
            (first, way), (other, its) = self.stands(one), self.stands(name)
            apart = way ^ its ^ turned
            if other != first:
                self.first[other] = first, apart
            elif apart:
                self.crossed.append(first)

    def stands(self, name: str) -> tuple[str, bool]:
        """What stands for a tile, and whether that is shared as its transpose."""
        turned = False
        while name in self.first:
            name, apart = self.first[name]
            turned ^= apart
        return name, turned

    def of(self, name: str) -> Alike:
        """All that is shared like a tile."""
        return self.alike.setdefault(self.stands(name)[0], Alike(self.count))

    def type(self, name: str) -> TileType:
        """What a lane holds of a tile.

        Raises:
            ShapeError: if there is no way to share it in whole units.
        """
        alike = self.of(name)
        if alike.way:
            return alike.mine(name, alike.way)
        odd = next(n for n, t in alike.tiles.items() if not fits(t, self.count, "both"))
        t = self.types[odd]
        what = "rows" if t.cols == 1 else "columns"
        step = UNIT_BYTES // DTYPE_BYTES[t.dtype]
        size = t.rows if t.cols == 1 else t.cols
        whole = -(-size // step) * step
        raise ShapeError(
            f"{t} does not fit the vector cores, which hold {what} in units of {UNIT_BYTES} bytes",
            self.made_at[odd],
            f"{what} in multiples of {step}: pto.ds(0, {whole}, valid={size}) loads zeros behind, and stores none",
        )

    def notes(self) -> list[str]:
        """Tiles of which both lanes hold all because no way to share them is left."""
        notes: list[str] = []
        for alike in self.alike.values():
            name = max(alike.tiles, key=lambda n: alike.tiles[n].size_bytes)
            ops = " and ".join(row.op for row in alike.joined.values())
            if alike.crossed:
                notes.append(f"both lanes hold all of {name}: it meets a transpose")
            elif len(alike.joined) > 1:
                notes.append(f"both lanes hold all of {name}: {ops} join it along both dimensions")
        return notes
