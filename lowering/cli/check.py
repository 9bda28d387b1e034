"""``pto check``: the proof of a schedule, drawn where it fails, and what it rests on."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lowering.ascend import emit
from lowering.cli import options as cli
from lowering.files import SVG, write_all
from lowering.hazards import Proof
from lowering.hazards import prover as hazards
from lowering.hazards.assumptions import READINGS
from lowering.hazards.proof import HazardError
from lowering.programs import counterpart
from lowering.schedule import NAMED, options_for, schedule
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import ir
from pto.errors import InputError, PtoError, ScheduleError
from pto.text import statement

EACH = "each"
LOOKAHEADS = (1, 2, 3)

CHECK_IDLE = (
    cli.Idle(
        tuple(option for option in cli.SCHEDULE if option != "tuned"),
        lambda args: args.all,
        "with --all, which proves every named schedule",
    ),
    cli.Idle(("assume",), lambda args: args.all, "with --all: give one of the two"),
    cli.Idle(
        ("svg",),
        lambda args: args.all or EACH in args.assume,
        "where several proofs are asked for: it draws the failure of one",
    ),
    cli.Idle(
        ("verbose",),
        lambda args: args.all or EACH in args.assume or args.json,
        "here: it tells more of one proof, to a reader",
    ),
)


def check(args: argparse.Namespace) -> int:
    """``pto check``: the proof of one schedule, or with ``--all`` a table of all of them."""
    _, kernel = cli.load_traced(args)
    if args.all:
        return _check_all(args, kernel)
    if EACH in args.assume:
        return _check_each_reading(args, kernel)
    proof, notes, details = prove(args, kernel, args.assume)
    same, values = _values(args, kernel)
    if args.json:
        facts = {"notes": notes, "details": details, "values": values}
        cli.print_json(_proof_facts(kernel, proof) | facts)
    else:
        told = (*notes, *(details if args.verbose else ()))
        print("\n".join([proof.report(), *(f"  {note}" for note in told), *values]))
    if args.svg:
        print(_draw(args.svg, proof), file=sys.stderr if args.json else sys.stdout)
    return cli.GOOD if proof.ok and same else cli.FAILED


def _values(args: argparse.Namespace, kernel: ir.Kernel) -> tuple[bool, list[str]]:
    """Whether a schedule read from text computes what it is compared with, and what to say of it;
    a schedule that was made here computes what was traced."""
    if not ir.is_scheduled(kernel):
        if args.against:
            message = f"--against compares a schedule in a .ptoir file; that of {args.kernel} is made here"
            raise InputError(
                message, hint="what pto schedules is compared with the kernel each time"
            )
        return True, []
    if not args.against:
        return True, ["values not checked: --against KERNEL compares them with those of a kernel"]
    other = counterpart(args.against, kernel, args.static)
    try:
        found = difference(persist(other), kernel)
    except ScheduleError as error:
        return False, [f"values not shown to be those of {args.against}: {error.message}"]
    if found is None:
        return True, [f"values: those of {args.against}"]
    names = ((found.scheduled, kernel, "here"), (found.traced, other, "there"))
    lines = [
        f"values not shown to be those of {args.against}, in '{statement(found.store, kernel)}'"
    ]
    for row, program, name in names:
        text = "nothing that was ever written" if row is None else statement(row, program)
        lines.append(f"  {name:<12} {text}")
        lines += [f"               --> {row.loc}"] if row is not None and row.loc else []
    return False, lines


def _draw(path: Path, proof: Proof) -> str:
    """Writes the picture of the first violation that has one; says what was done."""
    from lowering.hazards import picture

    if proof.ok:
        return "nothing to draw: the schedule is proven"
    drawn = picture.pictured(proof.violations)
    if not drawn:
        return "nothing to draw: it failed before any row ran"
    write_all({path: picture.svg(drawn[0]).encode()})
    return f"wrote {path}"


def prove(
    args: argparse.Namespace, kernel: ir.Kernel, assume: Sequence[str] = ()
) -> tuple[Proof, tuple[str, ...], tuple[str, ...]]:
    """The proof of the text as it is, or of the schedule asked for; what the schedule reached, and its
    details."""
    if ir.is_scheduled(kernel):
        program = cli.scheduled(args, kernel)
        proof = hazards.on_ladder(program, hazards.check(program, assume=assume))
        return proof, (*kernel.notes, *_not_emitted(program)), ()
    try:
        done = schedule(kernel, cli.options_of(args, kernel))
    except HazardError as error:
        return error.proof, (), ()
    assume = (*done.proof.assume, *assume)
    proof = hazards.check(done.kernel, assume=assume) if assume else done.proof
    return hazards.on_ladder(done.kernel, proof), done.kernel.notes, done.kernel.details


def _not_emitted(program: ir.Kernel) -> Iterator[str]:
    """Why a schedule written by hand, in whatever order it is, cannot become C++."""
    try:
        emit(program)
    except PtoError as error:
        yield f"cannot be emitted: {error.message}"


def _proof_facts(kernel: ir.Kernel, proof: Proof) -> dict[str, Any]:
    return {"kernel": kernel.name, "proven": proof.ok} | asdict(proof)


def _check_all(args: argparse.Namespace, kernel: ir.Kernel) -> int:
    if ir.is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; --all has nothing to choose from")
    lines = []
    if not args.json:
        print(f"{kernel.name}, every schedule at lookahead {LOOKAHEADS[0]} to {LOOKAHEADS[-1]}")
    for name, ahead in ((name, ahead) for name in NAMED for ahead in LOOKAHEADS):
        lines.append(line := _line(args, kernel, name, ahead))
        if not args.json:
            print(f"  {name:9} lookahead {ahead}  {_verdict(line)}", flush=True)
    if args.json:
        cli.print_json(lines)
    return cli.GOOD if all(line["proven"] for line in lines) else cli.FAILED


def _verdict(line: Mapping[str, Any]) -> str:
    if line["proven"]:
        assumed = f", assuming {', '.join(line['assume'])}" if line["assume"] else ""
        return f"proven   {line['states']} states explored{assumed}"
    return f"refused  {line['message'].splitlines()[0]}"


def _line(args: argparse.Namespace, kernel: ir.Kernel, name: str, lookahead: int) -> dict[str, Any]:
    """One schedule: proven with what was found out, or refused with the reason."""
    line: dict[str, Any] = {"schedule": name, "lookahead": lookahead}
    options = options_for(name, kernel, args.tuned, lookahead=lookahead)
    try:
        return line | _proof_facts(kernel, schedule(kernel, options).proof)
    except HazardError as error:
        return line | _proof_facts(kernel, error.proof)
    except PtoError as error:
        return line | {"kernel": kernel.name, "proven": False, "message": str(error)}


def _check_each_reading(args: argparse.Namespace, kernel: ir.Kernel) -> int:
    """One line per reading of the machine: what the proof assumes, and what holds without it."""
    if len(args.assume) > 1:
        raise InputError(f"--assume {EACH} stands alone: it tries every reading by itself")
    program = cli.scheduled(args, kernel)
    rests_on: tuple[str, ...] = ()
    if not ir.is_scheduled(kernel):
        rests_on = cli.options_of(args, kernel).assume
    proofs = {n: hazards.check(program, assume=[*rests_on, n]) for n in READINGS}
    base = hazards.check(program, assume=rests_on)
    if args.json:
        facts = [asdict(r) | _proof_facts(kernel, proofs[r.name]) for r in READINGS.values()]
        cli.print_json({"as assumed": _proof_facts(kernel, base), "readings": facts})
        return cli.GOOD if base.ok else cli.FAILED
    print(base.message)
    for reading in READINGS.values():
        place = f"docs/machine.md {reading.place}, {reading.confidence}"
        print(f"\n{reading.name}  ({place}; {reading.side})")
        print(f"  assumed   {reading.assumed}")
        print(f"  because   {reading.why}")
        print(f"  instead   {reading.instead}")
        if reading.otherwise:
            print(f"  so say    {reading.otherwise}")
        print(f"  then      {_still(proofs[reading.name])}")
    return cli.GOOD if base.ok else cli.FAILED


def _still(proof: Proof) -> str:
    """What a proof says in one line."""
    if proof.ok:
        return f"proven all the same, {proof.states} states explored"
    if proof.refused:
        return f"cannot be decided: {proof.refused}"
    kinds = Counter(v.kind for v in proof.violations)
    first = proof.violations[0]
    where = f" of {first.buffer}" if first.buffer else f" of {first.text.split(':')[0]}"
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return f"not proven: {counts}; the first a {first.kind}{where}"


def check_arguments(command: cli.Parser) -> None:
    cli.kernel_arguments(command)
    add, known = command.add_argument, (*READINGS, EACH)
    add("--all", action="store_true", help="every named schedule, lookahead 1 to 3")
    what = f"another reading of the machine, may come several times: {', '.join(READINGS)}; "
    what += f"{EACH}: one line for every one of them"
    add(
        "--assume",
        action="append",
        type=cli.one_of(known),
        default=[],
        metavar="READING",
        help=what,
    )
    what = "a kernel whose values a schedule in FILE.ptoir must compute; -D is for this kernel"
    add("--against", metavar="KERNEL", default="", help=what)
    command.writes("--svg", mark=SVG, metavar="FILE.svg", help="a picture of what fails")
    cli.verbose_argument(command)
    add("--json", action="store_true", help="for machines")


VERBS = {"check": cli.Verb(check, check_arguments, CHECK_IDLE)}
