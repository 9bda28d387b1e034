"""The command ``pto``: list, show, check, run, emit, simulate, tune, bench.

In: the command line.  Out: text on standard output, files where asked for, and an exit status:
0 good, 1 the proof or the comparison failed, 2 a mistake of the user (one message, on standard
error).  Invariant: nothing is written unless everything went well.

Startup matters: JAX costs more than the whole compile and numpy twice as much, so a command is imported
when it is asked for, and imports what it needs when it runs; ``list``, ``show``, ``check``, ``emit``,
``simulate`` and ``tune`` need neither.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module

import pto
from lowering.cli.options import FAILED, GOOD, USAGE, Parser, Verb, checked
from lowering.hazards.proof import HazardError
from lowering.progress import progress
from pto.errors import PtoError, did_you_mean

__all__ = ["FAILED", "GOOD", "USAGE", "main"]

INTERRUPTED, UNREAD = 128 + signal.SIGINT, 128 + 13
"""As a shell counts: ended by Ctrl-C; ended because nobody reads the output any more."""


COMMANDS: Mapping[str, str] = {
    "list": "show",
    "show": "show",
    "check": "check",
    "run": "run",
    "emit": "emit",
    "simulate": "simulate",
    "tune": "tune",
    "bench": "bench",
}
"""Verb -> the module of this package whose ``VERBS`` has it."""


def verb_of(name: str) -> Verb:
    """What a command runs; only its own module is imported."""
    found: Verb = import_module(f"lowering.cli.{COMMANDS[name]}").VERBS[name]
    return found


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
        help_ = did_you_mean(words[0], COMMANDS)
        return _fail(f"there is no command '{words[0]}'\n  help: {help_}", USAGE)
    parser, commands = _parsers([w for w in words if w in COMMANDS][:1] or COMMANDS)
    args = parser.parse_args(words)
    verb = verb_of(args.verb)
    with progress(" ".join(["pto", *words])):
        return verb.function(checked(commands[args.verb], args, verb.idle))


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


def _parsers(verbs: Iterable[str] = COMMANDS) -> tuple[Parser, dict[str, Parser]]:
    """The parser of a command line that has one of ``verbs``, and theirs."""
    parser = Parser(
        prog="pto", description="NPU tile kernels: trace, schedule, prove, run, emit, simulate."
    )
    parser.add_argument("--version", action="version", version=f"pto {pto.__version__}")
    commands = parser.add_subparsers(
        metavar="COMMAND", dest="verb", required=True, parser_class=Parser
    )
    made = {}
    for name in verbs:
        verb = verb_of(name)
        made[name] = commands.add_parser(name, help=verb.summary, description=verb.summary)
        made[name].add_argument("--debug", action="store_true", help="a traceback, not one message")
        verb.arguments(made[name])
    return parser, made
