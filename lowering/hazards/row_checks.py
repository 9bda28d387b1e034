"""What is wrong with a single row, whatever runs before it: pipe, flags, FIFO, tiles, own operands.

In: a row and the ``Places`` of its kernel.  Out: faults, noted there.  Non-goals: order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import lcm

from lowering.hazards.counters import ABSENT
from lowering.hazards.operands import Tiles, queue_of
from lowering.hazards.places import MEMORY_OF, Places
from pto.ir import Buffer, Const, Expr, Fifo, Flag, Ref, Row, View, distance
from pto.ops import OPS, form_of

OVERWRITING = ("reciprocal", "bitwise_and", "bitwise_or", "bitwise_xor")
"""Element by element, but the library may fill the result before it reads (docs/machine.md 12)."""


def is_sound(places: Places, row: Row) -> bool:
    """The row names what exists, on the right core and pipe; what does not is a fault."""
    before = len(places.faults)
    allowed = OPS[row.op].pipes
    if row.pipe not in allowed:
        places.fault("pipe", f"{row.op} runs on {' or '.join(allowed)}, not on {row.pipe}", row)
    for column, flags in (("wait", row.wait), ("set", row.set)):
        for flag in flags:
            _check_flag(places, row, flag, column)
    if row.op in ("push", "push_data", "record", "pop"):
        _check_queue(places, row)
    for operand, writes in ((row.out, True), *((a, False) for a in row.args)):
        if isinstance(operand, Ref):
            _check_ref(places, row, operand, writes)
        elif isinstance(operand, View) and writes:
            if places.kernel.param(operand.tensor).direction == "in":
                places.fault("input", f"{operand.tensor} is an input and is written", row)
    return len(places.faults) == before


def _check_flag(places: Places, row: Row, flag: Flag, column: str) -> None:
    e = places.events.get(flag.name)
    if e is None:
        places.fault("event", f"no event is called {flag.name}", row)
        return
    pipe = e.dst if column == "wait" else e.src
    if (e.core, pipe) != (row.core, row.pipe):
        where = f"{e.core} {pipe}, the row is on {row.core} {row.pipe}"
        places.fault("event", f"{column} {flag.name} belongs on {where}", row)


def _check_queue(places: Places, row: Row) -> None:
    f = places.fifos.get(queue_of(row))
    if f is None:
        places.fault("fifo", f"{row.op} names no fifo", row)
        return
    tile = row.out if row.op == "pop" else row.args[0]
    if row.op != "record" and not isinstance(tile, Ref):
        places.fault("fifo", f"{row.op} of {f.name} moves no tile", row)
    producer = "cube" if f.direction == "c2v" else "vector"
    if (row.core == producer) == (row.op == "pop"):
        text = f"{row.op} of the {f.direction} fifo {f.name} on the {row.core} core"
        places.fault("fifo", text, row)
    buffer = places.buffers.get(tile.name) if isinstance(tile, Ref) else None
    if buffer is not None:
        _check_tile(places, row, f, buffer)
        if row.op == "pop":
            _check_local_ring(places, row, f, buffer)


def _check_tile(places: Places, row: Row, f: Fifo, b: Buffer) -> None:
    """What goes into or comes out of a slot fills it; of the vector core, what both lanes have together.  Of a
    tile that both hold each pushes half of the rows."""
    whole = b.type if row.core == "cube" else b.type.of_all(places.target.lanes)
    if whole != f.type:
        text = f"{b.name} holds {b.type}, fifo {f.name} holds {f.type}"
        if row.core == "vector":
            text += f", which is no {whole} of both lanes"
        places.fault("fifo", text, row, b.name)
    elif row.op != "pop" and b.type.share == "both" and f.type.rows % places.target.lanes:
        text = f"{b.name} has {f.type.rows} rows, of which the lanes cannot push half each"
        places.fault("fifo", text, row, b.name)
    elif row.core == "vector" and row.op != "pop":
        share = "rows" if b.type.share == "both" else b.type.share
        first = places.pushed.setdefault(f.name, share)
        if first != share:
            text = f"lanes push {first} of some slots of fifo {f.name} and {share} of others"
            places.fault("fifo", text, row, b.name)


def _check_local_ring(places: Places, row: Row, f: Fifo, b: Buffer) -> None:
    """The library walks one local ring per FIFO by itself, in steps of the FIFO's slot size."""
    first = places.local_rings.setdefault(f.name, b.name)
    if first != b.name:
        text = f"fifo {f.name} is popped into {first} and {b.name}; it has one local ring"
        places.fault("fifo", text, row, b.name)
    elif b.depth > 1 and b.stride != f.slot_bytes:
        text = (
            f"{b.name}: slots of a popped buffer lie {f.slot_bytes} bytes apart, as those of "
            f"fifo {f.name}, not {b.stride}"
        )
        places.fault("fifo", text, row, b.name)


def _check_ref(places: Places, row: Row, ref: Ref, writes: bool) -> None:
    b, memory = places.buffers.get(ref.name), MEMORY_OF[places.target.name]
    if b is None:
        places.fault("place", f"no buffer is called {ref.name}", row)
    elif b.core != row.core:
        text = f"{ref.name} is on the {b.core} core, the row on the {row.core} core"
        places.fault("place", text, row, b.name)
    elif row.pipe in memory and b.space not in memory[row.pipe][writes]:
        verb = "write" if writes else "read"
        places.fault("pipe", f"{row.pipe} does not {verb} {b.space} ({ref.name})", row, b.name)


def check_own_overlap(
    places: Places, row: Row, tiles: Tiles, resolve: Callable[[Expr], Expr]
) -> None:
    """What a row writes shares no byte with what it reads, unless it goes element by element
    over one tile; a scratch tile shares none with anything (docs/machine.md 12)."""
    pairs = [(w, r, k) for w in tiles.written for k, r in enumerate(tiles.read)]
    if tiles.out is not None and tiles.scratch is not None:
        pairs.append((tiles.out, tiles.scratch, ABSENT))
    for w, r, k in pairs:
        x, y = places.buffers[w.name], places.buffers[r.name]
        if (x.core, x.space) != (y.core, y.space):
            continue
        in_place = w is tiles.out and k != ABSENT and _elementwise(places, row, tiles.read, k)
        alike = (x.type, x.layout) == (y.type, y.layout)
        for a, b in _slot_pairs(places, w, r, resolve):
            here, there = places.slot_ranges[a], places.slot_ranges[b]
            if set(here).isdisjoint(there) or (in_place and alike and here == there):
                continue
            verb = "uses" if k == ABSENT else "reads"
            names = f"{places.slot_name[a]} over {places.slot_name[b]}"
            text = f"{row.op} writes {names}, which the same row {verb}"
            places.fault("overlap", text, row, x.name)
            break


def _elementwise(places: Places, row: Row, read: tuple[Ref, ...], k: int) -> bool:
    """Operand ``k`` may be the tile that the row writes."""
    kind = OPS[row.op].kind
    if row.op in OVERWRITING:
        return False
    if row.op == "matmul":
        return k == 2
    if kind != "binary":
        return kind == "unary"
    out, other = places.buffers[read[0].name].type, places.buffers[read[k].name].type
    return k == 0 or form_of((out.rows, out.cols), (other.rows, other.cols)) == "tile"


def _slot_pairs(
    places: Places, w: Ref, r: Ref, resolve: Callable[[Expr], Expr]
) -> Iterator[tuple[int, int]]:
    """The slots that two operands of a row may be in at one time."""
    m, n = places.buffers[w.name].depth, places.buffers[r.name].depth
    at = resolve(w.index or Const(0))
    apart = distance(resolve(r.index or Const(0)), at)
    for a in [int(at.value)] if isinstance(at, Const) else range(lcm(m, n)):
        for b in range(n) if not isinstance(apart, int) else ((a + apart) % n,):
            yield places.slots[w.name, a % m], places.slots[r.name, b]
