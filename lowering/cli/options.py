"""What the commands share: exit statuses, options of a schedule, loading a program.

In: parsed arguments.  Out: programs, schedules and options, or one clear error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lowering.programs import Program, close_to, is_scheduled, load, statics_of, traced
from lowering.schedule import LOAD_AT, MOVES, NAMED, Options, options_for
from pto import ir
from pto.errors import InputError

GOOD, FAILED, USAGE = 0, 1, 2
EXECUTORS = ("sequential", "numpy", "adversarial", "jax", "native", "pto-isa")
RUNTIMES = ("simpler",)
OPTION_FLAGS = tuple(Options().choices)

# ---------------------------------------------------------------------------------- schedules


def options_of(args: argparse.Namespace, kernel: ir.Kernel) -> Options:
    """The schedule options that the command line asks for, for a traced kernel.

    Raises:
        InputError: for a schedule that has no such name, or a file that is no tuned one.
        ScheduleError: for a number that makes no sense.
    """
    name = args.schedule or "best"
    if name not in NAMED:
        raise InputError(f"no schedule is called '{name}'", hint=close_to(name, NAMED))
    if args.tuned and name != "best":
        raise InputError(f"--tuned says what 'best' is; --schedule {name} has no use for it")
    given = {flag: getattr(args, flag) for flag in OPTION_FLAGS}
    return options_for(name, kernel, args.tuned, **given)


def _asks_for_schedule(args: argparse.Namespace) -> bool:
    return any(getattr(args, flag) is not None for flag in ("schedule", "tuned", *OPTION_FLAGS))


def title_of(args: argparse.Namespace) -> str:
    return f"schedule {args.schedule or 'best'}"


def load_traced(args: argparse.Namespace) -> tuple[Program, ir.Kernel]:
    """The program that the command names, and its traced form (or the text as it is)."""
    program = load(args.kernel)
    return program, traced(program, statics_of(program, args.static))


def scheduled(args: argparse.Namespace, kernel: ir.Kernel) -> ir.Kernel:
    """The proven schedule; a program that is scheduled already stays as it is, unproven.

    Raises:
        HazardError: when the proof fails.
        InputError: when a schedule is asked for that the text already has.
    """
    if is_scheduled(kernel):
        if _asks_for_schedule(args):
            raise InputError(f"{args.kernel} is scheduled already; no schedule can be chosen")
        return kernel
    from lowering.schedule import schedule

    return schedule(kernel, options_of(args, kernel)).kernel


def settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{n}={v}" for n, v in values.items())


def print_json(value: object) -> int:
    import json

    print(json.dumps(value, indent=2))
    return GOOD


# ---------------------------------------------------------------------------------- arguments


class Parser(argparse.ArgumentParser):
    """One line per mistake, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}\n  help: {self.prog} --help", file=sys.stderr)
        raise SystemExit(USAGE)


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """The type of an option that takes one of ``known``."""

    def chosen(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(known)}")
        return text

    return chosen


KERNEL = "a shipped name, module:function, file.py:function or FILE.ptoir"


def kernel_arguments(command: Parser) -> None:
    command.add_argument("kernel", metavar="KERNEL", help=KERNEL)
    schedule_arguments(command)


def static_arguments(command: Parser) -> None:
    command.add_argument(
        "-D",
        dest="static",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a static parameter",
    )


def schedule_arguments(command: Parser) -> None:
    static_arguments(command)
    add = command.add_argument
    add("--schedule", metavar="NAME", help="serial, prefetch, repair or best (the default)")
    add("--tuned", type=Path, metavar="FILE", help="what best is, from pto tune -o (or $PTO_TUNED)")
    add("--lookahead", type=int, metavar="N", help="steps the first stage of a core runs ahead")
    add("--prefetch", type=int, metavar="N", help="steps a load runs ahead of its use")
    add("--load-at", type=one_of(LOAD_AT), metavar="WHERE", help=f"of a load: {', '.join(LOAD_AT)}")
    add("--moves", type=one_of(MOVES), metavar="WHEN", help=f"L1 to L0: {', '.join(MOVES)}")
    add("--drain", action=argparse.BooleanOptionalAction, help="drain FIX before every record")
    add("--local-depth", type=int, metavar="N", help="ring slots in L1 and UB")
    add("--l0-depth", type=int, metavar="N", help="ring slots in L0")
    add("--fifo-depth", type=int, metavar="N", help="ring slots in GM (0: as many as needed)")
    overlap = "start a work item while the one before it ends"
    add("--flat", action=argparse.BooleanOptionalAction, help=overlap)


def case_arguments(command: Parser) -> None:
    add = command.add_argument
    add(
        "--case",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of the random case, or its seed (default 0)",
    )
