"""What a search for schedule options says to a person.

In: a ``Search`` (``lowering/schedule/tune.py``).  Out: lines: a table of candidates, the best first, who was
refused and why, what was chosen.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lowering.schedule.options import NAMED, Options
from lowering.schedule.tune import SCENARIOS, SHALLOW, Candidate, Search, told_as_default

WIDTH = 100
"""Columns."""


def told(found: Search, top: int | None) -> Iterator[str]:
    refused = found.candidates[len(found.proven) :]
    yield f"{found.kernel.name} {_settings(found)}"
    counts = f"{len(found.proven)} candidates proven, {len(refused)} refused"
    yield f"  costs {found.costs}; {counts}{'' if found.complete else '; interrupted, the best so far'}"
    yield from _wrapped(
        f"Cycles, and below them the ratio to the busiest pipe.  {_scenarios(found)}", "  "
    )
    for number in found.passed:
        variant = found.variants[number]
        chosen = " ".join(f"{n}={x}" for n, x in variant.chosen)
        yield f"  passed over: {chosen}: its busiest unit alone works for {variant.bound:,} cycles"
    yield ""
    yield _columns(["score", *(s.name for s in found.scenarios)])
    equal: dict[tuple[int, ...], list[Candidate]] = {}
    for candidate in found.proven:
        cycles = candidate.at.variant, *(r.cycles for r in candidate.runs)
        equal.setdefault(cycles, []).append(candidate)
    for number, group in enumerate(equal.values(), 1):
        first, *others = group
        named = [c for c in others if c is found.chosen or _name(c.options)]
        if top is None or number <= top or named or first is found.chosen or _name(first.options):
            yield from _told_candidate(found, first, number)
            for candidate in named:
                yield f"      also {_label(found, candidate)}"
                if candidate is found.chosen:
                    yield from _wrapped(found.why(candidate))
            if len(others) > len(named):
                yield f"      also {len(others) - len(named)} others that are not as simple"
    if top is not None and len(equal) > top:
        yield f"  of {len(equal)} different ones; all: --top all"
    for reason in dict.fromkeys(c.refused for c in refused):
        yield ""
        yield from _wrapped(f"refused: {reason}", "  ")
        yield from (f"    {_label(found, c)}" for c in refused if c.refused == reason)
    yield ""
    yield f"chosen: {found.told(found.chosen)}"


def _told_candidate(found: Search, candidate: Candidate, number: int) -> Iterator[str]:
    yield f"{number:4}  {_label(found, candidate)}"
    cycles = [candidate.score, *(r.cycles for r in candidate.runs)]
    yield _columns([f"{n:,.0f}" for n in cycles])
    yield _columns(["", *(f"{r.ratio:.3f}" for r in candidate.runs)])
    yield from _wrapped(found.why(candidate))


def _scenarios(found: Search) -> str:
    """What the columns are."""
    if found.scenarios == SCENARIOS:
        return (
            "long: one work item of 64 blocks; short: 64 work items of 1 to 4; behind it the cycles from core "
            f"to core.  queue {SHALLOW}: long 0 where a pipe holds {SHALLOW} entries.  score: the geometric mean."
        )
    return (
        "case: the work of the hardware block with most of it; behind it the cycles from core to core.  "
        f"queue {SHALLOW}: case 0 where a pipe holds {SHALLOW} entries.  score: the geometric mean."
    )


def _label(found: Search, candidate: Candidate) -> str:
    """The name of a schedule that has one, or all that is not the default."""
    name, chosen = _name(candidate.options), found.variant(candidate).chosen
    if not name:
        return found.told(candidate)
    return " ".join([*(f"{n}={x}" for n, x in chosen), f"schedule {name}"])


def _name(options: Options) -> str:
    return next((name for name, o in NAMED.items() if told_as_default(o) == options), "")


def _columns(texts: list[str]) -> str:
    return f"{'':4}" + "".join(f"{t:>11}" for t in texts)


def _wrapped(text: str, indent: str = "      ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _settings(found: Search) -> str:
    return " ".join(f"{n}={v}" for n, v in found.kernel.statics)
