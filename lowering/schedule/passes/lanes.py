"""How the lanes of the vector core share its tiles: by rows, by columns, or each doing all of it.

In: the persistent form.  Out: for every tile that the vector core may hold, what each lane has of it.  Lanes
cannot see each other's memory, so a row never needs what the other lane has: a dimension that tiles of a row have in
common is shared alike, in halves or not at all, what joins the columns of a row needs whole rows, what joins rows whole
columns.  A tile of one row, one column or one element does not tie what it is spread over along the dimensions that it
lacks.  Of a tile at most one dimension is halved; of the ways that are left, the one that leaves the lanes the least
is taken, rows before columns.
A transpose has by columns what its tile has by rows; both lanes have all of two that meet.  What is loaded and stored
in one place is shared alike.
Invariant: what is stored does not depend on the choice.  Non-goals: who runs what (``assign``), cost in cycles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from lowering.schedule.passes.in_place import meetings, same
from lowering.schedule.passes.mentions import named
from pto import ir
from pto.errors import ShapeError
from pto.loc import Loc
from pto.ops import OPS
from pto.row_rules import crossed
from pto.targets import target_of
from pto.types import BOX_ROWS, DTYPE_BYTES, TURNED, UNIT_BYTES, TileType
from pto.views import edge, rows_of, sides

DIMS = ("rows", "cols")
Dim = tuple[str, str]
"""A tile, and one of its dimensions that has several elements."""


class Worth(NamedTuple):
    """What halves are good for, the most important first: tiles that do not fit in any other way, or
    lie in place, elements of tiles that a lane is spared, of them those by rows, and elements of single rows and columns."""

    fitting: int = 0
    spared: int = 0
    by_rows: int = 0
    of_lines: int = 0

    def and_of(self, other: Worth) -> Worth:
        return Worth(*map(sum, zip(self, other, strict=True)))


@dataclass(eq=False, slots=True)
class Side:
    """Dimensions of tiles of which a lane has alike: half of each, or all.

    ``joined``: the first row that joins elements along one of them.  ``crossed``: some tile has both of its dimensions
    here, as it meets its transpose.  ``odd``: halves of one of them are no whole units.
    """

    dims: list[Dim] = field(default_factory=list)
    joined: ir.Row | None = None
    crossed: bool = False
    odd: bool = False
    worth: Worth = field(default_factory=Worth)

    @property
    def bound(self) -> bool:
        """A row needs all of it."""
        return self.joined is not None or self.crossed

    @property
    def able(self) -> bool:
        """Whether lanes can have halves of it."""
        return not self.bound and not self.odd


def size(t: TileType, dim: str) -> int:
    return t.rows if dim == "rows" else t.cols


def dims_of(t: TileType) -> list[str]:
    """The dimensions that have several elements."""
    return [dim for dim in DIMS if size(t, dim) > 1]


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
        self.first: dict[Dim, Dim] = {}
        """A dimension -> another one that is shared alike; the last of such a chain stands for all of them."""
        self.boxed: set[str] = set()
        """Tiles of which a lane has rows of whole boxes."""
        cut, rows, moved = frozenset(cut), list[ir.Row](), list[ir.Row]()
        for row in ir.all_rows(kernel.body):
            if isinstance(row.out, ir.Define):
                self.types[row.out.name], self.made_at[row.out.name] = row.out.type, row.loc
            if (
                OPS[row.op].pipes == ("V",)
                or row.op == "gather"
                or (row.op == "part" and row.result(ir.Define).name in cut)
            ):
                rows.append(row)
            if any(isinstance(x, ir.View) and x.spans for x in (row.out, *row.args)):
                moved.append(row)
        for loop in ir.loops_of(kernel.body):
            for c in loop.carry:
                self.types[c.name] = self.types[c.last] = c.type
                self.made_at[c.name] = self.made_at[c.last] = loop.loc
        for row in rows:
            self.share_alike(tiles_of(row), row.op == "transpose")
        for loop in ir.loops_of(kernel.body):
            for c, r in zip(loop.carry, loop.result, strict=True):
                if c.name not in self.sums:
                    self.share_alike([*named((c.init, r)), c.name, c.last])
        in_place = set[str]()
        for load, store in meetings(kernel.body, same):
            self.share_alike([*tiles_of(load), *tiles_of(store)])
            in_place.update(tiles_of(load))
        self.sides = self.found(in_place)
        self.joined: list[Side] = []
        """Those that a row joins, in the order in which they are found."""
        for row in rows:
            self.note(row)
        for row in moved:
            self.note_pages(row)

    # which dimensions are shared alike

    def share_alike(self, names: Iterable[str], turned: bool = False) -> None:
        """``turned``: the first as the transposes of the others."""
        one, *others = names
        for dim in DIMS:
            mine = TURNED[dim] if turned else dim
            alike = [(one, mine), *((name, dim) for name in others)]
            several = [d for d in alike if size(self.types[d[0]], d[1]) > 1]
            for a, b in pairwise(several):
                self.join(a, b)

    def join(self, one: Dim, other: Dim) -> None:
        a, b = self.stands(one), self.stands(other)
        if a != b:
            self.first[b] = a

    def stands(self, dim: Dim) -> Dim:
        """What stands for a dimension of a tile."""
        while dim in self.first:
            dim = self.first[dim]
        return dim

    def found(self, in_place: Collection[str]) -> dict[Dim, Side]:
        """The sides, each by what stands for its dimensions.  ``in_place``: what both lanes may not hold all of."""
        found: dict[Dim, Side] = {}
        for name, t in self.types.items():
            whole = fits(t, self.count, "both") and name not in in_place
            both = len(dims_of(t)) > 1
            for dim in dims_of(t):
                side = found.setdefault(self.stands((name, dim)), Side())
                side.crossed |= (name, TURNED[dim]) in side.dims[-1:]
                side.dims.append((name, dim))
                n = t.rows * t.cols
                worth = Worth(not whole, both * n, (both and dim == "rows") * n, (not both) * n)
                side.worth = side.worth.and_of(worth)
        return found

    def side(self, name: str, dim: str) -> Side | None:
        """All that is shared like a dimension of a tile; None where that has one element."""
        return self.sides.get(self.stands((name, dim)))

    # what is needed whole

    def note(self, row: ir.Row) -> None:
        """What a row joins, and turns."""
        names = tiles_of(row)
        for dim in crossed(OPS[row.op], [self.types[n] for n in names]):
            for name in names:
                self.note_joined(name, dim, row)
        out = self.types[row.result(ir.Define).name]
        if row.op == "transpose" and 1 not in (out.rows, out.cols):
            self.boxed.add(row.operand(ir.Ref).name)

    def note_joined(self, name: str, dim: str, row: ir.Row) -> None:
        side = self.side(name, dim)
        if side is not None and side.joined is None:
            side.joined = row
            self.joined.append(side)

    def note_pages(self, row: ir.Row) -> None:
        """Of a dimension of a tile that is several of the tensor, lanes share the first; an odd one they cannot."""
        name, *_ = tiles_of(row)
        t = self.types[name]
        for view in (x for x in (row.out, *row.args) if isinstance(x, ir.View)):
            both = sides(view, rows_of(view, t.cols), t.cols)
            for dim, side in zip(DIMS, both, strict=True):
                spans = [ir.as_span(view.index[k]) for k in side]
                if len(spans) > 1 and spans[edge(spans)].size % self.count:
                    self.note_joined(name, dim, row)

    # the choice

    @cached_property
    def halves(self) -> frozenset[int]:
        """The sides of which lanes have halves, by their ids."""
        for side in self.sides.values():
            side.odd = not all(self.fit(name, dim) for name, dim in side.dims)
        able = [s for s in self.sides.values() if s.able]
        number = {id(s): k for k, s in enumerate(able)}
        beside = [set[int]() for _ in able]
        for name in self.types:
            met = [number[id(s)] for s in self.sides_of(name) if id(s) in number]
            for k in met:
                beside[k] |= {*met} - {k}
        chosen = Choice([s.worth for s in able], beside).of(frozenset(range(len(able))))[1]
        return frozenset(id(able[k]) for k in chosen)

    def sides_of(self, name: str) -> list[Side]:
        return [s for s in (self.side(name, dim) for dim in DIMS) if s is not None]

    def fit(self, name: str, dim: str) -> bool:
        """Whether a lane may have half of a dimension of a tile."""
        t = self.types[name]
        boxes = dim == "cols" or name not in self.boxed
        return fits(t, self.count, dim) and (boxes or t.rows // self.count % BOX_ROWS == 0)

    def share(self, name: str) -> str:
        """Which dimension of a tile lanes have a half of, or ``both``."""
        sides = ((dim, self.side(name, dim)) for dim in DIMS)
        return next((dim for dim, s in sides if s is not None and id(s) in self.halves), "both")

    def type(self, name: str) -> TileType:
        """What a lane holds of a tile.

        Raises:
            ShapeError: if there is no way to share it in whole units.
        """
        t, share = self.types[name], self.share(name)
        if fits(t, self.count, share):
            return t.of_one(self.count, share)
        what = "rows" if t.cols == 1 else "columns"
        step = UNIT_BYTES // DTYPE_BYTES[t.dtype]
        size = t.rows if t.cols == 1 else t.cols
        whole = -(-size // step) * step
        raise ShapeError(
            f"{t} does not fit the vector cores, which hold {what} in units of {UNIT_BYTES} bytes",
            self.made_at[name],
            f"{what} in multiples of {step}: pto.ds(0, {whole}, valid={size}) loads zeros behind, and stores none",
        )

    # what is said of it

    def notes(self) -> list[str]:
        """Tiles of which both lanes hold all because no way to share them is left: of those that are tied, the
        largest."""
        notes, told = list[str](), list[Side]()
        for name in sorted(self.types, key=lambda n: -self.types[n].size_bytes):
            sides = self.sides_of(name)
            if len(sides) < len(DIMS) or not all(s.bound for s in sides):
                continue
            ops = " and ".join(s.joined.op for s in self.joined if s in sides and s.joined)
            if any(s in told for s in sides):
                pass
            elif any(s.crossed for s in sides):
                notes.append(f"both lanes hold all of {name}: it meets a transpose")
            else:
                notes.append(f"both lanes hold all of {name}: {ops} join it along both dimensions")
            told += sides
        return notes

    def why_whole(self, name: str) -> str:
        """Why both lanes hold all of a tile, in the words of an error."""
        return " and ".join(dict.fromkeys(self.why_not(name, dim) for dim in DIMS))

    def why_not(self, name: str, dim: str) -> str:
        """Why lanes have no halves of a dimension of a tile."""
        side, what = self.side(name, dim), {"rows": "row", "cols": "column"}[dim]
        if side is None:
            return f"it has one {what}"
        if side.crossed:
            return "it meets a transpose"
        if side.joined is not None:
            return f"{side.joined.op} at {side.joined.loc} joins its {what}s"
        if side.odd:
            return f"half of its {what}s are no whole units of {UNIT_BYTES} bytes"
        return f"what it meets is not shared by {what}s"


class Choice:
    """Of sides, by their numbers, those to halve: no two that one tile has, ``beside`` each other, and the most
    worth."""

    def __init__(self, worth: Sequence[Worth], beside: Sequence[set[int]]) -> None:
        self.worth, self.beside = worth, beside
        self.known: dict[frozenset[int], tuple[Worth, frozenset[int]]] = {}

    def of(self, sides: frozenset[int]) -> tuple[Worth, frozenset[int]]:
        """The worth of the best ones among ``sides``, and which they are."""
        worth, chosen = Worth(), frozenset[int]()
        for group in self.groups(sides):
            if group not in self.known:
                self.known[group] = self.of_group(group)
            more, others = self.known[group]
            worth, chosen = worth.and_of(more), chosen | others
        return worth, chosen

    def of_group(self, group: frozenset[int]) -> tuple[Worth, frozenset[int]]:
        most = max(sorted(group), key=lambda k: len(self.beside[k] & group))
        worth, others = self.of(group - self.beside[most] - {most})
        taken = self.worth[most].and_of(worth), others | {most}
        left = self.of(group - {most})
        return taken if taken[0] >= left[0] else left

    def groups(self, sides: frozenset[int]) -> Iterator[frozenset[int]]:
        """Those that depend on each other."""
        left = set(sides)
        for k in sorted(sides):
            group, front = set[int](), {k} & left
            while front:
                group |= front
                front = (set().union(*(self.beside[j] for j in front)) & left) - group
            left -= group
            if group:
                yield frozenset(group)
