"""Times, as before / after / delta tables: how fast the tool is, and how fast what it makes runs.

In: callables by name.  Out: ``Table`` values, which print themselves with the number of rounds.
Invariant: whatever is compared is measured in one process, round by round, each callable once per
round in the same order, so that a busy machine slows all of them; figures are medians.  Nothing
here asserts: a benchmark on a shared machine is a report.

``visible_devices`` must run before JAX is imported: it makes every core a device, for the kernel
and for what it is compared with alike.

Non-goals: knowing a kernel.  Hand-written opponents come as callables
(``pto/kernels/baselines.py``), stages of the tool as callables from the command line.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pto.ir import Kernel

Call = Callable[[], Any]
Times = dict[str, list[float]]
"""Seconds per round, by name."""
Prepare = Callable[[Mapping[str, Any], int], Call]
"""(arrays, devices) -> the call to time."""


def visible_devices() -> int:
    """Makes each core a JAX device; returns how many.  Without effect once JAX is imported."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" not in flags and "jax" not in sys.modules:
        wanted = f"--xla_force_host_platform_device_count={cores}"
        os.environ["XLA_FLAGS"] = f"{flags} {wanted}".strip()
    return cores


def measure(calls: Mapping[str, Call], rounds: int = 10, warm: int = 1) -> Times:
    """Seconds that each call takes, once per round, after ``warm`` rounds that do not count.

    A result with ``block_until_ready`` is waited for.
    """
    times: Times = {name: [] for name in calls}
    for r in range(warm + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            wait(call())
            if r >= warm:
                times[name].append(time.perf_counter() - start)
    return times


def wait(result: Any) -> None:
    """Until an asynchronous result, or every value of a dict of them, is there."""
    for x in result.values() if isinstance(result, dict) else (result,):
        if hasattr(x, "block_until_ready"):
            x.block_until_ready()


# --------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: median seconds before and after (None: nothing to compare with)."""

    name: str
    before: float | None
    after: float

    @property
    def ratio(self) -> float | None:
        """after / before."""
        return None if self.before is None else self.after / self.before


@dataclass(frozen=True, slots=True)
class Table:
    """Comparisons under one title, with the number of rounds behind each figure."""

    title: str
    lines: tuple[Line, ...]
    rounds: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max([len(x.name) for x in self.lines] + [4])
        head = f"{'':{width}}  {'before':>10}  {'after':>10}  {'delta':>8}"
        rows = [head, *(row(x, width) for x in self.lines)]
        return "\n".join([f"{self.title} (median of {self.rounds} rounds)", *rows, *self.notes])


def row(line: Line, width: int) -> str:
    before = "-" if line.before is None else seconds(line.before)
    delta = "-" if line.ratio is None else f"{100 * (line.ratio - 1):+.0f} %"
    return f"{line.name:{width}}  {before:>10}  {seconds(line.after):>10}  {delta:>8}"


def seconds(t: float) -> str:
    """A time in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if t >= scale:
            return f"{t / scale:.2f} {unit}"
    return f"{t / 1e-6:.1f} us"


def medians(times: Times) -> dict[str, float]:
    return {name: statistics.median(t) for name, t in times.items()}


def compare(
    title: str, before: Mapping[str, Call], after: Mapping[str, Call], rounds: int = 10
) -> Table:
    """Calls of the same name against each other, in one run; ``before`` may lack some."""
    calls = {f"before {n}": c for n, c in before.items()} | {
        f"after {n}": c for n, c in after.items()
    }
    found = medians(measure(calls, rounds))
    lines = [Line(n, found.get(f"before {n}"), found[f"after {n}"]) for n in after]
    return Table(title, tuple(lines), rounds)


# ---------------------------------------------------------------------- the JAX executor


SHARDED = "shard_map"
"""In the name of an opponent that spreads its work over the devices itself."""

DEALT = "dealt"
"""In the name of one that also gives every device as much to do, for the lengths of the case."""

KINDS = ("best by jit", "best sharded by hand", "best dealt by hand")
"""What the best of each kind of opponent is called."""


def kind_of(opponent: str) -> str:
    return KINDS[(SHARDED in opponent) + (DEALT in opponent)]


def against_hand(
    kernel: Kernel,
    name: str,
    case: Mapping[str, Any],
    opponents: Mapping[str, Prepare],
    rounds: int = 10,
) -> Table:
    """The JAX executor against hand-written functions, and against the best of each kind: that only
    ``jit`` compiles, that also shards by hand, that also deals the work by hand.

    ``case`` are arrays by parameter name, ``opponents`` come from ``pto/kernels/baselines.py``.
    Every opponent gets the same arrays, already in place, in the same memory, and the same devices.
    """
    import jax

    from lowering import jax_executor

    devices = len(jax.devices())
    executable = jax_executor.compile(kernel)
    placed = executable.place({n: finite(a) for n, a in case.items()})
    arrays = {n: np.asarray(placed.arrays[n]) for n in case}
    calls: dict[str, Call] = {n: prepare(arrays, devices) for n, prepare in opponents.items()}
    calls["the kernel"] = lambda: executable(placed)
    found = medians(measure(calls, rounds))
    mine = found.pop("the kernel")
    lines = [Line(n, t, mine) for n, t in found.items()]
    if not lines:
        return Table(f"{kernel.name}, {name}", (Line("alone", None, mine),), rounds)
    best = min(found, key=lambda n: found[n])
    for kind in KINDS:
        if names := [n for n in found if kind_of(n) == kind]:
            first = min(names, key=lambda n: found[n])
            lines.append(Line(f"{kind}: {first}", found[first], mine))
    notes = [f"{devices} devices; delta is the kernel against the hand-written function"]
    reason = placed.program.reason
    dealing = medians(measure({"": lambda: executable.place(placed.arrays)}, rounds))[""]
    again = f"dealing the work items to the devices again, as for new lengths: {seconds(dealing)}"
    notes.append(reason or again)
    apart = difference(calls[best](), executable(placed))
    notes.append(f"largest difference to '{best}': {apart:.2g}")
    return Table(f"{kernel.name}, {name}", tuple(lines), rounds, tuple(notes))


def finite(a: Any) -> Any:
    """Zeros instead of NaN: hand-written functions do not guard against what must not count."""
    x = np.asarray(a)
    if x.ndim and x.dtype.itemsize == 2:
        bits = x.view(np.uint16)
        return np.where((bits & 0x7F80) == 0x7F80, np.uint16(0), bits)
    return a


def difference(hand: Any, outputs: Mapping[str, Any]) -> float:
    """Largest absolute difference to the first output."""
    first = np.asarray(next(iter(outputs.values())), np.float32)
    return float(np.abs(np.asarray(hand, np.float32) - first).max())
