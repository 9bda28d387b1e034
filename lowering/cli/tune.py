"""``pto tune``: the search for the schedule options of a kernel."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lowering.cli import options as cli
from lowering.files import TUNED, write_all
from lowering.programs import load, statics_of, traced
from lowering.progress import progress
from pto import ir
from pto.errors import InputError
from pto.kernel import Kernel

if TYPE_CHECKING:
    from lowering.schedule.tune import Candidate, Search, Variant

TOP = 10
"""Candidates that are shown."""

TUNE_IDLE = (cli.Idle(("top",), lambda args: args.json, "with --json, which holds all candidates"),)


def tune(args: argparse.Namespace) -> int:
    """``pto tune``: search the schedule options and static parameters left open, proven and simulated."""
    from lowering.schedule import tune as search
    from lowering.schedule.journal import Journal, beside
    from lowering.schedule.tune_report import told

    variants = _variants(args)
    name, costs = variants[0].kernel.name, search.costs_of(variants, args.costs or "")
    journal = Journal(beside(args.output), variants, costs) if args.output else None
    tried: search.Tried = {} if journal is None else journal
    if journal and journal.resumed:
        again = f"{journal.resumed} candidates are known from {journal.path}"
        print(f"{name}: {again}", file=sys.stderr)
    stopped = None
    try:
        with progress(lambda: f"tuning {name}: {len(tried)} candidates"):
            found = search.tune(variants, costs, tried=tried)
    except KeyboardInterrupt as interrupt:
        if all(c.refused for c in tried.values()):
            raise
        stopped = interrupt
        found = search.found(variants, costs, tried, complete=False)
    facts = search.result(found)
    if args.output:
        write_all({args.output: json.dumps(facts, indent=2).encode() + b"\n"})
    if args.json:
        cli.print_json(facts | {"table": [_facts(found, c) for c in found.candidates]})
    else:
        print("\n".join(line.rstrip() for line in told(found, args.top)))
    if args.output:
        print(f"wrote {args.output}", file=sys.stderr if args.json else sys.stdout)
    if stopped:
        raise stopped
    if journal:
        journal.done()
    return cli.GOOD


def _variants(args: argparse.Namespace) -> Sequence[Variant]:
    """What is compared: on a case if the kernel leaves static parameters open or one is asked for, else by
    trip counts that stand for all.

    Raises:
        InputError: a program that is scheduled already, or whose choices no case can compare.
    """
    from lowering.schedule.tune import Variant

    program = load(args.kernel)
    given = statics_of(program, args.static)
    if isinstance(program, Kernel) and (args.case or set(program.tuned) - set(given)):
        from lowering.schedule.variants import variants_of

        with progress(f"drawing a case of {program.name}"):
            return variants_of(program, given, args.case, args.costs or "")
    kernel = traced(program, given)
    if ir.is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; no schedule can be chosen")
    if args.case:
        raise InputError("a .ptoir program draws no random case", hint="tune it without --case")
    return (Variant(kernel),)


def _facts(found: Search, candidate: Candidate) -> dict[str, Any]:
    facts = {**found.choices(candidate), "why": found.why(candidate)}
    if candidate.refused:
        return {**facts, "refused": candidate.refused}
    runs = zip(found.scenarios, candidate.runs, strict=True)
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
    cli.case_arguments(command)
    what = "the result, for --tuned or $PTO_TUNED"
    command.writes("-o", "--output", mark=TUNED, metavar="FILE", help=what)
    add("--costs", metavar="TABLE", help="device (the default), flat, fitted or published")
    add("--top", type=_top, default=TOP, metavar="N|all", help=f"candidates shown (default {TOP})")
    add("--json", action="store_true", help="for machines, with all candidates")


VERBS = {"tune": cli.Verb(tune, tune_arguments, TUNE_IDLE)}
