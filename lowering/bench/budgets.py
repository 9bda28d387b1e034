"""What a compile may cost, in imports of numpy: the unit that every machine and every load scales alike.

In: a number of rounds.  Out: ``Line`` values, each with its budget.  Invariant: everything runs in each
round, one command after the other, each in a process of its own; figures are medians of CPU time.
Bytecode is in a folder of its own, which a round that does not count fills, so that all of them are
measured as installed packages.
Non-goals: failing; a busy machine may miss what a quiet one keeps.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pto

UNIT = "import numpy"

COMPILE = """
import time
from statistics import median
from lowering.schedule import schedule
from pto.kernels import SHIPPED

times = []
for _ in range(9):
    start = time.process_time()
    schedule(SHIPPED["paged_attention"].trace())
    times.append(time.process_time() - start)
print(median(times[2:]))
"""
"""Prints the CPU seconds of one compile in a process that has done two: all but reading and writing
files."""

Commands = Mapping[str, Callable[[str], tuple[list[str], bool]]]
"""Name -> from a folder for what it writes: the arguments of Python, and whether it prints its time."""

COMMANDS: Commands = {
    UNIT: lambda folder: (["-c", UNIT], False),
    "trace, schedule, values, proof and emit of paged_attention, warm": lambda folder: (
        ["-c", COMPILE],
        True,
    ),
    "pto emit paged_attention, the whole process": lambda folder: (
        ["-m", "lowering", "emit", "paged_attention", "-o", folder],
        False,
    ),
}

BUDGETS = dict(zip(list(COMMANDS)[1:], (0.5, 2.0), strict=True))
"""50 ms and 0.2 s on a machine that imports numpy in 0.1 s: what nobody waits for."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a command took, in seconds and in imports of numpy, and what it may."""

    name: str
    seconds: float
    ratio: float
    budget: float

    def __str__(self) -> str:
        verdict = "kept" if self.ratio <= self.budget else "missed"
        figures = f"{self.ratio:5.2f}  of at most {self.budget:.1f}: {verdict}"
        return f"  {self.name:<66}{figures}  ({self.seconds * 1000:.0f} ms)"


def lines(times: Mapping[str, Sequence[float]]) -> Iterator[Line]:
    """The budgets beside what was measured."""
    unit = median(times[UNIT])
    for name, budget in BUDGETS.items():
        seconds = median(times[name])
        yield Line(name, seconds, seconds / unit, budget)


def report(times: Mapping[str, Sequence[float]]) -> str:
    """What was measured, for a person."""
    unit, rounds = median(times[UNIT]), len(times[UNIT])
    title = f"CPU time in imports of numpy, of {unit * 1000:.0f} ms; medians of {rounds} rounds"
    return "\n".join([title, *map(str, lines(times))])


def measured(rounds: int) -> dict[str, list[float]]:
    """CPU seconds per round, by command."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with TemporaryDirectory() as folder:
        for r in range(1 + rounds):
            for name, command in COMMANDS.items():
                arguments, prints = command(folder)
                seconds, printed = _run(arguments, Path(folder))
                if r:
                    times[name].append(float(printed) if prints else seconds)
    return times


def _run(arguments: Sequence[str], folder: Path) -> tuple[float, str]:
    """CPU seconds of a Python process with this package, and what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    environment["PYTHONPATH"] = str(Path(pto.__file__).parent.parent)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return spent, done.stdout
