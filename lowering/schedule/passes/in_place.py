"""Which loads and stores of one tensor only memory orders, and the events that do.

In: rows with cores.  Out: pairs of rows that must keep the order in which they are written (``ties``, for skew); of
a schedule, the handovers between their pipes (``memory_handovers``, for sync).  Invariant: of two rows
that may touch the same elements of a tensor in one work item, one of which stores, either the second takes a
value that the first led to, which orders them, or they keep their order: on one core by an event; on two, where the
second loads, by a tile that is pushed behind the store and popped in front of the load (``crossings``, for assign): its signal, behind
a drain, tells of all that its pipe had to do (docs/machine.md 5.5, 15).  No lane waits for the other one: what both
load and store must lie in the same half (``meetings``, for lanes).
Non-goals: other work items and other iterations, which touch other elements (``pto/in_place.py``); the proof
(``lowering/hazards/``) judges the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product

from lowering.schedule.passes.handovers import (
    Handover,
    Named,
    Ring,
    chained,
    handovers_of,
    homes,
    siblings,
)
from lowering.schedule.passes.mentions import tile_uses
from pto import ir
from pto.control import opposite
from pto.legality import straight
from pto.ops import LOADS
from pto.types import TileType

Lets = Mapping[str, ir.Expr]
Tie = tuple[int, int]
"""The numbers of two rows, the second behind the first."""


@dataclass(frozen=True, slots=True)
class Memory:
    """``lets``: what every named scalar stands for, the names in it replaced as well.  ``told``: by FIFO whose tiles
    nobody reads, what the other core had stored when one is there."""

    lets: Lets
    told: Mapping[str, ir.View]

    def views(self, row: ir.Row) -> list[ir.View]:
        """The regions that a row moves tiles from or to, or is told of."""
        if row.op == "pop" and row.queue in self.told:
            return [self.told[row.queue]]
        return (
            [x for x in (row.out, *row.args) if isinstance(x, ir.View)] if row.op != "read" else []
        )

    def meet(self, a: ir.Row, b: ir.Row) -> bool:
        """Whether they may touch the same elements in one work item, whatever the loops around do."""
        return any(
            x.tensor == y.tensor and not _apart(x, y, self.lets)
            for x in self.views(a)
            for y in self.views(b)
        )


def memory_of(block: ir.Block) -> Memory:
    """What ``ties`` needs to know of a whole program."""
    read = set(tile_uses(block))
    told, stored = dict[str, ir.View](), dict[ir.Operand, ir.View]()
    rows = list(ir.all_rows(block))
    unread = {r.queue for r in rows if r.op == "pop" and r.result(ir.Define).name not in read}
    for row in rows:
        if row.op == "store":
            stored[row.args[0]] = row.result(ir.View)
        elif row.op == "push" and row.queue in unread and row.args[0] in stored:
            told[row.queue] = stored[row.args[0]]
    return Memory(lets_of(block), told)


def lets_of(block: ir.Block) -> Lets:
    """What every named scalar stands for, the names in it replaced as well."""
    found: dict[str, ir.Expr] = {}
    for row in ir.all_rows(block):
        if row.op == "let":
            found[row.result(ir.Scalar).name] = ir.substitute(row.scalar(), found)
    return found


def ties(block: ir.Block, memory: Memory) -> list[Tie]:
    """Pairs of rows of one core below, by their numbers in the order written, that only memory orders."""
    return _only_memory_orders(block, memory, _of_one_core)


def _of_one_core(a: ir.Row, b: ir.Row) -> bool:
    """Which pairs of rows of a core an event can order, or the pop that tells of a store."""
    told = a.op == "pop" and b.op in LOADS
    return a.core == b.core and (told or _one_stores(a, b))


def _one_stores(a: ir.Row, b: ir.Row) -> bool:
    return "store" in (a.op, b.op) and a.pipe != b.pipe


def _only_memory_orders(
    block: ir.Block, memory: Memory, wanted: Callable[[ir.Row, ir.Row], bool]
) -> list[Tie]:
    rows = list(ir.all_rows(block))
    moved = [k for k, r in enumerate(rows) if memory.views(r)]
    pairs = [
        (a, b)
        for a, b in combinations(moved, 2)
        if wanted(rows[a], rows[b]) and memory.meet(rows[a], rows[b])
    ]
    led_to = _led_to(block, rows) if pairs else {}
    return [(a, b) for a, b in pairs if a not in led_to[b]]


def crossings(block: ir.Block, cores: Mapping[int, Collection[str]]) -> list[tuple[ir.Row, ir.Row]]:
    """Pairs of a load and a store on two cores that only memory orders, as they are written.  ``cores``: of every row
    that moves a tile, by its id, those that do."""
    rows, ways = list(ir.all_rows(block)), dict(_ways(block))

    def wanted(a: ir.Row, b: ir.Row) -> bool:
        both = {*cores.get(id(a), ()), *cores.get(id(b), ())}
        apart = (a.op == "store") != (b.op == "store") and len(both) > 1
        return apart and not any(exclude(x, y) for x in ways[id(a)] for y in ways[id(b)])

    pairs = _only_memory_orders(block, Memory(lets_of(block), {}), wanted)
    return [(rows[a], rows[b]) for a, b in pairs]


def _ways(
    block: ir.Block, around: tuple[ir.Expr, ...] = ()
) -> Iterator[tuple[int, tuple[ir.Expr, ...]]]:
    """Of every row, by its id, the tests of the choices around it."""
    for node in straight(block):
        if isinstance(node, ir.Loop):
            yield from _ways(node.body, (*around, *[node.trips] * node.is_guard))
        else:
            yield id(node), around


def exclude(x: ir.Expr, y: ir.Expr) -> bool:
    """They are the tests of the two ways of one choice."""
    return any(isinstance(a, ir.Bin) and opposite(a) == b for a, b in ((x, y), (y, x)))


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


def _apart(a: ir.View, b: ir.View, lets: Lets) -> bool:
    """One dimension keeps them apart by a known distance."""
    for x, y in zip(a.index, b.index, strict=True):
        first, second = ir.as_span(x), ir.as_span(y)
        starts = (ir.substitute(s.start, dict(lets)) for s in (first, second))
        d = ir.distance(*starts)
        if d is not None and (d >= second.reach or -d >= first.reach):
            return True
    return False


def meetings(
    block: ir.Block, meet: Callable[[ir.View, ir.View], bool]
) -> list[tuple[ir.Row, ir.Row]]:
    """A load and a store whose regions ``meet``, loop counters taken alike, whichever cores they are on."""
    lets, ways = lets_of(block), dict(_ways(block))
    counters = {name for loop in ir.loops_of(block) for name in (loop.index, loop.total)}
    rows = list(ir.all_rows(block))
    loads, stores = ([r for r in rows if r.op == op] for op in ("load", "store"))
    views = {id(r): r.operand(ir.View) for r in loads} | {id(r): r.result(ir.View) for r in stores}
    regions = {row: _in_order(view, lets, counters) for row, view in views.items()}
    return [
        (a, b)
        for a, b in product(loads, stores)
        if meet(regions[id(a)], regions[id(b)])
        and not any(exclude(x, y) for x in ways[id(a)] for y in ways[id(b)])
    ]


def same(a: ir.View, b: ir.View) -> bool:
    """They are one region, but for how much of it exists."""
    return a.tensor == b.tensor and all(
        d == 0 and (x.size, x.step) == (y.size, y.step) for d, x, y in _distances(a, b)
    )


def overlap(a: ir.View, b: ir.View) -> bool:
    """They have elements in common for certain, where all of both exists."""
    return a.tensor == b.tensor and all(
        d == 0 or (d is not None and (x.step, y.step) == (1, 1) and -x.size < d < y.size)
        for d, x, y in _distances(a, b)
    )


def _distances(a: ir.View, b: ir.View) -> Iterator[tuple[int | None, ir.Span, ir.Span]]:
    """By dimension, how far the first begins behind the second, if that is known, and what they have of it."""
    for x, y in zip(map(ir.as_span, a.index), map(ir.as_span, b.index), strict=True):
        yield ir.distance(x.start, y.start), x, y


def _in_order(view: ir.View, lets: Lets, counters: Collection[str]) -> ir.View:
    """A view with its loop counters numbered in the order in which it names them."""
    view = ir.map_exprs(view, lambda e: ir.substitute(e, lets))
    starts = (ir.as_span(x).start for x in view.index)
    named = dict.fromkeys(n for e in starts for n in ir.names_in(e) if n in counters)
    numbered: Lets = {name: ir.Var(f"{k}") for k, name in enumerate(named)}
    return ir.map_exprs(view, lambda e: ir.substitute(e, numbered))


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
    memory = Memory(lets_of(kernel.body), {})
    rows = [r for r in ir.all_rows(kernel.body) if memory.views(r)]
    groups = list[frozenset[int]]()
    cores = {id(r): r.core for r in rows}
    tensors = {id(r): memory.views(r)[0].tensor for r in rows}
    for a, b in combinations(rows, 2):
        if _of_one_core(a, b) and memory.meet(a, b):
            pair = {id(a), id(b)}
            joined = frozenset(pair).union(*(g for g in groups if pair & g))
            groups = [*(g for g in groups if not pair & g), joined]
    for group in groups:
        first = next(k for k in cores if k in group)
        name = tensors[first]
        slot = ir.Buffer(cores[first], "gm", name, 1, TileType("f32", 1, 1), "", 0, 0)
        yield Region(slot, frozenset((name,)), rows=group)
