"""What each row of a scheduled program takes, by the cost table of its target.

In: a row.  Out: ``Cost``: for how long it keeps the next row of its pipe from starting, how long
its result takes, and the bytes that it moves to or from a tensor.  The figures, with their sources,
are those of ``pto/targets``.  Non-goals: when a row runs (``lowering/simulate/machine.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from pto.ir import Kernel, Ref, Row, Span, View
from pto.ops import OPS, form_of
from pto.targets import GM, Costs, Line
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType


@dataclass(frozen=True, slots=True)
class Cost:
    """Cycles of one row.

    ``occupies``: until the next row of the pipe may start.  ``latency``: until the result is there,
    if the pipe runs empty or a barrier follows; a row that follows directly hides the difference.
    ``tensor_bytes``: moved between a tensor in GM and the core; FIFO rings stay in L2.  ``posted``: the
    result is there before they have all moved.
    """

    occupies: int
    latency: int
    tensor_bytes: int = 0
    posted: bool = False


def cost_of(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """The cycles of ``row``; a partly valid tile counts as a whole one."""
    kind = OPS[row.op].kind
    if kind in ("scalar", "sync") or row.op == "record":
        return Cost(0, 0)
    if kind == "move":
        return _transfer(row, kernel, costs)
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


def _whole(cycles: int, tensor_bytes: int = 0) -> Cost:
    return Cost(cycles, cycles, tensor_bytes)


def _transfer(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """Fixed cycles, then byte after byte, but for every run of neighbours in GM some cycles at least.
    The way of the first byte is hidden behind a transfer that still runs."""
    source, target = row.args[0], row.out
    tile = target if isinstance(target, Ref) else source
    space, t = _tile(tile, kernel)
    left = _tile(source, kernel)[0] if isinstance(source, Ref) else GM
    right = space if isinstance(target, Ref) else GM
    view = next((x for x in (source, target) if isinstance(x, View)), None)
    size = t.size_bytes
    if left == "l0c":
        dtype = kernel.param(view.tensor).dtype if view else t.dtype
        size = t.rows * t.cols * (costs.accumulator_bytes or DTYPE_BYTES[dtype])
    way = left, right
    head, per_byte = costs.transfer[way]
    runs = t.rows if space in _BY_ROW else _runs(view, kernel) if view else 1
    cycles = _along((head, 1), max(per_byte * size, costs.run.get(way, 0) * runs))
    posted = costs.write_back and right == GM
    return Cost(cycles, cycles + costs.flight.get(way, 0), size if view else 0, posted)


_BY_ROW = ("l1", "l0c")
"""Their layout is not that of GM, so that every row is a run of its own."""


def _runs(view: View, kernel: Kernel) -> int:
    """Of neighbours in GM that a region consists of: whole dimensions join those in front of them."""
    dims = kernel.param(view.tensor).shape
    assert dims is not None
    sizes = [item.size if isinstance(item, Span) else 1 for item in view.index]
    whole = len(sizes) - 1
    while whole and sizes[whole] == dims[whole]:
        whole -= 1
    return prod(sizes[:whole])


def _matmul(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """MAD: fixed + r per step of a box by a box of 16 columns; r = 2 for four bytes."""
    _, a = _tile(row.args[0], kernel)
    _, c = _tile(row.out, kernel)
    k_bytes = a.size_bytes // a.rows
    steps = ceil(c.rows / BOX_ROWS) * ceil(k_bytes / UNIT_BYTES) * ceil(c.cols / BOX_ROWS)
    wide = 2 if a.size_bytes // (a.rows * a.cols) == 4 else 1
    return _whole(_along(costs.mad, wide * steps))


def _vector(row: Row, kernel: Kernel, costs: Costs) -> Cost:
    """Start + slope * repeats; the start is hidden behind a row that still runs, but for an op with a
    scratch tile, which has a barrier of its own (docs/machine.md 12)."""
    refs = [a for a in row.args if isinstance(a, Ref)]
    tiles = [_tile(x, kernel)[1] for x in (row.out, *refs)]
    if row.op in costs.reduction:
        t = tiles[1]
        line = costs.reduction[row.op][t.cols > 64]
        return _whole(_along(line, t.rows * t.cols))
    size = max(t.size_bytes for t in tiles)
    if row.op == "copy":
        return _whole(_along(costs.transfer["ub", "ub"], size))
    form = ""
    if OPS[row.op].kind == "binary":
        shapes = [(t.rows, t.cols) for t in tiles]
        form = form_of(shapes[0], shapes[2] if len(shapes) > 2 else None)
    line = costs.vector.get((row.op, form)) or costs.vector[row.op, ""]
    repeats = ceil(size / costs.repeat_bytes)
    if OPS[row.op].scratch:
        return _whole(_along(line, repeats))
    if _same_banks(refs, kernel, costs):
        line = line[0], line[1] * costs.conflict
    head = min(costs.vector_head, line[0])
    return Cost(_along((head, line[1]), repeats), _along(line, repeats))


def _same_banks(refs: Sequence[Ref], kernel: Kernel, costs: Costs) -> bool:
    """Whether two operands of a row begin in the same group of banks, by the first slots of both."""
    first = [kernel.buffer(x.name).at % costs.bank_bytes for x in refs]
    return len(first) == 2 and first[0] == first[1]
