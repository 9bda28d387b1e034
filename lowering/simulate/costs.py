"""What each row of a scheduled program takes, by the cost table of its target.

In: a row.  Out: ``Cost``: for how long it keeps the next row of its pipe from starting, how long
its result takes, and the bytes that it moves to or from a tensor.  The figures, with their sources,
are those of ``pto/targets``.  Non-goals: when a row runs (``lowering/simulate/machine.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, gcd, prod
from types import MappingProxyType

from pto.ir import Kernel, Ref, Row, Span, View, as_span
from pto.ops import OPS, form_of
from pto.row_rules import filled, touched
from pto.targets import GM, Costs, Line
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType, is_pairs
from pto.views import rows_together


@dataclass(frozen=True, slots=True)
class Cost:
    """Cycles of one row.

    ``occupies``: until the next row of the pipe may start.  ``latency``: until the result is there,
    if the pipe runs empty or a barrier follows; a row that follows directly hides the difference.
    ``tensor_bytes``: moved between a tensor in GM and the core; FIFO rings stay in L2.  ``asked_bytes``:
    how many HBM could move meanwhile.  ``posted``: the pipe is through before they have all moved.  ``zeros``:
    to fill the tile first, in the trips in which it is partial.
    """

    occupies: int
    latency: int
    tensor_bytes: int = 0
    asked_bytes: float = 0
    posted: bool = False
    zeros: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """How cores share what a row moves: the part of it that L2 has, and how many load it at once."""

    hits: float = 0
    readers: float = 1


ALONE = Shared()


def cost_of(row: Row, kernel: Kernel, costs: Costs, shared: Shared = ALONE) -> Cost:
    """The cycles of ``row``; a partly valid tile counts as a whole one."""
    kind = OPS[row.op].kind
    if kind in ("scalar", "sync", "debug") or row.op == "record":
        return Cost(0, 0)
    if kind == "move":
        return _transfer(row, kernel, costs, shared)
    if row.op == "matmul":
        return _matmul(row, kernel, costs)
    return _vector(row, kernel, costs)


def _tile(x: object, kernel: Kernel) -> tuple[str, TileType]:
    assert isinstance(x, Ref)
    buffer = kernel.buffer(x.name)
    return buffer.space, buffer.type


def _along(line: Line, units: float) -> int:
    """Cycles of ``units``, the fixed ones included; a hair of rounding does not make one more."""
    return ceil(line[0] + line[1] * units - 1e-6)


def _whole(cycles: int) -> Cost:
    return Cost(cycles, cycles)


def view_of(row: Row) -> View | None:
    """The region of a tensor that a load or a store moves; none of a row that only meets a FIFO."""
    kind = OPS[row.op].kind
    views = (x for x in (*row.args[:1], row.out) if isinstance(x, View))
    return next(views, None) if kind == "move" else None


def moved_bytes(row: Row, kernel: Kernel, accumulator_bytes: int = 0) -> int:
    """What a transfer moves; an element of L0C counts ``accumulator_bytes`` (0: as many as it has where it
    goes to)."""
    source, view = row.args[0], view_of(row)
    whole = isinstance(source, Ref) and row.op != "part"
    space, t = _tile(source if whole else row.out, kernel)
    if space != "l0c":
        return t.size_bytes
    dtype = kernel.param(view.tensor).dtype if view else t.dtype
    return t.rows * t.cols * (accumulator_bytes or DTYPE_BYTES[dtype])


def _transfer(row: Row, kernel: Kernel, costs: Costs, shared: Shared) -> Cost:
    """Fixed cycles, then byte after byte, but for every run of neighbours in GM some cycles at least.
    The way of the first byte is hidden behind a transfer that still runs."""
    source, target, view = row.args[0], row.out, view_of(row)
    space, t = _tile(target if isinstance(target, Ref) else source, kernel)
    left = _tile(source, kernel)[0] if isinstance(source, Ref) else GM
    way = left, space if isinstance(target, Ref) else GM
    size = asked = moved_bytes(row, kernel, costs.accumulator_bytes)
    head, per_byte = costs.transfer[way]
    head *= _copies(row, view, t, kernel)
    by_row = space in _BY_ROW and not is_pairs(t)
    runs = t.rows if by_row else _runs(view, kernel) if view else 1
    runs *= 1 if by_row or row.op != "gather" else len(row.args)
    flight = shared.hits * costs.near.get(way, 0) + (1 - shared.hits) * costs.flight.get(way, 0)
    least = [costs.run.get(way, 0) * runs]
    if view and left == GM and costs.granule_bytes:
        asked = round(size * _overhang(size // runs, _pitch(view, kernel), costs.granule_bytes))
        pieces = runs * ceil(size // runs / costs.granule_bytes)
        least.append(pieces * flight / costs.in_flight)
        least.append(asked / costs.granule_bytes * costs.granule_cycles * shared.readers)
    cycles = _along((head, 1), max(per_byte * asked, *least))
    posted = costs.write_back and way[1] == GM
    late = cycles + round(flight)
    if not view:
        return Cost(cycles, late)
    zeros = _zeros(row, view, size, costs)
    return Cost(cycles, late, size, _share(asked, shared, costs), posted, zeros)


def _copies(row: Row, view: View | None, t: TileType, kernel: Kernel) -> int:
    """What a transfer is made of: one for every region, and for every part of rows equally far apart."""
    if row.op == "gather":
        return len(row.args)
    shape = kernel.param(view.tensor).shape if view else None
    return t.rows // rows_together(view, shape, t.rows, t.cols) if view and shape else 1


def _share(size: int, shared: Shared, costs: Costs) -> float:
    """Bytes as many as HBM moves while the memory does: what L2 has comes at the rate of L2."""
    return size * (1 - shared.hits * (1 - costs.hbm_bytes_per_second / costs.l2_bytes_per_second))


def _zeros(row: Row, view: View, size: int, costs: Costs) -> int:
    """Of a load that may be partial and fills what it does not find: the whole tile, whatever part it is."""
    views = [a for a in row.args if isinstance(a, View)]
    partial = any(s.valid is not None for v in views for s in v.spans)
    fills = row.op == "gather" or (row.op == "load" and bool(filled(row)))
    return ceil(costs.zeros * size) if partial and fills else 0


_BY_ROW = ("l1", "l0c")
"""Their layout is not that of GM, so that every row is a run of its own, but for scales, which lie as they do there."""


def _runs(view: View, kernel: Kernel) -> int:
    """Of neighbours in GM that a region consists of: whole dimensions join those in front of them."""
    sizes = [item.size if isinstance(item, Span) else 1 for item in view.index]
    return prod(sizes[: _joined(view, kernel)])


def _joined(view: View, kernel: Kernel) -> int:
    """The dimension from which on the elements of a region are neighbours."""
    dims = kernel.param(view.tensor).shape
    assert dims is not None
    whole = len(dims) - 1
    while whole and isinstance(item := view.index[whole], Span) and item.size == dims[whole]:
        whole -= 1
    return whole


def _pitch(view: View, kernel: Kernel) -> int:
    """Bytes from one run to the next; 0 if there is none, or if only a call knows them."""
    param, first = kernel.param(view.tensor), _joined(view, kernel)
    assert param.shape is not None
    known = [d for d in param.shape[first:] if isinstance(d, int)]
    if not first or len(known) < len(param.shape) - first:
        return 0
    return prod(known) * as_span(view.index[first - 1]).step * DTYPE_BYTES[param.dtype]


def _overhang(run: int, pitch: int, granule: int) -> float:
    """How much more than its own size a run of bytes takes in whole granules: it begins at any multiple of
    what divides its size and the pitch, and in a granule of its own it takes no more than it is."""
    step = gcd(run, pitch, granule)
    met = [ceil((at + run) / granule) for at in range(0, granule, step)]
    return sum(met) / len(met) / ceil(run / granule)


def _matmul(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """MAD: fixed + r per step of a box by a box of 16 columns; r = 2 for four bytes."""
    _, a = _tile(row.args[0], kernel)
    _, c = _tile(row.out, kernel)
    k_bytes = a.size_bytes // a.rows
    steps = ceil(c.rows / BOX_ROWS) * ceil(k_bytes / UNIT_BYTES) * ceil(c.cols / BOX_ROWS)
    wide = 2 if a.size_bytes // (a.rows * a.cols) == 4 else 1
    cycles = _along(costs.mad, wide * steps)
    return Cost(cycles, max(cycles, costs.mad_flight + wide * steps))


def _vector(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """Start + slope * repeats; the start is hidden behind a row that still runs, but for an op with a
    scratch tile, which has a barrier of its own (docs/machine.md 12)."""
    refs = [a for a in touched(row)[0] if isinstance(a, Ref)]
    tiles = [_tile(x, kernel)[1] for x in (row.out, *refs)]
    if row.op in costs.reduction:
        t = tiles[1]
        line = costs.reduction[row.op][t.cols > 64]
        return _whole(_along(line, t.rows * t.cols))
    if OPS[row.op].along == "rows":
        t = tiles[1]
        repeats = ceil(t.size_bytes / t.rows / costs.repeat_bytes)
        return _whole(t.rows * _along(costs.column_reduction, repeats))
    size = max(t.size_bytes for t in tiles)
    if row.op in COPIES:
        head, per_byte = costs.transfer["ub", "ub"]
        count, moved = COPIES[row.op](row, tiles)
        return _whole(_along((head * count, per_byte), moved))
    form = ""
    if OPS[row.op].kind == "binary":
        shapes = [(t.rows, t.cols) for t in tiles]
        form = form_of(shapes[0], shapes[2] if len(shapes) > 2 else None)
    line = costs.vector.get((row.op, form)) or costs.vector[row.op, ""]
    if row.op in SEVERAL:
        count, moved = SEVERAL[row.op](tiles[0], tiles[1], costs.repeat_bytes)
        return _whole(ceil(line[0] * count + line[1] * moved))
    repeats = ceil(size / costs.repeat_bytes)
    if OPS[row.op].scratch:
        return _whole(_along(line, repeats))
    if _banks_meet(row, refs, kernel):
        line = line[0], line[1] * costs.conflict
    head = min(costs.vector_head, line[0])
    return Cost(_along((head, line[1]), repeats), _along(line, repeats))


def _put(row: Row, tiles: Sequence[TileType]) -> tuple[int, int]:
    """Of two tiles, where the result does not lie over the first."""
    _, x, y = tiles
    return (1, y.size_bytes) if row.out == row.args[0] else (2, x.size_bytes + y.size_bytes)


COPIES: Mapping[str, Callable[[Row, Sequence[TileType]], tuple[int, int]]] = MappingProxyType(
    {
        "copy": lambda row, tiles: (1, tiles[0].size_bytes),
        "concat": lambda row, tiles: (len(tiles) - 1, tiles[0].size_bytes),
        "put": _put,
    }
)
"""Ops that copy within UB -> of a row and its tiles, the result first: instructions, and bytes."""

Work = tuple[int, int]
"""Instructions, and their repeats."""
PAIR_BYTES, RUN, MOST_RUNS = 8, 32, 4
"""docs/machine.md 12: a value and its number, so many in a run that TSORT32 makes, so many runs in a merge."""


def _sorting(out: TileType, x: TileType, repeat_bytes: int) -> Work:
    """Row by row: the runs, merges by way of scratch, the numbers."""
    runs, run = ceil(x.cols / RUN), RUN
    count, moved = (
        2,
        ceil(x.cols * PAIR_BYTES / repeat_bytes) + ceil(out.cols * PAIR_BYTES / repeat_bytes),
    )
    while runs > 1:
        pairs = min(x.cols, runs * min(run, out.cols))
        runs, run = ceil(runs / MOST_RUNS), run * MOST_RUNS
        count += 2 * runs
        moved += 2 * ceil(pairs * PAIR_BYTES / repeat_bytes)
    return x.rows * count, x.rows * moved


def _taking(out: TileType, x: TileType, repeat_bytes: int) -> Work:
    """Row by row: addresses, then elements."""
    return 2 * out.rows, 2 * out.rows * ceil(out.cols * DTYPE_BYTES[out.dtype] / repeat_bytes)


def _summing(out: TileType, x: TileType, repeat_bytes: int) -> Work:
    """Transposes, an instruction for every column of boxes of 32 bytes and a copy; then rounds of an addition and
    a copy, which are a tile together."""
    tile, unit = ceil(x.size_bytes / repeat_bytes), UNIT_BYTES // DTYPE_BYTES[x.dtype]
    rounds = (x.cols - 1).bit_length()
    turns = ceil(x.cols / unit) + ceil(x.rows / unit) + 2
    return turns + 2 * rounds, (4 + rounds) * tile


def _turning(out: TileType, x: TileType, repeat_bytes: int) -> Work:
    """An instruction for every column of boxes of 32 bytes, and a copy; of one row or column the copy."""
    tile, unit = ceil(x.size_bytes / repeat_bytes), UNIT_BYTES // DTYPE_BYTES[x.dtype]
    return (1, tile) if 1 in (x.rows, x.cols) else (ceil(x.cols / unit) + 1, 2 * tile)


SEVERAL: Mapping[str, Callable[[TileType, TileType, int], Work]] = MappingProxyType(
    {"largest": _sorting, "take": _taking, "cumsum": _summing, "transpose": _turning}
)
"""Ops of several instructions: what they are, by the types of the result and the first operand."""

BANKS, BANK_BYTES = 512, 1 << 16
"""One row of all groups of banks of UB; each has a bank in every 64 KiB (docs/machine.md 11.5)."""


def _banks_meet(row: Row, refs: Sequence[Ref], kernel: Kernel) -> bool:
    """Whether a repeat of two whole operands meets itself or the one before in a bank, by the first slots.

    A repeat takes half of the groups from where it begins, the next one the other half.  It reads both
    operands at once, whose halves must not share a group, and the repeat before writes meanwhile, of which
    no half may share a bank.
    """
    if len(refs) != 2 or len({kernel.buffer(x.name).type.size_bytes for x in refs}) > 1:
        return False
    assert isinstance(row.out, Ref)
    a, b, out = (kernel.buffer(x.name).at for x in (*refs, row.out))
    written = [x for x in (a, b) if x // BANK_BYTES == out // BANK_BYTES and (x - out) % BANKS]
    return (a - b) % BANKS != BANKS // 2 or bool(written)
