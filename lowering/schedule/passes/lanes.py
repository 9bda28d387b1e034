"""How the lanes of the vector core share its tiles: by rows, by columns, or each doing all of it.

In: the persistent form.  Out: for every tile that the vector core may hold, what each lane has of it.  Lanes
cannot see each other's memory, so a row never needs what the other lane has: tiles that meet in a row are
shared alike, what joins the columns of a row needs whole rows, what joins rows whole columns.  Of the ways
that are left, the one that leaves a lane the least of the largest tile is taken, rows before columns.  A tile of one row is on
both lanes where others are shared by rows, one of one column where they are shared by columns.
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
from pto.types import DTYPE_BYTES, SHARES, UNIT_BYTES, TileType


class Alike:
    """Tiles that ``lanes`` share alike.

    ``joined``: a dimension along which elements of one of them are joined -> the first row that does.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.tiles: dict[str, TileType] = {}
        self.joined: dict[str, ir.Row] = {}

    @cached_property
    def way(self) -> str:
        """Of the ways to share them the one that leaves least to each lane; '' if there is none."""
        able = [way for way in SHARES if way not in self.joined and self.fit(way)]
        return min(able, key=self.held, default="")

    def fit(self, way: str) -> bool:
        return all(fits(t, self.lanes, way) for t in self.tiles.values())

    def held(self, way: str) -> int:
        """Elements of the largest one on a lane."""
        mine = [t.of_one(self.lanes, way) for t in self.tiles.values()]
        return max(t.rows * t.cols for t in mine)


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
        self.first: dict[str, str] = {}
        """A tile -> another one that is shared alike; the last of such a chain stands for all of them."""
        cut, joined = frozenset(cut), list[tuple[str, ir.Row]]()
        for row in ir.all_rows(kernel.body):
            if isinstance(row.out, ir.Define):
                self.types[row.out.name], self.made_at[row.out.name] = row.out.type, row.loc
            if (
                OPS[row.op].pipes == ("V",)
                or row.op == "gather"
                or (row.op == "part" and row.result(ir.Define).name in cut)
            ):
                self.share_alike(tiles_of(row))
                joined.append((row.result(ir.Define).name, row))
        for loop in ir.loops_of(kernel.body):
            for c, r in zip(loop.carry, loop.result, strict=True):
                self.types[c.name] = self.types[c.last] = c.type
                self.made_at[c.name] = self.made_at[c.last] = loop.loc
                if c.name not in self.sums:
                    self.share_alike([*named((c.init, r)), c.name, c.last])
        self.alike: dict[str, Alike] = {}
        for name, t in self.types.items():
            self.of(name).tiles[name] = t
        for name, row in joined:
            for dim in crossed(OPS[row.op], [self.types[n] for n in tiles_of(row)]):
                self.of(name).joined.setdefault(dim, row)

    def share_alike(self, names: Iterable[str]) -> None:
        first, *others = (self.stands(name) for name in names)
        for other in others:
            if other != first:
                self.first[other] = first

    def stands(self, name: str) -> str:
        while name in self.first:
            name = self.first[name]
        return name

    def of(self, name: str) -> Alike:
        """All that is shared like a tile."""
        return self.alike.setdefault(self.stands(name), Alike(self.count))

    def type(self, name: str) -> TileType:
        """What a lane holds of a tile.

        Raises:
            ShapeError: if there is no way to share it in whole units.
        """
        alike = self.of(name)
        if alike.way:
            return self.types[name].of_one(self.count, alike.way)
        odd = next(n for n, t in alike.tiles.items() if not fits(t, self.count, "both"))
        t = self.types[odd]
        what = "rows" if t.cols == 1 else "columns"
        step = UNIT_BYTES // DTYPE_BYTES[t.dtype]
        raise ShapeError(
            f"{t} does not fit the vector cores, which hold {what} in units of {UNIT_BYTES} bytes",
            self.made_at[odd],
            f"{what} in multiples of {step}",
        )

    def notes(self) -> list[str]:
        """Tiles of which both lanes hold all because no way to share them is left."""
        notes: list[str] = []
        for alike in self.alike.values():
            if len(alike.joined) > 1:
                name = max(alike.tiles, key=lambda n: alike.tiles[n].size_bytes)
                ops = " and ".join(row.op for row in alike.joined.values())
                notes.append(f"both lanes hold all of {name}: {ops} join it along both dimensions")
        return notes
