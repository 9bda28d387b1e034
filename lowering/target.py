"""What the lowering knows of a chip: capacities, alignments, flags, layouts, each with its source.

Sources are named as in the machine notes of the project (MACHINE.md section numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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


A2A3 = Target(
    name="a2a3",
    # MACHINE.md 2.1; UB: the top 8 of 192 KiB are scratch of library ops.
    capacity_bytes=MappingProxyType(
        {"l1": 512 << 10, "l0a": 64 << 10, "l0b": 64 << 10, "l0c": 128 << 10, "ub": 184 << 10}
    ),
    # MACHINE.md 2.2: whole fractals (512 B operands, 1024 B accumulator); 32 B in UB.
    align_bytes=MappingProxyType({"l1": 512, "l0a": 512, "l0b": 512, "l0c": 1024, "ub": 32}),
    lanes=2,  # MACHINE.md 1: one cube core and two vector cores per cluster
    block_num=24,  # MACHINE.md 1: clusters per die
    event_ids=8,  # MACHINE.md 4.2
    drain_id=7,  # MACHINE.md 4.6: id 7 with destination S is left for drains
    fifo_flags=11,  # MACHINE.md 5.1: cross-core flag ids 0..10 are free for FIFOs
    # CPP.md 2: 48 arguments; the runtime's intrinsic.h splits them, tensor.h bounds the rank
    max_tensors=32,
    max_scalars=16,
    max_rank=5,
    box_bytes=32,  # MACHINE.md 2.3: a box is 16 rows of 32 bytes
    reduce_scratch=True,  # CPP.md 1: row reductions overwrite a scratch tile
    # MACHINE.md 5.3: period = slots up to two slots, else half of them; with an odd number of five
    # or more slots the two do not keep apart.  5.1: at most 15 signals outstanding.
    ring_period=MappingProxyType(
        {n: n if n <= 2 else n // 2 for n in (1, 2, 3, 4, 6, 8, 10, 12, 14)}
    ),
)

TARGETS: Mapping[str, Target] = MappingProxyType({A2A3.name: A2A3})
