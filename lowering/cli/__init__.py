"""The command ``pto``: list, show, check, run, emit, simulate, tune, bench.

In: the command line.  Out: text on standard output, files where asked for, and an exit status:
0 good, 1 the proof or the comparison failed, 2 a mistake of the user (one message, on standard
error).  Invariant: nothing is written unless everything went well.

Startup matters: JAX costs more than the whole compile and numpy half as much, so every command
imports what it needs when it runs; ``list``, ``show``, ``check``, ``emit``, ``simulate`` and
``tune`` need neither.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pto
from lowering.cli.bench import BENCH_IDLE, bench, bench_arguments
from lowering.cli.check import CHECK_IDLE, check, check_arguments
from lowering.cli.options import FAILED, GOOD, USAGE, Idle, Parser, checked
from lowering.cli.run import EMIT_IDLE, RUN_IDLE, emit, emit_arguments, run, run_arguments
from lowering.cli.show import SHOW_IDLE, list_arguments, list_kernels, show, show_arguments
from lowering.cli.simulate import SIMULATE_IDLE, simulate, simulate_arguments
from lowering.cli.tune import TUNE_IDLE, tune, tune_arguments
from lowering.hazards.proof import HazardError
from lowering.programs import close_to
from lowering.progress import progress
from pto.errors import PtoError

__all__ = ["FAILED", "GOOD", "USAGE", "main"]

INTERRUPTED, UNREAD = 128 + signal.SIGINT, 128 + 13
"""As a shell counts: ended by Ctrl-C; ended because nobody reads the output any more."""


@dataclass(frozen=True, slots=True)
class Verb:
    """What a command runs, the arguments that it takes, and when they have no effect."""

    function: Callable[[argparse.Namespace], int]
    arguments: Callable[[Parser], None]
    idle: tuple[Idle, ...] = ()

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").split(": ", 1)[1].strip(" .").replace("`", "")


COMMANDS: Mapping[str, Verb] = {
    "list": Verb(list_kernels, list_arguments),
    "show": Verb(show, show_arguments, SHOW_IDLE),
    "check": Verb(check, check_arguments, CHECK_IDLE),
    "run": Verb(run, run_arguments, RUN_IDLE),
    "emit": Verb(emit, emit_arguments, EMIT_IDLE),
    "simulate": Verb(simulate, simulate_arguments, SIMULATE_IDLE),
    "tune": Verb(tune, tune_arguments, TUNE_IDLE),
    "bench": Verb(bench, bench_arguments, BENCH_IDLE),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        try:
            return _run(words)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # ``pto show | head``; what the command found out is not known
        _drop_output()
        return UNREAD
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only disturb the end
        return _fail("interrupted", INTERRUPTED)
    except ValueError:
        if sys.stdout is None or not sys.stdout.closed:
            raise
        return _fail("standard output was closed, by the kernel's file", USAGE)
    except HazardError as error:
        if debug:
            raise
        return _fail(str(error), FAILED)
    except tuple(CAUSES) as error:
        if debug:
            raise
        return _fail(
            next(say(error) for kind, say in CAUSES.items() if isinstance(error, kind)), USAGE
        )


def _run(words: Sequence[str]) -> int:
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        help_ = close_to(words[0], COMMANDS)
        return _fail(f"there is no command '{words[0]}'\n  help: {help_}", USAGE)
    parser, commands = _parsers()
    args = parser.parse_args(words)
    with progress(" ".join(["pto", *words])):
        args = checked(commands[args.verb], args, COMMANDS[args.verb].idle)
        return COMMANDS[args.verb].function(args)


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _said_by_system(error: OSError) -> str:
    """The file and the cause; without a file it was the output that failed."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        _drop_output()
        return f"standard output: {error.strerror}"
    return str(error)


CAUSES: Mapping[type[Exception], Callable[..., str]] = {
    PtoError: str,
    OSError: _said_by_system,
    MemoryError: lambda error: f"out of memory: {error}".rstrip(": "),
    RecursionError: lambda error: "the program nests too deeply: an expression, a loop or a call",
}
"""Mistakes of the user and of his machine, and how they are told."""


def _drop_output() -> None:
    """What is left in the buffer goes nowhere; else Python would complain of it at the end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog="pto", description="NPU tile kernels: trace, schedule, prove, run, emit, simulate."
    )
    parser.add_argument("--version", action="version", version=f"pto {pto.__version__}")
    commands = parser.add_subparsers(
        metavar="COMMAND", dest="verb", required=True, parser_class=Parser
    )
    made = {}
    for name, verb in COMMANDS.items():
        made[name] = commands.add_parser(name, help=verb.summary, description=verb.summary)
        made[name].add_argument("--debug", action="store_true", help="a traceback, not one message")
        verb.arguments(made[name])
    return parser, made
