"""Executors with more than one legal order of the pipes: their options, and what they tell.

In: a schedule and bound arrays.  Out: the outputs of program order, and under ``orders`` how many
orders were tried and which went wrong, each with the seed that replays it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lowering.cli.options import Parser, one_of
from pto import ir
from pto.errors import InputError

if TYPE_CHECKING:
    from lowering.inputs import Bound

SEEDS = 20
"""Orders of the pipes that are tried if nothing is said."""

SHOWN = 3
"""Orders that go wrong of which a run prints what happened."""

ORDERS = ("mixed", "worst", "priorities", "random", "round-robin", "program")
"""How an order is drawn from its seed: a pipe that is always late (worst), pipes by random
priorities that change now and then, any move, every pipe in turn; ``mixed`` deals out the four."""

Told = dict[str, Any]
Ran = tuple[dict[str, Any], Told]


def order_arguments(command: Parser) -> None:
    add = command.add_argument
    who = "adversarial, native"
    add("--seed", type=int, metavar="S", help=f"{who}: the order of this seed only")
    add("--seeds", type=int, metavar="N", help=f"{who}: orders 0 .. N-1 (default {SEEDS})")
    kinds = ", ".join(ORDERS)
    add("--order", type=one_of(ORDERS), metavar="KIND", help=f"native: {kinds} (default mixed)")


def check_options(args: argparse.Namespace) -> None:
    """Refuses options of another executor.

    Raises:
        InputError: naming the executor that takes them.
    """
    if args.executor not in EXECUTORS and (args.seed, args.seeds) != (None, None):
        message = f"executor {args.executor} runs in one order; --seed and --seeds choose others"
        raise InputError(message, hint="--executor adversarial or native")
    if args.executor != "native" and args.order is not None:
        raise InputError("--order is for executor native", hint="--executor native")
    if args.seed is not None and args.seeds is not None:
        raise InputError("--seed is one order, --seeds many: give one of the two")
    if min(args.seed or 0, args.seeds or 0) < 0:
        raise InputError("seeds count from 0 up")


def seeds_of(args: argparse.Namespace) -> range:
    """The seeds asked for; program order comes in any case."""
    if args.seed is not None:
        return range(args.seed, args.seed + 1)
    if args.order == "program":
        return range(0)
    return range(SEEDS if args.seeds is None else args.seeds)


def adversarial(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> Ran:
    from time import perf_counter

    from lowering.adversarial import Difference, Orders, blocks_for
    from lowering.cluster import InterleavingError

    seeds = seeds_of(args)
    orders, start = Orders(kernel, bound, blocks_for(kernel, bound)), perf_counter()
    try:
        found = list(orders.differences(seeds))
    except InterleavingError as error:
        found = [Difference(-1, error.kind, str(error))]
    seconds = perf_counter() - start
    return orders.outputs, _facts(seeds, orders.made, seconds, [asdict(d) for d in found])


def native(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> Ran:
    from lowering import native as host

    seeds = seeds_of(args)
    ran = host.run(kernel, bound, seeds=seeds, order=args.order or "mixed")
    found = [
        {"seed": -1 if r.seed is None else r.seed, "message": r.told(f"{kernel.name}.cpp")}
        | asdict(r)
        | {"seed": -1 if r.seed is None else r.seed}
        for r in ran.reports
    ]
    found += [
        {
            "seed": d.seed,
            "kind": "bits",
            "message": f"{d.output} differs from element {d.element} on",
        }
        for d in ran.differences
    ]
    told = _facts(seeds, ran.orders, ran.orders_seconds, found)
    told["orders"] |= {"order": args.order or "mixed", "program_order_seconds": ran.seconds}
    return dict(ran.outputs), told


EXECUTORS: Mapping[str, Callable[[argparse.Namespace, ir.Kernel, Bound], Ran]] = {
    "adversarial": adversarial,
    "native": native,
}


def _facts(seeds: range, made: int, seconds: float, found: list[Told]) -> Told:
    facts = {
        "seeds": [seeds.start, seeds.stop],
        "interleavings": made,
        "interleavings_per_second": round(made / seconds) if made else 0,
        "differences": found,
    }
    return {"orders": facts}


def told_orders(orders: Told) -> Iterator[str]:
    """The same for a person."""
    first, stop = orders["seeds"]
    which = f"seed {first}" if stop - first == 1 else f"seeds {first} .. {stop - 1}"
    rate = f"{orders['interleavings_per_second']} a second"
    if "program_order_seconds" in orders:
        yield f"  program order in {orders['program_order_seconds']:.2f} s"
    if orders["interleavings"]:
        yield f"  {orders['interleavings']} orders of the pipes ({which}; {rate})"
    bad = orders["differences"]
    if not bad and orders["interleavings"]:
        yield "  every order gives the bits of program order"
    seeds = sorted({d["seed"] for d in bad if d["seed"] >= 0})
    if seeds:
        yield f"  {len(seeds)} of {stop - first} seeds go wrong; replay one with --seed {seeds[0]}"
    for d in bad[:SHOWN]:
        said = d["message"].replace("\n", "\n    ")
        if d["kind"] == "bits":
            said = f"seed {d['seed']}: {said}"
        yield f"  {said}"
