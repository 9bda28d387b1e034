"""``pto list`` and ``pto show``: what there is, and one program at one stage."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowering.cli import options as cli
from lowering.executors import EXECUTORS
from lowering.lowered import SCHEDULED, SOURCE, TRACED
from lowering.programs import case_options
from lowering.schedule import NAMED, PASSES
from pto import ir
from pto.kernel import Kernel

EVENTS_PLACED = list(PASSES)[list(PASSES).index("sync") :]


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
    cli.Idle(
        ("verbose",),
        lambda args: args.stage not in (*EVENTS_PLACED, SCHEDULED),
        "before events are placed",
    ),
)


def list_kernels(args: argparse.Namespace) -> int:
    """``pto list``: the shipped kernels with all that can be set, the gallery, and the named schedules."""
    from pto.kernels import GALLERY, SHIPPED

    kernels, gallery = ([_facts(k) for k in of.values()] for of in (SHIPPED, GALLERY))
    if args.json:
        schedules = {name: o.choices for name, o in NAMED.items()}
        told = {"kernels": kernels, "gallery": gallery, "schedules": schedules}
        return cli.print_json({**told, "executors": EXECUTORS})
    for k in kernels:
        print("\n".join(_listed(k)), end="\n\n")
    width = max(map(len, GALLERY))
    for k in gallery:
        print(f"gallery {k['name']:{width}}  {k['summary']}")
    print()
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
    kernel = cli.lowered(args)
    is_text = isinstance(kernel.program, ir.Kernel) and args.stage == SOURCE
    text = (
        Path(args.kernel).read_text(encoding="utf-8")
        if is_text
        else kernel.show(args.stage, verbose=args.verbose)
    )
    print(text.rstrip("\n"))
    return cli.GOOD


def show_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    what = f"source, traced, the name of a pass, or {SCHEDULED} (the default)"
    command.add_argument("--stage", default=SCHEDULED, help=what)
    cli.verbose_argument(command)


VERBS = {
    "list": cli.Verb(list_kernels, list_arguments),
    "show": cli.Verb(show, show_arguments, SHOW_IDLE),
}
