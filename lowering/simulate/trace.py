"""A simulated run as a trace: what chrome://tracing and ui.perfetto.dev open.

In: a ``Timing``.  Out: JSON in the Trace Event Format: a process per core, a thread per unit of it,
a slice per row and per stall, and an arrow for each wait of one unit for another.  Times are
microseconds at the clock of the cost table; the cycles stand in the arguments of a slice.

Invariant: the same run gives the same bytes.  Slices of one thread never overlap: a row that starts
while the one before it finishes cuts that one off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lowering.simulate.timing import Span, Timing
from pto.text import statement

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slice:
    """A row as it is drawn: until the next one of its pipe starts; ``number`` of its span."""

    number: int
    start: int
    end: int
    span: Span


def slices(timing: Timing) -> dict[str, list[Slice]]:
    """The rows of every unit, in time."""
    found: dict[str, list[Slice]] = {unit: [] for unit in timing.pipes}
    for number, span in enumerate(timing.spans):
        row = found[span.unit]
        if row:
            row[-1] = replace(row[-1], end=min(row[-1].end, span.start))
        row.append(Slice(number, span.start, span.end, span))
    return found


def trace(timing: Timing) -> str:
    """The whole file, one event to a line."""
    lines = ",\n".join(json.dumps(event) for event in _Trace(timing).events())
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'


class _Trace:
    """``places``: process and thread of each unit."""

    def __init__(self, timing: Timing) -> None:
        self.timing, self.slices = timing, slices(timing)
        cores = list(dict.fromkeys(unit.split()[0] for unit in timing.pipes))
        self.places = {
            unit: {"pid": 1 + cores.index(unit.split()[0]), "tid": number}
            for number, unit in enumerate(timing.pipes, 1)
        }
        self.by_number = {s.number: s for unit in self.slices.values() for s in unit}

    def events(self) -> Iterator[Event]:
        for unit in self.places:
            yield from self.names(unit)
        for unit, usage in self.timing.pipes.items():
            for s in self.slices[unit]:
                yield self.slice(unit, "row", s.start, s.end, *self.told(s.span))
                yield from self.arrow(s)
            for stall in usage.stalls:
                yield self.slice(unit, "stall", stall.start, stall.end, stall.cause, {})

    def names(self, unit: str) -> Iterator[Event]:
        core, pipe = unit.split()
        place = self.places[unit]
        order = {"sort_index": place["tid"]}
        yield {"ph": "M", "name": "process_name", **place, "args": {"name": core}}
        yield {"ph": "M", "name": "thread_name", **place, "args": {"name": pipe}}
        yield {"ph": "M", "name": "thread_sort_index", **place, "args": order}

    def told(self, span: Span) -> tuple[str, Event]:
        """The statement, and what is shown when a slice is chosen."""
        counters = self.timing.iteration(span)
        facts = {"waited for": span.why, "from cycle": span.start, "to cycle": span.end}
        return statement(span.row, self.timing.kernel), counters | facts

    def slice(self, unit: str, kind: str, start: int, end: int, name: str, args: Event) -> Event:
        ts = self.time(start)
        length = round(self.time(end) - ts, 4)
        here = self.places[unit]
        return {"ph": "X", "cat": kind, "name": name, **here, "ts": ts, "dur": length, "args": args}

    def arrow(self, s: Slice) -> Iterator[Event]:
        """From the row of another unit that bound the start of this one."""
        before = self.by_number.get(s.span.after)
        if before is not None and before.span.unit != s.span.unit:
            flow = {"cat": "wait", "name": s.span.why, "id": s.number}
            middle = self.time((before.start + before.end) // 2)  # inside, whatever the rounding
            yield {"ph": "s", **flow, **self.places[before.span.unit], "ts": middle}
            yield {
                "ph": "f",
                "bp": "e",
                **flow,
                **self.places[s.span.unit],
                "ts": self.time(s.start),
            }

    def time(self, cycle: int) -> float:
        """Microseconds."""
        return round(self.timing.seconds(cycle) * 1e6, 4)
