"""Which element types one instruction converts into which, and the ways through several that round once.

In: two element types.  Out: what an ``astype`` goes through.  Invariant: every way gives what one conversion
would: to the nearest, ties to even, or by the rounding that its one step from floats to integers names;
integers saturate, NaN is 0.  Non-goals: the values (``lowering/execute/sequential.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pto.types import GREATEST, INTEGERS

DIRECT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "f32": ("f16", "bf16", "i32", "i16"),
        "f16": ("f32", "i16", "i8", "u8"),
        "bf16": ("f32",),
        "i32": ("f32", "i16"),
        "i16": ("f32", "f16"),
        "i8": ("f16",),
        "u8": ("f16",),
    }
)
"""Element type -> those that one instruction makes of it (docs/machine.md 12, TCVT), of which the simulator of
the tile library agrees with the device on every number."""

THROUGH: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys((("bf16", "f16"), ("f16", "bf16"), ("i32", "f16")), ("f32",)),
        **dict.fromkeys((("f16", "i32"), ("bf16", "i32"), ("bf16", "i16")), ("f32",)),
        **dict.fromkeys((("i16", "i32"), ("i16", "bf16")), ("f32",)),
        **{(x, y): ("i16", "f16") for x in ("f32", "i32") for y in ("i8", "u8")},
        **{(x, y): ("f16",) for x in ("i16", "i8", "u8") for y in ("i8", "u8") if x != y},
        **{("bf16", y): ("f32", "i16", "f16") for y in ("i8", "u8")},
        **{(x, y): ("f16",) for x in ("i8", "u8") for y in ("f32", "i16")},
        **{(x, y): ("f16", "f32") for x in ("i8", "u8") for y in ("bf16", "i32")},
    }
)
"""(from, to) -> the types in between.  Each either holds all numbers of the one before; or it is i16, to which
what 8 bits do not hold stays beyond them; or f16 of such an i16, exact up to 2048.  f32 of an i32 is rounded from
2**24 on, where f16 is infinite; so nothing leads from i32 to bf16, which would be rounded twice."""


def way(given: str, wanted: str) -> tuple[str, ...] | None:
    """The types that a conversion makes, one after the other, the last one ``wanted``; None if there is no way."""
    if wanted in DIRECT[given]:
        return (wanted,)
    between = THROUGH.get((given, wanted))
    return None if between is None else (*between, wanted)


def rounds(given: str, wanted: str) -> bool:
    """Whether a conversion takes a rounding by its name: from floats to integers."""
    return given in GREATEST and wanted in INTEGERS


def narrows(wanted: str) -> bool:
    """Whether the tile library cuts bits off in a conversion unless it is told to saturate."""
    return wanted in INTEGERS and wanted != "i32"
