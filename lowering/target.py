"""What the lowering knows of a chip: capacities, alignments, flags, layouts, costs, with sources.

Sources are sections of the machine notes: docs/machine.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pto.errors import ScheduleError
from pto.ir import Fifo

Line = tuple[float, float]
"""(cycles before the first unit, cycles per unit)."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a row takes, in cycles of the core clock; how it adds up is ``lowering/simulate/costs.py``."""

    name: str
    about: str
    transfer: Mapping[tuple[str, str], Line]
    """(from, to) -> fixed cycles and cycles per byte."""
    accumulator_bytes: int
    """What a transfer out of L0C counts per f32 element."""
    mad: Line
    """Per step of 16 x 32 bytes x 16."""
    vector: Mapping[tuple[str, str], Line]
    """(op, operand form) -> per repeat; the form '' stands for every other one."""
    reduction: Mapping[str, tuple[Line, Line]]
    """Row reductions per element: rows of up to 64 columns, wider ones."""
    repeat_bytes: int
    issue: int
    """Of a row, a wait, a set, a signal or a barrier in the scalar unit."""
    read: int
    """Of an integer in GM by the scalar unit."""
    queue_depth: int
    """Instructions, waits and sets that a pipe holds before the scalar unit stops."""
    clock_hz: float
    hbm_bytes_per_second: float


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
    """One chip.  Sizes in bytes unless the name says otherwise."""

    name: str
    capacity_bytes: Mapping[str, int]
    align_bytes: Mapping[str, int]
    lanes: int
    block_num: int
    event_ids: int
    drain_id: int
    fifo_flags: int
    max_tensors: int
    max_scalars: int
    max_rank: int
    box_bytes: int
    reduce_scratch: bool
    ring_period: Mapping[int, int]
    """Slots of a FIFO ring -> pops between two free signals."""
    costs: Mapping[str, Costs]
    """Cost tables by name; the first is the default."""

    def credits(self, fifo: Fifo) -> Credits:
        """The signals of a FIFO.

        Raises:
            ScheduleError: for a number of slots that no ring can have.
        """
        if fifo.depth not in self.ring_period:
            slots = ", ".join(map(str, self.ring_period))
            message = f"fifo {fifo.name} has {fifo.depth} slots, a ring has one of {slots}"
            raise ScheduleError(message, fifo.loc)
        return Credits(fifo.depth, self.ring_period[fifo.depth], fifo.credit)


CLOCK_HZ = 1.85e9  # docs/machine.md 11
GIB = 2**30


def _per_byte(gib_per_second: float) -> Line:
    return 0.0, CLOCK_HZ / (gib_per_second * GIB)


FLAT = Costs(
    name="flat",
    about="flat bandwidths, four bytes per accumulator element",
    # docs/machine.md 11.1, column "flat"
    transfer=MappingProxyType(
        {
            ("gm", "l1"): _per_byte(135),
            ("gm", "ub"): _per_byte(100.9),
            ("ub", "gm"): _per_byte(188.46),
            ("l0c", "gm"): _per_byte(70),
            ("l1", "l0a"): _per_byte(441),
            ("l1", "l0b"): _per_byte(220.5),
            ("ub", "ub"): _per_byte(1024),
        }
    ),
    accumulator_bytes=4,  # docs/machine.md 11.1
    mad=(6, 1),  # docs/machine.md 11.2
    # docs/machine.md 11.2; what it does not list is its generic 6 + 2, or (reciprocal: div;
    # min: max; rsqrt: its sqrt, then its div) the figure of its nearest relative
    vector=MappingProxyType(
        {
            ("add", ""): (24, 2),
            ("sub", ""): (24, 2),
            ("maximum", ""): (24, 2),
            ("minimum", ""): (24, 2),
            ("mul", ""): (25, 2),
            ("div", ""): (30, 4),
            ("add", "scalar"): (31, 1),
            ("sub", "scalar"): (31, 1),
            ("maximum", "scalar"): (31, 1),
            ("minimum", "scalar"): (31, 1),
            ("mul", "scalar"): (26, 1),
            ("div", "scalar"): (30, 4),
            ("exp", ""): (31, 2),
            ("log", ""): (33, 2),
            ("sqrt", ""): (39, 2),
            ("reciprocal", ""): (30, 4),
            ("rsqrt", ""): (69, 6),
            ("abs", ""): (29, 1),
            ("relu", ""): (23, 1),
            ("astype", ""): (27, 1),
            ("full", ""): (6, 2),
            ("where", ""): (6, 0),  # it writes the padding, of which a whole tile has none
            ("pad", ""): (6, 0),
        }
    ),
    # docs/machine.md 11.2: the fitted table for 64 and for 128 columns
    reduction=MappingProxyType(
        {
            "row_max": ((32, 0.1094), (48, 0.0625)),
            "row_min": ((32, 0.1094), (48, 0.0625)),
            "row_sum": ((44, 0.1094), (61.5, 0.0625)),
        }
    ),
    repeat_bytes=256,
    issue=1,
    read=1,  # docs/machine.md 11.2
    queue_depth=16,  # an assumption: docs/machine.md 3.4 and 10 know it for two pipes only
    clock_hz=CLOCK_HZ,
    hbm_bytes_per_second=1.6e12,  # docs/machine.md 11.3
)

FITTED = replace(
    FLAT,
    name="fitted",
    about="L0C to GM with its fixed cycles (1216 and 23.9 bytes per cycle), all else flat",
    transfer=MappingProxyType({**FLAT.transfer, ("l0c", "gm"): (1216, 1 / 23.9)}),
)
PUBLISHED = replace(
    FLAT,
    name="published",
    about="as published: two bytes per accumulator element, row reductions per repeat",
    accumulator_bytes=2,
    # docs/machine.md 11.2: row maximum 31 + 1, row sum 38 + 1; a repeat is 64 elements
    reduction=MappingProxyType(
        {
            op: ((start, 1 / 64),) * 2
            for op, start in (("row_max", 31), ("row_min", 31), ("row_sum", 38))
        }
    ),
)


A2A3 = Target(
    name="a2a3",
    # docs/machine.md 2.1; UB: the top 8 of 192 KiB are scratch of library ops.
    capacity_bytes=MappingProxyType(
        {"l1": 512 << 10, "l0a": 64 << 10, "l0b": 64 << 10, "l0c": 128 << 10, "ub": 184 << 10}
    ),
    # docs/machine.md 2.2: whole fractals (512 B operands, 1024 B accumulator); 32 B in UB.
    align_bytes=MappingProxyType({"l1": 512, "l0a": 512, "l0b": 512, "l0c": 1024, "ub": 32}),
    lanes=2,  # docs/machine.md 1: one cube core and two vector cores per cluster
    block_num=24,  # docs/machine.md 1: clusters per die
    event_ids=8,  # docs/machine.md 4.2
    drain_id=7,  # docs/machine.md 4.6: id 7 with destination S is left for drains
    fifo_flags=11,  # docs/machine.md 5.1: cross-core flag ids 0..10 are free for FIFOs
    # docs/machine.md 13: 48 arguments; the runtime's headers split them and bound the rank
    max_tensors=32,
    max_scalars=16,
    max_rank=5,
    box_bytes=32,  # docs/machine.md 2.3: a box is 16 rows of 32 bytes
    reduce_scratch=True,  # docs/machine.md 12: row reductions overwrite a scratch tile
    # docs/machine.md 5.3: period = slots up to two slots, else half of them; with an odd number of
    # five or more slots the two do not keep apart.  5.1: at most 15 signals outstanding.
    ring_period=MappingProxyType(
        {n: n if n <= 2 else n // 2 for n in (1, 2, 3, 4, 6, 8, 10, 12, 14)}
    ),
    costs=MappingProxyType({c.name: c for c in (FLAT, FITTED, PUBLISHED)}),
)

TARGETS: Mapping[str, Target] = MappingProxyType({A2A3.name: A2A3})
