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
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from lowering.cli.bench import bench, bench_arguments
from lowering.cli.check import check, check_arguments
from lowering.cli.options import FAILED, GOOD, USAGE, Parser
from lowering.cli.run import emit, emit_arguments, run, run_arguments
from lowering.cli.show import list_arguments, list_kernels, show, show_arguments
from lowering.cli.simulate import simulate, simulate_arguments
from lowering.cli.tune import tune, tune_arguments
from lowering.hazards.proof import HazardError
from lowering.programs import close_to
from pto.errors import PtoError

__all__ = ["FAILED", "GOOD", "USAGE", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        help_ = close_to(words[0], COMMANDS)
        return _fail(f"there is no command '{words[0]}'\n  help: {help_}", USAGE)
    args = _parser().parse_args(words)
    try:
        status: int = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # ``pto show | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (PtoError, HazardError, OSError) as error:
        if args.debug:
            raise
        return _fail(_message(error), FAILED if isinstance(error, HazardError) else USAGE)


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _parser() -> Parser:
    parser = Parser(
        prog="pto", description="NPU tile kernels: trace, schedule, prove, run, emit, simulate."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, (function, add_arguments) in COMMANDS.items():
        summary = (function.__doc__ or "").split(": ", 1)[1].strip(" .").replace("`", "")
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="a traceback, not one message")
        add_arguments(command)
    return parser


COMMANDS: Mapping[str, tuple[Callable[[argparse.Namespace], int], Callable[[Parser], None]]] = {
    "list": (list_kernels, list_arguments),
    "show": (show, show_arguments),
    "check": (check, check_arguments),
    "run": (run, run_arguments),
    "emit": (emit, emit_arguments),
    "simulate": (simulate, simulate_arguments),
    "tune": (tune, tune_arguments),
    "bench": (bench, bench_arguments),
}
"""What each command runs, and the arguments that it takes."""
