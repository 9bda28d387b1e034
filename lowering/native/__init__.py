"""The emitted C++, compiled with the host compiler and run on an asynchronous machine.

In: a scheduled kernel and the bound arrays.  Out: ``Result``: the outputs of program order, and for
every seed whether another legal order of the pipes gave the same bits; what went wrong is a
``Report`` with the line of the emitted source and the row of the schedule behind it.

``include/`` offers the part of the tile library that emitted kernels call (docs/machine.md 12), with
the rules of the device; a signal may come before its data (``lowering/execute/cluster.py``).
``machine.cpp`` schedules pipes, ``driver.cpp`` reads arrays and compares.
``pto_isa`` compiles the same text with the library's own simulator, ``bundle`` packs it for the runtime.
Nothing here knows how a kernel is emitted, beyond the order of its arguments.
Non-goals: time on the device.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lowering.ascend import emit
from lowering.execute.access import Array
from lowering.execute.cluster import signals_in_order
from lowering.execute.inputs import Bound
from lowering.execute.said import Heard, of_texts
from lowering.native.build import executable
from lowering.native.job import execute
from pto.ir import Kernel


@dataclass(frozen=True)
class Report:
    """Something wrong in the order of a seed (None: program order).

    ``kind``: deadlock, double set, leftover, wait, uninitialised, out of range, input, undrained,
    race, fifo, id, address, shape or mode.  ``line``: of the emitted source.  ``row``: of the
    schedule.  ``core``: 0 the cube, 1 and 2 the lanes.
    """

    seed: int | None
    kind: str
    line: int
    row: str
    block: int
    core: int
    text: str

    def told(self, source: str) -> str:
        """The report for a person."""
        order = "program order" if self.seed is None else f"seed {self.seed}"
        core = ("cube", "vector lane 0", "vector lane 1")[self.core]
        where = f"{source}:{self.line}" if self.line else "at the end"
        row = f"\n    row {self.row}" if self.row else ""
        return f"{order}, block {self.block}, {core}: {self.kind}: {self.text}\n    {where}{row}"


@dataclass(frozen=True)
class Difference:
    """An output whose bits are not those of program order, at the first element that differs; '': what the kernel
    says of itself is not what it says in program order, from this line on."""

    seed: int
    output: str
    element: int

    @property
    def told(self) -> str:
        """For a person."""
        if not self.output:
            return f"line {self.element + 1} of what is printed differs"
        return f"{self.output} differs from element {self.element} on"


@dataclass(frozen=True)
class Result:
    """The outputs of program order, what was said in it, and what the orders showed."""

    outputs: Mapping[str, Array]
    reports: tuple[Report, ...]
    differences: tuple[Difference, ...]
    seconds: float
    orders: int
    orders_seconds: float
    heard: Heard = field(default_factory=Heard)

    @property
    def good(self) -> bool:
        return not self.reports and not self.differences

    @property
    def bad_seeds(self) -> list[int]:
        """Seeds with a report or with other bits."""
        found = [x.seed for x in self.reports] + [x.seed for x in self.differences]
        return sorted({seed for seed in found if seed is not None})


def run(
    kernel: Kernel,
    bound: Bound,
    *,
    seeds: range = range(0),
    order: str = "mixed",
    block_num: int | None = None,
    sanitize: bool = False,
    source: str = "",
    assume: Collection[str] = (),
) -> Result:
    """Emits, compiles (or takes from the cache), and runs a scheduled kernel.

    ``source``: what is run instead of what ``kernel`` would be emitted as now.  ``assume``: readings of
    the machine (``lowering/execute/cluster.py``): whether the signal of a push may come before its data.

    Raises:
        ScheduleError: a schedule that cannot be emitted, or that the C++ compiler rejects.
        InputError: there is no C++ compiler, or no executor has such a reading.
    """
    source = source or emit(kernel)[f"{kernel.name}.cpp"]
    facts = [
        f"order {order} {seeds.start} {len(seeds)}",
        f"signals_in_order {int(signals_in_order(assume))}",
    ]
    program = executable(source, sanitize)
    told, outputs = execute(program, kernel, bound, block_num, facts)
    return _result(told, outputs, rows_of(source))


def _result(text: str, outputs: Mapping[str, Array], rows: Sequence[str]) -> Result:
    reports: list[Report] = []
    differences: list[Difference] = []
    seconds, orders, orders_seconds = 0.0, 0, 0.0
    texts: list[str] = []
    for what, *words in (line.split("\t") for line in text.split("\n") if line):
        if what == "report":
            order, kind, at, block, core, said = words
            seed = None if order == "program" else int(order)
            line = int(at)
            row = rows[line] if line < len(rows) else ""
            reports.append(Report(seed, kind, line, row, int(block), int(core), said))
        elif what == "said":
            texts.append(words[0].replace("\v", "\n"))
        elif what == "speaks":
            differences.append(Difference(int(words[0]), "", int(words[1])))
        elif what == "differs":
            size = outputs[words[1]].itemsize
            differences.append(Difference(int(words[0]), words[1], int(words[2]) // size))
        elif what == "seconds":
            seconds = float(words[0])
        elif what == "orders":
            orders, orders_seconds = int(words[0]), float(words[1])
    heard = of_texts(texts)
    return Result(
        outputs, tuple(reports), tuple(differences), seconds, orders, orders_seconds, heard
    )


COMMENT = re.compile(r"^\s*//\s*(.*)$")
TRAILING = re.compile(r"\S.*?\s//\s*(.*)$")
CALL = re.compile(r"^\s*(T[A-Z]+\b|set_flag|wait_flag|pipe_barrier|signal)")


def rows_of(source: str) -> list[str]:
    """For each line of an emitted source (from 1) the schedule row that it belongs to.

    A row stands in a comment above its lines, or behind its only line.
    """
    rows, above = [""], ""
    for line in source.splitlines():
        comment, behind = COMMENT.match(line), TRAILING.match(line)
        if comment:
            above = comment[1]
        elif not line.strip():
            above = ""
        if behind is None or CALL.match(line) is None:
            rows.append(above)
        else:
            rows.append(f"{above} ({behind[1]})" if "_flag(" in line else behind[1])
    return rows
