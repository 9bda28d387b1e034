"""The memories of the scheduled program in numpy: real bytes, poisoned, and FIFO rings.

In: buffers and FIFOs of a scheduled kernel.  Out: their slots as windows on bytes, which remember
what was written.  Invariant: buffers that overlap destroy each other, as on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowering.execute.access import DTYPES, Array
from pto.errors import CapacityError, ScheduleError
from pto.ir import Buffer, Fifo
from pto.targets import Target

POISON = 0xFF
"""Every byte at the start: NaN as f32, f16 and bf16, -1 as i32."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One ring slot: its elements, and for each of their bytes whether it was written."""

    label: str
    buffer: Buffer
    values: Array
    written: Array

    def put(self, tile: Array) -> None:
        self.values[...] = tile
        self.written[...] = True

    def poison(self) -> None:
        self.values.view(np.uint8)[...] = POISON
        self.written[...] = False


class Memory:
    """One on-chip memory of one core: bytes, and which of them were written."""

    def __init__(self, capacity: int) -> None:
        self.bytes = np.full(capacity, POISON, np.uint8)
        self.written = np.zeros(capacity, bool)
        self.top = 0

    def slots(self, b: Buffer) -> list[Slot]:
        """The ring slots of ``b``, as windows on these bytes.

        Raises:
            CapacityError: when the buffer does not end inside the memory.
        """
        kind, found = b.type, []
        for k in range(b.depth):
            lo = b.at + k * b.stride
            hi = lo + kind.size_bytes
            if lo < 0 or hi > len(self.bytes):
                message = f"{b.name}[{k}] lies at {lo} .. {hi}"
                raise CapacityError(f"{message}, but {b.space} has {len(self.bytes)} bytes")
            self.top = max(self.top, hi)
            values = self.bytes[lo:hi].view(DTYPES[kind.dtype]).reshape(kind.rows, kind.cols)
            written = self.written[lo:hi].reshape(kind.rows, -1)
            found.append(Slot(f"{b.name}[{k}]", b, values, written))
        return found

    def reset(self) -> None:
        self.bytes[: self.top] = POISON
        self.written[: self.top] = False


class Ring:
    """A FIFO: ``depth`` slots in GM, and the counts of both ends (one per lane on the vector core).

    A push that takes a credit (``pto/targets``) needs as many pops as the credits so far stand
    for.
    """

    def __init__(self, fifo: Fifo, target: Target) -> None:
        self.fifo = fifo
        self.credits = target.credits(fifo)
        self.values = np.empty(
            (fifo.depth, fifo.type.rows, fifo.type.cols), DTYPES[fifo.type.dtype]
        )
        ends = (1, target.lanes) if fifo.direction == "c2v" else (target.lanes, 1)
        self.pushed, self.recorded = [0] * ends[0], [0] * ends[0]
        self.popped = [0] * ends[1]

    def reset(self) -> None:
        self.values.reshape(-1).view(np.uint8)[:] = POISON
        for counts in (self.pushed, self.recorded, self.popped):
            counts[:] = [0] * len(counts)

    def may_push(self, end: int) -> bool:
        k, depth = self.pushed[end], self.fifo.depth
        if not self.fifo.credit:
            if k - min(self.popped) >= depth:
                message = f"push {k} overwrites a tile that was not popped: {self}"
                raise ScheduleError(f"{self.fifo.name} has no credit, and {message}")
            return True
        enough = k - depth + self.credits.period
        return not self.credits.taken_by_push(k) or min(self.popped) >= enough

    def may_pop(self, end: int) -> bool:
        told = self.recorded if self.fifo.signal else self.pushed
        return min(told) > self.popped[end]

    def window(self, end: int, rows: int, cols: int) -> tuple[slice, slice]:
        """Where in a slot an end with tiles of that size has its own: all of it, or its lane's part."""
        whole = self.fifo.type
        row = end * rows if rows < whole.rows else 0
        col = end * cols if cols < whole.cols else 0
        return slice(row, row + rows), slice(col, col + cols)

    def part(self, number: int, window: tuple[slice, slice]) -> Array:
        """What an end sees of tile ``number``."""
        whole: Array = self.values[number % self.fifo.depth]
        return whole[window]

    def __str__(self) -> str:
        counts = f"{self.recorded} recorded, {self.popped} popped"
        return f"{self.fifo.name} [{self.fifo.depth}]: {self.pushed} pushed, {counts}"
