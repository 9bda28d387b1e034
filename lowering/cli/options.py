"""What the commands share: exit statuses, their arguments, options of a schedule, loading a program.

In: the command line.  Out: ``args``, programs, schedules and options, or one clear error.
Invariants, kept in one place for every command (``checked``): an option that is given has an effect
(``Idle`` says when it has none), comes once, and what is written is neither read by the command nor
a file of another kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lowering.files import check_folder, check_output
from lowering.programs import Program, load, source_of, statics_of, traced, watched
from lowering.schedule import (
    CREDIT,
    FENCE,
    LOAD_AT,
    LOOPS,
    MOVES,
    NAMED,
    RECORD,
    ROWS_AT,
    Options,
    Schedule,
    options_for,
    schedule,
    tuned,
)
from pto import ir
from pto.errors import InputError, did_you_mean
from pto.signature import Static

if TYPE_CHECKING:
    from lowering.lowered import Lowered

GOOD, FAILED, USAGE = 0, 1, 2
RUNTIMES = ("simpler",)
OPTION_FLAGS = tuple(Options().choices)
SCHEDULE = ("schedule", "tuned", *OPTION_FLAGS)
"""Everything that chooses a schedule."""

# ---------------------------------------------------------------------------------- schedules


def options_of(args: argparse.Namespace, kernel: ir.Kernel) -> Options:
    """The schedule options that the command line asks for, for a traced kernel.

    Raises:
        InputError: for a schedule that has no such name, or a file that is no tuned one.
        ScheduleError: for a number that makes no sense.
    """
    name = args.schedule or "best"
    if name not in NAMED:
        raise InputError(f"no schedule is called '{name}'", hint=did_you_mean(name, NAMED))
    if args.tuned and name != "best":
        raise InputError(f"--tuned says what 'best' is; --schedule {name} has no use for it")
    given = {flag: getattr(args, flag) for flag in OPTION_FLAGS}
    return options_for(name, kernel, args.tuned, **given)


def title_of(args: argparse.Namespace) -> str:
    return f"schedule {args.schedule or 'best'}"


def load_traced(args: argparse.Namespace) -> tuple[Program, ir.Kernel]:
    """The program that the command names, and its traced form (or the text as it is)."""
    program = load(args.kernel)
    texts = [] if getattr(args, "against", "") else args.static  # those of the other kernel
    kernel = traced(program, statics_for(args, program, texts))
    return program, watched(program, kernel) if args.watch else kernel


def statics_for(
    args: argparse.Namespace, program: Program, texts: Sequence[str]
) -> dict[str, Static]:
    """The static parameters that ``-D`` texts give, with those that were tuned for them."""
    given = statics_of(program, texts)
    if isinstance(program, ir.Kernel) or not program.tuned:
        return given
    return {**(tuned.statics_of(program, given, args.tuned) or {}), **given}


def lowered(args: argparse.Namespace) -> Lowered:
    """The kernel that the command names, as ``kernel.lower()`` gives it.

    Raises:
        InputError: when a schedule is asked for that the text already has.
    """
    from lowering.lowered import Lowered

    program, kernel = load_traced(args)
    if ir.is_scheduled(kernel):
        return Lowered(program, scheduled(args, kernel), Options())
    return Lowered(program, kernel, options_of(args, kernel))


def scheduled(args: argparse.Namespace, kernel: ir.Kernel) -> ir.Kernel:
    """The proven schedule; a program that is scheduled already stays as it is, unproven.

    Raises:
        HazardError: when the proof fails.
        InputError: when a schedule is asked for that the text already has.
    """
    if ir.is_scheduled(kernel):
        if any(getattr(args, option) is not None for option in SCHEDULE):
            raise InputError(f"{args.kernel} is scheduled already; no schedule can be chosen")
        return kernel
    return schedule_of(args, kernel).kernel


def schedule_of(args: argparse.Namespace, kernel: ir.Kernel) -> Schedule:
    """The proven schedule of a traced kernel, with its sources.

    Raises:
        HazardError: when the proof fails.
    """
    return schedule(kernel, options_of(args, kernel))


def settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{n}={v}" for n, v in values.items())


def print_json(value: object) -> int:
    print(json.dumps(value, indent=2))
    return GOOD


# ---------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True)
class Idle:
    """A row of the table of options without effect: none of ``options`` has one when ``when`` holds.

    ``why`` goes on with "--option has no effect", and may name {arguments}; ``hint`` says what
    would give it one.
    """

    options: tuple[str, ...]
    when: Callable[[argparse.Namespace], bool]
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """What a command runs, the arguments that it takes, and when they have no effect."""

    function: Callable[[argparse.Namespace], int]
    arguments: Callable[[Parser], None]
    idle: tuple[Idle, ...] = ()

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").split(": ", 1)[1].strip(" .").replace("`", "")


class Parser(argparse.ArgumentParser):
    """An argument parser that knows what was given, what is read and what is written.

    One line per mistake, as everywhere else.  ``defaults``: of what was not given; ``flags``: how
    an argument is spelled; ``inputs``, ``outputs``, ``folders``: the arguments that name files.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.defaults: dict[str, Any] = {}
        self.flags: dict[str, str] = {}
        self.inputs: list[str] = []
        self.outputs: dict[str, bytes] = {}
        self.folders: list[str] = []
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}\n  help: {self.prog} --help", file=sys.stderr)
        raise SystemExit(USAGE)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """As everywhere, but a verb speaks for itself of what it does not know."""
        found, unknown = super().parse_known_args(*args, **kwargs)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def add_argument(self, *names: str, default: Any = None, **kwargs: Any) -> argparse.Action:
        if kwargs.setdefault("action", Once) in (Once, "append", "extend"):
            kwargs.setdefault("type", filled)
        absent = default if kwargs["action"] == "help" else argparse.SUPPRESS
        action = super().add_argument(*names, default=absent, **kwargs)
        if action.dest != "help":
            self.defaults[action.dest], self.flags[action.dest] = default, names[0]
        return action

    def reads(self, *names: str, **kwargs: Any) -> None:
        """An argument that names a file to read."""
        self.inputs.append(self.add_argument(*names, type=named, **kwargs).dest)

    def writes(self, *names: str, mark: bytes, **kwargs: Any) -> None:
        """An argument that names a file to write, which will have ``mark`` at its head."""
        self.outputs[self.add_argument(*names, type=named, **kwargs).dest] = mark

    def fills(self, *names: str, **kwargs: Any) -> None:
        """An argument that names a folder to write files into."""
        self.folders.append(self.add_argument(*names, type=named, **kwargs).dest)


class Once(argparse.Action):
    """Stores a value; a second one would make the first one do nothing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if option_string and hasattr(namespace, self.dest):
            raise argparse.ArgumentError(self, "is given twice")
        setattr(namespace, self.dest, values)


def checked(command: Parser, args: argparse.Namespace, idle: Iterable[Idle]) -> argparse.Namespace:
    """``args`` with their defaults, after the checks that every command has in common.

    Raises:
        InputError: for an option without effect, or a file that must not be written.
    """
    given = {name for name in command.defaults if hasattr(args, name)}
    for name in command.defaults.keys() - given:
        setattr(args, name, command.defaults[name])
    for row in idle:
        for name in row.options:
            if name in given and row.when(args):
                why = row.why.format_map(vars(args))
                raise InputError(f"{command.flags[name]} has no effect {why}", hint=row.hint)
    _check_files(command, args)
    return args


def _check_files(command: Parser, args: argparse.Namespace) -> None:
    read = [getattr(args, name) for name in command.inputs]
    kernel = getattr(args, "kernel", None)
    kernels = [kernel] if kernel else getattr(args, "kernels", None) or []
    read += [source_of(what) for what in kernels]
    written: dict[Path, str] = {}
    for name, mark in command.outputs.items():
        path: Path | None = getattr(args, name)
        if path is not None:
            check_output(path, mark, [r for r in read if r is not None])
            other = written.setdefault(path.resolve(), command.flags[name])
            if other != command.flags[name]:
                raise InputError(f"{other} and {command.flags[name]} both name {path}")
    for name in command.folders:
        check_folder(getattr(args, name))


def filled(text: str) -> str:
    """The type of what takes any text but none."""
    if not text.strip():
        raise argparse.ArgumentTypeError("nothing is given for it")
    return text


def named(text: str) -> Path:
    """The type of what names a file or folder: no text at all would be the current folder."""
    return Path(filled(text))


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes a whole number from ``least`` up (to ``most``)."""
    to = "up" if most is None else f"to {most:,}"

    def number(text: str) -> int:
        is_one = text.isascii() and text.isdecimal() and len(text) < 20
        if not is_one or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} {to}")
        return int(text)

    return number


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
    what = "with what its debug_print and debug_check say, in schedules and emitted text, too"
    command.add_argument("--watch", action="store_true", help=what)
    schedule_arguments(command)


def verbose_argument(command: Parser) -> None:
    what = "also why events and slots are as they are, where nobody can change it"
    command.add_argument("--verbose", action="store_true", help=what)


SEVERAL: Mapping[str, Any] = {"metavar": "NAME=VALUE", "action": "append", "default": []}
"""An option that may come several times."""


def static_arguments(command: Parser) -> None:
    command.add_argument("-D", dest="static", help="a static parameter", **SEVERAL)


def schedule_arguments(command: Parser) -> None:
    static_arguments(command)
    add = command.add_argument
    add("--schedule", metavar="NAME", help="serial, prefetch, repair or best (the default)")
    what = "what best is, from pto tune -o (or $PTO_TUNED)"
    command.reads("--tuned", metavar="FILE", help=what)
    ahead = "steps the first stage of a core runs ahead"
    add("--lookahead", type=whole(0), metavar="N", help=ahead)
    add("--prefetch", type=whole(0), metavar="N", help="steps a load runs ahead of its use")
    add("--load-at", type=one_of(LOAD_AT), metavar="WHERE", help=f"of a load: {', '.join(LOAD_AT)}")
    add("--moves", type=one_of(MOVES), metavar="WHEN", help=f"L1 to L0: {', '.join(MOVES)}")
    within = f"of the rows of a stage: {', '.join(ROWS_AT)}"
    add("--rows-at", type=one_of(ROWS_AT), metavar="WHEN", help=within)
    told = f"when a push is told: {', '.join(RECORD)}"
    add("--record", type=one_of(RECORD), metavar="WHEN", help=told)
    fence = f"in front of every signal of a push: {', '.join(FENCE)}"
    add("--fence", type=one_of(FENCE), metavar="WHAT", help=fence)
    add("--local-depth", type=whole(1), metavar="N", help="ring slots in L1 and UB")
    add("--l0-depth", type=whole(1), metavar="N", help="ring slots in L0")
    add("--fifo-depth", type=whole(0), metavar="N", help="ring slots in GM (0: as many as needed)")
    freed = "free signals of FIFOs: always, or where they are needed"
    add("--credit", type=one_of(CREDIT), metavar="WHERE", help=freed)
    overlap = "start a work item while the one before it ends"
    add("--flat", action=argparse.BooleanOptionalAction, help=overlap)
    add("--loops", type=one_of(LOOPS), metavar="HOW", help=f"loops of an item: {', '.join(LOOPS)}")


def case_arguments(command: Parser) -> None:
    what = "an option of the random case, or its seed (default 0)"
    command.add_argument("--case", help=what, **SEVERAL)
