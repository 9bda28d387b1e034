"""``pto bench``: times of the tool, and of the JAX executor against hand-written JAX; with
``--schedules`` the simulated time of what the named schedules make, with ``--published`` that of what was
measured on devices, with ``--launches`` that of the default on a whole chip, with ``--gallery`` that of every
kernel of the gallery, with ``--budgets`` what a compile may cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lowering.ascend import source as ascend
from lowering.cli import options as cli
from lowering.files import TIMES, write_all
from lowering.hazards import prover as hazards
from lowering.programs import Program, load, statics_of, traced
from lowering.progress import progress
from lowering.schedule import NAMED, Options, schedule, stages
from lowering.schedule.tuned import changes
from lowering.values.equivalence import same_values
from pto import ir
from pto.errors import InputError
from pto.kernel import Kernel
from pto.signature import Static

LONG = 4096
"""Iterations of the plain run of the proof, nothing merged."""

ORDERS = 20
"""Random orders of the pipes, with data."""

BENCH_IDLE = (
    cli.Idle(
        (
            *("static", "case", "save", "against", "no_jax", "costs", "no_launch", "json"),
            *("schedules", *cli.SCHEDULE),
        ),
        lambda args: args.budgets,
        "with --budgets, which are those of one kernel",
    ),
    cli.Idle(
        (
            *(
                "kernels",
                "static",
                "case",
                "save",
                "against",
                "rounds",
                "no_jax",
                "no_launch",
                "json",
            ),
            *("budgets", "schedules", *cli.SCHEDULE),
        ),
        lambda args: args.published,
        "with --published, which simulates programs of its own",
    ),
    cli.Idle(
        (
            *("kernels", "static", "case", "save", "against", "rounds", "no_jax", "no_launch"),
            *("json", "costs", "budgets", "schedules", "published", *cli.SCHEDULE),
        ),
        lambda args: args.launches,
        "with --launches, which are those of one kernel",
    ),
    cli.Idle(
        (
            *("static", "case", "save", "against", "rounds", "no_jax", "no_launch", "json"),
            *("budgets", "schedules", "published", "launches", *cli.SCHEDULE),
        ),
        lambda args: args.gallery,
        "with --gallery, which simulates each kernel as it is",
    ),
    cli.Idle(
        ("case", "save", "against", "rounds", "schedule", "no_jax"),
        lambda args: args.schedules,
        "with --schedules, which measures nothing",
    ),
    cli.Idle(
        ("costs", "no_launch", "json"),
        lambda args: not (args.schedules or args.published or args.gallery),
        "where nothing is simulated",
        "--schedules",
    ),
    cli.Idle(("case",), lambda args: args.no_jax, "with --no-jax"),
)

if TYPE_CHECKING:
    from lowering.bench.executors import Call, Table
    from lowering.bench.schedules import Reference, Report
    from lowering.execute.cases import Arrays


def bench(args: argparse.Namespace) -> int:
    """``pto bench``: times of the tool itself, and of the JAX executor against hand-written JAX."""
    if args.launches:
        return _launches()
    if args.gallery:
        return _gallery(args)
    if args.published:
        return _published(args)
    if args.budgets:
        return _budgets(args)
    if args.schedules:
        return _schedules(args)
    from lowering.bench import executors as tables
    from pto.kernels import SHIPPED

    tables.visible_devices()
    names = args.kernels or list(SHIPPED)
    earlier = _read_times(args.against)
    for name in names:  # before anything is timed
        _check_program(args, name)
    found: dict[str, float] = {}
    for name in names:
        drawn = {} if args.no_jax else _drawn(args, name)
        table = _tool_times(args, name, earlier)
        found |= {line.name: line.after for line in table.lines}
        print(f"{table}\n", flush=True)
        for title, case in drawn.items():
            for timed in (_jax_times, _call_times):
                print(f"{timed(args, name, title, case)}\n", flush=True)
    if args.save:
        write_all({args.save: json.dumps({"seconds": found}, indent=2).encode() + b"\n"})
    return cli.GOOD


def _budgets(args: argparse.Namespace) -> int:
    from lowering.bench import budgets

    if args.kernels:
        raise InputError("--budgets measure paged_attention; name no kernel")
    with progress("measuring what a compile costs"):
        print(budgets.report(budgets.measured(args.rounds)))
    return cli.GOOD


def _published(args: argparse.Namespace) -> int:
    from lowering.bench import published

    with progress("simulating what was measured"):
        print(
            "\n".join(line.rstrip() for line in published.report(published.table(args.costs or "")))
        )
    return cli.GOOD


def _launches() -> int:
    from lowering.bench import launches

    with progress("simulating whole launches"):
        for line in launches.report():
            print(line, flush=True)
    return cli.GOOD


def _gallery(args: argparse.Namespace) -> int:
    from lowering.bench import gallery
    from pto.kernels import GALLERY

    names = args.kernels or list(GALLERY)
    with progress("simulating the gallery"):
        for line in gallery.report(names, args.costs or ""):
            print(line, flush=True)
    return cli.GOOD


def _loaded(
    args: argparse.Namespace, name: str, statics: Mapping[str, Static] = {}
) -> tuple[Program, ir.Kernel]:
    program = load(name)
    return program, traced(program, {**statics_of(program, args.static), **statics})


def _check_program(args: argparse.Namespace, name: str) -> None:
    from lowering.execute import cases

    program, kernel = _loaded(args, name)
    if ir.is_scheduled(kernel):
        raise InputError(f"{name} is scheduled already; there is nothing to time")
    if isinstance(program, Kernel) and program.draw_case is not None:
        for text in args.case:
            cases.case_values(program, [text])


def _read_times(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        return {str(n): float(t) for n, t in found.items()}
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise InputError(f"{path} holds no times", hint="write it with --save") from None


def _tool_times(args: argparse.Namespace, name: str, earlier: Mapping[str, float]) -> Table:
    """trace, schedule, check and emit; before: what ``--against`` holds, or the plainest schedule."""
    from lowering.bench import executors as tables

    after = _stages(args, name)
    with progress(f"timing the tool on {name}"):
        if args.against:
            found = tables.compare(f"{name}, {cli.title_of(args)}", {}, after, args.rounds)
            lines = tuple(tables.Line(x.name, earlier.get(x.name), x.after) for x in found.lines)
            return tables.Table(found.title, lines, found.rounds, (f"before: {args.against}",))
        before = _stages(args, name, NAMED["serial"])
        title = f"{name}, before: schedule serial, after: {cli.title_of(args)}"
        return tables.compare(title, before, after, args.rounds)


def _stages(args: argparse.Namespace, name: str, options: Options | None = None) -> dict[str, Call]:
    """The stages of one kernel as calls that can be timed; None: with the options asked for."""
    program, kernel = _loaded(args, name)
    options = options or cli.options_of(args, kernel)
    done = schedule(kernel, options).kernel
    made = dict(stages(kernel, options))

    def passes() -> None:
        for _ in stages(kernel, options):
            pass

    calls: dict[str, Call] = {
        "schedule": passes,
        "values": lambda: same_values(made["persist"], done),
        "check": lambda: hazards.check(done, assume=options.assume),
        f"check of {LONG} iterations": lambda: hazards.check_unrolled(done, [LONG], options.assume),
        "emit": lambda: ascend.emit(done),
    }
    if isinstance(program, Kernel):
        statics = statics_of(program, args.static)
        calls = {"trace": lambda: program.trace(**statics), **calls}
        if program.draw_case is not None:
            calls[f"{ORDERS} interleavings"] = _orders(program, kernel, done, options.assume)
    return {f"{name} {stage}": call for stage, call in calls.items()}


def _orders(program: Kernel, kernel: ir.Kernel, done: ir.Kernel, assume: tuple[str, ...]) -> Call:
    """The default case on one block, in program order and in random orders of the pipes."""
    from lowering.execute import cases
    from lowering.execute.adversarial import Orders
    from lowering.execute.inputs import bind

    bound = bind(done, cases.draw(program, kernel, []))
    return lambda: list(Orders(done, bound, 1, assume).differences(range(ORDERS)))


def _drawn(args: argparse.Namespace, name: str) -> dict[str, Arrays]:
    """The cases asked for, by their text; none where the kernel draws none."""
    from lowering.execute import cases

    program, kernel = _loaded(args, name)
    if not isinstance(program, Kernel) or program.draw_case is None:
        return {}
    texts = args.case or [""]
    return {t or "default case": cases.draw(program, kernel, [t] if t else []) for t in texts}


def _jax_times(args: argparse.Namespace, name: str, title: str, case: Arrays) -> Table:
    from lowering.bench import executors as tables
    from pto.kernels.baselines import BASELINES

    program, kernel = _loaded(args, name)
    with progress(f"timing JAX on {name}"):
        opponents = BASELINES.get(program.name, {})
        made = cli.scheduled(args, kernel)
        return tables.against_hand(made, title, case, opponents, args.rounds)


def _call_times(args: argparse.Namespace, name: str, title: str, case: Arrays) -> Table | str:
    from lowering.bench.calls import first_call, overhead
    from pto.kernels import SHIPPED

    program, _ = _loaded(args, name)
    assert isinstance(program, Kernel)
    with progress(f"timing calls of {name}"):
        table = overhead(program, title, case, args.rounds)
        if name not in SHIPPED or args.static:
            return table
        return f"{table}\n{first_call(name, args.case[:1])}"


# -------------------------------------------------------------------------------- simulated times


def _schedules(args: argparse.Namespace) -> int:
    """All named schedules of each kernel, in each of its reference cases."""
    from lowering.bench.schedules import BLIND, REFERENCES, Reference

    found = []
    for name in args.kernels or ["paged_attention"]:
        cases = () if args.static else REFERENCES.get(name, ())
        for case in cases or (Reference({}),):
            report = _simulated(args, name, case)
            found.append(report.facts())
            if not args.json:
                print(flush=True)
    if args.json:
        return cli.print_json(found)
    print("\n".join(BLIND))
    return cli.GOOD


def _simulated(args: argparse.Namespace, name: str, case: Reference) -> Report:
    from lowering.bench import schedules
    from lowering.simulate.timing import costs_named

    _, kernel = _loaded(args, name, case.statics)
    if ir.is_scheduled(kernel):
        raise InputError(f"{name} is scheduled already; no schedule can be chosen")
    chosen = NAMED | {schedules.AFTER: cli.options_of(args, kernel)}
    with progress(f"scheduling {name}"):
        programs = {plan: schedule(kernel, options).kernel for plan, options in chosen.items()}
    best = programs[schedules.AFTER]
    costs = costs_named(best, args.costs or "").name
    statics = cli.settings(case.statics or dict(kernel.statics))
    title = f"{kernel.name} {statics}, costs {costs}"
    after = f"{schedules.AFTER} ({changes(chosen[schedules.AFTER])})"
    title += f"\n  before: {schedules.BEFORE}, after: {after}"
    tell = (lambda line: None) if args.json else partial(print, flush=True)
    with progress(f"simulating the schedules of {name}"):
        return schedules.report(title, programs, case, costs, not args.no_launch, tell=tell)


def bench_arguments(command: cli.Parser) -> None:
    add = command.add_argument
    what = "default: every shipped kernel"
    add("kernels", metavar="KERNEL", nargs="*", action="extend", help=what)
    cli.schedule_arguments(command)
    cli.case_arguments(command)
    add("--rounds", type=cli.whole(1), default=10, metavar="N", help="default 10")
    add("--no-jax", action="store_true", help="only the tool itself")
    command.writes("--save", mark=TIMES, metavar="FILE", help="keep the tool's times")
    command.reads("--against", metavar="FILE", help="kept times to compare with")
    what = "a compile, in imports of numpy, and what it may take"
    add("--budgets", action="store_true", help=what)
    simulated = "simulated cycles of all named schedules (default: of paged_attention)"
    add("--schedules", action="store_true", help=simulated)
    measured = "device times that others measured, beside simulated ones"
    add("--published", action="store_true", help=measured)
    seen = "the fastest launches that others measured, beside simulated ones"
    add("--launches", action="store_true", help=seen)
    listed = "simulated time of whole launches (default: of every kernel of the gallery), beside their roof"
    add("--gallery", action="store_true", help=listed)
    what = "of --schedules, --gallery: device (the default), flat, fitted or published; of --published: device"
    add("--costs", metavar="TABLE", help=what)
    add("--no-launch", action="store_true", help="of --schedules: only one core")
    add("--json", action="store_true", help="of --schedules: for machines")


VERBS = {"bench": cli.Verb(bench, bench_arguments, BENCH_IDLE)}
