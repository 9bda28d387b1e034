"""``pto tune``: the search for the schedule options of a kernel."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lowering.cli import options as cli
from lowering.files import TUNED, write_all
from lowering.progress import progress
from lowering.schedule import NAMED, Options
from lowering.schedule.tuned import changes
from pto import ir
from pto.errors import InputError

if TYPE_CHECKING:
    from lowering.schedule.tune import Candidate, Search

TOP, WIDTH = 10, 100
"""Candidates that are shown; columns."""

TUNE_IDLE = (cli.Idle(("top",), lambda args: args.json, "with --json, which holds all candidates"),)


def tune(args: argparse.Namespace) -> int:
    """``pto tune``: search the schedule options, proven and simulated; the result is what best is."""
    from lowering.schedule import tune as search

    _, kernel = cli.load_traced(args)
    if ir.is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; no schedule can be chosen")
    tried: dict[Options, Candidate] = {}
    with progress(lambda: f"tuning {kernel.name}: {len(tried)} candidates"):
        found = search.tune(kernel, args.costs or "", tried=tried)
    facts = search.result(found)
    if args.output:
        write_all({args.output: json.dumps(facts, indent=2).encode() + b"\n"})
    if args.json:
        cli.print_json(facts | {"table": [_facts(found, c) for c in found.candidates]})
    else:
        print("\n".join(line.rstrip() for line in _told(found, args.top)))
    if args.output:
        print(f"wrote {args.output}", file=sys.stderr if args.json else sys.stdout)
    return cli.GOOD


def _facts(found: Search, candidate: Candidate) -> dict[str, Any]:
    from lowering.schedule.tune import SCENARIOS

    facts = {"options": candidate.options.choices, "why": found.why(candidate)}
    if candidate.refused:
        return {**facts, "refused": candidate.refused}
    runs = zip(SCENARIOS, candidate.runs, strict=True)
    told = {s.name: asdict(r) | {"bound": r.bound} for s, r in runs}
    return {**facts, "score": candidate.score, "scenarios": told}


def _told(found: Search, top: int | None) -> Iterator[str]:
    from lowering.schedule.tune import SCENARIOS, SHALLOW

    refused = found.candidates[len(found.proven) :]
    yield f"{found.kernel.name} {cli.settings(dict(found.kernel.statics))}"
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
    return next((name for name, o in NAMED.items() if o == options), "")


def _columns(texts: list[str]) -> str:
    return f"{'':4}" + "".join(f"{t:>11}" for t in texts)


def _wrapped(text: str, indent: str = "      ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _top(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return cli.whole(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither 'all' nor a number") from None


def tune_arguments(command: cli.Parser) -> None:
    add = command.add_argument
    add("kernel", metavar="KERNEL", help=cli.KERNEL)
    cli.static_arguments(command)
    what = "the result, for --tuned or $PTO_TUNED"
    command.writes("-o", "--output", mark=TUNED, metavar="FILE", help=what)
    add("--costs", metavar="TABLE", help="flat (the default), fitted or published")
    add("--top", type=_top, default=TOP, metavar="N|all", help=f"candidates shown (default {TOP})")
    add("--json", action="store_true", help="for machines, with all candidates")


VERBS = {"tune": cli.Verb(tune, tune_arguments, TUNE_IDLE)}
