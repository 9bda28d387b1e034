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
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import Kernel, Scalar, Tensor, Tile, ir
from pto.errors import InputError
from pto.legality import verify
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


@pto.kernel(
    grid="2, batch", x="i32[2, batch, rows, 64]", lens="i32[batch]", out="i32[2, batch, 64]"
)
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


RUNS = [
    *((name, executor) for name in KERNELS for executor in ("numpy", "adversarial")),
    ("rows", "jax"),
    pytest.param("layer", "jax", marks=pytest.mark.sweep),
]


@pytest.mark.parametrize(("name", "executor"), RUNS)
def test_every_executor_hears_the_same(name: str, executor: str) -> None:
    """And gives the outputs of the kernel that says nothing."""
    it = KERNELS[name]
    ran = it.on(executor)
    assert not ran.differences
    assert lines(ran.heard) == lines(it.said)
    assert it.said.printed and it.said.failed
    quiet = it.kernel.trace()
    want = sequential.run(quiet, bind(quiet, it.arrays))
    assert {n: np.asarray(a).tobytes() for n, a in ran.outputs.items()} == {
        n: a.tobytes() for n, a in want.items()
    }


COMPILED = ["rows", pytest.param("layer", marks=pytest.mark.sweep)]


@pytest.mark.parametrize("name", COMPILED)
def test_native(name: str) -> None:
    it = KERNELS[name]
    ran = it.on("native")
    assert not ran.differences
    assert lines(ran.heard) == lines(it.said)


@needs_checkout
@pytest.mark.parametrize("name", COMPILED)
def test_on_the_tile_library(name: str) -> None:
    """Which prints a tile on lines of its own."""
    it = KERNELS[name]
    heard = it.on(executors.PTO_ISA).heard
    found, want = lines(heard), lines(it.said)
    assert found[1] == want[1]
    assert not want[0] - found[0]


# ------------------------------------------------------------------- what keeps it so


@pytest.mark.sweep
def test_the_scalar_unit_reads_when_all_pipes_stand(it: Watched) -> None:
    source = it.source.replace("        pipe_barrier(PIPE_ALL);\n", "")
    assert source != it.source
    bound = bind(it.scheduled, it.arrays)
    ran = native.run(it.scheduled, bound, seeds=range(20), source=source, block_num=2)
    assert "race" in {r.kind for r in ran.reports}


def changed(program: ir.Kernel, op: str, change: Any) -> ir.Kernel:
    return replace(
        program, body=ir.map_rows(program.body, lambda r: change(r) if r.op == op else r)
    )


def other_slot(row: ir.Row) -> ir.Row:
    def turned(a: ir.Operand) -> ir.Operand:
        if not isinstance(a, ir.Ref) or a.index is None:
            return a
        return replace(a, index=ir.binary("+", a.index, ir.Const(1)))

    return replace(row, args=tuple(map(turned, row.args)))


CHANGES = {
    "another slot": other_slot,
    "another step": lambda r: replace(r, args=(*r.args[:2], ir.Const(0), *r.args[3:])),
    "another text": lambda r: replace(
        r, args=(*r.args[:1], ir.Text(r.operand(ir.Text, 1).value + "!"), *r.args[2:])
    ),
    "not at all": lambda r: replace(r, op="sync", args=(), pipe="V"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_check_of_values_hears_it(change: str) -> None:
    it = KERNELS["layer"]
    before = persist(it.traced)
    assert difference(before, it.scheduled) is None
    found = difference(before, changed(it.scheduled, "debug_check", CHANGES[change]))
    assert found is not None


SMALL = """
kernel k on a2a3
param x   in  f32[n, 16, 64]
param out out f32[n, 16, 64]
grid n
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
event vector a.full V -> MTE3 id 0

vector 0 MTE2 a = load x[block_idx, lane * 8:+8, :]
vector 0 ALL  debug_print "{}", a
vector 0 V    a = full 1.0 | set a.full
vector 0 MTE3 out[block_idx, lane * 8:+8, :] = store a | wait a.full
vector 0 S    drain MTE3
"""


def test_the_proof_knows_what_it_orders() -> None:
    """All that is in front, and all behind; what it reads must be there."""
    kernel = parse(SMALL, "small.ptoir")
    assert verify(kernel) == kernel
    assert check(kernel).ok
    silent = "".join(line for line in SMALL.splitlines(True) if "debug" not in line)
    assert "WAW" in check(parse(silent)).report()
    early = parse("".join(line for line in SMALL.splitlines(True) if " load " not in line))
    assert "debug_print" in check(early).report()
    assert not check(early).ok


# ------------------------------------------------------------------- as users ask for it


@pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
def over(x: Tensor, out: Tensor) -> None:
    b = pto.program_id(0)
    pto.debug_print("before: {}", pto.load(out[b, :, :]))
    pto.store(out[b, :, :], pto.load(x[b, :, :]))


def test_an_output_that_is_only_looked_at() -> None:
    """What it held counts in the watched form alone."""
    x = np.ones((2, 16, 64), np.float32)
    directions = [[p.direction for p in k.params] for k in (over.trace(), over.watched())]
    assert directions == [["in", "out"], ["in", "inout"]]
    quiet, watched = over.lower(x), over.lower(x, watch=True)
    told = [s.told() for s in quiet.watch(x, out=2 * x).printed]
    assert len(told) == 2 and told[1].startswith("pid0=1: before: float32[16, 64]\n[[2. 2.")
    for executor in ("numpy", "adversarial"):
        told = [s.told() for s in watched.watch(x, out=3 * x, executor=executor).printed]
        assert len(told) == 4
        assert told[0].startswith("lane=0: pid0=0: before: float32[8, 64]\n[[3. 3.")
    np.testing.assert_array_equal(watched.run(x, out=3 * x, executor="numpy"), x)
    np.testing.assert_array_equal(quiet.run(x, executor="numpy"), x)
    with pytest.raises(InputError, match="what out held before counts"):
        quiet.watch(x)


def test_a_schedule_that_says_nothing() -> None:
    x = np.ones((2, 16, 64), np.float32)
    with pytest.raises(InputError, match="this schedule says nothing"):
        over.lower(x).watch(x, out=x, executor="numpy")

    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def silent(x: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)
        pto.store(out[b, :, :], pto.load(x[b, :, :]))

    with pytest.raises(InputError, match="says nothing of itself"):
        silent.lower(x, watch=True)
