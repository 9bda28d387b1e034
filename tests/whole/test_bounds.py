"""What is known of scalars without their values: the scheduler's bounds, the proof's limits, the numbers
that the value check makes up.  Each must hold for every value that the names can have."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from math import inf

import numpy as np
import pytest

import pto
from lowering.hazards.limits import INFINITE, Facts
from lowering.schedule import schedule
from lowering.unroll import issued
from lowering.values.world import World, normal, worlds
from pto.arithmetic import BINARY, Number, NumberError
from pto.bounds import ANY, BIT, COUNTER, INTEGER, RULES, SIZE, Range, bounds, decided, surely_runs
from pto.ir import Bin, Const, Expr, Kernel, Loop, Var, binary, evaluate
from pto.text import parse
from tests.lenient import check

NAMES = ("rows", "i#0", "lane", "read", "block_num", "x")
KNOWN = {
    "rows": SIZE,
    "i#0": Range(0, 5, True),
    "lane": BIT,
    "read": INTEGER,
    "block_num": SIZE,
    "x": ANY,
}
FACTS = Facts(frozenset({"rows"}), frozenset({"x"}), {"i#0": 5})


def drawn(rng: random.Random, depth: int) -> Expr:
    if depth == 0 or rng.random() < 0.2:
        if rng.random() < 0.4:
            return Const(rng.choice([-7, -1, 0, 1, 2, 3, 8, 64]))
        name = rng.choice(NAMES)
        return Var(name, name == "x")
    return Bin(rng.choice(list(BINARY)), drawn(rng, depth - 1), drawn(rng, depth - 1))


def values(rng: random.Random) -> dict[str, Number]:
    return {
        "rows": rng.choice([1, 2, 63, 64, 65, 10**6]),
        "i#0": rng.randint(0, 5),
        "lane": rng.randint(0, 1),
        "read": rng.choice([-(2**31), -65, -1, 0, 1, 17, 2**31 - 1]),
        "block_num": rng.choice([1, 2, 48]),
        "x": rng.choice([-1.5, -0.0, 0.25, 2.5, float("nan"), float("inf")]),
    }


@pytest.mark.parametrize("seed", range(20))
def test_both_analyses_hold_every_value(seed: int) -> None:
    rng = random.Random(seed)
    told = 0
    for _ in range(150):
        e = drawn(rng, 3)
        mine, (low, high) = bounds(e, KNOWN), FACTS.limits(e)
        told += mine.low > -np.inf
        for _ in range(12):
            try:
                value = evaluate(e, values(rng).__getitem__)
            except NumberError:
                continue
            if value != value:
                continue
            assert mine.low <= value <= mine.high, (e, mine, value)
            assert not mine.whole or isinstance(value, int), (e, value)
            assert low <= value or low == -INFINITE, (e, low, value)
            assert value <= high or high == INFINITE, (e, high, value)
    assert told > 30


SHORT = [(low, high) for low in range(-3, 4) for high in range(low, 4)]


def limits_of(op: str, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """What the proof knows of ``op`` of counters that go from ``a[0]`` to ``a[1]``, and of ``b``."""
    facts = Facts(greatest={"i#0": a[1] - a[0], "j#0": b[1] - b[0]})
    names = (Bin("+", Var("i#0"), Const(a[0])), Bin("+", Const(b[0]), Var("j#0")))
    return facts.limits(Bin(op, *names))


@pytest.mark.parametrize("op", [op for op in RULES if op not in ("/", "%")])
def test_bounds_are_tight(op: str) -> None:
    """The least and the greatest that integers of two ranges give, in both analyses; of quotients by
    what is positive."""
    for a, b in product(SHORT, SHORT):
        if op in ("//", "cdiv") and b[0] <= 0:
            continue
        found = RULES[op](Range(*a, True), Range(*b, True))
        all_of = [BINARY[op](x, y) for x in range(a[0], a[1] + 1) for y in range(b[0], b[1] + 1)]
        assert (found.low, found.high, found.whole) == (min(all_of), max(all_of), True), (a, b)
        assert limits_of(op, a, b) == (min(all_of), max(all_of)), (a, b)


@pytest.mark.parametrize(
    ("op", "a", "b", "ends"),
    [
        ("//", (-5, -1), (1, inf), (-5, -1)),
        ("//", (-5, 7), (2, inf), (-3, 3)),
        ("//", (3, inf), (2, 4), (0, inf)),
        ("//", (-inf, inf), (1, inf), (-inf, inf)),
        ("cdiv", (1, 5), (1, inf), (1, 5)),
        ("cdiv", (-5, 7), (2, inf), (-2, 4)),
        ("cdiv", (-inf, 3), (2, 4), (-inf, 2)),
        ("*", (0, inf), (0, inf), (0, inf)),
        ("*", (-inf, -1), (1, 2), (-inf, -1)),
        ("%", (-inf, inf), (1, 4), (0, 3)),
        ("%", (0, inf), (1, inf), (0, inf)),
    ],
)
def test_bounds_without_end(
    op: str, a: tuple[float, float], b: tuple[float, float], ends: tuple[float, float]
) -> None:
    found = RULES[op](Range(*a, True), Range(*b, True))
    assert (found.low, found.high) == ends


def test_bounds_of_remainders_are_tight_by_constants() -> None:
    """Unless the dividend is of few values that are not the least ones."""
    for a, n in product(SHORT, range(1, 5)):
        found = RULES["%"](Range(*a, True), Range(n, n, True))
        all_of = [x % n for x in range(a[0], a[1] + 1)]
        assert found.low <= min(all_of) and max(all_of) <= found.high
        if a[0] == 0 or a[1] - a[0] + 1 >= n:
            assert (found.low, found.high) == (min(all_of), max(all_of)), (a, n)
        assert limits_of("%", a, (n, n)) == (0, found.high)


SURE = ("max(n, 1)", "cdiv(rows, 64)", "rows", "i + 1", "cdiv(i + 1, 8)", "max(t, 2) - 1", "pid0 + 1",
        "1 + i % 3", "min(rows, 4)", "rows * cols", "cdiv(rows * cols, 7)", "(0 < rows) + 0")  # fmt: skip
UNSURE = ("n", "rows - 1", "rows // 64", "i", "min(n, 1)", "cdiv(n, 64)", "pid0", "max(n, 0)")


def loops(trips: str) -> tuple[Kernel, Loop]:
    kernel = parse(
        "kernel t\nparam x in f32[rows, cols]\nparam t in i32[rows]\nparam n scalar i32\ngrid rows\n"
        f"for i in 0 .. rows:\n  t = read t[i]\n  for j in 0 .. {trips}:\n    v: f32[16, 64] = load x[0:+16, 0:+64]\n"
        .replace("t = read t", "s = read t").replace("max(t", "max(s")
    )  # fmt: skip
    outer = kernel.body[0]
    assert isinstance(outer, Loop)
    inner = outer.body[1]
    assert isinstance(inner, Loop)
    return kernel, inner


@pytest.mark.parametrize("trips", SURE + UNSURE)
def test_loops_that_surely_run(trips: str) -> None:
    """The scheduler, the proof and the value check agree on them."""
    kernel, loop = loops(trips)
    known = {"rows": SIZE, "cols": SIZE, "i": COUNTER, "pid0": COUNTER, "n": INTEGER, "s": INTEGER}
    assert surely_runs(loop, known) == (trips in SURE)
    facts = Facts(frozenset({"rows", "cols"}))
    renamed = pto.ir.substitute(loop.trips, {"i": Var("i#0"), "pid0": Var("item#i#0")})
    assert (facts.least(renamed) >= 1) == (trips in SURE)
    for numbers in worlds(kernel):
        world = World(numbers, kernel)
        counts = [world.count(loop, {"i": Const(i), "pid0": Const(i)}) for i in range(5)]
        assert min(counts) >= (trips in SURE)


def test_made_up_trip_counts_are_related() -> None:
    kernel, _ = loops("n")
    world = World(next(worlds(kernel)), kernel)

    def count(trips: Expr) -> int:
        return world.count(Loop("j", trips, ()), {})

    n = count(Var("n"))
    assert count(binary("+", Var("n"), Const(1))) == n + 1
    assert world.truth(Bin("<", Const(n - 1), Var("n"))) and not world.truth(
        Bin("<", Const(n), Var("n"))
    )
    assert count(Const(5000)) == world.most + (5000 - world.most) % world.period


@pytest.mark.parametrize("seed", range(5))
def test_normal_forms(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        e = drawn(rng, 3)
        try:
            form, env = normal(e), {**values(rng), "x": 3}
            assert normal(form) == form
            assert evaluate(form, env.__getitem__) == evaluate(e, env.__getitem__)
        except NumberError:
            continue


@pytest.mark.parametrize(
    ("test", "want"),
    [("0 < rows", True), ("rows == 0", False), ("rows != 0", True), ("n < 1", None), ("1 <= rows", True)],
)  # fmt: skip
def test_tests_of_sizes_are_decided(test: str, want: bool | None) -> None:
    kernel = parse(
        f"kernel t\nparam x in f32[rows, 64]\nparam n scalar i32\ngrid rows\nif {test}:\n  s = let 1\n"
    )
    branch = kernel.body[0]
    assert isinstance(branch, pto.ir.Branch)
    assert decided(branch.test, {"rows": SIZE, "n": INTEGER}) is want
    assert Facts(frozenset({"rows"})).holds(branch.test) is want


# ------------------------------------------------------------------------ whole kernels


Trips = Callable[[pto.Scalar, pto.Tensor, pto.Tensor], pto.Scalar]


def summed(trips: Trips) -> pto.Kernel:
    @pto.kernel(
        grid="tiles", a="bf16[tiles, steps, 32, 64]", b="bf16[steps, 64, 64]", n="i32[tiles]",
        out="f32[tiles, 32, 64]",
    )  # fmt: skip
    def causal(a: pto.Tensor, b: pto.Tensor, n: pto.Tensor, out: pto.Tensor) -> None:
        i = pto.program_id(0)

        def step(j: pto.Scalar, acc: pto.Tile) -> pto.Tile:
            return acc + pto.load(a[i, j, :, :]) @ pto.load(b[j, :, :])

        pto.store(out[i, :, :], pto.fori_loop(0, trips(i, n, a), step, pto.zeros((32, 64))))

    return causal


@pytest.mark.parametrize(
    "trips",
    [
        lambda i, n, a: pto.maximum(i + 1, 1),
        lambda i, n, a: i + 1,
        lambda i, n, a: pto.maximum(n[i], 1),
        lambda i, n, a: pto.cdiv(a.shape[1], 4),
        lambda i, n, a: pto.minimum(a.shape[1], i + 2),
    ],
)
def test_a_loop_that_surely_runs_sums_in_l0c(trips: Trips) -> None:
    kernel = schedule(summed(trips).trace()).kernel
    assert not kernel.fifos and any(b.space == "l0c" for b in kernel.buffers)


def test_two_sums_over_different_sizes() -> None:
    @pto.kernel(
        grid="cdiv(m, 64)", a="bf16[m, k]", b="bf16[k, 64]", c="bf16[m, q]", d="bf16[q, 64]",
        out="f32[m, 64]",
    )  # fmt: skip
    def two(a: pto.Tensor, b: pto.Tensor, c: pto.Tensor, d: pto.Tensor, out: pto.Tensor) -> None:
        rows = pto.ds(pto.program_id(0) * 64, 64, valid=a.shape[0] - pto.program_id(0) * 64)

        def product(x: pto.Tensor, y: pto.Tensor) -> pto.Tile:
            def step(i: pto.Scalar, acc: pto.Tile) -> pto.Tile:
                inner = pto.ds(i * 64, 64, valid=x.shape[1] - i * 64)
                return acc + pto.load(x[rows, inner]) @ pto.load(y[inner, :])

            return pto.fori_loop(0, pto.cdiv(x.shape[1], 64), step, pto.zeros((64, 64)))

        pto.store(out[rows, :], product(a, b) + product(c, d))

    schedule(two.trace())


def test_a_loop_of_at_most_one_step_stores() -> None:
    @pto.kernel(grid="items", x="f32[items, 16, 128]", flag="i32[items]", out="f32[items, 16, 128]")
    def at_most_once(x: pto.Tensor, flag: pto.Tensor, out: pto.Tensor) -> None:
        b = pto.program_id(0)

        def step(i: pto.Scalar) -> None:
            pto.store(out[b, :, :], pto.load(x[b + i, :, :]) * 2.0)

        pto.fori_loop(0, pto.minimum(flag[b], 1), step)

    schedule(at_most_once.trace())


@pytest.mark.parametrize(
    ("test", "rows"), [("0 < rows", 1), ("rows == 0", 0), ("lane < 2", 1), ("n == n + 0", None)]
)
def test_a_walk_goes_the_way_that_is_sure(test: str, rows: int | None) -> None:
    kernel = parse(
        "kernel t on a2a3\nparam src in f32[rows, 64]\nparam n scalar i32\ngrid rows\n"
        "buffer vector ub a[1] f32[8, 64] nd at 0 by 2048\n"
        f"if {test}:\n  vector 0 MTE2 a = load src[0:+8, :]\n"
    )
    if rows is None:
        with pytest.raises(pto.ScheduleError, match="depends on 'n', which only a call has"):
            list(issued(kernel, "vector"))
    else:
        assert len(list(issued(kernel, "vector"))) == rows


@pytest.mark.parametrize("again", ["go", "go != 0", "0 != go", "(go == 0) == 0"])
def test_a_test_written_another_way_decides_alike(again: str) -> None:
    def program(test: str, waits: str = "", otherwise: str = "") -> Kernel:
        return parse(
            "kernel t on a2a3\nparam src in f32[rows, 64]\nparam go scalar i32\ngrid rows\n"
            "buffer vector ub a[1] f32[8, 64] nd at 0 by 2048\n"
            "buffer vector ub d[1] f32[8, 64] nd at 2048 by 2048\n"
            "event vector l.v MTE2 -> V id 0\n"
            "if go != 0:\n  vector 0 MTE2 a = load src[0:+8, :] | set l.v\n"
            f"if {test}:\n  vector 0 V {waits}\nelse:\n  vector 0 V {otherwise}\n"
        )

    copy, other = "d = copy a | wait l.v", "d = full 0.0"
    assert check(program(again, copy, other)).ok
    assert not check(program(again, other, copy)).ok
    assert check(program(f"({again}) == 0", other, copy)).ok
