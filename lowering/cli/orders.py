"""Executors with more than one legal order of the pipes: their options, and what they tell.

In: a schedule and bound arrays.  Out: the outputs of program order, and under ``orders`` how many
orders were tried and which went wrong, each with the seed that replays it.  Invariant: memory does
not grow with the number of seeds: after ``MOST_WRONG`` differences no more are looked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lowering.cli.options import Idle, Parser, one_of, whole
from lowering.progress import progress
from pto import ir

if TYPE_CHECKING:
    from lowering.execute.inputs import Bound
    from lowering.native import Result

SEEDS = 20
"""Orders of the pipes that are tried if nothing is said."""

SHOWN = 3
"""Orders that go wrong of which a run prints what happened."""

MOST_WRONG = 1000
"""Differences after which a run ends: nobody reads more."""

CHUNK_S = 1.0
"""Seconds that a process of the native machine is given at least, so that the rest is told in between."""

ORDERS = ("mixed", "worst", "priorities", "random", "round-robin", "program")
"""How an order is drawn from its seed: a pipe that is always late (worst), pipes by random
priorities that change now and then, any move, every pipe in turn; ``mixed`` deals out the four."""

Told = dict[str, Any]
Ran = tuple[dict[str, Any], Told]


def order_arguments(command: Parser) -> None:
    add = command.add_argument
    who = "adversarial, native"
    add("--seed", type=whole(0), metavar="S", help=f"{who}: the order of this seed only")
    add("--seeds", type=whole(1), metavar="N", help=f"{who}: orders 0 .. N-1 (default {SEEDS})")
    kinds = ", ".join(ORDERS)
    add("--order", type=one_of(ORDERS), metavar="KIND", help=f"native: {kinds} (default mixed)")


def seeds_of(args: argparse.Namespace) -> range:
    """The seeds asked for; program order comes in any case."""
    if args.seed is not None:
        return range(args.seed, args.seed + 1)
    if args.order == "program":
        return range(0)
    return range(SEEDS if args.seeds is None else args.seeds)


def adversarial(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> Ran:
    from lowering.execute.adversarial import Difference, Orders, blocks_for
    from lowering.execute.cluster import InterleavingError

    seeds, blocks = seeds_of(args), blocks_for(kernel, bound)
    orders, start = Orders(kernel, bound, blocks), perf_counter()
    total = len(seeds) * blocks
    with progress(lambda: f"{kernel.name} in random orders: {orders.made:,} of {total:,}"):
        try:
            found = list(islice(orders.differences(seeds), MOST_WRONG))
        except InterleavingError as error:
            found = [Difference(-1, error.kind, str(error))]
    seconds = perf_counter() - start
    return orders.outputs, _facts(seeds, orders.made, seconds, [asdict(d) for d in found])


def native(args: argparse.Namespace, kernel: ir.Kernel, bound: Bound) -> Ran:
    from lowering import native as host

    seeds, order = seeds_of(args), args.order or "mixed"
    found: list[Told] = []
    made, size, seconds = 0, SEEDS, 0.0
    with progress(lambda: f"{kernel.name} in random orders: {made:,} of {len(seeds):,}"):
        while True:
            part, start = seeds[made : made + size], perf_counter()
            ran = host.run(kernel, bound, seeds=part, order=order)
            found += _wrong(ran, f"{kernel.name}.cpp", program_order=not made)
            outputs, made, seconds = ran.outputs, made + ran.orders, seconds + ran.orders_seconds
            if made >= len(seeds) or not ran.orders or len(found) >= MOST_WRONG:
                break
            if perf_counter() - start < CHUNK_S:
                size *= 2
    told = _facts(seeds, made, seconds, found)
    told["orders"] |= {"order": order, "program_order_seconds": ran.seconds}
    return dict(outputs), told


def _wrong(ran: Result, source: str, program_order: bool) -> Iterator[Told]:
    """What went wrong in the orders of ``ran``; in program order too, if that is asked for."""
    for r in ran.reports:
        if r.seed is not None or program_order:
            seed = -1 if r.seed is None else r.seed
            yield asdict(r) | {"seed": seed, "message": r.told(source)}
    for d in ran.differences:
        said = f"{d.output} differs from element {d.element} on"
        yield {"seed": d.seed, "kind": "bits", "message": said}


EXECUTORS: Mapping[str, Callable[[argparse.Namespace, ir.Kernel, Bound], Ran]] = {
    "adversarial": adversarial,
    "native": native,
}

IDLE = (
    Idle(
        ("seed", "seeds"),
        lambda args: args.executor not in EXECUTORS,
        "on executor {executor}, which runs in one order",
        "--executor adversarial or native",
    ),
    Idle(
        ("order",),
        lambda args: args.executor != "native",
        "on executor {executor}",
        "--executor native",
    ),
    Idle(
        ("seed", "seeds"),
        lambda args: args.order == "program",
        "with --order program, which is one",
    ),
    Idle(("seeds",), lambda args: args.seed is not None, "with --seed, which is one order"),
)


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
        of = f"{len(seeds)} of {stop - first}"
        if len(bad) >= MOST_WRONG:
            of = f"at least {len(seeds)}"
        yield f"  {of} seeds go wrong; replay one with --seed {seeds[0]}"
    for d in bad[:SHOWN]:
        said = d["message"].replace("\n", "\n    ")
        if d["kind"] == "bits":
            said = f"seed {d['seed']}: {said}"
        yield f"  {said}"
