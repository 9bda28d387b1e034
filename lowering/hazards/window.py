"""The rows around a hazard, as data: what the pipes did between the two accesses.

In: the log of a described execution and a hazard it found.  Out: ``Moment`` records in issue order
and the ``Mark`` records that say where the missing edge would have to go.  ``lowering/hazards/picture.py``
draws them.

The window shows only the pipes that the hazard is about, from a row before the first access to a
row behind the second; of a long stretch between them it keeps both ends.  Non-goals: time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from lowering.hazards.assumptions import ORDERED_SIGNALS
from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.log import STILL_SET, At, Found, Log
from pto.text import statement

ROWS_LIMIT = 9
"""Rows of a window: with heading, marks and ellipsis the picture stays under 14 lines."""

AROUND = 1
"""Rows kept in front of the first access and behind the second."""

BEFORE = 5
"""Rows kept at least in front of where a hazard shows."""

BEHIND, IN_FRONT = "behind", "in front of"
TIMELESS = ("wait", "leftover", "deadlock", "fifo")
"""Kinds that are not about two rows at one time: nothing is asked about completion."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of a failing run.

    ``number`` counts the rows of both cores in an issue order.  ``role`` is 'first', 'second' or ''.
    ``known``: complete before the second access starts (or before the kernel ends) in every
    interleaving; None where the hazard does not ask.  ``waits`` and ``sets``: flags, first those
    between the pipes of the window.  ``after``: the rows in the window whose set or
    signal it waits for, each with the flag or FIFO.  ``skipped``: rows left out in front of it.
    """

    number: int
    core: str
    pipe: str
    row: str
    iteration: tuple[tuple[str, int], ...]
    waits: tuple[str, ...]
    sets: tuple[str, ...]
    role: str
    known: bool | None
    after: tuple[tuple[int, str], ...]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Something missing: ``text`` belongs on this pipe, ``side`` of the row with that number."""

    core: str
    pipe: str
    text: str
    side: str
    number: int


def window(code: Code, log: Log, f: Found) -> tuple[Moment, ...]:
    """The rows around ``f``; none if it is about no pipe."""
    order, lanes = list(log.rows), _lanes(code, log, f)
    here = _rows_of(order, lanes, log, f)
    shown = _shown(here, order, log, f)
    numbers = {order[n]: n for n in shown}
    skipped = [here.index(y) - here.index(x) - 1 for x, y in pairwise(shown)]
    return tuple(
        _moment(code, log, f, order[n], numbers, lanes, left_out)
        for n, left_out in zip(shown, [0, *skipped], strict=False)
    )


def marks(code: Code, log: Log, f: Found, moments: tuple[Moment, ...]) -> tuple[Mark, ...]:
    """Where the missing edge would have to go."""
    first = next((m for m in moments if m.role == "first"), None)
    second = next((m for m in moments if m.role == "second"), None)
    src, dst = _flag_pipes(code, f)
    if first and overtaken(code, log, f):
        return (Mark(first.core, first.pipe, "drain here", BEHIND, first.number),)
    if f.kind in ("RAW", "WAR", "WAW") or (f.kind == "double set" and f.detail != STILL_SET):
        return _edge(first, second) if first and second else ()
    if f.kind == "double set" and second:
        return (Mark(*dst, "wait here", IN_FRONT, second.number),)
    if f.kind == "wait" and second:
        return (Mark(*src, "set here", IN_FRONT, second.number),)
    if f.kind == "uninitialised" and second:
        return (Mark(second.core, second.pipe, "write before", IN_FRONT, second.number),)
    if f.kind == "leftover" and moments:
        return (Mark(*dst, "wait here", BEHIND, moments[-1].number),)
    if f.kind == "undrained" and first:
        return (Mark(first.core, "S", "drain here", BEHIND, moments[-1].number),)
    return ()


def overtaken(code: Code, log: Log, f: Found) -> bool:
    """The read has waited for the signal of the write that it meets: only that may have come first."""
    if f.kind != "RAW" or f.first is None or f.second is None or ORDERED_SIGNALS in code.assume:
        return False
    after = [at for at, _ in log.rows[f.second].after] if f.second in log.rows else []
    return any(p == f.first[0] and n >= f.first[1] for p, n in after)


def _edge(first: Moment, second: Moment) -> tuple[Mark, ...]:
    """Set and wait, or signal and wait across the cores, or a barrier inside one pipe."""
    if (first.core, first.pipe) == (second.core, second.pipe):
        return (Mark(second.core, second.pipe, "barrier here", IN_FRONT, second.number),)
    send = "set here" if first.core == second.core else "signal here"
    return (
        Mark(first.core, first.pipe, send, BEHIND, first.number),
        Mark(second.core, second.pipe, "wait here", IN_FRONT, second.number),
    )


def _flag_pipes(code: Code, f: Found) -> tuple[tuple[str, str], tuple[str, str]]:
    if f.flag == ABSENT:
        return ("", ""), ("", "")
    flag = code.flags[f.flag]
    return code.pipes[flag.src], code.pipes[flag.dst]


def _lanes(code: Code, log: Log, f: Found) -> tuple[int, ...]:
    """The pipes that ``f`` is about."""
    found = [at[0] for at in (f.first, f.second) if at]
    if f.flag != ABSENT:
        found += [code.flags[f.flag].src, code.flags[f.flag].dst]
    found += [at[0] for at, entry in log.rows.items() if entry.row.ring in _rings(log, f)]
    if f.kind == "undrained":
        found.append(code.scalar_pipe[code.core_of[found[0]]])
    return tuple(dict.fromkeys(found))


def _rings(log: Log, f: Found) -> tuple[int, ...]:
    """The FIFOs that ``f`` is about: then only their rows matter."""
    if f.kind == "deadlock":
        return tuple(log.rows[at].row.ring for at in (f.first, f.second) if at)
    return (f.ring,) if f.kind == "fifo" else ()


def _rows_of(order: list[At], lanes: tuple[int, ...], log: Log, f: Found) -> list[int]:
    """Positions in ``order`` of all rows of the window's pipes that matter."""
    rings = _rings(log, f)
    return [
        n
        for n, at in enumerate(order)
        if at[0] in lanes and (not rings or log.rows[at].row.ring in rings)
    ]


def _shown(here: list[int], order: list[At], log: Log, f: Found) -> list[int]:
    """The positions around the two accesses, without the middle of a long stretch."""
    ends = [here.index(order.index(at)) for at in (f.first, f.second) if at in log.rows]
    last = ends[-1] if f.second else len(here) - 1
    begin = ends[0] if f.first and f.kind != "deadlock" else last
    here = here[max(min(begin - AROUND, last - BEFORE), 0) : last + 1 + AROUND]
    if len(here) <= ROWS_LIMIT:
        return here
    head = ROWS_LIMIT // 2
    return here[:head] + here[head - ROWS_LIMIT :]


def _flag_names(code: Code, flags: tuple[int, ...], lanes: tuple[int, ...]) -> tuple[str, ...]:
    """Flags by name; first those between the pipes of the window."""
    found = [code.flags[k] for k in flags]
    found.sort(key=lambda flag: flag.src not in lanes or flag.dst not in lanes)
    return tuple(flag.name for flag in found)


def _moment(
    code: Code,
    log: Log,
    f: Found,
    at: At,
    numbers: dict[At, int],
    lanes: tuple[int, ...],
    skipped: int,
) -> Moment:
    entry = log.rows[at]
    row = entry.row.row
    core, pipe = code.pipes[at[0]]
    role = "first" if at == f.first else "second" if at == f.second else ""
    return Moment(
        numbers[at],
        core,
        pipe,
        statement(row, code.kernel),
        entry.iteration,
        _flag_names(code, entry.waits, lanes),
        _flag_names(code, entry.sets, lanes),
        role,
        None if f.kind in TIMELESS or not f.known else f.known[at[0]] >= at[1],
        tuple((numbers[sender], name) for sender, name in entry.after if sender in numbers),
        skipped,
    )
