"""The scheduled program in numpy: both cores, slots and FIFOs included, and strict.

In: a scheduled kernel and the bound arrays.  Out: the output arrays by name.
Invariant: each core runs its rows in the order written, for the iterations that their shifts say;
on-chip memories are real bytes, poisoned at the start, so buffers that overlap destroy each other;
a read of a byte that was never written, an access outside a tensor, a store to an input, a FIFO
that blocks forever or is left with tiles in it: each is an error.  A good schedule gives the bits
of ``sequential.py``.
Non-goals: time and the overlap of pipes; ``wait``, ``set``, ``barrier``, ``drain`` and ``fence`` order pipes
and mean nothing here (``hazards/`` proves them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lowering.execute.access import Array, Env, Scope, compiled, span_shape
from lowering.execute.core import NOTHING, Action, Core, Machine, Step
from lowering.execute.folds import folded
from lowering.execute.inputs import Bound
from lowering.execute.memory import Ring
from lowering.execute.sequential import (
    COMPUTE,
    apply,
    convert,
    drained,
    scalar_read,
    unknown_rows,
    writable,
)
from lowering.execute.sums import kept
from pto.arithmetic import Number
from pto.errors import InputError, ScheduleError, ShapeError
from pto.folds import fold_of
from pto.ir import Kernel, Ref, Row, Scalar, View, is_scheduled
from pto.row_rules import filled, touched
from pto.targets import target_of
from pto.text import statement

FINISHED = object()

# ------------------------------------------------------------------------------------- rules


def _computed(core: Core, row: Row) -> Step:
    """Arithmetic: the same ``apply`` as in the traced program, on slots; what a matmul adds to is
    read only when it is added."""
    _, writes = touched(row)
    read = {a: core.operand(row, a) for a in row.args}
    pick, *scratch = (core.pick(x) for x in writes if isinstance(x, Ref))

    def issue(scope: Scope) -> Action:
        out, spoiled = pick(scope), [slot(scope) for slot in scratch]

        def fetch() -> Array:
            reads, _ = touched(row, lambda test: bool(read[test](scope)))
            return apply(row, out.buffer.type, [read[a](scope) for a in reads])

        def commit(result: Array) -> None:
            for slot in spoiled:
                slot.poison()
            out.put(result)

        return Action(fetch, commit)

    return Step(issue)


def _pad(core: Core, row: Row) -> Step:
    """The one op that may read a partly written slot: only its inside counts."""
    pick, pick_out = core.pick(row.operand(Ref)), core.pick(row.result(Ref))
    rows, cols = (core.operand(row, a) for a in row.args[1:])

    def issue(scope: Scope) -> Action:
        slot, target = pick(scope), pick_out(scope)
        r, c = int(rows(scope)), int(cols(scope))

        def fetch() -> Array:
            seen = slot.written[: max(r, 0), : max(c, 0) * slot.values.itemsize]
            if not seen.all():
                raise core.uninitialised(row, slot, seen, scope)
            return apply(row, target.buffer.type, [slot.values, r, c])

        return Action(fetch, target.put)

    return Step(issue)


def _load(core: Core, row: Row) -> Step:
    """What a partial load does not fill with zero is poison from then on: a device has anything there."""
    out, view = row.result(Ref), row.operand(View)
    pick, locate, shape = core.pick(out), core.locate(row, view), span_shape(view)
    tensor = core.machine.tensors[view.tensor]
    zeros, column = (
        filled(row),
        len(shape) == 1 and core.machine.kernel.buffer(out.name).type.rows > 1,
    )
    dims = ("rows",) if column else ("rows", "cols")[-len(shape) :]

    def issue(scope: Scope) -> Action:
        slot, region = pick(scope), locate(scope)

        def commit(tile: Array) -> None:
            if not region.whole:
                slot.poison()
                if zeros:
                    here = zip(dims, region.inside, strict=True)
                    filled_part = tuple(slice(None) if d in zeros else s for d, s in here)
                    slot.values.reshape(shape)[filled_part] = 0
            if not region.empty:
                slot.values.reshape(shape)[region.inside] = tile
            slot.written[...] = True

        return Action(lambda: None if region.empty else tensor[region.where], commit)

    _check_elements(core, row, out, shape)
    return Step(issue)


def _gather(core: Core, row: Row) -> Step:
    """Regions one below the other; what does not exist is zero."""
    out, views = row.result(Ref), [a for a in row.args if isinstance(a, View)]
    pick, places = core.pick(out), [(core.locate(row, v), span_shape(v), v.tensor) for v in views]

    def issue(scope: Scope) -> Action:
        slot, regions = pick(scope), [locate(scope) for locate, *_ in places]

        def fetch() -> list[Array]:
            found = []
            for region, (_, shape, tensor) in zip(regions, places, strict=True):
                part = np.zeros(shape, slot.values.dtype)
                if not region.empty:
                    part[region.inside] = core.machine.tensors[tensor][region.where]
                found.append(part.reshape(-1, slot.values.shape[1]))
            return found

        def commit(parts: list[Array]) -> None:
            slot.values[...] = np.concatenate(parts)
            slot.written[...] = True

        return Action(fetch, commit)

    return Step(issue)


def _check_elements(core: Core, row: Row, ref: Ref, shape: tuple[int, ...]) -> None:
    kind = core.machine.kernel.buffer(ref.name).type
    if int(np.prod(shape)) != kind.rows * kind.cols:
        message = f"{statement(row, core.machine.kernel)}: the view has {list(shape)} elements"
        raise ShapeError(f"{message}, but {ref.name} holds {kind}", row.loc)


def _store(core: Core, row: Row) -> Step:
    view, source = writable(core.machine.kernel, row), row.operand(Ref)
    target, dtype = core.machine.written[view.tensor], core.machine.kernel.param(view.tensor).dtype
    locate, shape, pick = core.locate(row, view), span_shape(view), core.pick(source)
    keep = target.add if row.adds else target.put
    scales = [compiled(a) for a in row.scales]
    _check_elements(core, row, source, shape)

    def issue(scope: Scope) -> Action:
        region, slot = locate(scope), pick(scope)
        numbers = [scale(scope) for scale in scales]

        def fetch() -> Array | None:
            if region.empty:
                return None
            seen = slot.written.reshape(*shape, -1)[region.inside]
            if not seen.all():
                raise core.uninitialised(row, slot, slot.written, scope)
            tile = slot.values
            for scale in numbers:
                tile = drained(tile, dtype, scale)
            return convert(tile, dtype).reshape(shape)[region.inside]

        def commit(tile: Array | None) -> None:
            if tile is not None:
                keep(region.where, tile)

        return Action(fetch, commit)

    return Step(issue)


def _move(core: Core, row: Row) -> Step:
    pick, read = core.pick(row.result(Ref)), core.reader(row, row.operand(Ref))

    def issue(scope: Scope) -> Action:
        out = pick(scope)

        def fetch() -> Array:
            tile = read(scope)
            if tile.shape != out.values.shape or tile.dtype != out.values.dtype:
                message = f"{statement(row, core.machine.kernel)}: {list(tile.shape)} {tile.dtype}"
                raise ShapeError(f"{message} does not fit {out.buffer.type}", row.loc)
            return tile

        return Action(fetch, out.put)

    return Step(issue)


def _push(core: Core, row: Row) -> Step:
    """Writes a FIFO slot; ``push`` also records it, ``push_data`` leaves that to a later row."""
    ring, source = core.machine.rings[row.queue], row.operand(Ref)
    read, end, records = core.reader(row, source), core.lane, row.op == "push"
    window = _window(core, row, source, ring)

    def issue(scope: Scope) -> Action:
        part = ring.part(ring.pushed[end], window)
        ring.pushed[end] += 1
        if records:
            ring.recorded[end] = ring.pushed[end]

        def commit(tile: Array) -> None:
            part[...] = tile

        return Action(lambda: convert(read(scope), ring.fifo.type.dtype), commit)

    return Step(issue, lambda: ring.may_push(end))


def _record(core: Core, row: Row) -> Step:
    ring, end = core.machine.rings[row.queue], core.lane

    def issue(scope: Scope) -> Action:
        if ring.recorded[end] >= ring.pushed[end]:
            message = f"{core}: record {ring.fifo.name} without a push before it"
            raise ScheduleError(message, row.loc)
        ring.recorded[end] += 1
        return Action(lambda: None, lambda nothing: None)

    return Step(issue, lambda: True)


def _pop(core: Core, row: Row) -> Step:
    ring, out = core.machine.rings[row.queue], row.result(Ref)
    pick, end = core.pick(out), core.lane
    window = _window(core, row, out, ring)

    def issue(scope: Scope) -> Action:
        part = ring.part(ring.popped[end], window)
        ring.popped[end] += 1
        return Action(lambda: part, pick(scope).put)

    return Step(issue, lambda: ring.may_pop(end))


def _window(core: Core, row: Row, ref: Ref, ring: Ring) -> tuple[slice, slice]:
    """What of a slot this side of the FIFO has: all, or on the vector core its lane's part."""
    kind, whole = core.machine.kernel.buffer(ref.name).type, ring.fifo.type
    together = kind.of_all(core.machine.target.lanes) if core.name == "vector" else kind
    if together != whole:
        message = f"{statement(row, core.machine.kernel)}: {ref.name} holds {kind}"
        raise ShapeError(f"{message}, but {ring.fifo.name} holds {whole}", row.loc)
    return ring.window(core.lane, kind.rows, kind.cols)


def _read(core: Core, row: Row) -> Step:
    view = row.operand(View)
    value = scalar_read(core.locate(row, view), core.machine.tensors[view.tensor])
    return _scalar(value, row.result(Scalar).name)


def _fold(core: Core, row: Row) -> Step:
    def entry(view: View) -> Callable[[Env], Number]:
        return scalar_read(core.locate(row, view), core.machine.tensors[view.tensor])

    return _scalar(folded(fold_of(row), entry), row.result(Scalar).name)


def _let(core: Core, row: Row) -> Step:
    return _scalar(compiled(row.scalar()), row.result(Scalar).name)


def _scalar(value: Callable[[Scope], Any], name: str) -> Step:
    def issue(scope: Scope) -> Action:
        return Action(lambda: value(scope), lambda number: scope.__setitem__(name, number))

    return Step(issue)


def _order(core: Core, row: Row) -> Step:
    """Orders pipes: nothing to do where rows run one after the other."""
    return NOTHING


RULES: Mapping[str, Callable[[Core, Row], Step]] = {
    **dict.fromkeys(COMPUTE, _computed),
    "pad": _pad,
    "load": _load,
    "gather": _gather,
    "store": _store,
    "move": _move,
    "push": _push,
    "push_data": _push,
    "record": _record,
    "pop": _pop,
    "read": _read,
    "fold": _fold,
    "let": _let,
    **dict.fromkeys(("sync", "barrier", "drain", "fence"), _order),
}
"""What each op does on a core."""

# --------------------------------------------------------------------------------------- run


def run(kernel: Kernel, bound: Bound, *, block_num: int | None = None) -> dict[str, Array]:
    """The outputs of a scheduled kernel on ``block_num`` hardware blocks (default: the target's).

    Blocks run one after the other, the cores of a block in turns, each until it has to wait.

    Raises:
        MemoryAccessError: an uninitialised read, an access outside a tensor, a store to an input.
        ScheduleError: cores that wait for each other forever, or a FIFO that is not emptied.
        NumberError: a scalar without a value (use ``validate`` first for the rest of the contents).
    """
    if not is_scheduled(kernel):
        raise InputError(f"{kernel.name} is not scheduled: no row has a core")
    for row in unknown_rows(kernel, RULES):
        raise InputError(f"unknown op '{row.op}'", row.loc)
    outputs = bound.outputs()
    machine, cores = block_of(kernel, {**bound.arrays, **outputs})
    blocks = machine.target.block_num if block_num is None else block_num
    with np.errstate(all="ignore"):
        for block_idx in range(blocks):
            _run_block(machine, cores, {**bound.names, "block_idx": block_idx, "block_num": blocks})
    return outputs


def block_of(kernel: Kernel, tensors: Mapping[str, Array]) -> tuple[Machine, list[Core]]:
    """What the cores of a hardware block share, and the cores: the cube and every vector lane."""
    target = target_of(kernel)
    rings = {f.name: Ring(f, target) for f in kernel.fifos}
    machine = Machine(kernel, target, tensors, kept(kernel, tensors), rings, RULES)
    lanes = [Core(machine, "vector", lane) for lane in range(target.lanes)]
    return machine, [Core(machine, "cube", 0), *lanes]


def _run_block(machine: Machine, cores: list[Core], names: Mapping[str, Any]) -> None:
    """Runs the cores of one block until all have finished."""
    for ring in machine.rings.values():
        ring.reset()
    running = [(core, core.start(names)) for core in cores]
    while running:
        before = machine.progress
        still = [(core, it) for core, it in running if next(it, FINISHED) is not FINISHED]
        if len(still) == len(running) and machine.progress == before:
            raise _deadlock(machine, [core for core, _ in still])
        running = still
    for ring in machine.rings.values():
        if min(ring.popped) != max(ring.pushed) or min(ring.pushed) != max(ring.pushed):
            raise ScheduleError(f"the program ends with tiles left in a FIFO: {ring}")


def _deadlock(machine: Machine, cores: list[Core]) -> ScheduleError:
    lines = [
        f"  {core} waits at: {statement(core.blocked, machine.kernel)}"
        for core in cores
        if core.blocked is not None
    ]
    rings = [f"  {ring}" for ring in machine.rings.values()]
    return ScheduleError("\n".join(["the cores wait for each other forever", *lines, *rings]))
