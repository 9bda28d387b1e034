"""The chips that a program can be for, by the name that stands in its first line.

One chip is one table in a module of its own; ``table`` says what it holds.  Everything that differs
from chip to chip is asked of ``target_of``.
"""

from __future__ import annotations

from pto.errors import LegalityError, did_you_mean
from pto.ir import Kernel
from pto.targets.a2a3 import A2A3
from pto.targets.table import GM, Costs, Credits, Line, Pipe, Space, Target
from pto.types import CALLED, DTYPE_BYTES, ELSEWHERE

__all__ = [
    "GM", "PIPES", "SPACES", "TARGETS", "Costs", "Credits", "Line", "Pipe", "Space", "Target", "no_dtype", "target_of",
]  # fmt: skip

TARGETS: dict[str, Target] = {t.name: t for t in (A2A3,)}
"""Every target by name; the first is that of a kernel that names none."""

PIPES = tuple(dict.fromkeys(name for t in TARGETS.values() for name in t.pipes))
SPACES = tuple(dict.fromkeys(name for t in TARGETS.values() for name in t.spaces))
"""The words of a program for the pipes and memories of any target."""


def no_dtype(name: str) -> tuple[str, str]:
    """(what is wrong with a name that is no element type, what helps)."""
    if name in ELSEWHERE and name not in CALLED:
        there = " or ".join(TARGETS)
        have = f"there are {', '.join(DTYPE_BYTES)}"
        return f"'{name}': {there} has no {ELSEWHERE[name] or name}", have
    called = f"it is called '{CALLED[name]}' here" if name in CALLED else ""
    return f"'{name}' is not a dtype", called or did_you_mean(name, DTYPE_BYTES)


def target_of(kernel: Kernel) -> Target:
    """The chip that a kernel is for.

    Raises:
        LegalityError: when there is none of that name.
    """
    name = kernel.target or next(iter(TARGETS))
    if name not in TARGETS:
        hint = did_you_mean(name, TARGETS)
        raise LegalityError(f"no target is called '{name}'", kernel.loc, hint)
    return TARGETS[name]
