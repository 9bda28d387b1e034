"""Which loads and stores of one tensor only memory orders, and the events that do.

In: rows with cores.  Out: pairs of rows that must keep the order in which they are written (``ties``, for skew); of
a schedule, the handovers between their pipes (``memory_handovers``, for sync).  Invariant: of two rows of one core
that may touch the same elements of a tensor in one work item, one of which stores, either the second takes a
value that the first led to, which orders them, or they keep their order.
Non-goals: other work items and other iterations, which touch other elements (``pto/in_place.py``), and two cores, which
hand values over by FIFOs; the proof (``lowering/hazards/``) judges the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from lowering.schedule.passes.handovers import (
    Handover,
    Named,
    Ring,
    chained,
    handovers_of,
    homes,
    siblings,
)
from pto import ir
from pto.legality import straight
from pto.types import TileType

Lets = Mapping[str, ir.Expr]
Tie = tuple[int, int]
"""The numbers of two rows, the second behind the first."""


def lets_of(block: ir.Block) -> Lets:
    """What every named scalar stands for, the names in it replaced as well."""
    found: dict[str, ir.Expr] = {}
    for row in ir.all_rows(block):
        if row.op == "let":
            found[row.result(ir.Scalar).name] = ir.substitute(row.scalar(), found)
    return found


def ties(block: ir.Block, lets: Lets) -> list[Tie]:
    """Pairs of rows below, by their numbers in the order written, that only memory orders."""
    rows = list(ir.all_rows(block))
    moved = [k for k, r in enumerate(rows) if _views(r)]
    pairs = [(a, b) for a, b in combinations(moved, 2) if _may_meet(rows[a], rows[b], lets)]
    led_to = _led_to(block, rows) if pairs else {}
    return [(a, b) for a, b in pairs if a not in led_to[b]]


def _led_to(block: ir.Block, rows: list[ir.Row]) -> dict[int, set[int]]:
    """For every row the rows in front of it without whose results its own cannot be made, in one iteration."""
    made = {r.out.name: k for k, r in enumerate(rows) if isinstance(r.out, ir.Define | ir.Queue)}
    for loop in ir.loops_of(block):
        carried = zip(loop.carry, loop.result, strict=True)
        made |= {c.last: made[r.name] for c, r in carried if r.name in made}
        made |= {c.name: made[c.init.name] for c in loop.carry if c.init and c.init.name in made}
    found: dict[int, set[int]] = {}
    for k, row in enumerate(rows):
        before = {made[name] for name in _taken(row) if name in made}
        found[k] = before.union(*(found.get(j, ()) for j in before))
    return found


def _taken(row: ir.Row) -> Iterator[str]:
    """Tiles and FIFOs that a row takes values from."""
    return (a.name for a in (*row.args, row.other) if isinstance(a, ir.Ref | ir.Queue))


def _views(row: ir.Row) -> list[ir.View]:
    """The regions that a row moves tiles from or to."""
    return [x for x in (row.out, *row.args) if isinstance(x, ir.View)] if row.op != "read" else []


def _may_meet(a: ir.Row, b: ir.Row, lets: Lets) -> bool:
    """In one work item, whatever the loops around do."""
    one_stores = "store" in (a.op, b.op) and a.pipe != b.pipe and a.core == b.core
    return one_stores and any(
        x.tensor == y.tensor and not _apart(x, y, lets) for x in _views(a) for y in _views(b)
    )


def _apart(a: ir.View, b: ir.View, lets: Lets) -> bool:
    """One dimension keeps them apart by a known distance."""
    for x, y in zip(a.index, b.index, strict=True):
        first, second = ir.as_span(x), ir.as_span(y)
        starts = (ir.substitute(s.start, dict(lets)) for s in (first, second))
        d = ir.distance(*starts)
        if d is not None and (d >= second.reach or -d >= first.reach):
            return True
    return False


# -------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Region(Ring):
    """Elements of a tensor as a slot, and the ``rows`` that load or store some of them, by their ids."""

    rows: frozenset[int] = frozenset()

    def of(self, row: ir.Row) -> list[ir.Ref]:
        return [ir.Ref(self.buffer.name)] if id(row) in self.rows else []

    def writes(self, row: ir.Row) -> bool:
        return row.op == "store"

    def named(self, block: ir.Block) -> Named:
        """Its name by every node below that has one of the rows."""
        found: Named = {}
        for node in straight(block):
            has = any(id(r) in self.rows for r in ir.all_rows((node,)))
            found[id(node)] = self.names if has else frozenset()
            found |= self.named(node.body) if isinstance(node, ir.Loop) else {}
        return found


def memory_handovers(kernel: ir.Kernel, of_tiles: list[Handover]) -> Iterator[Handover]:
    """Between loads and stores of what may be the same elements, block by block, where those ``of_tiles`` do not
    imply them: there and back, as of a slot that has room for one tile."""
    for region in _regions(kernel):
        for accesses in homes(kernel.body, region, region.named(kernel.body)):
            found = list(handovers_of(region.buffer, accesses))
            ways = (h for h in found if h.kind == "full")
            if not all(chained(h, siblings(h, of_tiles)) for h in ways):
                yield from found


def _regions(kernel: ir.Kernel) -> Iterator[Region]:
    """Rows that may touch the same elements, of which some store and some load."""
    lets = lets_of(kernel.body)
    rows = [r for r in ir.all_rows(kernel.body) if _views(r)]
    groups = list[frozenset[int]]()
    cores = {id(r): r.core for r in rows}
    tensors = {id(r): _views(r)[0].tensor for r in rows}
    for a, b in combinations(rows, 2):
        if _may_meet(a, b, lets):
            pair = {id(a), id(b)}
            joined = frozenset(pair).union(*(g for g in groups if pair & g))
            groups = [*(g for g in groups if not pair & g), joined]
    for group in groups:
        first = next(k for k in cores if k in group)
        name = tensors[first]
        slot = ir.Buffer(cores[first], "gm", name, 1, TileType("f32", 1, 1), "", 0, 0)
        yield Region(slot, frozenset((name,)), rows=group)
