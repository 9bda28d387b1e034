"""A chip as a picture: its memories, and the pipes that move tiles between them.

In: a ``Target``.  Out: a self-contained SVG: GM on the left, a panel for each kind of core; memories stand
in columns, as many moves from GM as the column says.  A pipe that leads one column on stands between the
two; any other one below, on a line of its own.  Invariant: nothing is drawn that is not in the table, so a
second chip has a picture of its own.  Non-goals: what the words mean (docs/hardware.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lowering.svg import GREY, INK, MONO, document, element, label
from pto.ir import CORES
from pto.targets import GM, Pipe, Space, Target
from pto.types import DTYPE_BYTES

WIDTH, TOP, EDGE = 1000, 64, 20
GM_WIDTH, FIRST, PITCH = 110, 270, 260
"""Width of GM, where the first column begins, and from column to column."""

BOX_WIDTH, BOX_HEIGHT, BETWEEN = 130, 62, 22
HEADING, LINE, PADDING = 52, 38, 16
"""Of a panel: above its boxes, for each pipe below them, around all of it."""

PILL_WIDTH, PILL_HEIGHT = 58, 22
COLOURS = ("#2f6fb5", "#2f8f4e", "#b5651d", "#7a4fb5", "#b53a5f", "#1f8a8f", "#52606d")
"""Of the pipes, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A memory in the picture: its left upper corner."""

    x: float
    y: float
    height: float = BOX_HEIGHT
    width: float = BOX_WIDTH

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def centre(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def svg(target: Target) -> str:
    """The picture of a chip: 1000 units wide, as high as its cores need."""
    depths, parts, y = _depths(target), [_heads(target)], float(TOP)
    for core in CORES:
        panel = _Panel(target, core, depths, y)
        parts += panel.parts()
        y = panel.bottom + PADDING
    height = round(y)
    return document(WIDTH, height, [*_title(target), *_gm(height), *parts])


def _depths(target: Target) -> dict[str, int]:
    """Memory -> how many moves it is from GM; 1 where no move leads to it."""
    moves = [move for pipe in target.pipes.values() for move in pipe.moves]
    depths, reached = {GM: 0}, [GM]
    while reached:
        ends = [(depths[a] + 1, b) for a, b in moves if a in reached and b not in depths]
        depths |= {b: depth for depth, b in ends}
        reached = [b for _, b in ends]
    return {**dict.fromkeys(target.spaces, 1), **depths}


def _title(target: Target) -> Iterator[str]:
    yield label(EDGE, 26, target.name, 17, INK, font_weight="bold")
    said = (
        f"{target.block_num} hardware blocks, each of one cube core and {target.lanes} vector cores"
    )
    yield label(EDGE, 46, said, 12, GREY)


def _gm(height: float) -> Iterator[str]:
    bottom = height - PADDING
    yield _rectangle(EDGE, TOP, GM_WIDTH, bottom - TOP, fill="#eef1f4", stroke=GREY)
    yield label(EDGE + 12, TOP + 24, GM.upper(), 15, INK, font_weight="bold")
    for k, words in enumerate(("tensors,", "rings of FIFOs")):
        yield label(EDGE + 12, TOP + 44 + 15 * k, words, 11, GREY)


def _colour(target: Target, pipe: str) -> str:
    return COLOURS[list(target.pipes).index(pipe) % len(COLOURS)]


def _heads(target: Target) -> str:
    """The arrow heads, one for each pipe."""
    made = (
        element(
            "marker",
            element("path", d="M0,0 L8,4 L0,8 z", fill=_colour(target, pipe)),
            id=f"head-{pipe}",
            viewBox="0 0 8 8",
            refX=8,
            refY=4,
            markerWidth=7,
            markerHeight=7,
            orient="auto-start-reverse",
        )
        for pipe in target.pipes
    )
    return element("defs", "".join(made))


def _rectangle(x: float, y: float, width: float, height: float, /, **look: object) -> str:
    return element("rect", x=x, y=y, width=width, height=height, rx=4, **look)


class _Panel:
    """One kind of core."""

    def __init__(self, target: Target, core: str, depths: Mapping[str, int], top: float) -> None:
        self.target, self.core, self.depths, self.top = target, core, depths, top
        self.spaces = [s for s in target.spaces.values() if s.core == core]
        self.pipes = [p for p in target.pipes.values() if core in p.cores]
        self.spots = {GM: Spot(EDGE, top, 0, GM_WIDTH), **self._placed()}
        names = set(self.spots)
        self.moves = {p.name: [m for m in p.moves if names.issuperset(m)] for p in self.pipes}
        self.below = [p for p in self.pipes if self._off(p)]
        self.lines = max(s.bottom for s in self.spots.values()) + LINE
        self.bottom = self.lines + LINE * (len(self.below) - 1) + PADDING + PILL_HEIGHT / 2

    def _placed(self) -> dict[str, Spot]:
        """The memories in their columns, each column centred."""
        columns: dict[int, list[Space]] = {}
        for space in self.spaces:
            columns.setdefault(self.depths[space.name], []).append(space)
        most = max(map(len, columns.values()))
        placed = {}
        for depth, column in columns.items():
            y = self.top + HEADING + (most - len(column)) * (BOX_HEIGHT + BETWEEN) / 2
            for k, space in enumerate(column):
                x = FIRST + (depth - 1) * PITCH
                placed[space.name] = Spot(x, y + k * (BOX_HEIGHT + BETWEEN))
        return placed

    def _on(self, pipe: Pipe) -> list[tuple[str, str]]:
        """The moves of a pipe that lead one column on."""
        return [(a, b) for a, b in self.moves[pipe.name] if self.depths[b] == self.depths[a] + 1]

    def _off(self, pipe: Pipe) -> list[tuple[str, str]]:
        """Its other moves; back into the same memory is drawn with those that lead on, if there are any."""
        on = self._on(pipe)
        return [
            (a, b) for a, b in self.moves[pipe.name] if (a, b) not in on and not (on and a == b)
        ]

    def parts(self) -> Iterator[str]:
        left, width = EDGE + GM_WIDTH + 40, WIDTH - 2 * EDGE - GM_WIDTH - 40
        yield _rectangle(
            left, self.top, width, self.bottom - self.top, fill="#fafbfc", stroke="#cbd2d9"
        )
        yield from self._heading(left + PADDING)
        for pipe in self.pipes:
            if self._on(pipe):
                yield from self._between(pipe)
        for k, pipe in enumerate(self.below):
            yield from self._under(pipe, k)
        for space in self.spaces:
            yield from _memory(space, self.spots[space.name])

    def _heading(self, x: float) -> Iterator[str]:
        many = f", {self.target.lanes} lanes" if self.core == "vector" else ""
        yield label(x, self.top + 22, f"{self.core} core{many}", 13, INK, font_weight="bold")
        still = [p.name for p in self.pipes if not self.moves[p.name]]
        if still:
            said = f"{', '.join(still)}: computes scalars, reads integers from GM, issues every row"
            yield label(x, self.top + 39, said, 11, GREY)

    def _between(self, pipe: Pipe) -> Iterator[str]:
        """A pipe that leads one column on; a memory that it also reads back has two arrow heads."""
        on = self._on(pipe)
        sources, ends = dict.fromkeys(a for a, _ in on), dict.fromkeys(b for _, b in on)
        x = min(self.spots[b].x for b in ends) - (PITCH - BOX_WIDTH) / 2
        y = sum(self.spots[b].centre for b in ends) / len(ends)
        for a in sources:
            start = (EDGE + GM_WIDTH, y) if a == GM else self._right(a)
            yield self._line(pipe, [start, (x - PILL_WIDTH / 2, y)], head=False)
        for b in ends:
            both = (b, b) in self.moves[pipe.name]
            way = [(x + PILL_WIDTH / 2, y), (self.spots[b].x, self.spots[b].centre)]
            yield self._line(pipe, way, both=both)
        yield from self._pill(pipe, x, y)

    def _right(self, name: str) -> tuple[float, float]:
        spot = self.spots[name]
        return spot.x + spot.width, spot.centre

    def _under(self, pipe: Pipe, k: int) -> Iterator[str]:
        """A pipe on a line below the memories: down from what it reads, up or left to what it writes."""
        y, aside = self.lines + LINE * k, 40.0 * (k - (len(self.below) - 1) / 2)
        moves = self._off(pipe)
        sources = list(dict.fromkeys(a for a, _ in moves))
        ends = list(dict.fromkeys(b for _, b in moves))
        own = 14.0 if sources == ends else 0.0  # back into what was read: beside the way down
        xs = [self.spots[a].middle + aside - own for a in sources]
        for a, x in zip(sources, xs, strict=True):
            yield self._line(pipe, [(x, self.spots[a].bottom), (x, y)], head=False)
        for b in ends:
            far = max(xs)
            if b == GM:
                yield self._line(pipe, [(far, y), (EDGE + GM_WIDTH, y)])
            else:
                x = self.spots[b].middle + aside + own
                yield self._line(pipe, [(far, y), (x, y), (x, self.spots[b].bottom)])
        yield from self._pill(pipe, max(xs) + own if own else max(xs) - PILL_WIDTH, y)

    def _line(
        self,
        pipe: Pipe,
        way: Sequence[tuple[float, float]],
        *,
        head: bool = True,
        both: bool = False,
    ) -> str:
        marks: dict[str, object] = {"marker_end": f"url(#head-{pipe.name})"} if head else {}
        if both:
            marks["marker_start"] = f"url(#head-{pipe.name})"
        d = "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in way)
        colour = _colour(self.target, pipe.name)
        return element("path", d=d, fill="none", stroke=colour, stroke_width=1.8, **marks)

    def _pill(self, pipe: Pipe, x: float, y: float) -> Iterator[str]:
        left, top = x - PILL_WIDTH / 2, y - PILL_HEIGHT / 2
        colour = _colour(self.target, pipe.name)
        yield element(
            "rect", x=left, y=top, width=PILL_WIDTH, height=PILL_HEIGHT, rx=11, fill=colour
        )
        yield label(x, y + 4, pipe.name, 12, "#ffffff", font_weight="bold", text_anchor="middle")


def _memory(space: Space, spot: Spot) -> Iterator[str]:
    yield _rectangle(spot.x, spot.y, spot.width, spot.height, fill="#ffffff", stroke=INK)
    yield label(spot.x + 10, spot.y + 20, space.name.upper(), 14, INK, font_weight="bold")
    size = f"{space.capacity_bytes / 1024:g} KiB"
    yield label(spot.x + spot.width - 10, spot.y + 20, size, 11, INK, text_anchor="end")
    layouts = f"layout {', '.join(space.layouts)}"
    yield label(spot.x + 10, spot.y + 37, layouts, 10, GREY, font_family=MONO)
    every = len(space.dtypes) == len(DTYPE_BYTES)
    held = "every type" if every else ", ".join(space.dtypes)
    yield label(spot.x + 10, spot.y + 52, held, 10, GREY, font_family=MONO)
