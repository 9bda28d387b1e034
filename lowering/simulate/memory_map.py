"""What lies in every memory during a step, as a picture: time to the right, bytes downwards.

In: a ``Timing``, and how many steps of the steady state to show.  Out: a self-contained SVG with a
part for each memory: a line for each ring slot, at its bytes, with a box while it holds a value that
is still to be read, by the user's name of it; what belongs to no slot is hatched.

A line is as high as its slot is large, but high enough for its name; what is hatched is not to scale.
Both vector lanes hold the same at the same time; one stands for both.
Invariant: the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from lowering.simulate.gantt import HATCH, SHADES, THIN_LINE, fitting, round_steps, window
from lowering.simulate.held import Held, held
from lowering.simulate.timing import Timing
from lowering.svg import GREY, INK, Picture, document, element, label
from pto.ir import Buffer
from pto.targets import target_of
from pto.text import named

STEPS = 1
"""Steps of the loop that a picture shows unless told otherwise."""

LEFT, RIGHT, TOP, WIDTH = 180, 20, 84, 960
"""Margins, and the width of the whole picture."""

LEAST, MOST, UNUSED, BETWEEN = 15, 46, 18, 56
"""Height of the smallest line, of the largest slot of a memory, of a hatched line; between memories."""

HOW_TO_READ = (
    "a box: from the start of the row that makes a value to the end of the last that reads it; "
    "hatched: bytes of no slot, not to scale"
)


def svg(timing: Timing, steps: int | None = STEPS) -> str:
    """The picture of ``steps`` steps in the middle of the run, or (None) of all of it."""
    return _Drawing(timing, steps).svg()


def picture(timing: Timing, steps: int | None = STEPS) -> Picture:
    """The same for a notebook."""
    return Picture(svg(timing, steps), f"{timing.kernel.name}: what the memories hold in time")


@dataclass(frozen=True, slots=True)
class Line:
    """Neighbouring bytes and where they are drawn; ``names``: of the slots on them, if any."""

    start: int
    end: int
    names: tuple[str, ...]
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Part:
    """A memory: its bytes from top to bottom, and what its slots hold while the picture lasts.

    ``placed``: the high-water mark, the end of the last slot; ``most``: bytes of slots that hold something
    at one time, over the whole run.
    """

    space: str
    core: str
    capacity: int
    placed: int
    most: int
    lines: tuple[Line, ...]
    values: tuple[Held, ...]

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Top and height of some bytes."""
        mine = [x for x in self.lines if first <= x.start and x.end <= end]
        return mine[0].y, mine[-1].y + mine[-1].height - mine[0].y


def most_at_once(values: Sequence[Held]) -> int:
    """Bytes of the slots that hold something at one time, at most; bytes in two of them count twice."""
    changes = [(v.start, v.buffer.type.size_bytes) for v in values]
    changes += [(v.end, -v.buffer.type.size_bytes) for v in values]
    most = now = 0
    for _, size in sorted(changes):
        now += size
        most = max(most, now)
    return most


def lines_of(buffers: Sequence[Buffer], capacity: int, top: int) -> tuple[Line, ...]:
    """All bytes of a memory, cut where a slot starts or ends."""
    slots = [
        (b.at + k * b.stride, b.at + k * b.stride + b.type.size_bytes, _slot(b, k))
        for b in buffers
        for k in range(b.depth)
    ]
    largest = max(end - start for start, end, _ in slots)
    cuts = sorted({0, capacity, *(c for start, end, _ in slots for c in (start, end))})
    found: list[Line] = []
    for start, end in pairwise(cuts):
        names = tuple(name for a, b, name in slots if a <= start and end <= b)
        share = (end - start) / largest
        height = round(LEAST + share * (MOST - LEAST)) if names else UNUSED
        found.append(Line(start, end, names, top, height))
        top += height
    return tuple(found)


def _slot(b: Buffer, k: int) -> str:
    return f"{b.name}[{k}]" if b.depth > 1 else b.name


class _Drawing:
    """Top to bottom: heading, then the memories, each with a title, an axis and its lines."""

    def __init__(self, timing: Timing, steps: int | None) -> None:
        self.timing = timing
        self.start, self.end = window(timing, steps)
        self.parts: list[Part] = []
        values, target = held(timing), target_of(timing.kernel)
        top = TOP + 40
        for space in target.spaces.values():
            buffers = [b for b in timing.kernel.buffers if b.space == space.name]
            if buffers:
                lines = lines_of(buffers, space.capacity_bytes, top)
                mine = [v for v in values if v.buffer.space == space.name]
                shown = tuple(v for v in mine if v.start < self.end and v.end > self.start)
                placed = max(x.end for x in lines if x.names)
                about = space.name, space.core, space.capacity_bytes, placed, most_at_once(mine)
                self.parts.append(Part(*about, lines, shown))
                top = lines[-1].y + lines[-1].height + BETWEEN
        self.foot = top - BETWEEN + 16

    def svg(self) -> str:
        parts = [HATCH, *self.heading(), *(x for p in self.parts for x in self.part(p))]
        return document(WIDTH, self.foot, parts)

    def x(self, cycle: int) -> float:
        inside = min(max(cycle, self.start), self.end) - self.start
        return LEFT + inside * (WIDTH - RIGHT - LEFT) / (self.end - self.start)

    def heading(self) -> Iterator[str]:
        t = self.timing
        part = f"cycles {self.start:,} to {self.end:,} of {t.makespan:,}"
        facts = f"{t.work_items}; costs {t.costs.name}; cross-core latency {t.latency:,}"
        yield label(14, 26, f"{t.kernel.name}, memories: {part}", 15, INK, font_weight="bold")
        yield label(14, 46, facts, 11.5, INK)
        yield label(14, 64, HOW_TO_READ, 11.5, GREY)

    def part(self, p: Part) -> Iterator[str]:
        top, share = p.lines[0].y, 100 * p.placed / p.capacity
        which = "each vector lane" if p.core == "vector" else p.core
        name = f"{p.space} ({which}), {p.capacity:,} bytes"
        used = f"high-water mark {p.placed:,} ({share:.0f} %); at most {p.most:,} hold values at one time"
        yield label(14, top - 24, f"{name}: {used}", 12, INK, font_weight="bold")
        yield from self.axis(top, p.lines[-1].y + p.lines[-1].height)
        for line in p.lines:
            yield from self.line(line)
        shades = {b: SHADES[k % len(SHADES)] for k, b in enumerate(self.names(p))}
        for v in p.values:
            yield from self.box(p, v, shades[v.buffer.name][v.slot % 3])

    def names(self, p: Part) -> list[str]:
        return [b.name for b in self.timing.kernel.buffers if b.space == p.space]

    def axis(self, top: int, bottom: int) -> Iterator[str]:
        """Cycles, at round numbers."""
        for at in round_steps(self.start, self.end, WIDTH - RIGHT - LEFT):
            x = self.x(at)
            yield element("line", x1=x, y1=top - 4, x2=x, y2=bottom, stroke="#d9dee3")
            yield label(x, top - 8, f"{at:,}", 10, GREY, text_anchor="middle")
        yield label(14, top - 8, "byte", 10, GREY)
        yield label(LEFT - 10, top - 8, "cycle", 10, GREY, text_anchor="end")

    def line(self, line: Line) -> Iterator[str]:
        """Some bytes: where they start, whose they are."""
        frame = {"x": LEFT, "y": line.y, "width": WIDTH - RIGHT - LEFT, "height": line.height}
        size, middle = f"{line.end - line.start:,}", line.y + line.height / 2 + 3.5
        fill = {"fill": "none", "stroke": "#d9dee3"} if line.names else {"fill": "url(#stall)"}
        yield element("rect", **frame, **fill)
        yield label(14, middle, f"{line.start:,}", 10, GREY)
        words = " ".join(line.names) if line.names else f"{size} unused"
        most = int((LEFT - 78) / 5.9)
        words = words if len(words) <= most else words[: most - 3] + "..."
        colour = INK if line.names else GREY
        yield label(LEFT - 10, middle, words, 10, colour, text_anchor="end")

    def box(self, p: Part, v: Held, fill: str) -> Iterator[str]:
        """A value: by whom it is made, until when it is needed."""
        y, height = p.span(*v.bytes)
        x, right = self.x(v.start), self.x(v.end)
        at = [f"{n}={i}" for n, i in self.timing.iteration(v.made).items()]
        row = named(v.made.row, self.timing.kernel)
        said = f"{v.name} in {_slot(v.buffer, v.slot)}   {' '.join(at)}   {v.start:,} to {v.end:,}; {row}"
        frame = {"x": x, "y": y + 1, "width": max(right - x, 0.5), "height": height - 2}
        yield element("rect", element("title", escape(said)), **frame, fill=fill, **THIN_LINE)
        words = fitting([" ".join([v.name, *at[-1:]]), v.name], right - x)
        if words:
            yield label(
                (x + right) / 2, y + height / 2 + 3.5, words, 9.5, INK, text_anchor="middle"
            )
