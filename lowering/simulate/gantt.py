"""A simulated run as a picture: a lane per unit, time to the right, a box per row.

In: a ``Timing``, and how many steps of the steady state to show.  Out: a self-contained SVG with a
legend: every statement has a number and, by the tensor or FIFO that its value gets to, a colour.  Stalls
are hatched and say their cause where there is room; a heavy border is the critical path.

Both vector lanes do the same at the same time; one stands for both.
Invariant: the same run gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

from lowering.simulate.held import held, made_by
from lowering.simulate.timing import Stall, Timing, shown
from lowering.simulate.trace import Slice, slices
from lowering.svg import GREY, HALO, INK, MONO, Picture, document, element, label
from pto.ir import Queue, View, all_rows
from pto.text import named

STEPS = 3
"""Steps of the loop that a picture shows unless told otherwise."""

LEFT, RIGHT, TOP, WIDTH = 104, 20, 108, 960
"""Margins, and the width of the whole picture: a notebook in a window of 1100 pixels has room for it."""

LANE, THIN, BETWEEN, HEADING = 30, 18, 7, 24
"""Height of a lane, and of a scalar unit's; between two lanes, and between two cores."""

CHAR = 5.75
"""Width of a character of the text in a box, 9.5 px high."""

LEAST_WIDTH_PER_CYCLE = 0.05
"""In a picture of the whole run, which grows with it."""

SHADES = (
    ("#cfe2fb", "#a6cbf7", "#7db2f0"),
    ("#d2efd5", "#a6ddae", "#7ac888"),
    ("#fde3c3", "#fbcb8d", "#f3b05a"),
    ("#e7dcfa", "#cfbaf4", "#b596ea"),
    ("#fbd9e3", "#f5b3c7", "#ea8da8"),
    ("#d3eef0", "#a3dade", "#72c3c9"),
)
"""Three shades of a hue for what leads to the same place."""

OTHER = ("#e6e9ec", "#cfd5da", "#b8c0c8")

THIN_LINE = {"stroke": "#52606d", "stroke_width": 0.4}
HATCH = (
    '<defs><pattern id="stall" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#f7f8f9"/>'
    '<rect width="1.2" height="6" fill="#d5dae0"/></pattern></defs>'
)
HOW_TO_READ = (
    "hatched: the unit stands still, and for what; heavy border: on the critical path; "
    "number: see below; %: busy, of the whole run"
)


def svg(timing: Timing, steps: int | None = STEPS) -> str:
    """The picture of ``steps`` steps in the middle of the run, or (None) of all of it."""
    return _Drawing(timing, steps).svg()


def picture(timing: Timing, steps: int | None = STEPS) -> Picture:
    """The same for a notebook."""
    return Picture(svg(timing, steps), f"{timing.kernel.name}: the pipes of both cores in time")


def window(timing: Timing, steps: int | None) -> tuple[int, int]:
    """From which cycle to which: between two starts of the row of the busiest pipe that runs most
    often, in the middle of the run."""
    everything = 0, max(timing.makespan, 1)
    times = Counter(id(s.row) for s in timing.spans)
    if steps is None or not times:
        return everything
    busiest = [s for s in timing.spans if s.unit == timing.bound_pipe] or timing.spans
    row = max(busiest, key=lambda s: times[id(s.row)]).row
    starts = sorted({s.start for s in timing.spans if s.row is row})
    if len(starts) <= steps:
        return everything
    first = (len(starts) - steps) // 2
    return starts[first], starts[first + steps]


def destinations(timing: Timing) -> dict[int, str]:
    """By the identity of each row, the FIFO or tensor that its result gets to in the fewest rows."""
    readers: dict[int, dict[int, None]] = {}
    for value in held(timing):
        known = readers.setdefault(id(value.made.row), {})
        known |= dict.fromkeys(map(id, value.read_by))
    rows = list(all_rows(timing.kernel.body))
    nearest = {id(r): made_by(r) for r in rows if isinstance(r.out, Queue | View)}
    found: dict[int, str] = {}
    while nearest:
        found |= nearest
        left = [r for r in rows if id(r) not in found]
        next_to = {id(r): [n for n in readers.get(id(r), {}) if n in nearest] for r in left}
        nearest = {made: nearest[near[0]] for made, near in next_to.items() if near}
    return found


@dataclass(frozen=True, slots=True)
class Statement:
    """A line of the legend."""

    number: int
    core: str
    towards: str
    pipe: str
    text: str
    fill: str


class _Drawing:
    """Top to bottom: heading, axis, lanes with their boxes, legend."""

    def __init__(self, timing: Timing, steps: int | None) -> None:
        self.timing = timing
        self.start, self.end = window(timing, steps)
        least = LEAST_WIDTH_PER_CYCLE * (self.end - self.start)
        self.right = round(max(WIDTH - RIGHT, LEFT + least))
        drawn = slices(timing)
        self.boxes = {
            unit: [s for s in drawn[unit] if self.start < s.end > s.start < self.end]
            for unit in timing.shown.values()
        }
        self.critical = {id(s) for s in timing.critical()}
        self.statements = self.numbered()
        self.tops: dict[str, int] = {}
        y, core = TOP, ""
        for unit in timing.shown.values():
            y += HEADING if unit.split()[0] != core else 0
            core = unit.split()[0]
            self.tops[unit] = y
            y += _height(unit) + BETWEEN
        self.bottom = y

    def numbered(self) -> dict[tuple[str, str], Statement]:
        """The statements in the picture by unit and text, in the order of the legend."""
        kernel, towards = self.timing.kernel, destinations(self.timing)
        visible = {(s.span.unit, id(s.span.row)) for unit in self.boxes.values() for s in unit}
        found: dict[tuple[str, str], tuple[str, str]] = {}
        for core in ("cube", "vector"):
            for row in all_rows(kernel.body):
                unit = self.timing.shown.get(f"{core} {row.pipe}", "")
                if row.core == core and (unit, id(row)) in visible:
                    key = unit, named(row, kernel)
                    found.setdefault(key, (core, towards.get(id(row), "")))
        groups = list(dict.fromkeys(found.values()))
        shades = dict(zip((g for g in groups if g[1]), cycle(SHADES)))
        inside: Counter[tuple[str, tuple[str, str]]] = Counter()
        made: dict[tuple[str, str], Statement] = {}
        for key in sorted(found, key=lambda k: groups.index(found[k])):
            group, unit = found[key], key[0]
            shade = shades.get(group, OTHER)[inside[unit, group] % 3]
            inside[unit, group] += 1
            made[key] = Statement(len(made) + 1, *group, unit.split()[1], key[1], shade)
        return made

    def svg(self) -> str:
        legend = list(self.legend())
        parts = [HATCH, *self.heading(), *self.axis(), *self.lanes(), *legend]
        return document(self.right + RIGHT, self.foot, parts)

    def x(self, cycle: int) -> float:
        inside = min(max(cycle, self.start), self.end) - self.start
        return LEFT + inside * (self.right - LEFT) / (self.end - self.start)

    # parts

    def heading(self) -> Iterator[str]:
        t = self.timing
        part = f"cycles {self.start:,} to {self.end:,} of {t.makespan:,}"
        facts = (
            f"{t.work_items}; costs {t.costs.name}; cross-core latency {t.latency:,}; "
            f"1,000 cycles are {t.seconds(1000) * 1e6:.2f} us"
        )
        bound = f"bound {t.bound:,} cycles ({shown(t.bound_pipe)}), ratio {t.makespan / max(t.bound, 1):.2f}"
        yield label(14, 26, f"{t.kernel.name}: {part}", 15, INK, font_weight="bold")
        yield label(14, 46, f"{bound}; {facts}", 11.5, INK)
        yield label(14, 64, HOW_TO_READ, 11.5, GREY)

    def axis(self) -> Iterator[str]:
        """Cycles, at round numbers."""
        for at in round_steps(self.start, self.end, self.right - LEFT):
            x = self.x(at)
            yield element("line", x1=x, y1=TOP - 8, x2=x, y2=self.bottom, stroke="#d9dee3")
            yield label(x, TOP - 13, f"{at:,}", 11, GREY, text_anchor="middle")
        yield label(14, TOP - 13, "cycle", 11, GREY)

    def lanes(self) -> Iterator[str]:
        """The units, each a line of time, with its stalls and rows."""
        core = ""
        for name, unit in self.timing.shown.items():
            y, usage = self.tops[unit], self.timing.pipes[unit]
            if name.split()[0] != core:
                core = name.split()[0]
                told = "vector (each lane)" if core == "vector" else core
                yield label(14, y - 7, told, 12, INK, font_weight="bold", **HALO)
            middle = y + _height(unit) / 2 + 4
            share = f"{100 * usage.busy / max(self.timing.makespan, 1):.0f} %"
            yield label(14, middle, name.split()[1], 12, INK)
            yield label(LEFT - 10, middle, share, 11, GREY, text_anchor="end")
            for stall in usage.stalls:
                if stall.end > self.start and stall.start < self.end:
                    yield from self.stall(y, _height(unit), stall)
            for s in self.boxes[unit]:
                yield from self.box(y, s)

    def stall(self, y: int, height: int, stall: Stall) -> Iterator[str]:
        x, right = self.x(stall.start), self.x(stall.end)
        if right - x >= 1.5:
            frame = {"x": x, "y": y + 3, "width": right - x, "height": height - 6}
            title = element("title", f"{stall.cause}: {stall.end - stall.start:,} cycles")
            yield element("rect", title, **frame, fill="url(#stall)")
            short = stall.cause.removeprefix("event ").removeprefix("fifo ")
            words = fitting([stall.cause, short], right - x)
            at = {"text_anchor": "middle", **HALO}
            if words:
                yield label((x + right) / 2, y + height / 2 + 3.5, words, 9.5, "#52606d", **at)

    def box(self, y: int, s: Slice) -> Iterator[str]:
        """A row: what it is, the number of its statement, its iteration."""
        text = named(s.span.row, self.timing.kernel)
        line = self.statements[s.span.unit, text]
        counters = [f"{n}={v}" for n, v in self.timing.iteration(s.span).items()]
        x, right = self.x(s.start), self.x(s.end)
        frame = {"x": x, "y": y, "width": max(right - x, 0.5), "height": LANE}
        ran = f"{text}   {' '.join(counters)}   {s.span.start:,} to {s.span.end:,}; {s.span.why}"
        border = {"stroke": INK, "stroke_width": 1.6} if id(s.span) in self.critical else THIN_LINE
        yield element("rect", element("title", escape(ran)), **frame, fill=line.fill, **border)
        short, at = f"{line.number} {made_by(s.span.row)}", " ".join(counters[-1:])
        words = fitting([f"{short} {at}", short, str(line.number)], right - x)
        if words:
            middle = y + LANE / 2 + 3.5
            yield label((x + right) / 2, middle, words, 9.5, INK, text_anchor="middle")

    def legend(self) -> Iterator[str]:
        """A column per core, a paragraph per destination; leaves the foot of the picture."""
        cores = list(dict.fromkeys(line.core for line in self.statements.values()))
        width = (WIDTH - 28) / max(len(cores), 1)
        self.foot = self.bottom + 20
        for k, core in enumerate(cores):
            x, y, towards = 14 + k * width, self.bottom + 8, None
            for line in (s for s in self.statements.values() if s.core == core):
                if line.towards != towards:
                    towards = line.towards
                    y += 24
                    words = f"{core}, towards {towards}" if towards else core
                    yield label(x, y, words, 11.5, INK, font_weight="bold")
                y += 15
                yield from self.line(x, y, width, line)
            self.foot = max(self.foot, y + 18)

    def line(self, x: float, y: float, width: float, line: Statement) -> Iterator[str]:
        frame = {"x": x, "y": y - 9, "width": 16, "height": 11, "fill": line.fill}
        yield element("rect", **frame, **THIN_LINE)
        yield label(x + 38, y, str(line.number), 10.5, INK, text_anchor="end")
        yield label(x + 46, y, line.pipe, 10.5, GREY)
        most = int((width - 90) / 6.1)
        text = line.text if len(line.text) <= most else line.text[: most - 3] + "..."
        yield label(x + 82, y, text, 10, INK, font_family=MONO)


def _height(unit: str) -> int:
    return THIN if unit.endswith(" S") else LANE


def round_steps(start: int, end: int, width: int) -> range:
    """The round numbers of cycles to name on an axis of ``width`` pixels."""
    least = (end - start) * 90 / width
    step = next(n * 10**k for k in range(12) for n in (1, 2, 5) if n * 10**k >= least)
    return range(-(-start // step) * step, end + 1, step)


def fitting(texts: Sequence[str], width: float) -> str:
    """The first text that fits."""
    return next((t for t in texts if t and len(t) * CHAR + 4 <= width), "")
