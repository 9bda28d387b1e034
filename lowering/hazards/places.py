"""Where a scheduled kernel puts things, as integers: pipes, bytes, FIFO slots, flags.

In: the placement of a ``Kernel``.  Out: ``Places``: a *byte range* is one that no slot splits further,
so memory is judged by its bytes; a flag is its (core, src, dst, id).  What is wrong with the placement
alone is in ``faults``.  Non-goals: rows, order.
"""

from __future__ import annotations

from dataclasses import dataclass

from lowering.hazards.assumptions import DESTINATION_FLAGS, SOURCE_FLAGS, UNORDERED_STARTS
from lowering.hazards.operands import tiles_of
from pto.ir import (
    CORES,
    Buffer,
    Event,
    Fifo,
    Kernel,
    Row,
    Word,
    all_rows,
)
from pto.targets import target_of
from pto.types import BOX_ROWS, BOXED, UNIT_BYTES

SPACES_OF = {"a2a3": {"cube": ("l1", "l0a", "l0b", "l0c", "fb"), "vector": ("ub",)}}
MEMORY_OF = {
    "a2a3": {  # docs/machine.md 3.1 and 6.1
        "MTE2": ((), ("l1", "ub")),
        "MTE1": (("l1",), ("l0a", "l0b")),
        "M": (("l0a", "l0b", "l0c"), ("l0c",)),
        "FIX": (("l0c", "l1", "fb"), ("l1", "fb")),
        "MTE3": (("ub", "l1"), ()),
        "V": (("ub",), ("ub",)),
    }
}
"""Target -> core -> its memories; target -> pipe -> on-chip memories it reads, and writes: the proof
judges who made the rows by ``pto/targets``."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong that no execution is needed to see; ``open``: or only not shown to be right."""

    kind: str
    text: str
    row: Row | None = None
    other: Row | None = None
    buffer: str = ""
    open: bool = False


@dataclass(frozen=True, slots=True)
class Flagged:
    """One physical flag."""

    src: int
    dst: int
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from ``low`` to ``high`` that no slot splits further; of a FIFO, ``core`` is its name."""

    space: str
    core: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Ring:
    """A FIFO: producer side and consumer side, and its slots as byte ranges."""

    fifo: Fifo
    period: int
    first_range: int


def footprint(b: Buffer) -> int:
    """Bytes of one slot: whole boxes where the layout has boxes (docs/machine.md 2.3, 2.4)."""
    unit = b.type.size_bytes // max(b.type.rows * b.type.cols, 1)
    rows, cols = b.type.rows, b.type.cols
    if b.layout not in BOXED:
        return b.type.size_bytes
    wide = BOX_ROWS if b.space == "l0c" else UNIT_BYTES // unit
    tall, broad = (wide, BOX_ROWS) if b.layout == "zn" else (BOX_ROWS, wide)
    return -(-rows // tall) * tall * -(-cols // broad) * broad * unit


class Places:
    """Pipes, byte ranges, slots, rings and flags of a kernel by number."""

    def __init__(self, kernel: Kernel, assume: frozenset[str] = frozenset()) -> None:
        self.kernel, self.target, self.assume = kernel, target_of(kernel), assume
        self.faults: list[Fault] = []
        self.buffers = {b.name: b for b in kernel.buffers}
        self.fifos = {f.name: f for f in kernel.fifos}
        self.events = {e.name: e for e in kernel.events}
        self.local_rings: dict[str, str] = {}
        self.pushed: dict[str, str] = {}
        """FIFO -> what a lane pushes of a slot."""
        self._number_pipes()
        self._number_ranges()
        self._number_rings()
        self._number_flags()
        self._check_placement()

    # numbering

    def _number_pipes(self) -> None:
        used = {("cube", "S"), ("vector", "S")}
        for r in all_rows(self.kernel.body):
            if r.pipe and r.pipe != "ALL":
                used.add((r.core, r.pipe))
            if r.op == "drain":
                used.update((r.core, a.name) for a in r.args if isinstance(a, Word))
        for e in self.kernel.events:
            used |= {(e.core, e.src), (e.core, e.dst)}
        order = sorted(
            used, key=lambda p: (CORES.index(p[0]) if p[0] in CORES else 2, p[1] != "S", p[1])
        )
        self.pipes = [p for p in order if p[0] in CORES]
        self.pipe_number = {p: k for k, p in enumerate(self.pipes)}
        self.core_pipes = [[k for k, p in enumerate(self.pipes) if p[0] == core] for core in CORES]
        self.scalar_pipe = [self.pipe_number[core, "S"] for core in CORES]
        self.core_of = [CORES.index(p[0]) for p in self.pipes]

    def _number_ranges(self) -> None:
        self.ranges: list[ByteRange] = []
        self.slots: dict[tuple[str, int], int] = {}
        self.slot_ranges: list[tuple[int, ...]] = []
        self.slot_name: list[str] = []
        self.slot_buffer: list[str] = []
        spaces: dict[tuple[str, str], list[Buffer]] = {}
        for b in self.kernel.buffers:
            spaces.setdefault((b.core, b.space), []).append(b)
        for (core, space), buffers in spaces.items():
            self._number_space(core, space, buffers)
        self.spoiled: dict[int, int] = {}
        spoiled = self._spoiled_buffers()
        for (name, _), slot in list(self.slots.items()):
            if name in spoiled:
                self.spoiled[slot] = self._add_slot(
                    name, self.slot_name[slot], self.slot_ranges[slot]
                )

    def _number_space(self, core: str, space: str, buffers: list[Buffer]) -> None:
        """The byte ranges and slots of one memory."""
        found = [
            (low, low + footprint(b), b, s)
            for b in buffers
            for s in range(b.depth)
            for low in (b.at + s * b.stride,)
        ]
        cuts = sorted({x for low, high, *_ in found for x in (low, high)})
        numbers: dict[int, int] = {}
        for low, high, b, s in found:
            inside = [c for c in cuts if low <= c < high]
            for c in inside:
                if c not in numbers:
                    numbers[c] = len(self.ranges)
                    self.ranges.append(ByteRange(space, core, c, cuts[cuts.index(c) + 1]))
            name = f"{b.name}[{s}]" if self.buffers[b.name].depth > 1 else b.name
            self.slots[b.name, s] = self._add_slot(b.name, name, tuple(numbers[c] for c in inside))

    def _add_slot(self, buffer: str, name: str, ranges: tuple[int, ...]) -> int:
        """The number of a new slot."""
        self.slot_buffer.append(buffer)
        self.slot_name.append(name)
        self.slot_ranges.append(ranges)
        return len(self.slot_ranges) - 1

    def _spoiled_buffers(self) -> set[str]:
        """Buffers that are scratch of one row and read by another: each of their slots has a twin,
        which holds what scratch leaves behind, no value (``spoiled``: slot -> twin)."""
        scratch: set[str] = set()
        read: set[str] = set()
        for row in all_rows(self.kernel.body):
            tiles = tiles_of(row)
            scratch |= {tiles.scratch.name} if tiles.scratch is not None else set()
            read.update(r.name for r in tiles.read)
        return scratch & read

    def _number_rings(self) -> None:
        self.rings: list[Ring] = []
        self.ring_number = {f.name: k for k, f in enumerate(self.kernel.fifos)}
        for f in self.kernel.fifos:
            self.rings.append(
                Ring(f, self.target.ring_period.get(f.depth, f.depth), len(self.ranges))
            )
            for s in range(f.depth):
                self.ranges.append(
                    ByteRange("gm", f.name, s * f.slot_bytes, (s + 1) * f.slot_bytes)
                )

    def _number_flags(self) -> None:
        self.flags: list[Flagged] = []
        known: dict[tuple[int, int, int], int] = {}
        self.event_flags: dict[str, tuple[int, ...]] = {}
        for e in self.kernel.events:
            src, dst = self.pipe_number[e.core, e.src], self.pipe_number[e.core, e.dst]
            numbers = []
            for k, n in enumerate(e.ids):
                name = f"{e.name}[{k}]" if len(e.ids) > 1 else e.name
                key = (src, dst, n)
                if key in known:
                    other = self.flags[known[key]].name
                    text = f"{name} and {other} are one flag: {e.core} {e.src} -> {e.dst} id {n}"
                    self.fault("id", text)
                else:
                    known[key] = len(self.flags)
                    self.flags.append(Flagged(src, dst, n, name))
                numbers.append(known[key])
            self.event_flags[e.name] = tuple(numbers)
        self.siblings = [self._siblings(f) for f in self.flags]
        self.flag_pipes = [self._flag_pipes(k) for k in range(len(self.flags))]

    def _siblings(self, flag: Flagged) -> tuple[int, ...]:
        """Other flags that are the same flag under the reading of the machine in force."""
        return tuple(
            k
            for k, f in enumerate(self.flags)
            if f is not flag
            and f.id == flag.id
            and (
                (SOURCE_FLAGS in self.assume and f.src == flag.src)
                or (DESTINATION_FLAGS in self.assume and f.dst == flag.dst)
            )
        )

    def _flag_pipes(self, flag: int) -> tuple[int, ...]:
        """The pipes that must know of a finished wait for ``flag``: who sets it, or uses a sibling."""
        used = [self.flags[k] for k in self.siblings[flag]]
        found = [self.flags[flag].src, *(p for f in used for p in (f.src, f.dst))]
        return tuple(dict.fromkeys(found))

    def reads_first(self, pipe: int) -> bool:
        """Rows of ``pipe`` read before a later row of it writes (docs/machine.md 6.3)."""
        return self.pipes[pipe][1] == "V" and UNORDERED_STARTS not in self.assume

    # placement

    def fault(self, kind: str, text: str, row: Row | None = None, buffer: str = "") -> None:
        """Notes something wrong."""
        self.faults.append(Fault(kind, text, row, None, buffer))

    def _check_placement(self) -> None:
        k = self.kernel
        names = [b.name for b in k.buffers] + [f.name for f in k.fifos] + [e.name for e in k.events]
        for name in dict.fromkeys(n for n in names if names.count(n) > 1):
            self.fault("place", f"{name} is declared twice")
        for b in k.buffers:
            self._check_buffer(b)
        for e in k.events:
            self._check_event(e)
        taken: dict[int, str] = {}
        for f in k.fifos:
            self._check_fifo(f, taken)

    def _check_fifo(self, f: Fifo, taken: dict[int, str]) -> None:
        """``taken``: who has which cross-core flag."""
        t, fifo = self.target, f"fifo {f.name}"
        for flag in (f.flag, f.flag + 1):
            flags = t.fifo_flags if f.signal or f.credit else t.flag_ids
            if not 0 <= flag < flags:
                text = f"{fifo}: cross-core flag {flag} is not in 0..{flags - 1}"
                self.fault("id", text)
            if flag in taken:
                self.fault("id", f"{fifo} and fifo {taken[flag]} share cross-core flag {flag}")
            taken.setdefault(flag, f.name)
        if f.depth < 1 or (f.depth > t.most_signals and (f.signal or f.credit)):
            text = f"{fifo}: {f.depth} slots, the counter of a flag ends at {t.most_signals}"
            self.fault("fifo", text)
        elif f.credit and f.depth not in t.ring_period:
            text = f"{fifo}: the free signals of the library do not fit {f.depth} slots"
            self.fault("fifo", text)

    def _check_buffer(self, b: Buffer) -> None:
        if b.space not in SPACES_OF[self.target.name].get(b.core, ()):
            self.fault("place", f"{b.name}: the {b.core} core has no {b.space}", buffer=b.name)
            return
        last = b.at + (b.depth - 1) * b.stride + footprint(b)
        space = self.target.spaces[b.space]
        if b.at < 0 or b.depth < 1 or last > space.capacity_bytes:
            text = f"{b.name} ends at byte {last} of {space.capacity_bytes} in {b.space}"
            self.fault("capacity", text, buffer=b.name)
        align = space.align_bytes
        if b.at % align or (b.depth > 1 and b.stride % align):
            text = f"{b.name} at {b.at} by {b.stride}: {b.space} needs multiples of {align} bytes"
            self.fault("alignment", text, buffer=b.name)

    def _check_event(self, e: Event) -> None:
        t = self.target
        for n in e.ids:
            if not 0 <= n < t.event_ids:
                self.fault("id", f"{e.name}: id {n} is not in 0..{t.event_ids - 1}")
            if e.dst == "S" and n == t.drain_id:
                self.fault("id", f"{e.name}: {e.src} -> S id {n} is left for drains")
        if (e.core, e.src, e.dst) == ("vector", "V", "S") and 0 in e.ids and self.fifos:
            self.fault("id", f"{e.name}: V -> S id 0 is used inside TPUSH")  # docs/machine.md 4.6
        if e.src == e.dst:
            self.fault("event", f"{e.name}: an event from {e.src} to itself; write a barrier")
