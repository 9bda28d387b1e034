"""One timing of a window that the schedule allows, in which the hazard happens.

In: a ``Violation``.  Out: a ``Box`` per row, and per missing row, at its place: time to the right, one
lane per pipe.  Every row starts as early as its pipe and what it waits for let it; the first access
of a race lasts so long that the second one, which does not wait for it, runs into it.

Of a race inside one pipe the rows behind the first access lie on a second rail, below it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lowering.hazards.violation import Violation
from lowering.hazards.window import BEHIND, IN_FRONT, Mark, Moment

Lane = tuple[str, str]
"""(core, pipe)."""

GAP, LEAD, LEAP = 26, 48, 96
"""Between rows; head start of a first access; what a stretch of left out rows takes."""

OVERLAP = 0.6
"""How much of the second access of a race the first one covers."""


@dataclass(frozen=True, slots=True)
class Box:
    """A row, or something missing, at its place."""

    what: Moment | Mark
    lane: int
    rail: int
    x: float
    width: float

    @property
    def right(self) -> float:
        return self.x + self.width


def lanes(v: Violation) -> tuple[Lane, ...]:
    """The pipes of the picture: of the first access, of the second, then any other."""
    found = [(m.core, m.pipe) for m in sorted(v.window, key=lambda m: (m.role == "", m.role))]
    return tuple(dict.fromkeys([*found, *((x.core, x.pipe) for x in v.marks)]))


def races(v: Violation) -> bool:
    """The two accesses can run at one time."""
    return v.kind in ("RAW", "WAR", "WAW") or len(v.marks) == 2


def place(v: Violation, width_of: Callable[[Moment | Mark], float]) -> tuple[Box, ...]:
    """The boxes in an order in which each depends only on those before it."""
    items: tuple[Moment | Mark, ...] = (*v.window, *v.marks)
    wide = {x: width_of(x) for x in items}
    boxes = _places(v, wide)
    found = {b.what.role: b for b in boxes if isinstance(b.what, Moment)}
    if not races(v):
        return boxes
    first, second = found["first"], found["second"]
    wide[first.what] = max(first.width, second.x + OVERLAP * second.width - first.x)
    return _places(v, wide)


def _places(v: Violation, wide: dict[Moment | Mark, float]) -> tuple[Box, ...]:
    across, boxes, rail = lanes(v), list[Box](), 0
    for x in _items(v):
        lane = across.index((x.core, x.pipe))
        start = max((_ready(v, x, b, lane, rail) for b in boxes), default=0.0)
        boxes.append(Box(x, lane, rail, start, wide[x]))
        if isinstance(x, Moment) and x.role == "first" and races(v) and len(across) == 1:
            rail = 1
    return tuple(boxes)


def _items(v: Violation) -> list[Moment | Mark]:
    """The rows with what is missing between them; the edge of a race is no box."""
    marks = () if races(v) else v.marks
    found: list[Moment | Mark] = []
    for m in v.window:
        found += [x for x in marks if (x.number, x.side) == (m.number, IN_FRONT)]
        found.append(m)
        found += [x for x in marks if (x.number, x.side) == (m.number, BEHIND)]
    return found


def _ready(v: Violation, x: Moment | Mark, b: Box, lane: int, rail: int) -> float:
    """When ``x`` may start because of the box ``b`` placed before it."""
    done, started = b.right + GAP, b.x + LEAD
    if isinstance(x, Mark) or isinstance(b.what, Mark):
        return done
    slow = races(v) and b.what.role == "first"
    if x.skipped and not (slow and (b.lane, b.rail) != (lane, rail)):
        return b.right + LEAP
    if any(n == b.what.number for n, _ in x.after) or (x.role == "second" and b.what.known):
        return done
    if (b.lane, b.rail) == (lane, rail):
        return done
    return started if slow and (x.role == "second" or b.lane == lane) else 0.0
