"""Two chained products, the tile between them by way of the vector core, wherever control can put them: in choices, in
loops, in either of them in the other one, several times an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering.execute import adversarial, inputs, sequential
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule
from pto import Scalar, Tensor, Tile, ir

Step = Callable[[Tile, "Item"], Tile]


class Item:
    """What a step of a work item finds there: ``q``; ``counts``, numbers of the item; ``k``, from which ``at`` says
    what is loaded."""

    def __init__(self, q: Tile, k: Tensor, counts: list[Scalar], at: Any = 0) -> None:
        self.q, self.k, self.counts, self.at = q, k, counts, at

    def deeper(self, at: Any) -> Item:
        """In a loop or a choice, which have another number of the item."""
        return Item(self.q, self.k, [*self.counts[1:], self.counts[0]], at)


def trip(acc: Tile, item: Item) -> Tile:
    """To the vector core and back."""
    k = pto.load(item.k[item.at, :, :])
    return acc + (item.q @ k).astype("bf16") @ k


def when(step: Step) -> Step:
    def made(acc: Tile, item: Item) -> Tile:
        inside = item.deeper(item.at)
        found: Tile = pto.when(item.counts[0] > 0, lambda acc: step(acc, inside), acc)
        return found

    return made


def either(step: Step, other: Step) -> Step:
    def made(acc: Tile, item: Item) -> Tile:
        inside, beside = item.deeper(0), item.deeper(1)
        found: Tile = pto.when(
            item.counts[0] > 1,
            lambda acc: step(acc, inside),
            acc,
            otherwise=lambda acc: other(acc, beside),
        )
        return found

    return made


def loop(step: Step) -> Step:
    def made(acc: Tile, item: Item) -> Tile:
        found: Tile = pto.fori_loop(
            0, item.counts[0], lambda i, acc: step(acc, item.deeper(i)), acc
        )
        return found

    return made


def both(step: Step, other: Step) -> Step:
    return lambda acc, item: other(step(acc, item), item.deeper(1))


SHAPES: dict[str, Step] = {
    "when": when(trip),
    "either": either(trip, trip),
    "loop": loop(trip),
    "when in when": when(when(trip)),
    "loop in when": when(loop(trip)),
    "when in loop": loop(when(trip)),
    "when in loop in when": when(loop(when(trip))),
    "either in loop": loop(either(trip, trip)),
    "two whens": both(when(trip), when(trip)),
    "two loops": both(loop(trip), loop(trip)),
    "two loops in when": when(both(loop(trip), loop(trip))),
    "two loops in loop": loop(both(loop(trip), loop(trip))),
    "two whens in loop": loop(both(when(trip), when(trip))),
    "loop, then its own": both(loop(trip), trip),
    "loop, then its own in when": both(loop(trip), when(trip)),
}
"""Forms of a work item, by what is around its round trips."""


SIGNATURE: dict[str, Any] = dict(
    grid="items",
    q="bf16[items, 32, 32]",
    k="bf16[count, 32, 32]",
    counts="i32[items, 3]",
    out="f32[items, 32, 32]",
)


def kernel_of(step: Step) -> ir.Kernel:
    @pto.kernel(**SIGNATURE)
    def trips(q: Tensor, k: Tensor, counts: Tensor, out: Tensor) -> None:
        item = pto.program_id(0)
        numbers = [counts[item, n] for n in range(3)]
        acc = step(pto.zeros((32, 32)), Item(pto.load(q[item, :, :]), k, numbers))
        pto.store(out[item, :, :], acc)

    return trips.trace()


@pto.kernel(**SIGNATURE)
def stored_inside(q: Tensor, k: Tensor, counts: Tensor, out: Tensor) -> None:
    """All of an item under its test, so that items run through the choice one behind the other."""
    item = pto.program_id(0)
    a = pto.load(q[item, :, :])

    def go() -> None:
        b = pto.load(k[0, :, :])
        pto.store(out[item, :, :], (a @ b).astype("bf16") @ b)

    pto.when(counts[item, 0] > 0, go)


def arrays() -> Mapping[str, Any]:
    """Counts from 0 to 3."""
    rng = np.random.default_rng(0)
    small = [rng.standard_normal((n, 32, 32)) * 0.1 for n in (9, 4)]
    q, k = (a.astype(ml_dtypes.bfloat16) for a in small)
    counts = rng.integers(0, 4, (9, 3)).astype(np.int32)
    return dict(q=q, k=k, counts=counts)


def right(traced: ir.Kernel, lookahead: int | None = None) -> None:
    """Proven, and the bits of the traced program in orders of the pipes."""
    program = schedule(traced, options_for("best", traced, lookahead=lookahead)).kernel
    want = sequential.run(traced, inputs.bind(traced, arrays()))
    got = adversarial.run(program, inputs.bind(program, arrays()), seeds=range(2), block_num=2)
    assert {n: x.tobytes() for n, x in got.items()} == {n: want[n].tobytes() for n in got}


QUICK = {"when", "when in when", "when in loop", "loop in when", "two loops in when"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.sweep] * (n not in QUICK)) for n in SHAPES]
)
def test_round_trips_are_proven_wherever_they_stand(name: str) -> None:
    right(kernel_of(SHAPES[name]))


@pytest.mark.parametrize("lookahead", [None, 1, 2, 3, 6])
def test_items_run_through_a_choice_one_behind_the_other(lookahead: int | None) -> None:
    """Each has one step of it at most, so that the cores meet item by item, with whatever lookahead."""
    traced = stored_inside.trace()
    right(traced, lookahead)


@pytest.mark.sweep
@pytest.mark.parametrize("lookahead", range(1, 7))
@pytest.mark.parametrize("name", SHAPES)
def test_round_trips_at_every_lookahead(name: str, lookahead: int) -> None:
    """Or the proof has no room for it; it never fails."""
    try:
        right(kernel_of(SHAPES[name]), lookahead)
    except HazardError as error:
        if not error.proof.refused.startswith("not closed"):
            raise
