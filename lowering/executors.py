"""The executors by name: what each makes of a program and bound arrays.

In: the name of an executor, a program and bound arrays; of executors that run in more than one legal
order of the pipes, which ``Orders``.  Out: ``Ran``: the outputs (of program order), and how many orders
were tried and which went wrong, each with the seed that replays it.  Invariant: memory does not grow
with the number of seeds: after ``MOST_WRONG`` differences no more are looked for.
Non-goals: which schedule, whether the outputs are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lowering.progress import progress
from pto import ir
from pto.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from lowering.execute.inputs import Bound
    from lowering.execute.said import Heard
    from lowering.native import Result

SEQUENTIAL, NUMPY, JAX, PTO_ISA = "sequential", "numpy", "jax", "pto-isa"
EXECUTORS = (SEQUENTIAL, NUMPY, "adversarial", JAX, "native", PTO_ISA)

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

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of the pipes of these seeds; program order comes in any case.

    ``assume``: readings of the machine that the program rests on (``lowering/execute/cluster.py``).
    """

    seeds: range = range(SEEDS)
    kind: str = ORDERS[0]
    assume: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """Outputs by name, what rows said that only watch, in program order, and what ``told`` reads of the orders that
    were tried ({}: there is one)."""

    outputs: Mapping[str, Any]
    heard: Heard
    orders: Facts = field(default_factory=dict)

    @property
    def differences(self) -> list[Facts]:
        """What went wrong in some order."""
        found: list[Facts] = self.orders.get("differences", [])
        return found


def execute(
    name: str,
    kernel: ir.Kernel,
    bound: Bound,
    orders: Orders | None = None,
    checkout: Path | None = None,
) -> Ran:
    """``kernel`` on the executor ``name``: a traced one on ``sequential``, else a scheduled one.
    ``checkout``: of the tile library, for ``pto-isa`` (None: $PTO_ISA_ROOT).

    Raises:
        InputError: for an executor that there is not, or that has one order only.
    """
    if name in SEVERAL:
        return SEVERAL[name](kernel, bound, orders or Orders())
    if name not in EXECUTORS:
        hint = did_you_mean(name, EXECUTORS, "there are")
        raise InputError(f"no executor is called '{name}'", hint=hint)
    if orders is not None:
        message = f"executor {name} runs in one order"
        raise InputError(message, hint=" or ".join(SEVERAL))
    with progress(f"running {kernel.name} on executor {name}"):
        from lowering.execute.said import Heard

        heard = Heard()
        return Ran(_in_one_order(name, checkout)(kernel, bound, heard=heard), heard)


def _in_one_order(name: str, checkout: Path | None) -> Callable[..., Mapping[str, Any]]:
    """A function of a program, bound arrays, and who hears what it says.  Only JAX's own executor is worth importing
    late."""
    if name == JAX:
        from lowering import jax_executor

        return jax_executor.run
    if name == PTO_ISA:
        from lowering.native import pto_isa

        found = pto_isa.checkout_of(checkout)
        return partial(pto_isa.run, checkout=found)
    from lowering.execute import scheduled, watched

    return watched.run if name == SEQUENTIAL else scheduled.run


def adversarial(kernel: ir.Kernel, bound: Bound, orders: Orders) -> Ran:
    """In numpy, the pipes in random orders; ``kind`` is of no use."""
    from lowering.execute import adversarial as random
    from lowering.execute.cluster import InterleavingError

    seeds, blocks = orders.seeds, random.blocks_for(kernel, bound)
    tried, start = random.Orders(kernel, bound, blocks, orders.assume), perf_counter()
    total = len(seeds) * blocks
    with progress(lambda: f"{kernel.name} in random orders: {tried.made:,} of {total:,}"):
        try:
            found = list(islice(tried.differences(seeds), MOST_WRONG))
        except InterleavingError as error:
            found = [random.Difference(-1, error.kind, str(error))]
    seconds = perf_counter() - start
    facts = _facts(seeds, tried.made, seconds, [asdict(d) for d in found])
    return Ran(tried.outputs, tried.heard, facts)


def native(kernel: ir.Kernel, bound: Bound, orders: Orders) -> Ran:
    """The emitted C++ on the host."""
    from lowering import native as host

    seeds, order = orders.seeds, orders.kind
    found: list[Facts] = []
    made, size, seconds = 0, SEEDS, 0.0
    with progress(lambda: f"{kernel.name} in random orders: {made:,} of {len(seeds):,}"):
        while True:
            part, start = seeds[made : made + size], perf_counter()
            ran = host.run(kernel, bound, seeds=part, order=order, assume=orders.assume)
            found += _wrong(ran, f"{kernel.name}.cpp", program_order=not made)
            outputs, made, seconds = ran.outputs, made + ran.orders, seconds + ran.orders_seconds
            if made >= len(seeds) or not ran.orders or len(found) >= MOST_WRONG:
                break
            if perf_counter() - start < CHUNK_S:
                size *= 2
    told = _facts(seeds, made, seconds, found)
    told |= {"order": order, "program_order_seconds": ran.seconds}
    return Ran(outputs, ran.heard, told)


def _wrong(ran: Result, source: str, program_order: bool) -> Iterator[Facts]:
    """What went wrong in the orders of ``ran``; in program order too, if that is asked for."""
    for r in ran.reports:
        if r.seed is not None or program_order:
            seed = -1 if r.seed is None else r.seed
            yield asdict(r) | {"seed": seed, "message": r.told(source)}
    for d in ran.differences:
        yield {"seed": d.seed, "kind": "bits", "message": d.told}


SEVERAL: Mapping[str, Callable[[ir.Kernel, Bound, Orders], Ran]] = {
    "adversarial": adversarial,
    "native": native,
}
"""Those that run in more than one order."""


def _facts(seeds: range, made: int, seconds: float, found: list[Facts]) -> Facts:
    return {
        "seeds": [seeds.start, seeds.stop],
        "interleavings": made,
        "interleavings_per_second": round(made / seconds) if made else 0,
        "differences": found,
    }


def told(orders: Facts) -> Iterator[str]:
    """What was tried and how fast, and what went wrong, for a person."""
    first, stop = orders["seeds"]
    which = f"seed {first}" if stop - first == 1 else f"seeds {first} .. {stop - 1}"
    rate = f"{orders['interleavings_per_second']} a second"
    if "program_order_seconds" in orders:
        yield f"  program order in {orders['program_order_seconds']:.2f} s"
    if orders["interleavings"]:
        yield f"  {orders['interleavings']} orders of the pipes ({which}; {rate})"
    if not orders["differences"] and orders["interleavings"]:
        yield "  every order gives the bits of program order"
    for line in wrong(orders, "; replay one with --seed {}"):
        yield f"  {line}"


def wrong(orders: Facts, replay: str = "") -> Iterator[str]:
    """How many orders went wrong, and how the first of them; ``replay``: how to run a seed again."""
    (first, stop), bad = orders["seeds"], orders["differences"]
    seeds = sorted({d["seed"] for d in bad if d["seed"] >= 0})
    if seeds:
        of = f"{len(seeds)} of {stop - first}"
        if len(bad) >= MOST_WRONG:
            of = f"at least {len(seeds)}"
        yield f"{of} seeds go wrong{replay.format(seeds[0])}"
    for d in bad[:SHOWN]:
        said = d["message"].replace("\n", "\n    ")
        yield f"seed {d['seed']}: {said}" if d["kind"] == "bits" else said
