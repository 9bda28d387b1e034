"""What a search for schedule options says to a person.

In: a ``Search`` (``lowering/schedule/tune.py``).  Out: lines: a table of candidates, the best first, who was
refused and why, what was chosen.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lowering.schedule.options import NAMED, Options
from lowering.schedule.tune import SCENARIOS, SHALLOW, Candidate, Search, told_as_default
from lowering.schedule.tuned import changes

WIDTH = 100
"""Columns."""


def told(found: Search, top: int | None) -> Iterator[str]:
    refused = found.candidates[len(found.proven) :]
    yield f"{found.kernel.name} {_settings(found)}"
    yield f"  costs {found.costs}; {len(found.proven)} candidates proven, {len(refused)} refused"
    yield "  Cycles, and below them the ratio to the busiest pipe.  long: one work item of 64 blocks;"
    yield "  short: 64 work items of 1 to 4; behind it the cycles from core to core.  queue 4: long 0"
    yield f"  where a pipe holds {SHALLOW} entries.  score: the geometric mean."
    yield ""
    yield _columns(["score", *(s.name for s in SCENARIOS)])
    equal: dict[tuple[int, ...], list[Candidate]] = {}
    for candidate in found.proven:
        equal.setdefault(tuple(r.cycles for r in candidate.runs), []).append(candidate)
    for number, group in enumerate(equal.values(), 1):
        first, *others = group
        named = [c for c in others if c is found.chosen or _name(c.options)]
        if top is None or number <= top or named or first is found.chosen or _name(first.options):
            yield from _told_candidate(found, first, number)
            for candidate in named:
                yield f"      also {_label(candidate.options)}"
                if candidate is found.chosen:
                    yield from _wrapped(found.why(candidate))
            if len(others) > len(named):
                yield f"      also {len(others) - len(named)} others that are not as simple"
    if top is not None and len(equal) > top:
        yield f"  of {len(equal)} different ones; all: --top all"
    for reason in dict.fromkeys(c.refused for c in refused):
        yield ""
        yield from _wrapped(f"refused: {reason}", "  ")
        yield from (f"    {_label(c.options)}" for c in refused if c.refused == reason)
    yield ""
    yield f"chosen: {changes(found.chosen.options)}"


def _told_candidate(found: Search, candidate: Candidate, number: int) -> Iterator[str]:
    yield f"{number:4}  {_label(candidate.options)}"
    cycles = [candidate.score, *(r.cycles for r in candidate.runs)]
    yield _columns([f"{n:,.0f}" for n in cycles])
    yield _columns(["", *(f"{r.ratio:.3f}" for r in candidate.runs)])
    yield from _wrapped(found.why(candidate))


def _label(options: Options) -> str:
    """The name of a schedule that has one, or all that is not the default."""
    name = _name(options)
    return f"schedule {name}" if name else changes(options)


def _name(options: Options) -> str:
    return next((name for name, o in NAMED.items() if told_as_default(o) == options), "")


def _columns(texts: list[str]) -> str:
    return f"{'':4}" + "".join(f"{t:>11}" for t in texts)


def _wrapped(text: str, indent: str = "      ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _settings(found: Search) -> str:
    return " ".join(f"{n}={v}" for n, v in found.kernel.statics)
