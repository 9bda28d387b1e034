"""What is legal where rows define values: the traced, the persistent and the assigned form.

In: a kernel.  Out: nothing, or the first thing that is wrong.  A value is defined once, before it is used; a
loop hands tiles on by its carries.  Non-goals: what both kinds of programs share (``pto/checker.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pto import ir
from pto.checker import Checker, odd_size
from pto.errors import LegalityError
from pto.loc import Loc
from pto.ops import ASSIGNED, PERSISTENT, TRACED
from pto.row_rules import on_core
from pto.types import TileType


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


class ValueForm(Checker):
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
        with self.condition(row):
            self.statement(row)
        if isinstance(row.out, ir.Define):
            if row.out.name in self.tiles:
                raise LegalityError(f"'{row.out.name}' is defined twice", row.loc)
            self.define(row.out.name, row.loc)
            if why := odd_size(row.out.type) or self.on_lanes(row.out.type, row.core):
                raise LegalityError(f"tile '{row.out.name}': {why}", row.loc)
            self.tiles[row.out.name] = row.out.type
        elif isinstance(row.out, ir.Scalar):
            self.define(row.out.name, row.loc)
            self.learn(row.out.name, row, not row.tests)
            self.scalars.add(row.out.name)

    def on_lanes(self, t: TileType, core: str) -> str:
        """What is wrong with a tile that says what lanes hold, '' if it does not or if they do."""
        if t.lanes and (self.form != ASSIGNED or core != "vector"):
            return f"{t}: what lanes hold belongs to the vector core of a scheduled program"
        return ""

    def place(self, row: ir.Row) -> None:
        """No row has a core before they are given out; no row has flags before the last pass."""
        if self.form in (TRACED, PERSISTENT) and (row.core or row.shift or row.pipe):
            raise LegalityError("some rows have a core and some have none", row.loc)
        if row.wait or row.set:
            raise LegalityError("wait and set belong to a scheduled program", row.loc)
        if row.tests and self.form != ASSIGNED:
            raise LegalityError("'| if' belongs to a scheduled program", row.loc)
        if row.other is not None and self.tile(row.other, row) != getattr(row.out, "type", None):
            raise LegalityError(f"'{row.other.name}' is not of the type of the result", row.loc)
        if self.form == ASSIGNED:
            on_core(row, self.target)

    def loop(self, loop: ir.Loop) -> None:
        trips = self.number(loop.trips, loop.loc, "a trip count")
        if loop.flat and self.form != ASSIGNED:
            raise LegalityError("a flat loop belongs to a scheduled program", loop.loc)
        if loop.total:
            raise LegalityError("a loop that counts on belongs to a scheduled program", loop.loc)
        for c in loop.carry:
            if why := self.on_lanes(c.type, "vector"):
                raise LegalityError(f"carry '{c.name}': {why}", loop.loc)
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


VISIT: Mapping[type[ir.Node], Callable[[ValueForm, Any], None]] = MappingProxyType(
    {ir.Row: ValueForm.row, ir.Loop: ValueForm.loop, ir.Branch: ValueForm.branch}
)
"""What a block can hold."""
