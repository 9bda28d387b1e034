"""Kernels that print and check of themselves, scheduled and emitted with it: every executor hears the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import executors, native
from lowering.ascend import emit
from lowering.execute import sequential
from lowering.execute.inputs import bind
from lowering.execute.said import Heard
from lowering.execute.watched import watch
from lowering.hazards import check
from lowering.schedule import schedule
from lowering.values.equivalence import difference
from pto import Kernel, Scalar, Tensor, Tile, ir
from pto.errors import InputError
from pto.ops import DEBUG
from pto.text import parse, print_kernel
from tests.judges.tile_library import checkout_for, needs_checkout


@dataclass(frozen=True)
class Watched:
    """A kernel whose numbers are exact, and inputs for it."""

    kernel: Kernel
    arrays: Mapping[str, Any]

    @cached_property
    def traced(self) -> ir.Kernel:
        return self.kernel.watched()

    @cached_property
    def scheduled(self) -> ir.Kernel:
        return schedule(self.traced).kernel

    @cached_property
    def said(self) -> Heard:
        """One work item after the other, as it is written."""
        return watch(self.traced, bind(self.traced, self.arrays))

    def on(self, executor: str, orders: int = 6) -> executors.Ran:
        several = executors.Orders(range(orders)) if executor in executors.SEVERAL else None
        checkout = checkout_for(self.source) if executor == executors.PTO_ISA else None
        bound = bind(self.scheduled, self.arrays)
        return executors.execute(executor, self.scheduled, bound, several, checkout)

    @property
    def source(self) -> str:
        return emit(self.scheduled)[f"{self.kernel.name}.cpp"]


@pto.kernel(
    grid="cdiv(rows, 32)", x="f16[rows, k]", y="f16[k, 64]", bias="bf16[64]", out="f32[rows, 64]"
)
def layer(x: Tensor, y: Tensor, bias: Tensor, out: Tensor) -> None:
    """Products that are positive, both cores, loops that end anywhere; numbers on both lanes, tiles on each."""
    r = pto.program_id(0) * 32
    here = pto.ds(r, 32, valid=x.shape[0] - r)
    b = pto.load(bias[:])
    pto.debug_print("100% of {}: {{bias}} {}", r, b)

    def step(i: Scalar, total: Tile) -> Tile:
        cols = pto.ds(i * 64, 64, valid=x.shape[1] - i * 64)
        part = pto.load(x[here, cols]) @ pto.load(y[cols, :])
        pto.debug_check(part >= 0, "a positive product")
        pto.debug_print("of {}: up to {}", i + 1, pto.max(part))
        return total + pto.relu(part)

    n = pto.cdiv(x.shape[1], 64)
    total = pto.fori_loop(0, n, step, pto.zeros((32, 64)))
    pto.debug_print("{} of {}\u00e9", total[:, 0:8], pto.sum(total))
    pto.debug_check(n > r, "more steps than rows")
    pto.store(out[here, :], total + b.astype("f32"))


@pto.kernel(grid="2, batch", x="i32[2, batch, rows, 64]", lens="i32[batch]", out="i32[2, batch, 64]")
def rows(x: Tensor, lens: Tensor, out: Tensor) -> None:
    """Integers, two axes, loops in one another, work that is left out."""
    a, b = pto.program_id(0), pto.program_id(1)
    count = lens[b]

    def block(i: Scalar, most: Tile) -> Tile:
        def line(j: Scalar, most: Tile) -> Tile:
            at = i * 4 + j
            one = pto.load(x[a, b, pto.ds(at, 1, valid=count - at), :])
            pto.debug_print("row {} of {}: {}", at, count, pto.row_max(one))
            return pto.maximum(most, one)

        return pto.fori_loop(0, 4, line, most)

    most = pto.fori_loop(0, pto.cdiv(count, 4), block, pto.full((1, 64), -1000, "i32"))
    pto.when(count > 4, lambda: pto.debug_check(most > 0, "nothing is negative"))
    pto.store(out[a, b, :], most)


def integers(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).integers(-3, 8, shape)


KERNELS = {
    "layer": Watched(
        layer,
        {
            "x": integers(40, 100).astype(np.float16),
            "y": integers(100, 64).astype(np.float16),
            "bias": np.arange(64).astype(ml_dtypes.bfloat16),
        },
    ),
    "rows": Watched(
        rows, {"x": integers(2, 3, 9, 64).astype(np.int32), "lens": np.array([9, 0, 5], np.int32)}
    ),
}


@pytest.fixture(params=KERNELS)
def it(request: pytest.FixtureRequest) -> Watched:
    return KERNELS[request.param]


LANE = re.compile(r"lane=\d: ")
TILE = re.compile(r"(float32|f32|i32|int32)\[\d+, \d+\].*", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def lines(heard: Heard) -> list[Counter[str]]:
    """What was printed, and what did not hold, in any order: of tiles only that there is one, and what both lanes
    say once."""
    found = []
    for said in (heard.printed, heard.failed):
        told = ("\n".join([x.told()]) for x in said)
        plain = (TILE.sub("TILE", NUMBER.sub(lambda m: f"{float(m[0]):g}", t)) for t in told)
        found.append(Counter({LANE.sub("", t): 1 for t in plain}))
    return found


def test_it_is_proven_and_printed(it: Watched) -> None:
    program = it.scheduled
    assert check(program).ok
    assert parse(print_kernel(program)) == program
    assert {r.op for r in ir.all_rows(program.body)} & set(DEBUG)


@pytest.mark.parametrize("executor", ["numpy", "adversarial", "jax"])
def test_every_executor_hears_the_same(it: Watched, executor: str) -> None:
    """And gives the outputs of the kernel that says nothing."""
    ran = it.on(executor)
    assert not ran.differences
    assert lines(ran.heard) == lines(it.said)
    assert len(it.said.failed) > 1
    quiet = it.kernel.trace()
    want = sequential.run(quiet, bind(quiet, it.arrays))
    assert {n: np.asarray(a).tobytes() for n, a in ran.outputs.items()} == {
        n: a.tobytes() for n, a in want.items()
    }


def test_native(it: Watched) -> None:
    ran = it.on("native")
    assert not ran.differences
    assert lines(ran.heard) == lines(it.said)


@needs_checkout
def test_on_the_tile_library(it: Watched) -> None:
    """Which prints a tile on lines of its own."""
    heard = it.on(executors.PTO_ISA).heard
    found, want = lines(heard), lines(it.said)
    assert found[1] == want[1]
    assert not want[0] - found[0]
