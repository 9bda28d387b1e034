"""``pto tune``: the search for the schedule options of a kernel."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lowering.cli import options as cli
from lowering.files import TUNED, write_all
from lowering.progress import progress
from lowering.schedule import Options
from pto import ir
from pto.errors import InputError

if TYPE_CHECKING:
    from lowering.schedule.tune import Candidate, Search

TOP = 10
"""Candidates that are shown."""

TUNE_IDLE = (cli.Idle(("top",), lambda args: args.json, "with --json, which holds all candidates"),)


def tune(args: argparse.Namespace) -> int:
    """``pto tune``: search the schedule options, proven and simulated; the result is what best is."""
    from lowering.schedule import tune as search
    from lowering.schedule.tune_report import told

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
        print("\n".join(line.rstrip() for line in told(found, args.top)))
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
    add("--costs", metavar="TABLE", help="device (the default), flat, fitted or published")
    add("--top", type=_top, default=TOP, metavar="N|all", help=f"candidates shown (default {TOP})")
    add("--json", action="store_true", help="for machines, with all candidates")


VERBS = {"tune": cli.Verb(tune, tune_arguments, TUNE_IDLE)}
