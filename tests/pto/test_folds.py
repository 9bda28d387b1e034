"""Loops over scalars: one meaning wherever they run, limits that hold, what a row may say, how it is written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import scheduled, sequential
from lowering.execute.inputs import bind
from lowering.jax_executor import executor as jax_executor
from lowering.schedule import schedule
from pto import ir
from pto.bounds import Known, Range, of_launch, of_row
from pto.errors import InputError, LegalityError
from pto.folds import fold_of
from pto.legality import verify
from pto.running import going_on
from pto.text import parse, print_kernel

TABLE = np.int32([3, -1, 4, 1, -5, 9, 2, 6, -5, 3, 5, 8])
TEXT = """
kernel counted
param t   in  i32[12]
param out out i32[items, 1, 16]
grid items

b = let pid0
n = fold {}
x: i32[1, 16] = full n
out[b, :, :] = store x
"""


def drawn(rng: random.Random) -> str:
    """The operands of a fold, whose numbers stay small."""
    trips = rng.choice(["b", "b % 4", "5", "b - 2", "b * b"])
    until = rng.choice(["0", "0", "fold.x0 < 0", "fold.i == 3", "fold.x1 == 9", "3 < fold.s0", "1"])
    starts = [rng.choice(["0", "b", "b * 7 - 3"]) for _ in range(rng.randint(1, 3))]
    some = ["fold.i", "fold.x0", "fold.x1", "b", *(f"fold.s{k}" for k in range(len(starts)))]

    def step() -> str:
        a, b, c = (rng.choice(some) for _ in range(3))
        return rng.choice(
            [f"{a} + {b}", f"({a} * {b} - {c}) % 97", f"max({a}, {b}) % 50", f"{a} < {b}", f"fold.s0 + ({a} == {b})"]
        )  # fmt: skip

    pairs = [f"{start}, {step()}" for start in starts]
    entries = ["t[fold.i % 12]", rng.choice(["t[(fold.s0 + fold.x0) % 12]", "t[fold.x0 % 12]"])]
    return ", ".join([trips, until, *pairs, *entries])


def value(row: ir.Row, item: int) -> int:
    """What it says, by its own words."""

    def entry(view: ir.View, known: Any) -> int:
        (index,) = view.index
        assert not isinstance(index, ir.Span)
        return int(TABLE[int(ir.evaluate(index, known))])

    return int(fold_of(row).value({"b": item}.__getitem__, entry))


def folds(kernel: ir.Kernel) -> Iterator[ir.Row]:
    return (r for r in ir.all_rows(kernel.body) if r.op == "fold")


@pytest.mark.parametrize("seed", range(40))
def test_one_meaning(seed: int) -> None:
    kernel = verify(parse(TEXT.format(drawn(random.Random(seed)))))
    assert parse(print_kernel(kernel)) == kernel
    (row,) = folds(kernel)
    want = np.array([value(row, item) for item in range(7)])
    arrays = {"t": TABLE, "out": np.zeros((7, 1, 16), np.int32)}
    got = sequential.run(kernel, bind(kernel, arrays))["out"]
    assert (got == want[:, None, None]).all()
    known: Known = {**of_launch(kernel), "b": Range(0, 6, True)}
    within = of_row(row, known)
    assert within.low <= want.min() and want.max() <= within.high
    if seed < 4:
        program = schedule(kernel).kernel
        for run in (scheduled.run, jax_executor.run):
            assert (run(program, bind(program, arrays))["out"] == want[:, None, None]).all()


LIMITS = {
    "8, 0, 0, fold.s0 + 1, t[fold.i]": (0, 8),
    "8, fold.x0 < 0, 1, fold.s0 + 1, t[fold.i]": (1, 9),
    "8, 0, 4, fold.s0 - fold.x0 % 3, t[fold.i]": (-12, 4),
    "b, 0, 0, max(fold.s0, min(fold.x0, 5)), t[fold.i]": (0, 5),
    "b, 0, 0, fold.s0 + max(fold.x0, 0), t[fold.i]": (0, float("inf")),
    "b, 0, 0, fold.x0 % 7, t[fold.i]": (0, 6),
}


@pytest.mark.parametrize("operands", LIMITS)
def test_limits(operands: str) -> None:
    kernel = parse(TEXT.format(operands))
    (row,) = folds(kernel)
    found = of_row(row, {**of_launch(kernel), "b": Range(0, float("inf"), True)})
    assert (found.low, found.high) == LIMITS[operands]


WRONG = {
    "b, 0, 0": "takes 4 times a scalar",
    "b, 0, 0, fold.s0, 1": "a start and a step of each number",
    "b, 0, 0, fold.s0, t[fold.i], 1, 2": "a start and a step of each number",
    "b, 0, 0, fold.s1": "'fold.s1' is not a scalar known here",
    "b, 0, 0, fold.x0": "'fold.x0' is not a scalar known here",
    "b, 0, fold.i, fold.s0": "'fold.i' is not a scalar known here",
    "fold.i, 0, 0, fold.s0": "'fold.i' is not a scalar known here",
    "b, 0, 0, fold.x0, t[fold.x1], t[fold.i]": "'fold.x1' is not a scalar known here",
    "b, 0, 0, fold.s0 / 2": "an operand is an integer",
    "b, 0, 0.5, fold.s0": "an operand is an integer",
    "b, 0, 0, fold.s0, t[0:+4]": "operand 5 is a scalar or an element of a tensor",
}


@pytest.mark.parametrize("operands", WRONG)
def test_what_no_row_may_say(operands: str) -> None:
    with pytest.raises(LegalityError) as caught:
        verify(parse(TEXT.format(operands)))
    assert WRONG[operands] in caught.value.message


def test_a_step_reads_what_is_there() -> None:
    kernel = parse(TEXT.format("b * 3, 0, 0, fold.s0 + fold.x0, t[fold.i]"))
    arrays = {"t": TABLE, "out": np.zeros((6, 1, 16), np.int32)}
    with pytest.raises(InputError, match="dimension 0 is 12"):
        sequential.run(kernel, bind(kernel, arrays))
    ending = parse(TEXT.format("b * 3, fold.i == 12, 0, fold.s0 + fold.x0, t[fold.i]"))
    assert sequential.run(ending, bind(ending, arrays))["out"][5, 0, 0] == TABLE.sum()


def test_what_only_the_step_reads_is_not_read_at_the_end() -> None:
    """A list whose last entry leads nowhere."""
    operands = "9, fold.x0 < 0, 0, fold.x1, t[fold.s0], t[fold.x0]"
    kernel = parse(TEXT.format(operands).replace("i32[12]", "i32[3]"))
    arrays = {"t": np.int32([1, 2, -9]), "out": np.zeros((1, 1, 16), np.int32)}
    assert sequential.run(kernel, bind(kernel, arrays))["out"][0, 0, 0] == 2


GOES_ON = {
    "i, 0, 0, fold.s0 + fold.x0, t[fold.i]": True,
    "k + 1, fold.x0 < 0, b, fold.s0 + fold.x0, t[fold.i]": True,
    "b, 0, 0, fold.s0 + fold.x0, t[fold.i]": True,
    "i * b, 0, 0, fold.s0 + fold.x0, t[fold.i]": False,
    "9 - i, 0, 0, fold.s0 + fold.x0, t[fold.i]": False,
    "i % 3, 0, 0, fold.s0 + fold.x0, t[fold.i]": False,
    "i, 0, i, fold.s0 + fold.x0, t[fold.i]": False,
    "i, 0, 0, fold.s0 + fold.x0, t[i]": False,
    "i, fold.i == k, 0, fold.s0 + fold.x0, t[fold.i]": False,
}
"""Whether it is the same in the next iteration but for more steps; nothing is known of ``b``, ``k`` is ``2 * i``."""


@pytest.mark.parametrize("operands", GOES_ON)
def test_which_go_on(operands: str) -> None:
    text = TEXT.format("0, 0, 0, 0").replace("b = let pid0", "b = let pid0 - 1")
    body = f"for i in 0 .. 9:\n  k = let i * 2\n  at = fold {operands}\n  y: i32[1, 16] = full at\n"
    kernel = parse(text.replace("x: i32", f"{body}x: i32", 1))
    (loop,) = ir.loops_of(kernel.body)
    found = going_on(loop, ir.own_rows(loop.body), of_launch(kernel))
    assert (found.keys() == {"at"}) == GOES_ON[operands]


def test_a_carried_number_is_that_of_its_iteration() -> None:
    """Numbers that go by each other; the step is written once, whatever the row needs of it."""

    @pto.kernel(grid="items", x="f32[items, 8, 64]", t="i32[items, 8]", out="f32[items, 8, 64]")
    def kernel(x: pto.Tensor, t: pto.Tensor, out: pto.Tensor) -> None:
        b = pto.program_id(0)

        def body(i: pto.Scalar, carry: Any) -> Any:
            acc, count, largest = carry
            more = pto.maximum(largest, t[b, i])
            return acc * (count + largest), count + (t[b, i] < more), more

        acc, count, largest = pto.fori_loop(0, 8, body, (pto.load(x[b, :, :]), 0, 0))
        pto.store(out[b, :, :], acc + (count * 10 + largest))

    made = kernel.trace()
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((3, 8, 64)).astype(np.float32), rng.integers(-2, 3, (3, 8))
    want = []
    for tile, row in zip(x, t, strict=True):
        count = largest = 0
        for n in row:
            more = max(largest, n)
            tile, count, largest = tile * np.float32(count + largest), count + int(n < more), more
        want.append(tile + np.float32(count * 10 + largest))
    arrays = {"x": x, "t": t.astype(np.int32), "out": np.zeros_like(x)}
    assert (sequential.run(made, bind(made, arrays))["out"] == np.array(want)).all()
    lengths = [len(fold_of(row).starts) for row in folds(made)]
    assert lengths == [2, 1, 2, 1]  # the count goes by the largest, which goes by itself
