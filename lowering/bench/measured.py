"""What somebody measured on a device, as a program and the time it took.

In: nothing.  Out: the row type of the tables of published times.  Non-goals: the rows
(``published``, ``crosscore``), what the simulator says of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pto.ir import Kernel

TASK, CORE = "task", "core"
"""A whole launch; without what the launch itself takes.  Anything else is a unit, and its busy time."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What somebody measured: ``micros`` by ``TASK``, ``CORE`` or unit.

    ``trips``: of the inner loop on each core, or, of a kernel with ``inner``, work items with that many
    trips each.  ``cores``: clusters.  ``hits``: the part of its bytes that L2 has, by arithmetic
    (None: as ``lowering/simulate/l2.py`` finds it), ``readers``: how many cores load the same at once.
    """

    row: str
    what: str
    kernel: Kernel
    trips: float
    micros: Mapping[str, float]
    cores: int = 24
    hits: float | None = 0
    inner: float = 0
    readers: float = 1


def vector(task: float, **units: float) -> dict[str, float]:
    return {TASK: task} | {f"vector0 {u}": t for u, t in units.items()}


def cube(task: float | None = None, **units: float) -> dict[str, float]:
    whole = {} if task is None else {TASK: task}
    return whole | {f"cube {u}": t for u, t in units.items()}
