"""What a table of a target says: the rows of its memories, its pipes, its costs, its numbers.

A program names its target (``on a2a3``), and everybody who reads the program asks ``target_of``.
In: nothing.  Out: the types of the tables beside this file.  Invariant: what a memory or a pipe of a
chip is stands in its row, with its source, and nowhere else but in the proof, which has a copy of its
own (``lowering/hazards/places.py``) and in the C++ of the native machine; ``tests/pto/test_targets.py``
compares them and says what a row lacks.  Non-goals: what an op does (``pto/ops.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from pto.errors import ScheduleError
from pto.ir import Fifo
from pto.types import BOXED, DTYPE_BYTES

GM = "gm"
"""The memory of tensors and FIFOs, outside of every core."""

Line = tuple[float, float]
"""(cycles before the first unit, cycles per unit)."""


@dataclass(frozen=True, slots=True)
class TileClass:
    """The class of the tile library for a tile in one memory and layout; ``turned``: its rows and
    columns are those of the transpose."""

    name: str
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """A memory of one core.  ``layouts``: how a tile may lie there, the usual way first, and as what
    class of the tile library (``lowering/ascend/functions.py`` defines it)."""

    name: str
    core: str
    capacity_bytes: int
    align_bytes: int
    layouts: Mapping[str, TileClass]
    dtypes: tuple[str, ...] = tuple(DTYPE_BYTES)

    @property
    def is_boxed(self) -> bool:
        """Whether tiles lie in whole boxes."""
        return not set(BOXED).isdisjoint(self.layouts)


@dataclass(frozen=True, slots=True)
class Pipe:
    """An execution queue of the cores that have it; its name in C++ is ``PIPE_`` and this one.

    ``moves``: from which memory into which one.  ``barrier``: whether its later rows can be made to
    wait for the earlier ones.  ``needs_barrier``: what a row may do only behind a barrier: to the slot
    that an unfinished row of the pipe writes "reads" and "writes", to one that it reads "overwrites".
    """

    name: str
    cores: tuple[str, ...]
    moves: tuple[tuple[str, str], ...] = ()
    barrier: bool = True
    needs_barrier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """What a row takes, in cycles of the core clock; how it adds up is ``lowering/simulate/costs.py``."""

    name: str
    about: str
    transfer: Mapping[tuple[str, str], Line]
    """(from, to) -> fixed cycles and cycles per byte."""
    accumulator_bytes: int
    """What a transfer out of L0C counts per f32 element; 0: as many as it has where it goes to."""
    mad: Line
    """Per step of 16 x 32 bytes x 16."""
    vector: Mapping[tuple[str, str], Line]
    """(op, operand form) -> per repeat; the form '' stands for every other one."""
    reduction: Mapping[str, tuple[Line, Line]]
    """Row reductions per element: rows of up to 64 columns, wider ones."""
    column_reduction: Line
    """Column reductions, for every row: one instruction, so many repeats."""
    repeat_bytes: int
    issue: int
    """Of a row, a wait, a set, a signal or a barrier in the scalar unit."""
    read: int
    """Of an integer in GM by the scalar unit."""
    fence: int
    """Of a data synchronisation barrier in the scalar unit, with nothing to wait for."""
    queue_depth: int
    """Instructions, waits and sets that a pipe holds before the scalar unit stops."""
    clock_hz: float
    hbm_bytes_per_second: float
    run: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(from, to) -> cycles that a run of neighbours in GM takes at least, however short it is."""
    flight: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(from, to) -> cycles before the first byte moves; the next transfer need not wait for them."""
    near: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The same for what L2 has."""
    granule_bytes: int = 0
    """Loads take whole pieces of GM of this size, from multiples of it on; 0: bytes."""
    granule_cycles: float = 0
    """Of a piece, for each core that loads it at the same time."""
    in_flight: float = inf
    """Pieces that are on their way to one core at most."""
    write_back: bool = False
    """A pipe is through with a store before the memory is; its events wait for both."""
    mad_flight: int = 0
    """Fixed cycles of a product until the sums are there; the next one may start after those of ``mad``."""
    vector_head: int = 0
    """What of its start a row of V keeps for itself when another one follows directly."""
    conflict: float = 1
    """Factor of a repeat that meets itself or the one before in a group of banks of UB."""
    l2_bytes_per_second: float = inf
    """For what L2 has already."""
    l2_bytes: int = 0
    """What L2 holds of what a launch has loaded and stored; 0: nothing."""
    launch: int = 0
    """Before the first row of a launch, in cycles."""
    signal: int = 0
    """From a signal to the core that waits for it, in cycles (``Setup.latency`` goes first)."""
    signal_turn: float = 0
    """Cycles of the one scheduler that the signals of all clusters pass, per signal."""
    queue_depths: Mapping[str, int] = field(default_factory=dict)
    """The same as ``queue_depth`` of the pipes that are known to differ."""
    zeros: float = 0
    """Cycles per byte of a tile that a partial load fills with zeros first."""
    wait: int = 0
    """Cycles of the scalar unit when it has got a signal of another core, beside the issue."""


@dataclass(frozen=True, slots=True)
class Credits:
    """When the ends of a FIFO signal that slots are free (docs/machine.md 5.3); tiles count from 0.

    The first tiles fit without a signal.  After that the producer takes one, and the consumer sends
    one, once every ``period`` tiles.
    """

    slots: int
    period: int
    given: bool = True
    """False: the consumer signals nothing, and the producer never waits."""

    def taken_by_push(self, number: int) -> bool:
        """Whether push ``number`` has to wait for a signal."""
        return self.given and number >= self.slots and number % self.period == 0

    def sent_by_pop(self, number: int) -> bool:
        """Whether a signal follows pop ``number``."""
        return self.given and (number + 1) % self.period == 0


@dataclass(frozen=True, slots=True)
class Target:
    """One chip.  Sizes in bytes unless the name says otherwise.

    ``spaces``, ``pipes``: by name, in the order in which programs and pictures list them.
    """

    name: str
    spaces: Mapping[str, Space]
    pipes: Mapping[str, Pipe]
    lanes: int
    block_num: int
    event_ids: int
    drain_id: int
    flag_ids: int
    """Cross-core flags that there are; a FIFO without any signal may be called by those that are not free."""
    fifo_flags: int
    most_signals: int
    """Signals of a FIFO that nobody has waited for yet."""
    box_row_stride: int
    """Elements from row to row of a region in GM that a load makes boxes of."""
    most_rows: int
    """Of a tile that moves between GM and a memory without boxes."""
    drains: Mapping[str, tuple[str, ...]]
    """Type of a sum in L0C -> those of tensors that it can go to."""
    scaled_drains: Mapping[str, tuple[str, ...]]
    """The same, times a scale."""
    drains_alike: Mapping[str, tuple[str, ...]]
    """The same, where a sum is rounded on the way as a conversion on the vector core rounds it, whatever it is."""
    launch: str
    """The call of the runtime that says how many blocks a launch has."""
    max_tensors: int
    max_scalars: int
    max_rank: int
    ring_period: Mapping[int, int]
    """Slots of a FIFO ring -> pops between two free signals."""
    costs: Mapping[str, Costs]
    """Cost tables by name; the first is the default."""

    def pipe_of(self, core: str, name: str) -> Pipe | None:
        """The pipe of a core, if it has one of that name."""
        pipe = self.pipes.get(name)
        return pipe if pipe is not None and core in pipe.cores else None

    def reach(self, core: str, pipe: str, writes: bool) -> tuple[Space, ...]:
        """The memories of a core that one of its pipes reads, or writes; of "ALL", which stop for the scalar unit,
        that of tiles without boxes, which it reads."""
        if pipe == "ALL":
            return tuple(
                s for s in self.spaces.values() if s.core == core and not (s.is_boxed or writes)
            )
        ends = {move[writes] for move in self.pipes[pipe].moves}
        return tuple(s for s in self.spaces.values() if s.core == core and s.name in ends)

    def meets_gm(self, space: str, filled: bool = False) -> bool:
        """Whether a pipe moves tiles from GM to a memory or, unless ``filled``, back."""
        moves = {move for p in self.pipes.values() for move in p.moves}
        return (GM, space) in moves or (not filled and (space, GM) in moves)

    def credits(self, fifo: Fifo) -> Credits:
        """The signals of a FIFO.

        Raises:
            ScheduleError: for a number of slots that no ring can have.
        """
        counted = fifo.signal or fifo.credit
        if fifo.depth < 1 or (counted and fifo.depth > self.most_signals):
            message = f"at most {self.most_signals} of its signals may be on their way"
            raise ScheduleError(f"fifo {fifo.name} has {fifo.depth} slots, {message}", fifo.loc)
        if fifo.credit and fifo.depth not in self.ring_period:
            slots = ", ".join(map(str, self.ring_period))
            message = (
                f"fifo {fifo.name} has {fifo.depth} slots, a ring with credit has one of {slots}"
            )
            hint = (
                "with 'no credit' it may have any number, if other hand-overs keep it from filling"
            )
            raise ScheduleError(message, fifo.loc, hint)
        return Credits(fifo.depth, self.ring_period.get(fifo.depth, fifo.depth), fifo.credit)
