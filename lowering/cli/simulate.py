"""``pto simulate``: how long a schedule takes, and what every pipe waits for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lowering.cli import options as cli
from lowering.files import SVG, TRACE, write_all
from lowering.progress import progress
from lowering.simulate import Setup, Timing
from lowering.simulate import simulate as simulated
from lowering.simulate.advice import notes
from lowering.simulate.l2 import lengths
from lowering.simulate.launch import Launch, launch
from lowering.simulate.limits import roof, steady
from lowering.simulate.report import setup_facts, told, told_launch
from pto import ir
from pto.arithmetic import Number
from pto.errors import InputError

Facts = dict[str, Any]

ALL = "all"

MOST_ITEMS, MOST_BLOCKS = 1_000_000, 1_000_000
"""Work items, and blocks of one: more would take days and all memory."""

SIMULATE_IDLE = (
    cli.Idle(
        ("trace", "svg", "memory"),
        lambda args: args.launch,
        "with --launch: it shows one hardware block",
    ),
    cli.Idle(
        ("steps",),
        lambda args: not (args.svg or args.memory),
        "without a picture",
        "--svg FILE --steps 8",
    ),
    cli.Idle(("case",), lambda args: not args.launch, "without --launch", "--launch"),
    cli.Idle(("blocks", "items"), lambda args: args.case, "with --case, which says them"),
)

LATENCIES = (500, 1000)
"""Nobody has measured the latency between the cores (docs/machine.md 11.2): without
--cross-core-latency these are reported beside the table's."""


def simulate(args: argparse.Namespace) -> int:
    """``pto simulate``: the makespan of a schedule, what every pipe waits for, and a bound."""
    _, kernel = cli.load_traced(args)
    name = "as written" if ir.is_scheduled(kernel) else args.schedule or "best"
    report = (_launch if args.launch else _one_block)(args, cli.scheduled(args, kernel))
    files = {path: text.encode() for path, text in report.files.items()}
    if files:
        write_all(files)
    if args.json:
        cli.print_json({"kernel": kernel.name, "schedule": name, **report.facts})
    else:
        print(f"{kernel.name}, schedule {name}: {report.title}")
        print("\n".join(f"  {line}".rstrip() for line in report.lines))
    for path in files:
        print(f"wrote {path}", file=sys.stderr if args.json else sys.stdout)
    return cli.GOOD


@dataclass(frozen=True)
class Report:
    """What is told to a reader, to a machine, and what goes into files."""

    title: str
    lines: list[str]
    facts: Facts
    files: Mapping[Path, str] = field(default_factory=dict)


def _items(args: argparse.Namespace) -> list[int]:
    """The trip count of every work item: the list of --blocks, as often as --items needs it."""
    blocks: list[int] = args.blocks
    return [blocks[k % len(blocks)] for k in range(args.items or len(blocks))]


def _setup(args: argparse.Namespace, latency: int | None) -> Setup:
    return Setup(
        args.costs or "", latency, args.queue_depth, partial=args.partial, holds=args.holds
    )


# ------------------------------------------------------------------------------ one hardware block


def _one_block(args: argparse.Namespace, kernel: ir.Kernel) -> Report:
    given, items = args.cross_core_latency, _items(args)
    with progress(f"simulating {kernel.name}"):
        timing = simulated(kernel, items, _setup(args, given))
        others = LATENCIES if given is None and kernel.fifos else ()
        later = {c: simulated(kernel, items, _setup(args, c)).makespan for c in others}
        by_latency = {timing.latency: timing.makespan} | later
    return Report(
        timing.work_items,
        list(told(timing, later)),
        _facts(timing, by_latency),
        _files(args, timing),
    )


def _facts(timing: Timing, by_latency: Mapping[int, int]) -> Facts:
    again = steady(timing)
    return {
        **setup_facts(timing.setup, timing.costs),
        "blocks": timing.blocks,
        "makespan_cycles": timing.makespan,
        "bound_cycles": timing.bound,
        "bound_pipe": timing.bound_pipe,
        "again_cycles": again.cycles,
        "again_bound_cycles": again.busiest,
        "roof_cycles": roof(timing),
        "seconds": timing.seconds(timing.makespan),
        "makespan_cycles_by_latency": {str(c): n for c, n in by_latency.items()},
        "tensor_bytes": timing.tensor_bytes,
        "pipes": _pipes(timing),
        "critical_path": [asdict(step) for step in timing.critical_path()],
    }


def _pipes(timing: Timing) -> Facts:
    return {name: {"busy": u.busy, "stall": u.stall} for name, u in timing.pipes.items()}


def _files(args: argparse.Namespace, timing: Timing) -> dict[Path, str]:
    from lowering.simulate import gantt, memory_map

    files = {}
    if args.trace:
        from lowering.simulate.trace import trace

        files[args.trace] = trace(timing)
    for path, drawing in ((args.svg, gantt), (args.memory, memory_map)):
        if path:
            steps = None if args.steps == ALL else args.steps or drawing.STEPS
            files[path] = drawing.svg(timing, steps)
    return files


# ------------------------------------------------------------------------------------- a launch


def _launch(args: argparse.Namespace, kernel: ir.Kernel) -> Report:
    items, sizes, arrays = _call(args, kernel) if args.case else (_items(args), {}, {})
    with progress(f"simulating {kernel.name} on all hardware blocks"):
        setup = _setup(args, args.cross_core_latency)
        found = launch(kernel, items, setup, sizes=sizes, arrays=arrays)
    longest = max(found.timings.values(), key=lambda t: t.makespan)
    title = f"{len(items)} work items on {len(found.dealt)} hardware blocks"
    return Report(title, list(told_launch(found)), _launch_facts(found, longest))


def _call(
    args: argparse.Namespace, kernel: ir.Kernel
) -> tuple[list[int], Mapping[str, Number], Mapping[str, Any]]:
    """The trip counts of the items of a random case, its sizes and scalars, its tensors."""
    from lowering.execute.cases import draw
    from lowering.execute.inputs import bind

    program, traced = cli.load_traced(args)
    if isinstance(program, ir.Kernel):
        raise InputError("a .ptoir program draws no random case", hint="--blocks and --items")
    bound = bind(traced, draw(program, traced, args.case))
    items = lengths(kernel, bound.items, bound.names, bound.arrays)
    return items, bound.names, bound.arrays


def _launch_facts(found: Launch, longest: Timing) -> Facts:
    ends = zip(found.dealt, found.ends, strict=True)
    return {
        **setup_facts(found.setup, longest.costs),
        "hbm_bytes_per_second": longest.costs.hbm_bytes_per_second,
        "makespan_cycles": found.makespan,
        "bound_cycles": found.bound,
        "bound_pipe": found.bound_pipe,
        "bounds_cycles": found.bounds,
        "seconds": found.seconds(found.makespan),
        "tensor_bytes": found.tensor_bytes,
        "l2_hits": found.traffic.hits if found.traffic else None,
        "notes": list(notes(found)),
        "hardware_blocks": [{"blocks": blocks, "end_cycles": end} for blocks, end in ends],
        "pipes": _pipes(longest),
    }


# ----------------------------------------------------------------------------------- arguments


def _counts(text: str) -> list[int]:
    return [cli.whole(0, MOST_BLOCKS)(part) for part in text.split(",")]


def _steps(text: str) -> int | str:
    if text == ALL:
        return text
    try:
        return cli.whole(1)(text)
    except argparse.ArgumentTypeError:
        message = f"'{text}' is neither '{ALL}' nor a number from 1 up"
        raise argparse.ArgumentTypeError(message) from None


def simulate_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    add = command.add_argument
    what = "trip count of the inner loop in each work item (default 64)"
    add("--blocks", type=_counts, default=[64], metavar="N[,N...]", help=what)
    what = "work items: repeats --blocks up to this many"
    add("--items", type=cli.whole(1, MOST_ITEMS), metavar="M", help=what)
    what = "cycles from a FIFO signal to the other core (default: the table's, 500 and 1000)"
    add("--cross-core-latency", type=cli.whole(0), metavar="C", help=what)
    add("--costs", metavar="TABLE", help="device (the default), flat, fitted or published")
    what = "entries that a pipe holds before the scalar unit stops"
    add("--queue-depth", type=cli.whole(1), metavar="N", help=what)
    what = "the last trip of a loop finds partial tiles, which table device fills"
    add("--partial", action="store_true", help=what)
    what = "of a hundred trips, those in which the choices in a loop are taken (default 100)"
    add("--holds", type=cli.whole(0, 100), default=100, metavar="PERCENT", help=what)
    add("--launch", action="store_true", help="the items on all hardware blocks, one memory")
    cli.case_arguments(command)
    what = "for chrome://tracing or ui.perfetto.dev"
    command.writes("--trace", mark=TRACE, metavar="FILE.json", help=what)
    command.writes("--svg", mark=SVG, metavar="FILE.svg", help="a lane per pipe, a box per row")
    what = "what every slot of every memory holds"
    command.writes("--memory", mark=SVG, metavar="FILE.svg", help=what)
    what = "steps of the loop in a picture (default 3; of the memories 1)"
    add("--steps", type=_steps, metavar="N|all", help=what)
    add("--json", action="store_true", help="for machines")


VERBS = {"simulate": cli.Verb(simulate, simulate_arguments, SIMULATE_IDLE)}
