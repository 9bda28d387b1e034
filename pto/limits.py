"""The range of every number in a program, and why it ends there, whatever the chip.

Read by the parser, which refuses a number at its place, and by ``pto/legality.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Limit:
    """The range of a number in a program, and why it ends there."""

    low: int
    high: int
    why: str


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "size": Limit(1, 1 << 20, "no memory of a core holds a longer row or column"),
        "extent": Limit(1, (1 << 31) - 1, "a dimension counts in 32 bits"),
        "step": Limit(1, (1 << 31) - 1, "a dimension counts in 32 bits"),
        "rank": Limit(
            1, 5, "the runtime describes a tensor by at most five dimensions (docs/machine.md 13)"
        ),
        "slots": Limit(1, 256, "hand-overs have 8 flags or 15 signals; deeper rings gain nothing"),
        "address": Limit(0, 1 << 20, "no memory of a core is larger"),
        "flag": Limit(0, 15, "cross-core flags are numbered 0 to 15 (docs/machine.md 5.1)"),
        "id": Limit(0, 15, "flags are numbered 0 to 15 (docs/machine.md 4.2)"),
        "shift": Limit(-1024, 1024, "a loop takes that many steps more than it has iterations"),
        "number": Limit(-(1 << 63), (1 << 63) - 1, "integers have 64 bits"),
        "depth": Limit(0, 64, "longer expressions want a name for their parts: let"),
        "nesting": Limit(0, 16, "no kernel nests loops and branches deeper"),
    }
)
"""What a number in a program can be, whatever the chip: the parser and ``verify`` refuse all else."""


def within(name: str, value: int) -> str:
    """What is wrong with ``value`` as a number of this kind, '' if nothing is."""
    limit = LIMITS[name]
    if limit.low <= value <= limit.high:
        return ""
    shown = value if abs(value) < 1 << 64 else f"{'-' * (value < 0)}2^{abs(value).bit_length()}"
    return f"{shown} is not in {limit.low} .. {limit.high}: {limit.why}"
