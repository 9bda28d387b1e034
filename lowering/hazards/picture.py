"""Pictures of a hazard: the pipes around it, as text and as SVG.

In: a ``Violation`` with its window.  Out: at most 100 columns of text with one lane per pipe and one
line per row in issue order, or a self-contained SVG with time to the right.  What is no matter of
order (a fault of the placement) has no picture: both are ''.

The SVG shows one timing that the schedule allows: rows that are known complete end before the second
access starts, and the first access, which is not, is drawn long enough to collide with it.
Invariant: the same violation gives the same picture, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from html import escape
from textwrap import wrap

from lowering.hazards.timeline import Box, Lane, lanes, place, races
from lowering.hazards.violation import Violation
from lowering.hazards.window import BEHIND, IN_FRONT, Mark, Moment
from lowering.svg import GREY, HALO, INK, MONO, Picture, document, element, label, preformatted
from pto.printer import WIDTH

PICTURE_LIMIT = 3
"""Pictures in one report; later violations are mostly consequences of the first."""


def pictured(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """The violations worth a picture: the first ones, one per pair of accesses."""
    found: dict[object, Violation] = {}
    for v in violations:
        if v.window:
            found.setdefault((v.first, v.second), v)
    return tuple(found.values())[:PICTURE_LIMIT]


# --------------------------------------------------------------------------------------- text


def text(v: Violation) -> str:
    """The window as lines of at most 100 columns."""
    if not v.window:
        return ""
    across, rows = lanes(v), _statements(v)
    wide = [max(map(len, (f"{' '.join(x)}", *_words(v, x)))) + 3 for x in across]
    room = WIDTH - sum(wide) - 4
    column = _column(v, rows, room - 2)
    lines = [_cells([" ".join(x) for x in across], wide) + _legend(v)]
    for m, row in zip(v.window, rows, strict=True):
        if m.skipped:
            lines.append(_cells([":"] * len(wide), wide) + _left_out(m))
        lines += [_line(across, wide, x, x.text) for x in v.marks if _at(x, m, IN_FRONT)]
        words = f"{row:<{column}}  {_flags(m)}"
        if len(words) > room:
            words = f"{_clipped(row, column):<{column}}  {_flags(m)}"
        lines.append(_line(across, wide, m, _word(v, m)) + words)
        lines += [_line(across, wide, x, x.text) for x in v.marks if _at(x, m, BEHIND)]
    return "\n".join(_clipped(f"  {line}".rstrip(), WIDTH) for line in lines)


def _column(v: Violation, rows: Sequence[str], room: int) -> int:
    """The width of the statements, when statements and flags share ``room`` columns."""
    flags = max(len(_flags(m)) for m in v.window)
    return min(max(map(len, rows)), room - min(flags, room // 2))


def _cells(words: Sequence[str], wide: Sequence[int]) -> str:
    return "".join(f"{word:^{w}}" for word, w in zip(words, wide, strict=True)) + "  "


def _line(across: Sequence[Lane], wide: Sequence[int], x: Moment | Mark, word: str) -> str:
    mine = across.index((x.core, x.pipe))
    return _cells([word if k == mine else "|" for k in range(len(wide))], wide)


def _words(v: Violation, lane: Lane) -> list[str]:
    here = [_word(v, m) for m in v.window if (m.core, m.pipe) == lane]
    return here + [x.text for x in v.marks if (x.core, x.pipe) == lane]


def _word(v: Violation, m: Moment) -> str:
    """What the lane says of a row."""
    if m.role:
        return v.name_of(m.role).upper()
    if m.known is None:
        return "o"
    if _is_later(v, m):
        return "later"
    return "done" if m.known else "may run"


def _is_later(v: Violation, m: Moment) -> bool:
    return any(x.role == "second" and x.number < m.number for x in v.window)


def _legend(v: Violation) -> str:
    """What holds for all rows: the loops that stand still, and what the words mean."""
    notes = [", ".join(f"{name}={value}" for name, value in _still(v)), "rows as issued"]
    if any(m.known is not None for m in v.window):
        start = f"{v.name_of('second').upper()} starts" if v.second else "the kernel ends"
        notes.append(f"done or may run when {start}")
    return "; ".join(note for note in notes if note)


def _still(v: Violation) -> tuple[tuple[str, int], ...]:
    """The iterations that are the same in all rows of the window that have them."""
    found = dict.fromkeys(at for m in v.window for at in m.iteration)
    names = [name for name, _ in found]
    return tuple(at for at in found if names.count(at[0]) == 1)


def _moving(v: Violation, m: Moment) -> list[tuple[str, int]]:
    still = _still(v)
    return [at for at in m.iteration if at not in still]


def _described(m: Moment) -> str:
    at = ", ".join(f"{name} = {value}" for name, value in m.iteration)
    return f"{m.row}   ({at})" if at else m.row


def _statements(v: Violation) -> list[str]:
    """Each row with the iterations that change, all statements in one column."""
    moving = [" ".join(f"{n}={value}" for n, value in _moving(v, m)) for m in v.window]
    width = max(map(len, moving)) + 2
    rows = zip(moving, v.window, strict=True)
    return [f"{at:<{width}}{m.row}" if width > 2 else m.row for at, m in rows]


def _left_out(m: Moment) -> str:
    return f"... {m.skipped} more row{'s' if m.skipped > 1 else ''}"


def _flags(m: Moment) -> str:
    columns = (("wait", m.waits), ("set", m.sets))
    return " ".join(f"| {kind} {' '.join(names)}" for kind, names in columns if names)


def _clipped(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def _at(x: Mark, m: Moment, side: str) -> bool:
    return (x.number, x.side) == (m.number, side)


# ---------------------------------------------------------------------------------------- SVG

CHAR, LINE, LONGEST_LINE = 6.63, 15, 24
"""Of the text in a box: width of a character at 11 px, height of a line, longest line."""

BOX, BETWEEN, RAIL = 58, 76, 92
"""Height of a box; between two lanes; from one rail of a lane to the next."""

LEFT, TOP, LEAST_WIDTH, LEAST_BOX, ARRIVAL = 92, 100, 760, 72, 38
"""Margins; least width of the drawing and of a box; where in a box a missing edge arrives."""

LETTERS = 13
"""Height of a line of words between the lanes."""

RED, PALE = "#c81e1e", "#fdeaea"
DONE, OPEN = "#dfe4e9", "#ffffff"
VERBS = {"RAW": ("writes", "reads"), "WAR": ("reads", "writes"), "WAW": ("writes", "writes")}
DASHED = {"stroke_dasharray": "6 4", "stroke_width": 2}


def html(message: str, violations: Sequence[Violation]) -> str:
    """The report with the SVG of the first violations in place of their text pictures."""
    drawn = pictured(violations)
    parts = [preformatted(message)]
    for v in violations:
        parts.append(preformatted(v.described()))
        parts += [Picture(svg(v), f"{v.kind}: {v.text}")._repr_html_()] if v in drawn else []
    return "\n".join(parts)


def svg(v: Violation) -> str:
    """The window as a self-contained SVG; '' if there is nothing to draw."""
    return Drawing(v).svg() if v.window else ""


class Drawing:
    """The SVG of one violation, top to bottom: heading, lanes with their boxes, what is missing."""

    def __init__(self, v: Violation) -> None:
        self.v, self.across = v, lanes(v)
        self.boxes = tuple(replace(b, x=b.x + LEFT) for b in place(v, self.box_width))
        self.rows = {b.what.number: (b.what, b) for b in self.boxes if isinstance(b.what, Moment)}
        self.roles = {m.role: b for m, b in self.rows.values()}
        self.end = max(b.right for b in self.boxes) + 16
        self.width = max(self.end + 12, LEAST_WIDTH)
        self.bottom = max(self.top(b) for b in self.boxes) + BOX
        self.notes = wrap(f"Missing: {v.missing}", int(self.width / 6.2)) if v.missing else []
        self.height = self.bottom + 62 + 17 * len(self.notes)
        self.places: list[tuple[float, float, float]] = []
        self.written: list[str] = []

    def svg(self) -> str:
        """The whole file."""
        boxes = [line for b in self.boxes for line in self.box(b)]  # captions have the first choice
        parts = [
            *self.heading(),
            *self.collision(),
            *self.lanes(),
            *self.events(),
            *boxes,
            *self.missing(),
            *self.written,
            *self.footer(),
        ]
        return document(round(self.width), round(self.height), parts)

    # places

    def box_width(self, x: Moment | Mark) -> float:
        """As wide as the longest line in it."""
        lines = [x.text] if isinstance(x, Mark) else self.lines(x)
        return max(max(map(len, lines)) * CHAR + 18, LEAST_BOX)

    def lines(self, m: Moment) -> list[str]:
        """A statement in one or two lines, and the iterations that change."""
        whole = [m.row] if len(m.row) <= LONGEST_LINE else _halves(m.row)
        at = " ".join(f"{name} = {value}" for name, value in _moving(self.v, m))
        return [_shortened(line) for line in whole] + ([at] if at else [])

    def top(self, b: Box) -> float:
        """The upper edge of a box."""
        return float(TOP + b.lane * (BOX + BETWEEN) + b.rail * RAIL)

    def middle(self, b: Box) -> float:
        """Half way down a box."""
        return self.top(b) + BOX / 2

    def words(self, x: float, y: float, text: str, step: int, colour: str, **more: object) -> None:
        """Words between the lanes, over all lines; where others stand already, ``step`` further from
        their box."""
        width = len(text) * CHAR * (1 if more.get("font_family") else 1.09)
        left = x - width if more.get("text_anchor") == "end" else x
        while any(
            left < b and a < left + width and abs(y - base) < LETTERS for a, b, base in self.places
        ):
            y += step
        self.places.append((left, left + width, y))
        size = 11 if colour == GREY else 12
        self.written.append(label(x, y, text, size, colour, **HALO, **more))

    # parts

    def heading(self) -> Iterator[str]:
        """What is wrong, where, and in which run."""
        v = self.v
        memory = f" in {v.space} bytes {v.bytes[0]}..{v.bytes[1]}" if v.bytes else ""
        trips = f"smallest failing trip counts {list(v.trips)}"
        still = ", ".join(f"{name} = {value}" for name, value in _still(v))
        facts = "; ".join(x for x in (v.buffer + memory, trips, still) if x)
        yield label(20, 28, f"{v.kind}: {v.text}", 15, INK, font_weight="bold")
        yield label(20, 49, facts, 12, GREY)

    def collision(self) -> Iterator[str]:
        """The time in which both accesses run."""
        if races(self.v):
            first, second = self.roles["first"], self.roles["second"]
            start, end = second.x, min(first.right, second.right)
            height = self.bottom - TOP + 34
            yield element("rect", x=start, y=TOP - 22, width=end - start, height=height, fill=PALE)
            y = TOP - 27 if len(self.across) > 1 else self.bottom + 26
            words = "both may run here"
            yield label((start + end) / 2, y, words, 11, RED, text_anchor="middle")

    def lanes(self) -> Iterator[str]:
        """The pipes, each a line of time."""
        for k, (core, pipe) in enumerate(self.across):
            y = TOP + k * (BOX + BETWEEN) + BOX / 2
            yield element("line", x1=LEFT - 14, y1=y, x2=self.end, y2=y, stroke="#cbd2d9")
            yield label(20, y - 3, core, 12, GREY)
            yield label(20, y + 13, pipe, 14, INK, font_weight="bold")

    def box(self, b: Box) -> Iterator[str]:
        """A row; or, dashed, one that is missing."""
        m, middle = b.what, self.middle(b)
        frame = {"x": b.x, "y": self.top(b), "width": b.width, "height": BOX, "rx": 5}
        if isinstance(m, Mark):
            yield element("rect", **frame, fill=OPEN, stroke=RED, **DASHED)
            yield label(b.x + 9, middle + 4, m.text, 11, RED, font_family=MONO)
            return
        fill = "#fbd5d5" if m.role else DONE if m.known else OPEN
        stroke = {"stroke": RED, "stroke_width": 2} if m.role else {"stroke": GREY}
        yield element("rect", element("title", escape(_described(m))), **frame, fill=fill, **stroke)
        lines = self.lines(m)
        for k, line in enumerate(lines):
            y = middle + 4 + LINE * (k - (len(lines) - 1) / 2)
            yield label(b.x + 9, y, line, 11, INK, font_family=MONO)
        if m.role:
            y = self.top(b) + (BOX + 16 if b.lane else -7)
            step = LETTERS if b.lane else -LETTERS
            self.words(b.x + 1, y, self.caption(m), step, RED, font_weight="bold")
        if m.skipped:
            yield label(b.x - 12, middle - 6, _left_out(m), 11, GREY, text_anchor="end")

    def caption(self, m: Moment) -> str:
        """What the access does."""
        name = self.v.name_of(m.role)
        if self.v.kind not in VERBS:
            return name
        return f"{name} {VERBS[self.v.kind][m.role == 'second']} {self.v.buffer}".rstrip()

    def events(self) -> Iterator[str]:
        """The events and signals between the rows."""
        for m, b in self.rows.values():
            senders = dict.fromkeys(n for n, _ in m.after if self.rows[n][1].lane != b.lane)
            for n in senders:
                names = ", ".join(name for number, name in m.after if number == n)
                yield from self.arrow(self.rows[n][1], b, GREY)
                below = self.rows[n][1].lane > b.lane
                y, step = self.top(b) + (BOX + 19 if below else -11), LETTERS if below else -LETTERS
                at = {"font_family": MONO, "text_anchor": "end"}
                self.words(b.x + 5, y, names, step, GREY, **at)

    def arrow(self, a: Box, b: Box, colour: str, /, **more: object) -> Iterator[str]:
        """From the end of ``a`` to the start of ``b``."""
        if self.top(a) == self.top(b):
            y1 = y2 = self.middle(a)
            x1, x2 = a.right, b.x - 7
            path, head = f"M{x1:.0f} {y1:.0f}H{x2:.0f}", "0 -4 7 0 0 4"
        else:
            down = 1 if self.top(a) < self.top(b) else -1
            x1, x2 = a.right - 12, b.x + (ARRIVAL if colour == RED else 12)
            y1, y2 = self.middle(a) + down * BOX / 2, self.middle(b) - down * (BOX / 2 + 7)
            bend = (y2 - y1) * 0.6
            bends = f"{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f}"
            path = f"M{x1:.0f} {y1:.0f}C{bends} {x2:.0f} {y2:.0f}"
            head = f"-4 0 4 0 0 {7 * down}"
        yield element("path", d=path, fill="none", stroke=colour, **more)
        yield element(
            "polygon", points=head, fill=colour, transform=f"translate({x2:.0f} {y2:.0f})"
        )

    def missing(self) -> Iterator[str]:
        """The edge that is not there."""
        first, second = self.roles.get("first"), self.roles.get("second")
        for b in self.boxes:
            if isinstance(b.what, Mark):
                yield from self.arrow(first, b, RED, **DASHED) if first else ()
                yield from self.arrow(b, second, RED, **DASHED) if second else ()
        if not (races(self.v) and first and second):
            return
        bold = {"font_weight": "bold"}
        if len(self.v.marks) == 2:
            set_, wait = self.v.marks
            down = 1 if first.lane < second.lane else -1
            yield from self.arrow(first, second, RED, **DASHED)
            y1, y2 = self.middle(first) + down * (BOX / 2), self.middle(second) - down * (BOX / 2)
            x, y, step = first.right - 19, y1 + (16 if down > 0 else -8), LETTERS * down
            self.words(x, y, set_.text, step, RED, text_anchor="end", **bold)
            x, y = second.x + ARRIVAL + 8, y2 - (9 if down > 0 else -16)
            self.words(x, y, wait.text, -step, RED, **bold)
        for mark in self.v.marks[:1] if len(self.v.marks) == 1 else ():
            x = second.x - 9
            yield element(
                "line", x1=x, y1=TOP - 20, x2=x, y2=self.bottom + 12, stroke=RED, **DASHED
            )
            yield label(x, TOP - 26, mark.text, 12, RED, text_anchor="middle", **bold)

    def footer(self) -> Iterator[str]:
        """What is missing in words, and what the colours say."""
        y = self.bottom + 48
        for k, note in enumerate(self.notes):
            yield label(20, y + 17 * k, note, 12, RED)
        y += 17 * len(self.notes)
        shown = "One timing of many" if races(self.v) else "Rows as issued"
        words = f"{shown}, time to the right."
        if any(m.known for m, _ in self.rows.values()):
            start = "the second red one starts" if self.v.second else "the kernel ends"
            yield element("rect", x=20, y=y - 9, width=14, height=10, fill=DONE, stroke=GREY)
            words = f"complete when {start}; what is white may not be.  {words}"
        yield label(40 if words[0] == "c" else 20, y, words, 11, GREY)


def _halves(row: str) -> list[str]:
    """``out = op`` and the operands."""
    left, equals, right = row.rpartition(" = ")
    op, _, operands = right.partition(" ")
    return [f"{left}{equals}{op}", operands]


def _shortened(line: str) -> str:
    """The middle left out, so that the op at the end can be read."""
    if len(line) <= LONGEST_LINE:
        return line
    tail = LONGEST_LINE // 2
    return f"{line[: LONGEST_LINE - tail - 3]}...{line[-tail:]}"
