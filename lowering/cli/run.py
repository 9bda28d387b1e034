"""``pto run``: the outputs of a kernel on one executor, judged."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowering import executors
from lowering.cli import dump
from lowering.cli import options as cli
from lowering.executors import (
    EXECUTORS,
    JAX,
    ORDERS,
    PTO_ISA,
    SEEDS,
    SEQUENTIAL,
    SEVERAL,
    Orders,
    Ran,
)
from lowering.files import NPZ, write_all
from lowering.hazards.assumptions import ORDERED_SIGNALS
from lowering.programs import Program, load, traced, watched
from lowering.progress import progress
from pto import ir
from pto.dead_rows import watches
from pto.errors import InputError
from pto.kernel import Kernel

if TYPE_CHECKING:
    from lowering.execute.cases import Arrays
    from lowering.execute.inputs import Bound
    from lowering.execute.judge import Comparison, Missing
    from lowering.execute.said import Heard

Told = dict[str, Any]

RUN_IDLE = (
    cli.Idle(
        cli.SCHEDULE,
        lambda args: args.executor == SEQUENTIAL,
        f"on executor {SEQUENTIAL}, which runs what was traced",
    ),
    cli.Idle(
        ("watch",),
        lambda args: args.executor == SEQUENTIAL,
        f"on executor {SEQUENTIAL}, which always says it",
    ),
    cli.Idle(
        ("seed", "seeds", "assume"),
        lambda args: args.executor not in SEVERAL,
        "on executor {executor}, which runs in one order",
        "--executor adversarial or native",
    ),
    cli.Idle(
        ("order",),
        lambda args: args.executor != "native",
        "on executor {executor}",
        "--executor native",
    ),
    cli.Idle(
        ("seed", "seeds", "assume"),
        lambda args: args.order == "program",
        "with --order program, which is one",
    ),
    cli.Idle(("seeds",), lambda args: args.seed is not None, "with --seed, which is one order"),
    cli.Idle(
        ("pto_isa",),
        lambda args: args.executor != PTO_ISA,
        "on executor {executor}",
        f"--executor {PTO_ISA}",
    ),
    cli.Idle(("case",), lambda args: args.inputs, "with --inputs, which are not drawn"),
    cli.Idle(("dump_to",), lambda args: not args.dump, "without --dump", "--dump NAME"),
)


def run(args: argparse.Namespace) -> int:
    """``pto run``: the kernel on given arrays, or on a random case that is judged."""
    from lowering.execute import cases
    from lowering.execute.inputs import bind, validate

    program = load(args.kernel)
    arrays, kernel = _arrays(args, program)
    kernel = watched(program, kernel) if args.watch else kernel
    bound = bind(kernel, arrays)
    validate(kernel, bound)
    dumped = _dumped(args, kernel, bound)
    ran = _execute(args, kernel, bound)
    own = args.watch or ir.is_scheduled(kernel)
    heard = ran.heard if own else _heard(program, kernel, arrays)
    outputs = dict(ran.outputs)
    report: Told = {"kernel": kernel.name, "executor": args.executor}
    if ran.orders:
        report["orders"] = ran.orders
    report["dims"] = dict(bound.dims)
    report["outputs"] = {n: f"{a.dtype.name}{list(a.shape)}" for n, a in outputs.items()}
    verdict = _judged(args, program, kernel, bound, outputs)
    report |= verdict.facts()
    report |= dump.heard_facts(heard)
    if dumped:
        report["dumped"] = {name: [dump.facts(v) for v in held] for name, held in dumped.items()}
    written = {args.out: outputs, args.dump_to: dump.arrays(dumped)}
    made = {path: cases.archive_of(arrays) for path, arrays in written.items() if path and arrays}
    write_all(made)
    if args.json:
        cli.print_json(report)
    else:
        told = _told(args, cases.describe(program, bound), report, verdict)
        print("\n".join((*told, *dump.heard_told(heard), *dump.told(dumped, args.dump_to))))
    good = verdict.ok and not ran.differences and not heard.failed
    return cli.GOOD if good else cli.FAILED


def _arrays(args: argparse.Namespace, program: Program) -> tuple[Arrays, ir.Kernel]:
    """The inputs, and the kernel traced for them."""
    from lowering.execute import cases

    statics = cli.statics_for(args, program, args.static)
    if args.inputs:
        arrays = cases.read_inputs(args.inputs)
        return arrays, cases.traced_for(program, arrays, statics)
    if isinstance(program, ir.Kernel):
        raise InputError("a .ptoir program draws no random case", hint="give --inputs case.npz")
    kernel = traced(program, statics)
    return cases.draw(program, kernel, args.case), kernel


def _execute(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> Ran:
    if args.executor == SEQUENTIAL and ir.is_scheduled(kernel):
        message = f"{args.kernel} is scheduled; executor sequential runs what is not"
        raise InputError(message, hint="--executor numpy or jax")
    chosen = kernel if args.executor == SEQUENTIAL else cli.scheduled(args, kernel)
    several = orders_of(args, kernel) if args.executor in SEVERAL else None
    return executors.execute(args.executor, chosen, bound, several, args.pto_isa)


def _heard(program: Program, kernel: ir.Kernel, arrays: Arrays) -> Heard:
    """What the kernel says of itself, as it is written, whatever executor gives the outputs."""
    from lowering.execute.inputs import bind
    from lowering.execute.said import Heard
    from lowering.execute.watched import watch

    written = program.watched(**dict(kernel.statics)) if isinstance(program, Kernel) else kernel
    if not watches(written.body):
        return Heard()
    with progress(f"running {kernel.name} for what it prints and checks"):
        return watch(written, bind(written, arrays))


def _dumped(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> dump.Dumped:
    """What the values that ``--dump`` names held, of a run of the traced program in its own order."""
    if not args.dump:
        return {}
    if ir.is_scheduled(kernel):
        message = f"{args.kernel} is scheduled; --dump is of values of a traced program"
        raise InputError(message, hint="name the kernel, or its text of pto show --stage traced")
    from lowering.execute.values_of import check_names, values_of

    check_names(kernel, args.dump)
    with progress(f"running {kernel.name} for --dump"):
        return values_of(kernel, bound, args.dump)


def orders_of(args: argparse.Namespace, kernel: ir.Kernel) -> Orders:
    """The orders asked for, under the readings asked for and those that the schedule rests on."""
    kind, assume = args.order or ORDERS[0], tuple(args.assume)
    if not ir.is_scheduled(kernel):
        assume += cli.options_of(args, kernel).assume
    seeds = range(SEEDS if args.seeds is None else args.seeds)
    if args.seed is not None:
        seeds = range(args.seed, args.seed + 1)
    elif kind == "program":
        seeds = range(0)
    return Orders(seeds, kind, assume)


@dataclass(frozen=True)
class Verdict:
    """What is known about the outputs of a run; ``by``: what they were compared with, or ''."""

    by: str
    comparisons: Sequence[Comparison]
    missing: Sequence[Missing]
    notes: Sequence[str]

    @property
    def ok(self) -> bool:
        return all(c.ok for c in self.comparisons) and not self.missing

    def facts(self) -> Told:
        """For ``--json``."""
        return {
            "comparisons": [_comparison(c) for c in self.comparisons],
            "compared_with": self.by,
            "never_written": {m.name: int(m.mask.sum()) for m in self.missing},
            "notes": list(self.notes),
        }

    def told(self) -> Iterator[str]:
        """For a person."""
        from lowering.execute.judge import START

        for c in self.comparisons:
            yield c.told(self.by)
        for m in self.missing:
            yield m.told()
        if self.missing:
            yield f"  help: {START}"
        if not self.comparisons:
            yield "not compared: no reference, and sequential judges the others"
        for note in self.notes:
            yield f"note: {note}"


def _compared_with(args: argparse.Namespace, program: Program, kernel: ir.Kernel) -> str:
    """What a run is compared with, or ''."""
    if isinstance(program, Kernel) and program.oracle is not None:
        return "its float64 reference"
    alone = args.executor == SEQUENTIAL or ir.is_scheduled(kernel)
    return "" if alone else "the executor sequential"


def _judged(
    args: argparse.Namespace,
    program: Program,
    kernel: ir.Kernel,
    bound: Bound,
    outputs: Mapping[str, Any],
) -> Verdict:
    """Against the reference of the kernel, or else against the executor ``sequential``."""
    from lowering.execute import cases, judge

    by = _compared_with(args, program, kernel)
    with progress("computing what is expected"):
        masks = judge.unwritten(kernel, bound)
        reference = None
        if isinstance(program, Kernel) and program.oracle is not None:
            reference = cases.expected(program, kernel, bound)
        tolerance = judge.Tolerance.given(args.atol, args.rtol)
        wanted = judge.expected(kernel, bound, reference, masks, tolerance) if by else []
    return Verdict(
        by,
        judge.compare(outputs, wanted, tolerance),
        judge.missing(bound, masks, reference),
        list(judge.notes(bound, wanted)),
    )


def _comparison(c: Any) -> dict[str, Any]:
    return {
        "output": c.name,
        "ok": c.ok,
        "max_abs_error": c.error,
        "tolerance": c.tolerance,
        "index": c.index,
        "wrong_elements": c.wrong,
    }


def _told(
    args: argparse.Namespace, title: str, report: Mapping[str, Any], verdict: Verdict
) -> Iterator[str]:
    source = f"read from {args.inputs}" if args.inputs else "random case"
    yield f"{title}  ({source}, executor {args.executor})"
    for name, what in report["outputs"].items():
        yield f"  {name} {what}"
    if "orders" in report:
        yield from executors.told(report["orders"])
    for line in verdict.told():
        yield f"  {line}"
    if args.out:
        yield f"  wrote {args.out}"


def run_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    add = command.add_argument
    kinds = f"{', '.join(EXECUTORS)} (default {JAX})"
    add("--executor", type=cli.one_of(EXECUTORS), default=JAX, metavar="NAME", help=kinds)
    what = "pto-isa: a checkout of the PTO tile library (default PTO_ISA_ROOT)"
    add("--pto-isa", type=Path, metavar="DIR", help=what)
    what = "arrays by parameter name; bf16 as uint16"
    command.reads("--inputs", metavar="FILE.npz", help=what)
    command.writes("--out", mark=NPZ, metavar="FILE.npz", help="where the outputs go")
    what = "what this tile or scalar of pto show --stage traced holds, run as traced; several times"
    add("--dump", action="append", default=[], metavar="NAME", help=what)
    what = "where all of it goes, an array for each work item and iteration"
    command.writes("--dump-to", mark=NPZ, metavar="FILE.npz", help=what)
    cli.case_arguments(command)
    what = "allowed instead of the derived tolerance: --atol + --rtol * |expected|"
    add("--rtol", type=_size_of_error, metavar="X", help=what)
    add("--atol", type=_size_of_error, metavar="X", help="see --rtol; the one not given is 0")
    who = "adversarial, native"
    add("--seed", type=cli.whole(0), metavar="S", help=f"{who}: the order of this seed only")
    what = f"{who}: orders 0 .. N-1 (default {SEEDS})"
    add("--seeds", type=cli.whole(1), metavar="N", help=what)
    what = f"{who}: {ORDERED_SIGNALS}: the signal of a push comes behind its data, also without a drain"
    known = cli.one_of((ORDERED_SIGNALS,))
    add("--assume", action="append", type=known, default=[], metavar="READING", help=what)
    what = f"native: {', '.join(ORDERS)} (default {ORDERS[0]})"
    add("--order", type=cli.one_of(ORDERS), metavar="KIND", help=what)
    add("--json", action="store_true", help="for machines")


def _size_of_error(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


_size_of_error.__name__ = "size of an error"  # what argparse calls it


VERBS = {"run": cli.Verb(run, run_arguments, RUN_IDLE)}
