"""``pto run`` and ``pto emit``: the outputs of a kernel on one executor, and its sources."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowering.cli.check import prove
from lowering.cli.options import (
    EXECUTORS,
    FAILED,
    GOOD,
    Parser,
    case_arguments,
    kernel_arguments,
    load_traced,
    one_of,
    print_json,
    scheduled,
)
from lowering.programs import Program, is_scheduled, load, statics_of, traced
from lowering.proof import HazardError
from pto import ir
from pto.errors import InputError
from pto.kernel import Kernel

if TYPE_CHECKING:
    from lowering.cases import Arrays
    from lowering.inputs import Bound

SEEDS = 20
"""Orders of the pipes that the adversarial executor tries if nothing is said."""

SHOWN = 3
"""Orders that go wrong of which a run prints what happened."""

Told = dict[str, Any]


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
    outputs, orders = _execute(args, kernel, bound)
    report: Told = {"kernel": kernel.name, "executor": args.executor} | orders
    report["dims"], report["outputs"] = dict(bound.dims), _summaries(outputs)
    judge = "" if args.inputs else _judge(args, program)
    found = _judged(args, program, kernel, bound, arrays, outputs) if judge else []
    report["comparisons"], report["compared_with"] = [_comparison(c) for c in found], judge
    if args.out:
        cases.write_outputs(args.out, outputs)
    if args.json:
        print_json(report)
    else:
        print("\n".join(_told(args, cases.describe(program, bound), report, found)))
    good = all(c.ok for c in found) and not report.get("orders", {}).get("differences")
    return GOOD if good else FAILED


def _arrays(args: argparse.Namespace, program: Program) -> tuple[Arrays, ir.Kernel]:
    """The inputs, and the kernel traced for them."""
    from lowering import cases

    statics = statics_of(program, args.static)
    if args.inputs:
        if args.case:
            raise InputError("--case draws the inputs, --inputs reads them: give one of the two")
        arrays = cases.read_inputs(args.inputs)
        return arrays, cases.traced_for(program, arrays, statics)
    if isinstance(program, ir.Kernel):
        raise InputError("a .ptoir program draws no random case", hint="give --inputs case.npz")
    kernel = traced(program, statics)
    return cases.draw(program, kernel, args.case), kernel


def _execute(
    args: argparse.Namespace, kernel: ir.Kernel, bound: Bound
) -> tuple[dict[str, Any], Told]:
    """The outputs, and what an executor with many orders has to say about them."""
    from lowering.progress import progress

    if args.executor != "adversarial" and (args.seed, args.seeds) != (None, None):
        message = f"executor {args.executor} runs in one order; --seed and --seeds choose others"
        raise InputError(message, hint="--executor adversarial")

    if args.executor == "sequential" and is_scheduled(kernel):
        message = f"{args.kernel} is scheduled; executor sequential runs what is not"
        raise InputError(message, hint="--executor numpy or jax")
    chosen = kernel if args.executor == "sequential" else scheduled(args, kernel)
    with progress(f"running {kernel.name} on executor {args.executor}"):
        if args.executor == "adversarial":
            return _in_many_orders(chosen, bound, _seeds(args))
        return _executor(args.executor)(chosen, bound), {}


def _seeds(args: argparse.Namespace) -> range:
    if args.seed is not None and args.seeds is not None:
        raise InputError("--seed is one order, --seeds many: give one of the two")
    if args.seed is not None:
        return range(args.seed, args.seed + 1)
    return range(SEEDS if args.seeds is None else args.seeds)


def _in_many_orders(kernel: ir.Kernel, bound: Bound, seeds: range) -> tuple[dict[str, Any], Told]:
    from dataclasses import asdict
    from time import perf_counter

    from lowering.adversarial import Difference, Orders, blocks_for
    from lowering.cluster import InterleavingError

    orders, start = Orders(kernel, bound, blocks_for(kernel, bound)), perf_counter()
    try:
        found = list(orders.differences(seeds))
    except InterleavingError as error:
        found = [Difference(-1, error.kind, str(error))]
    told = {
        "seeds": [seeds.start, seeds.stop],
        "interleavings": orders.made,
        "interleavings_per_second": round(orders.made / (perf_counter() - start)),
        "differences": [asdict(d) for d in found],
    }
    return orders.outputs, {"orders": told}


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
    source = f"read from {args.inputs}" if args.inputs else "random case"
    yield f"{title}  ({source}, executor {args.executor})"
    for name, what in report["outputs"].items():
        yield f"  {name} {what}"
    if "orders" in report:
        yield from _told_orders(report["orders"])
    for c in found:
        yield f"  {c.told(report['compared_with'])}"
    if not found:
        why = "no random case" if args.inputs else "no reference, and sequential judges the others"
        yield f"  not compared: {why}"
    if args.out:
        yield f"  wrote {args.out}"


def _told_orders(orders: Told) -> Iterator[str]:
    first, stop = orders["seeds"]
    which = f"seed {first}" if stop - first == 1 else f"seeds {first} .. {stop - 1}"
    rate = f"{orders['interleavings_per_second']} a second"
    yield f"  {orders['interleavings']} orders of the pipes ({which} on each block; {rate})"
    bad = orders["differences"]
    if not bad:
        yield "  every order gives the bits of program order"
    seeds = sorted({d["seed"] for d in bad})
    if bad and seeds[0] >= 0:
        yield f"  {len(seeds)} of {stop - first} seeds go wrong; replay one with --seed {seeds[0]}"
    for d in bad[:SHOWN]:
        seed = f"seed {d['seed']}" if d["seed"] >= 0 else "program order"
        said = d["message"] if d["kind"] == "bits" else d["message"].replace("\n", "\n    ")
        yield f"  {seed}: {said}"


def run_arguments(command: Parser) -> None:
    kernel_arguments(command)
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
    case_arguments(command)
    add("--seed", type=int, metavar="S", help="adversarial: the order of this seed only")
    add(
        "--seeds", type=int, metavar="N", help=f"adversarial: the orders 0 .. N-1 (default {SEEDS})"
    )
    add("--json", action="store_true", help="for machines")


def emit(args: argparse.Namespace) -> int:
    """``pto emit``: the Ascend sources of the proven schedule, all files or none."""
    from lowering import ascend
    from lowering.files import check_folder, write_all

    check_folder(args.output)
    _, kernel = load_traced(args)
    if is_scheduled(kernel):
        proof, _ = prove(args, kernel)
        if not proof.ok:
            raise HazardError(proof)
    files = ascend.emit(scheduled(args, kernel))
    write_all({args.output / name: text.encode() for name, text in files.items()})
    for name, text in files.items():
        print(f"{args.output / name}  {text.count(chr(10))} lines")
    return GOOD


def emit_arguments(command: Parser) -> None:
    kernel_arguments(command)
    command.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", required=True, help="folder"
    )
