"""The command ``pto``: list, show, check, run, emit, bench.

In: the command line.  Out: text on standard output, files where asked for, and an exit status:
0 good, 1 the proof or the comparison failed, 2 a mistake of the user (one message, on standard
error).  Invariant: nothing is written unless everything went well.

Startup matters: JAX costs more than the whole compile and numpy half as much, so every command
imports what it needs when it runs; ``list``, ``show``, ``check`` and ``emit`` need neither.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lowering.assumptions import READINGS
from lowering.programs import (
    Program,
    case_options,
    close_to,
    is_scheduled,
    load,
    statics_of,
    traced,
)
from lowering.proof import HazardError
from pto import ir
from pto.errors import InputError, PtoError
from pto.kernel import Kernel
from pto.text import print_kernel

if TYPE_CHECKING:
    from lowering.bench import Call, Table
    from lowering.cases import Arrays
    from lowering.inputs import Bound
    from lowering.proof import Proof
    from lowering.schedule import Options

GOOD, FAILED, USAGE = 0, 1, 2
EXECUTORS = ("sequential", "numpy", "jax")
LOAD_AT = ("first", "after_move", "after_push")
OPTION_FLAGS = (
    "lookahead",
    "prefetch",
    "load_at",
    "drain",
    "local_depth",
    "l0_depth",
    "fifo_depth",
)
EACH = "each"
SOURCE, TRACED, SCHEDULED = "source", "traced", "scheduled"


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


# ---------------------------------------------------------------------------------- schedules


def options_of(args: argparse.Namespace) -> Options:
    """The schedule options that the command line asks for.

    Raises:
        InputError: for a schedule that has no such name.
        ScheduleError: for a number that makes no sense.
    """
    from lowering.schedule import NAMED, options_for

    name = args.schedule or "best"
    if name not in NAMED:
        raise InputError(f"no schedule is called '{name}'", hint=close_to(name, NAMED))
    return options_for(name, **{flag: getattr(args, flag) for flag in OPTION_FLAGS})


def _asks_for_schedule(args: argparse.Namespace) -> bool:
    return any(getattr(args, flag) is not None for flag in ("schedule", *OPTION_FLAGS))


def _title(args: argparse.Namespace) -> str:
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

    return schedule(kernel, options_of(args)).kernel


# --------------------------------------------------------------------------------------- list


def list_kernels(args: argparse.Namespace) -> int:
    """``pto list``: the shipped kernels with all that can be set, and the named schedules."""
    from lowering.schedule import NAMED
    from pto.kernels import SHIPPED

    kernels = [_facts(k) for k in SHIPPED.values()]
    if args.json:
        schedules = {name: _fields(o) for name, o in NAMED.items()}
        return _print_json({"kernels": kernels, "schedules": schedules, "executors": EXECUTORS})
    for k in kernels:
        print("\n".join(_listed(k)), end="\n\n")
    for name, options in NAMED.items():
        print(f"schedule {name:9} {_settings(_fields(options))}")
    return GOOD


def _facts(kernel: Kernel) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "summary": (kernel.__doc__ or "").strip().split("\n")[0],
        "parameters": kernel.signature,
        "grid": kernel.grid,
        "statics": kernel.statics,
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
    yield f"  -D     {_settings(facts['statics'])}"
    if facts["case"]:
        yield f"  --case {_settings(facts['case'])}"


def _settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{n}={v}" for n, v in values.items())


def _fields(options: Options) -> dict[str, Any]:
    return {flag: getattr(options, flag) for flag in OPTION_FLAGS}


def _print_json(value: object) -> int:
    import json

    print(json.dumps(value, indent=2))
    return GOOD


# --------------------------------------------------------------------------------------- show


def show(args: argparse.Namespace) -> int:
    """``pto show``: the program at one stage, as text that ``pto check`` reads back."""
    program, kernel = load_traced(args)
    if args.stage == SOURCE:
        print(_source(program, args.kernel).rstrip("\n"))
    else:
        print(print_kernel(at_stage(args, kernel)).rstrip("\n"))
    return GOOD


def at_stage(args: argparse.Namespace, kernel: ir.Kernel) -> ir.Kernel:
    """``kernel`` after the pass called ``args.stage``.

    Raises:
        InputError: for an unknown stage, or one that a scheduled text is past.
    """
    from lowering.schedule import PASSES, stages

    known = [SOURCE, TRACED, *(name for name, _ in PASSES), SCHEDULED]
    if args.stage not in known:
        raise InputError(f"no stage is called '{args.stage}'", hint=close_to(args.stage, known))
    if args.stage == SCHEDULED:
        return scheduled(args, kernel)
    if is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; it has no stage '{args.stage}'")
    if args.stage == TRACED:
        return kernel
    return next(k for name, k in stages(kernel, options_of(args)) if name == args.stage)


def _source(program: Program, what: str) -> str:
    if isinstance(program, ir.Kernel):
        return Path(what).read_text(encoding="utf-8")
    import inspect

    return inspect.getsource(program.function)


# -------------------------------------------------------------------------------------- check


def check(args: argparse.Namespace) -> int:
    """``pto check``: the proof of one schedule, or with ``--all`` a table of all of them."""
    from lowering.files import check_writable

    _, kernel = load_traced(args)
    if args.all and args.assume:
        raise InputError("--all and --assume: give one of the two")
    if args.svg and (args.all or EACH in args.assume):
        raise InputError("--svg draws the failure of one proof; this asks for several")
    if args.svg:
        check_writable(args.svg)
    if args.all:
        return _check_all(args, kernel)
    if EACH in args.assume:
        return _check_each_reading(args, kernel)
    proof, notes = _prove(args, kernel, args.assume)
    if args.json:
        _print_json(_proof_facts(kernel, proof) | {"notes": notes})
    else:
        print("\n".join([proof.report(), *(f"  {note}" for note in notes)]))
    if args.svg:
        print(_draw(args.svg, proof), file=sys.stderr if args.json else sys.stdout)
    return GOOD if proof.ok else FAILED


def _draw(path: Path, proof: Proof) -> str:
    """Writes the picture of the first violation that has one; says what was done."""
    from lowering import picture
    from lowering.files import write_all

    if proof.ok:
        return "nothing to draw: the schedule is proven"
    drawn = picture.pictured(proof.violations)
    if not drawn:
        return "nothing to draw: it failed before any row ran"
    write_all({path: picture.svg(drawn[0]).encode()})
    return f"wrote {path}"


def _prove(
    args: argparse.Namespace, kernel: ir.Kernel, assume: Sequence[str] = ()
) -> tuple[Proof, tuple[str, ...]]:
    """The proof of the text as it is, or of the schedule asked for; and what the schedule reached."""
    from lowering import hazards
    from lowering.schedule import schedule

    if is_scheduled(kernel):
        return hazards.check(scheduled(args, kernel), assume=assume), kernel.notes
    try:
        done = schedule(kernel, options_of(args))
    except HazardError as error:
        return error.proof, ()
    proof = hazards.check(done.kernel, assume=assume) if assume else done.proof
    return proof, done.kernel.notes


def _proof_facts(kernel: ir.Kernel, proof: Proof) -> dict[str, Any]:
    from dataclasses import asdict

    return {"kernel": kernel.name, "proven": proof.ok} | asdict(proof)


def _check_all(args: argparse.Namespace, kernel: ir.Kernel) -> int:
    from lowering.progress import progress
    from lowering.schedule import NAMED

    if is_scheduled(kernel):
        raise InputError(f"{args.kernel} is scheduled already; --all has nothing to choose from")
    with progress(f"proving the schedules of {kernel.name}"):
        lines = [_line(kernel, name, ahead) for name in NAMED for ahead in (1, 2)]
    if args.json:
        _print_json(lines)
    else:
        print(f"{kernel.name}, every schedule at lookahead 1 and 2")
        for line in lines:
            print(f"  {line['schedule']:9} lookahead {line['lookahead']}  {_verdict(line)}")
    return GOOD if all(line["proven"] for line in lines) else FAILED


def _check_each_reading(args: argparse.Namespace, kernel: ir.Kernel) -> int:
    """One line per reading of the machine: what the proof assumes, and what holds without it."""
    from dataclasses import asdict

    from lowering import hazards
    from lowering.assumptions import READINGS

    if len(args.assume) > 1:
        raise InputError(f"--assume {EACH} stands alone: it tries every reading by itself")
    program = scheduled(args, kernel)
    proofs = {name: hazards.check(program, assume=[name]) for name in READINGS}
    base = hazards.check(program)
    if args.json:
        facts = [asdict(r) | _proof_facts(kernel, proofs[r.name]) for r in READINGS.values()]
        _print_json({"as assumed": _proof_facts(kernel, base), "readings": facts})
        return GOOD if base.ok else FAILED
    print(base.message)
    for reading in READINGS.values():
        place = f"MACHINE.md {reading.place}, {reading.confidence}"
        print(f"\n{reading.name}  ({place})")
        print(f"  assumed   {reading.assumed}")
        print(f"  instead   {reading.instead}")
        print(f"  then      {_still(proofs[reading.name])}")
    return GOOD if base.ok else FAILED


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


def _verdict(line: Mapping[str, Any]) -> str:
    if line["proven"]:
        return f"proven   {line['states']} states explored"
    return f"refused  {line['message'].splitlines()[0]}"


def _line(kernel: ir.Kernel, name: str, lookahead: int) -> dict[str, Any]:
    """One schedule: proven with what was found out, or refused with the reason."""
    from lowering.schedule import options_for, schedule

    line: dict[str, Any] = {"schedule": name, "lookahead": lookahead}
    try:
        return line | _proof_facts(
            kernel, schedule(kernel, options_for(name, lookahead=lookahead)).proof
        )
    except HazardError as error:
        return line | _proof_facts(kernel, error.proof)
    except PtoError as error:
        return line | {"kernel": kernel.name, "proven": False, "message": str(error)}


# ---------------------------------------------------------------------------------------- run


def run(args: argparse.Namespace) -> int:
    """``pto run``: the kernel on given arrays, or on a random case that is judged."""
    from lowering import cases
    from lowering.files import check_writable
    from lowering.inputs import bind, validate

    if args.out:
        check_writable(args.out)
    program = load(args.kernel)
    arrays, kernel = _arrays(args, program)
    bound = bind(kernel, arrays)
    validate(kernel, bound)
    outputs = _execute(args, kernel, bound)
    report: dict[str, Any] = {"kernel": kernel.name, "executor": args.executor}
    report["dims"], report["outputs"] = dict(bound.dims), _summaries(outputs)
    judge = "" if args.inputs else _judge(args, program)
    found = _judged(args, program, kernel, bound, arrays, outputs) if judge else []
    report["comparisons"], report["compared_with"] = [_comparison(c) for c in found], judge
    if args.out:
        cases.write_outputs(args.out, outputs)
    if args.json:
        _print_json(report)
    else:
        print("\n".join(_told(args, cases.describe(program, bound), report, found)))
    return GOOD if all(c.ok for c in found) else FAILED


def _arrays(args: argparse.Namespace, program: Program) -> tuple[Arrays, ir.Kernel]:
    """The inputs, and the kernel traced for them."""
    from lowering import cases

    statics = statics_of(program, args.static)
    if args.inputs:
        if args.case or args.seed is not None:
            option = "--case" if args.case else "--seed"
            raise InputError(f"{option} draws the inputs, --inputs reads them: give one of the two")
        arrays = cases.read_inputs(args.inputs)
        return arrays, cases.traced_for(program, arrays, statics)
    if isinstance(program, ir.Kernel):
        raise InputError("a .ptoir program draws no random case", hint="give --inputs case.npz")
    kernel = traced(program, statics)
    return cases.draw(program, kernel, args.seed or 0, args.case), kernel


def _execute(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> dict[str, Any]:
    from lowering.progress import progress

    if args.executor == "sequential" and is_scheduled(kernel):
        message = f"{args.kernel} is scheduled; executor sequential runs what is not"
        raise InputError(message, hint="--executor numpy or jax")
    chosen = kernel if args.executor == "sequential" else scheduled(args, kernel)
    with progress(f"running {kernel.name} on executor {args.executor}"):
        return _executor(args.executor)(chosen, bound)


def _executor(name: str) -> Callable[[ir.Kernel, Bound], dict[str, Any]]:
    """One of ``EXECUTORS``; only JAX's own is worth importing late."""
    if name == "jax":
        from lowering import jax_executor

        return jax_executor.run
    from lowering import scheduled as strict
    from lowering import sequential

    return sequential.run if name == "sequential" else strict.run


def _judge(args: argparse.Namespace, program: Program) -> str:
    """What a random case is compared with, or ''."""
    if isinstance(program, Kernel) and program.oracle is not None:
        return "its float64 reference"
    return "" if args.executor == "sequential" else "the executor sequential"


def _judged(
    args: argparse.Namespace,
    program: Program,
    kernel: ir.Kernel,
    bound: Bound,
    arrays: Arrays,
    outputs: Mapping[str, Any],
) -> list[Any]:
    """The comparison with the oracle of the kernel, or else with the executor ``sequential``."""
    from lowering import cases, sequential
    from lowering.progress import progress

    assert isinstance(program, Kernel)
    with progress("computing what is expected"):
        exact = outputs if args.executor == "sequential" else sequential.run(kernel, bound)
        want = exact if program.oracle is None else cases.expected(program, kernel, arrays)
        limits = cases.tolerances(kernel, bound, want, exact)
    return cases.compare(outputs, want, limits)


def _summaries(outputs: Mapping[str, Any]) -> dict[str, str]:
    return {n: f"{a.dtype.name}{list(a.shape)}" for n, a in outputs.items()}


def _comparison(c: Any) -> dict[str, Any]:
    return {
        "output": c.name,
        "ok": c.ok,
        "max_abs_error": c.error,
        "tolerance": c.tolerance,
        "index": c.index,
    }


def _told(
    args: argparse.Namespace, title: str, report: Mapping[str, Any], found: Sequence[Any]
) -> Iterator[str]:
    source = f"read from {args.inputs}" if args.inputs else f"random case, seed {args.seed or 0}"
    yield f"{title}  ({source}, executor {args.executor})"
    for name, what in report["outputs"].items():
        yield f"  {name} {what}"
    for c in found:
        yield f"  {c.told(report['compared_with'])}"
    if not found:
        why = "no random case" if args.inputs else "no reference, and sequential judges the others"
        yield f"  not compared: {why}"
    if args.out:
        yield f"  wrote {args.out}"


# --------------------------------------------------------------------------------------- emit


def emit(args: argparse.Namespace) -> int:
    """``pto emit``: the Ascend sources of the proven schedule, all files or none."""
    from lowering import ascend
    from lowering.files import check_folder, write_all

    check_folder(args.output)
    _, kernel = load_traced(args)
    if is_scheduled(kernel):
        proof, _ = _prove(args, kernel)
        if not proof.ok:
            raise HazardError(proof)
    files = ascend.emit(scheduled(args, kernel))
    write_all({args.output / name: text.encode() for name, text in files.items()})
    for name, text in files.items():
        print(f"{args.output / name}  {text.count(chr(10))} lines")
    return GOOD


# -------------------------------------------------------------------------------------- bench


def bench(args: argparse.Namespace) -> int:
    """``pto bench``: times of the tool itself, and of the JAX executor against hand-written JAX."""
    from lowering import bench as tables
    from pto.kernels import SHIPPED

    tables.visible_devices()
    names = args.kernels or list(SHIPPED)
    earlier = _read_times(args.against)
    found: dict[str, float] = {}
    for name in names:
        table = _tool_times(args, name, earlier)
        found |= {line.name: line.after for line in table.lines}
        print(f"{table}\n", flush=True)
        if not args.no_jax:
            for table in _jax_times(args, name):
                print(f"{table}\n", flush=True)
    if args.save:
        import json

        from lowering.files import write_all

        write_all({args.save: json.dumps(found, indent=2).encode() + b"\n"})
    return GOOD


def _read_times(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    import json

    try:
        return {str(n): float(t) for n, t in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} holds no times: {error}", hint="write it with --save") from None


def _tool_times(args: argparse.Namespace, name: str, earlier: Mapping[str, float]) -> Table:
    """trace, schedule, check and emit; before: what ``--against`` holds, or the plainest schedule."""
    from lowering import bench as tables
    from lowering.progress import progress

    after = _stages(args, name, options_of(args))
    with progress(f"timing the tool on {name}"):
        if args.against:
            found = tables.compare(f"{name}, {_title(args)}", {}, after, args.rounds)
            lines = tuple(tables.Line(x.name, earlier.get(x.name), x.after) for x in found.lines)
            return tables.Table(found.title, lines, found.rounds, (f"before: {args.against}",))
        from lowering.schedule import options_for

        before = _stages(args, name, options_for("serial"))
        return tables.compare(
            f"{name}, before: schedule serial, after: {_title(args)}", before, after, args.rounds
        )


def _stages(args: argparse.Namespace, name: str, options: Options) -> dict[str, Call]:
    """The stages of one kernel as calls that can be timed."""
    from lowering import ascend, hazards
    from lowering.equivalence import same_values
    from lowering.schedule import schedule, stages

    program = load(name)
    kernel = traced(program, statics_of(program, args.static))
    done = schedule(kernel, options).kernel
    made = dict(stages(kernel, options))

    def passes() -> None:
        for _ in stages(kernel, options):
            pass

    calls: dict[str, Call] = {
        "schedule": passes,
        "values": lambda: same_values(made["persist"], done),
        "check": lambda: hazards.check(done),
        "emit": lambda: ascend.emit(done),
    }
    if isinstance(program, Kernel):
        statics = statics_of(program, args.static)
        calls = {"trace": lambda: program.trace(**statics), **calls}
    return {f"{name} {stage}": call for stage, call in calls.items()}


def _jax_times(args: argparse.Namespace, name: str) -> list[Table]:
    from lowering import bench as tables
    from lowering import cases
    from lowering.progress import progress
    from pto.kernels.baselines import BASELINES

    program = load(name)
    kernel = traced(program, statics_of(program, args.static))
    if not isinstance(program, Kernel) or program.draw_case is None:
        return []
    texts = args.case or [""]
    with progress(f"timing JAX on {name}"):
        drawn = {
            t or "default case": cases.draw(program, kernel, args.seed or 0, [t] if t else [])
            for t in texts
        }
        opponents = BASELINES.get(program.name, {})
        return tables.against_hand(scheduled(args, kernel), drawn, opponents, args.rounds)


# ------------------------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    """One line per mistake, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}\n  help: {self.prog} --help", file=sys.stderr)
        raise SystemExit(USAGE)


def _parser() -> _Parser:
    parser = _Parser(prog="pto", description="NPU tile kernels: trace, schedule, prove, run, emit.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name, (function, add_arguments) in COMMANDS.items():
        summary = (function.__doc__ or "").split(": ", 1)[1].strip(" .").replace("`", "")
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="a traceback, not one message")
        add_arguments(command)
    return parser


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """The type of an option that takes one of ``known``."""

    def chosen(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(known)}")
        return text

    return chosen


def _kernel_arguments(command: _Parser) -> None:
    what = "a shipped name, module:function, file.py:function or FILE.ptoir"
    command.add_argument("kernel", metavar="KERNEL", help=what)
    _schedule_arguments(command)


def _schedule_arguments(command: _Parser) -> None:
    add = command.add_argument
    add(
        "-D",
        dest="static",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a static parameter",
    )
    add("--schedule", metavar="NAME", help="serial, prefetch, repair or best (the default)")
    add("--lookahead", type=int, metavar="N", help="steps the first stage of a core runs ahead")
    add("--prefetch", type=int, metavar="N", help="steps a load runs ahead of its use")
    add("--load-at", type=one_of(LOAD_AT), metavar="WHERE", help=f"of a load: {', '.join(LOAD_AT)}")
    add("--drain", action=argparse.BooleanOptionalAction, help="drain FIX before every record")
    add("--local-depth", type=int, metavar="N", help="ring slots in L1 and UB")
    add("--l0-depth", type=int, metavar="N", help="ring slots in L0")
    add("--fifo-depth", type=int, metavar="N", help="ring slots in GM (0: as many as needed)")


def _list_arguments(command: _Parser) -> None:
    command.add_argument("--json", action="store_true", help="for machines")


def _show_arguments(command: _Parser) -> None:
    _kernel_arguments(command)
    command.add_argument(
        "--stage", default=SCHEDULED, help="source, traced, the name of a pass, scheduled (default)"
    )


def _check_arguments(command: _Parser) -> None:
    _kernel_arguments(command)
    command.add_argument(
        "--all", action="store_true", help="every named schedule, lookahead 1 and 2"
    )
    command.add_argument(
        "--assume",
        action="append",
        type=one_of((*READINGS, EACH)),
        default=[],
        metavar="READING",
        help=f"another reading of the machine, may come several times: {', '.join(READINGS)}; "
        f"{EACH}: one line for every one of them",
    )
    command.add_argument("--svg", type=Path, metavar="FILE.svg", help="a picture of what fails")
    command.add_argument("--json", action="store_true", help="for machines")


def _run_arguments(command: _Parser) -> None:
    _kernel_arguments(command)
    add = command.add_argument
    kinds = ", ".join(EXECUTORS)
    add(
        "--executor",
        type=one_of(EXECUTORS),
        default="jax",
        metavar="NAME",
        help=f"{kinds} (default)",
    )
    add("--inputs", type=Path, metavar="FILE.npz", help="arrays by parameter name; bf16 as uint16")
    add("--out", type=Path, metavar="FILE.npz", help="where the outputs go")
    _case_arguments(command)
    add("--json", action="store_true", help="for machines")


def _case_arguments(command: _Parser) -> None:
    add = command.add_argument
    add(
        "--case",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of the random case",
    )
    add("--seed", type=int, help="of the random case (default 0)")


def _emit_arguments(command: _Parser) -> None:
    _kernel_arguments(command)
    command.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", required=True, help="folder"
    )


def _bench_arguments(command: _Parser) -> None:
    add = command.add_argument
    add("kernels", metavar="KERNEL", nargs="*", help="default: every shipped kernel")
    _schedule_arguments(command)
    _case_arguments(command)
    add("--rounds", type=int, default=10, metavar="N", help="default 10")
    add("--no-jax", action="store_true", help="only the tool itself")
    add("--save", type=Path, metavar="FILE", help="keep the tool's times")
    add("--against", type=Path, metavar="FILE", help="kept times to compare with")


COMMANDS: Mapping[str, tuple[Callable[[argparse.Namespace], int], Callable[[_Parser], None]]] = {
    "list": (list_kernels, _list_arguments),
    "show": (show, _show_arguments),
    "check": (check, _check_arguments),
    "run": (run, _run_arguments),
    "emit": (emit, _emit_arguments),
    "bench": (bench, _bench_arguments),
}
"""What each command runs, and the arguments that it takes."""
