"""Pictures of a hazard: the pipes around it, as text and as SVG.

In: a ``Violation`` with its window.  Out: at most 100 columns of text with one lane per pipe and one
line per row in issue order, or a self-contained SVG with time to the right.  What is no matter of
order (a fault of the placement) has no picture: both are ''.

The SVG shows one timing that the schedule allows: rows that are known complete end before the second
access starts, and the first access, which is not, is drawn long enough to collide with it.
Invariant: the same violation gives the same picture, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lowering.window import BEHIND, IN_FRONT, Mark, Moment
from pto.printer import WIDTH

if TYPE_CHECKING:
    from lowering.hazards import Violation

Lane = tuple[str, str]
"""(core, pipe)."""

MOST_PICTURES = 3
"""Pictures in one report; later violations are mostly consequences of the first."""

VERBS = {"RAW": ("write", "read"), "WAR": ("read", "write"), "WAW": ("write", "write")}


def lanes(v: Violation) -> tuple[Lane, ...]:
    """The pipes of the picture: of the first access, of the second, then any other."""
    found = [(m.core, m.pipe) for m in sorted(v.window, key=lambda m: (m.role == "", m.role))]
    return tuple(dict.fromkeys([*found, *((x.core, x.pipe) for x in v.marks)]))


def pictured(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """The violations worth a picture: the first ones, one per pair of accesses."""
    found: dict[object, Violation] = {}
    for v in violations:
        if v.window:
            found.setdefault((v.first, v.second), v)
    return tuple(found.values())[:MOST_PICTURES]


# --------------------------------------------------------------------------------------- text


def text(v: Violation) -> str:
    """The window as lines of at most 100 columns."""
    if not v.window:
        return ""
    across, rows = lanes(v), _statements(v)
    wide = [max(map(len, (f"{' '.join(x)}", *_words(v, x)))) + 3 for x in across]
    column = _column(v, rows, WIDTH - sum(wide) - 6)
    lines = [_cells([" ".join(x) for x in across], wide) + _legend(v)]
    for m, row in zip(v.window, rows, strict=True):
        if m.skipped:
            lines.append(_cells([":"] * len(wide), wide) + _left_out(m))
        lines += [_line(across, wide, x, x.text) for x in v.marks if _at(x, m, IN_FRONT)]
        told = f"{_clipped(row, column):<{column}}  {_flags(m)}"
        lines.append(_line(across, wide, m, _word(v, m)) + told)
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


def _statements(v: Violation) -> list[str]:
    """Each row with the iterations that change, all statements in one column."""
    still = _still(v)
    moving = [[at for at in m.iteration if at not in still] for m in v.window]
    told = [" ".join(f"{name}={value}" for name, value in found) for found in moving]
    width = max(map(len, told)) + 2
    rows = zip(told, v.window, strict=True)
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
