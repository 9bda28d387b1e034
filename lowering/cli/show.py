"""``pto list`` and ``pto show``: what there is, and one program at one stage."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowering.cli import options as cli
from lowering.executors import EXECUTORS
from lowering.programs import Program, case_options
from lowering.schedule import NAMED, PASSES, stages
from pto import ir
from pto.errors import InputError, did_you_mean
from pto.kernel import Kernel
from pto.text import print_kernel

SOURCE, TRACED, SCHEDULED = "source", "traced", "scheduled"


def _unread(stage: str) -> tuple[str, ...]:
    """What chooses a schedule, without all that the passes up to ``stage`` read."""
    names = list(PASSES)
    read = [option for name in names[: names.index(stage) + 1] for option in PASSES[name].reads]
    read += ["schedule", "tuned"] if read else []
    return tuple(option for option in cli.SCHEDULE if option not in read)


def _at(stage: str) -> Callable[[argparse.Namespace], bool]:
    return lambda args: bool(args.stage == stage)


SHOW_IDLE = (
    cli.Idle((*cli.SCHEDULE, "static"), _at(SOURCE), "on the source of a kernel"),
    cli.Idle(cli.SCHEDULE, _at(TRACED), "on a kernel before its schedule"),
    *(cli.Idle(_unread(name), _at(name), f"up to stage {name}") for name in PASSES),
)


def list_kernels(args: argparse.Namespace) -> int:
    """``pto list``: the shipped kernels with all that can be set, and the named schedules."""
    from pto.kernels import SHIPPED

    kernels = [_facts(k) for k in SHIPPED.values()]
    if args.json:
        schedules = {name: o.choices for name, o in NAMED.items()}
        return cli.print_json({"kernels": kernels, "schedules": schedules, "executors": EXECUTORS})
    for k in kernels:
        print("\n".join(_listed(k)), end="\n\n")
    for name, options in NAMED.items():
        print(f"schedule {name:9} {cli.settings(options.choices)}")
    return cli.GOOD


def _facts(kernel: Kernel) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "summary": (kernel.__doc__ or "").strip().split("\n")[0],
        "parameters": kernel.signature,
        "grid": kernel.grid,
        "statics": kernel.statics,
        "choices": kernel.choices,
        "case": case_options(kernel),
        "oracle": kernel.oracle is not None,
    }


def _listed(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{facts['name']}"
    yield f"  {facts['summary']}"
    width = max(len(n) for n in facts["parameters"])
    for name, kind in facts["parameters"].items():
        yield f"    {name:{width}}  {kind}"
    yield f"  grid {facts['grid']}"
    shown = {n: "|".join(map(str, v)) for n, v in facts["choices"].items()}
    yield f"  -D     {cli.settings(facts['statics'] | shown)}"
    if facts["case"]:
        yield f"  --case {cli.settings(facts['case'])}"


def list_arguments(command: cli.Parser) -> None:
    command.add_argument("--json", action="store_true", help="for machines")


def show(args: argparse.Namespace) -> int:
    """``pto show``: the program at one stage, as text that ``pto check`` reads back."""
    program, kernel = cli.load_traced(args)
    if args.stage == SOURCE:
        print(_source(program, args.kernel).rstrip("\n"))
    else:
        print(print_kernel(at_stage(args, kernel)).rstrip("\n"))
    return cli.GOOD


def at_stage(args: argparse.Namespace, kernel: ir.Kernel) -> ir.Kernel:
    """``kernel`` after the pass called ``args.stage``.

    Raises:
        InputError: for an unknown stage, or one that a scheduled text is past.
    """
    known = [SOURCE, TRACED, *PASSES, SCHEDULED]
    if args.stage not in known:
        raise InputError(f"no stage is called '{args.stage}'", hint=did_you_mean(args.stage, known))
    if args.stage == SCHEDULED:
        return cli.scheduled(args, kernel)
    if ir.is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; it has no stage '{args.stage}'")
    if args.stage == TRACED:
        return kernel
    return next(k for name, k in stages(kernel, cli.options_of(args, kernel)) if name == args.stage)


def _source(program: Program, what: str) -> str:
    if isinstance(program, ir.Kernel):
        return Path(what).read_text(encoding="utf-8")
    try:
        return inspect.getsource(program.function)
    except OSError:
        raise InputError(f"the source of {program.name} cannot be read", program.loc) from None


def show_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    what = f"source, traced, the name of a pass, or {SCHEDULED} (the default)"
    command.add_argument("--stage", default=SCHEDULED, help=what)


VERBS = {
    "list": cli.Verb(list_kernels, list_arguments),
    "show": cli.Verb(show, show_arguments, SHOW_IDLE),
}
