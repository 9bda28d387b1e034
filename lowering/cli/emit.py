"""``pto emit``: the sources of a proven schedule, or a folder for the runtime."""

from __future__ import annotations

import argparse

from lowering.cli import options as cli
from lowering.files import check_unread, write_all
from lowering.lowered import Lowered
from lowering.programs import source_of
from pto import ir
from pto.errors import InputError

EMIT_IDLE = (
    cli.Idle(
        ("case",),
        lambda args: not args.bundle,
        "on sources: it draws the cases of a bundle",
        "--bundle simpler",
    ),
)


def emit(args: argparse.Namespace) -> int:
    """``pto emit``: the Ascend sources of the proven schedule, all files or none."""
    kernel = cli.lowered(args)
    texts = {name: text.encode() for name, text in kernel.sources.items()}
    files = _bundle(args, kernel) if args.bundle else texts
    for name in files:
        check_unread(args.output / name, [source_of(args.kernel)])
    write_all({args.output / name: data for name, data in files.items()})
    for name, data in files.items():
        print(f"{args.output / name}  {_size(name, data)}")
    return cli.GOOD


def _bundle(args: argparse.Namespace, kernel: Lowered) -> dict[str, bytes]:
    from lowering.native.bundle import bundle

    if isinstance(kernel.program, ir.Kernel):
        raise InputError("a .ptoir program draws no random case, which a bundle needs")
    return bundle(kernel.program, kernel.traced, kernel.kernel, args.case)


def _size(name: str, data: bytes) -> str:
    lines = len(data.splitlines())
    return f"{len(data)} bytes" if name.endswith(".npz") else f"{lines} lines"


def emit_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    command.fills("-o", dest="output", metavar="DIR", required=True, help="folder")
    what = f"a folder that the scene tests of this runtime run: {', '.join(cli.RUNTIMES)}"
    command.add_argument("--bundle", type=cli.one_of(cli.RUNTIMES), metavar="RUNTIME", help=what)
    cli.case_arguments(command)


VERBS = {"emit": cli.Verb(emit, emit_arguments, EMIT_IDLE)}
