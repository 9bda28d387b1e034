"""From the hazards of an execution to the violations of a proof, in the user's terms.

In: ``Code`` and the log of a run (``lowering/hazards/log.py``), or the faults of a placement.
Out: ``Violation`` records with rows, lines, bytes and the missing edge.  Non-goals: finding them.
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.log import ON_TENSOR, STILL_SET, Found, Log
from lowering.hazards.places import Fault
from lowering.hazards.proof import Proof, verdict
from lowering.hazards.tensor_conflicts import surely_meet
from lowering.hazards.violation import Access, Violation
from lowering.hazards.window import marks, overtaken, window
from pto.ir import Ref, Row
from pto.text import statement

MEANING = {
    "RAW": "read before it is written",
    "WAR": "overwritten before it is read",
    "WAW": "overwritten before the first write is complete",
    "uninitialised": "read of what was never written",
    "overwritten": "read of bytes that another buffer has overwritten",
}


def faulty(code: Code) -> Proof:
    violations = tuple(_fault(code, f) for f in code.faults)
    what = verdict(violations)
    more = "no run of it is valid" if what == "failed" else "nothing is known to go wrong"
    return Proof(False, violations, message=f"{code.kernel.name}: {what}; {more}")


def _fault(code: Code, f: Fault) -> Violation:
    rows = [_static_access(code, r) if r is not None else None for r in (f.row, f.other)]
    return Violation(f.kind, f.text, rows[0], rows[1], f.buffer, open=f.open)


def _static_access(code: Code, row: Row) -> Access:
    return Access(statement(row, code.kernel), row.core, row.pipe, (), row.loc, row.shift)


def described(code: Code, log: Log, trips: tuple[int, ...]) -> tuple[Violation, ...]:
    """The hazards of a run, one per pair of rows."""
    seen: dict[tuple[object, ...], Violation] = {}
    for f in log.found:
        met = [log.rows[at].row.number for at in (f.first, f.second) if at in log.rows]
        key = (f.kind, *met, f.flag, f.ring)
        if key not in seen:
            seen[key] = _violation(code, log, f, trips)
    return tuple(seen.values())


def _violation(code: Code, log: Log, f: Found, trips: tuple[int, ...]) -> Violation:
    first, second = (_access(code, log, at) for at in (f.first, f.second))
    moments, missing = window(code, log, f), _missing(code, log, f)
    places = marks(code, log, f, moments)
    shared, is_open = (
        _shared(code, log, f),
        f.detail == ON_TENSOR and not _surely_meet(code, log, f),
    )
    text = _text(code, f)
    if is_open:
        text += ", if both touch the same elements: that they do not was not shown"
    return Violation(
        f.kind,
        text,
        first,
        second,
        *_memory(code, f),
        trips,
        missing,
        moments,
        places,
        shared,
        is_open,
    )


def _text(code: Code, f: Found) -> str:
    """What is wrong, in words."""
    if f.flag != ABSENT:
        flag = code.flags[f.flag]
        (core, src), (_, dst) = code.pipes[flag.src], code.pipes[flag.dst]
        detail = f.detail or "set again before the wait for the last set has ended"
        return f"flag {flag.name} ({core} {src} -> {dst} id {flag.id}): {detail}"
    detail = f.detail if f.detail != ON_TENSOR else ""
    return ": ".join(x for x in (MEANING.get(f.kind, ""), detail) if x)


def _surely_meet(code: Code, log: Log, f: Found) -> bool:
    rows = [log.rows[at].row for at in (f.first, f.second) if at in log.rows]
    return len(rows) == 2 and surely_meet(code.scalars, code.loops, rows[0], rows[1])


def _shared(code: Code, log: Log, f: Found) -> tuple[str, ...]:
    """The buffers that the first row names, where the bytes have another name in the second."""
    if f.range == ABSENT or f.slot == ABSENT or f.first is None or f.first not in log.rows:
        return ()
    row = log.rows[f.first].row.row
    named = {x.name for x in (row.out, *row.args) if isinstance(x, Ref)}
    if code.slot_buffer[f.slot] in named:
        return ()
    return tuple(
        code.slot_name[s]
        for s, ranges in enumerate(code.slot_ranges)
        if f.range in ranges and code.slot_buffer[s] in named
    )


def _access(code: Code, log: Log, at: tuple[int, int] | None) -> Access | None:
    if at is None or at not in log.rows:
        return None
    entry = log.rows[at]
    row = entry.row.row
    text = statement(row, code.kernel)
    return Access(text, row.core, row.pipe, entry.iteration, row.loc, row.shift)


def _memory(code: Code, f: Found) -> tuple[str, str, tuple[int, int] | None]:
    if f.range == ABSENT:
        return "", "", None
    found = code.ranges[f.range]
    span = (found.low, found.high)
    if f.slot == ABSENT:
        return f"fifo {found.core}", "gm", span
    return code.slot_name[f.slot], found.space, span


def _missing_half(code: Code, f: Found) -> str:
    """The wait or set that a flag lacks."""
    flag = code.flags[f.flag]
    src, dst = code.pipes[flag.src][1], code.pipes[flag.dst][1]
    if f.kind == "wait":
        return f"no set of {flag.name} on {src} is left for this wait"
    until = "the kernel ends" if f.kind == "leftover" else "it is set again"
    return f"no wait on {dst} takes {flag.name} before {until}"


def _missing(code: Code, log: Log, f: Found) -> str:
    """The edge that would have ordered the two rows, in words."""
    if f.kind == "uninitialised":
        return "a row that writes it before, on every path"
    if f.kind == "undrained" and f.first:
        return f"drain {code.pipes[f.first[0]][1]} on S at the end"
    if f.kind in ("wait", "leftover") or f.detail == STILL_SET:
        return _missing_half(code, f)
    if f.first is None or f.second is None or f.kind in ("overwritten", "deadlock"):
        return ""
    (a, b) = (code.pipes[at[0]] for at in (f.first, f.second))
    if f.kind == "double set":
        return f"nothing orders the end of the wait on {a[1]} before the set on {b[1]}"
    verbs = {"RAW": ("write", "read"), "WAR": ("read", "write"), "WAW": ("write", "write")}
    x, y = verbs[f.kind]
    if overtaken(code, log, f):
        return f"drain {a[1]} on S between the {a[0]} core's push and its record, or the signal may overtake it"
    if a[0] != b[0]:
        return f"no signal orders the {a[0]} core's {x} on {a[1]} before the {b[0]} core's {y} on {b[1]}"
    if a == b:
        through = ", and no event from a reader in between" if f.kind == "WAW" else ""
        return f"no barrier of {a[1]}{through}, between its {x} and its {y}"
    return (
        f"no event orders {a[1]}'s {x} before {b[1]}'s {y}; expected {a[1]} -> {b[1]}, "
        f"set behind the first row, waited for by the second"
    )
