"""``when``: what is traced of it, which stores it keeps apart, and what the emitted text makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import pto
from lowering.ascend import emit
from lowering.execute import scheduled
from lowering.execute.inputs import bind
from lowering.hazards import check
from lowering.hazards.choices import exclude
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule
from pto import Kernel, MemoryAccessError, Scalar, Tensor, Tile, ir
from pto.arithmetic import COMPARING
from pto.control import opposite
from tests.words.all import WORDS

NAN = float("nan")
A, B = ir.Var("a"), ir.Var("b")
X, Y = ir.Var("x", True), ir.Var("y", True)


def holds(test: ir.Expr, *values: float) -> bool:
    names = dict(zip("abxy", (*values, *values), strict=True))
    return bool(ir.evaluate(test, names.__getitem__))


@pytest.mark.parametrize("op", COMPARING)
def test_either_way_is_taken_and_never_both(op: str) -> None:
    for test in (ir.Bin(op, A, B), ir.Bin(op, X, Y)):
        other = opposite(test)
        values = (1, 2, NAN) if ir.is_float(test.a) else (1, 2)
        for pair in itertools.product(values, values):
            assert holds(test, *pair) != holds(other, *pair), (test, pair)
        assert exclude(test, other) and exclude(other, test)


def test_what_excludes_each_other_never_holds_together() -> None:
    tests = [ir.Bin(op, *sides) for op in COMPARING for sides in ((X, Y), (Y, X))]
    pairs = list(itertools.product((1, 2, NAN), repeat=2))
    for one, two in itertools.product(tests, tests):
        together = any(holds(one, *pair) and holds(two, *pair) for pair in pairs)
        assert exclude(one, two) != together, (one, two)
    assert not exclude(ir.Bin("<", A, B), ir.Bin("<=", B, ir.Var("c")))
    assert not exclude(A, ir.Bin("==", B, ir.ZERO))


def storing(two: Callable[[Callable[[], None], Scalar], None]) -> Kernel:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", table="i32[n]", out="f32[n, 16, 64]")
    def stores(x: Tensor, table: Tensor, out: Tensor) -> None:
        i = pto.program_id(0)

        def store() -> None:
            pto.store(out[i, :, :], pto.load(x[i, :, :]) * 2.0)

        two(store, table[i])

    return stores


def test_two_ways_may_store_to_one_region() -> None:
    def ways(store: Callable[[], None], n: Scalar) -> None:
        pto.when(n < 3, store, otherwise=store)

    assert check(schedule(storing(ways).trace()).kernel).ok


def test_two_choices_may_not() -> None:
    """Where the item decides that is told while tracing, where a table does it is not shown."""

    def choices(store: Callable[[], None], n: Scalar) -> None:
        pto.when(n < 3, store)
        pto.when(n > 1, store)

    with pytest.raises(MemoryAccessError, match="gets elements here that it already gets"):
        storing(lambda store, n: choices(store, pto.program_id(0))).trace()
    with pytest.raises(HazardError) as caught:
        schedule(storing(choices).trace())
    assert "not proven" in caught.value.proof.message


def test_the_proof_does_not_take_it_from_the_tracer() -> None:
    """With conditions that do not exclude each other the same program is refused."""

    def ways(store: Callable[[], None], n: Scalar) -> None:
        pto.when(n < 3, store, otherwise=store)

    def loosened(block: ir.Block) -> ir.Block:
        found: list[ir.Node] = []
        for n in block:
            if isinstance(n, ir.Loop):
                n = replace(n, body=loosened(n.body))
                if n.is_guard and isinstance(n.trips, ir.Bin) and n.trips.op == "<=":
                    n = replace(n, trips=ir.Bin("<", ir.ONE, n.trips.b))
            found.append(n)
        return tuple(found)

    program = schedule(storing(ways).trace(), options_for(loops="kept")).kernel
    loose = replace(program, body=loosened(program.body))
    assert loose != program and not check(loose).ok


def test_a_static_condition_leaves_no_choice() -> None:
    def ways(store: Callable[[], None], n: Scalar) -> None:
        pto.when(True, store, otherwise=lambda: None)
        pto.when(False, lambda: pto.zeros((3, 3)), otherwise=lambda: None)

    loops = list(ir.loops_of(storing(ways).trace().body))
    assert not loops


def test_the_text_has_an_if() -> None:
    kept = schedule(WORDS["one of two ways"].traced, options_for(loops="kept")).kernel
    source = emit(kept)["either.cpp"]
    assert "if (part < kinds_item) {" in source
    assert "when" not in source.replace("loop over when", "")


@pytest.mark.parametrize(
    ("test", "text"),
    [
        (lambda n: n == 0, "if (!(table_item == 0)) {"),
        (lambda n: n != 0, "if (!(table_item != 0)) {"),
    ],
)
def test_items_that_leave_their_only_choice_out_are_found_by_its_condition(
    test: Callable[[Scalar], Scalar], text: str
) -> None:
    """C++ reads ``n == 0 <= 0`` otherwise."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", table="i32[n]", out="f32[n, 16, 64]")
    def one(x: Tensor, table: Tensor, out: Tensor) -> None:
        i = pto.program_id(0)
        tile = pto.load(x[i, :, :])
        pto.store(out[i, :, :], pto.when(test(table[i]), lambda t: t * 2.0, tile))

    assert text in emit(schedule(one.trace()).kernel)["one.cpp"]


@pto.kernel(grid="n", x="f32[n, 16, 64]", table="i32[n]", out="f32[n, 16, 64]")
def halving(x: Tensor, table: Tensor, out: Tensor) -> None:
    i = pto.program_id(0)
    tile = pto.load(x[i, :, :])
    for _ in range(2):
        tile = pto.when(table[i] < 3, lambda t: (t + 1.0) * 0.5, tile)
    pto.store(out[i, :, :], tile)


def barriers_in_front(block: ir.Block, trips: Callable[[ir.Expr], ir.Expr]) -> ir.Block:
    """With the first barrier of a choice in front of it, and other trip counts."""
    found: list[ir.Node] = []
    for n in block:
        if not isinstance(n, ir.Loop):
            found.append(n)
        elif n.is_guard:
            barrier, *rest = n.body
            assert isinstance(barrier, ir.Row) and barrier.op == "barrier"
            found += [barrier, replace(n, trips=trips(n.trips), body=tuple(rest))]
        else:
            found.append(replace(n, body=barriers_in_front(n.body, trips)))
    return tuple(found)


def test_one_step_at_most_needs_nothing_between_steps() -> None:
    """The proof knows that there is one; a loop of more in its place is refused."""
    program = schedule(halving.trace(), options_for(loops="kept")).kernel
    once = replace(program, body=barriers_in_front(program.body, lambda e: e))
    twice = replace(
        program, body=barriers_in_front(program.body, lambda e: ir.Bin("*", ir.Const(2), e))
    )
    assert once != program and check(once).ok and not check(twice).ok


@pto.kernel(grid="n", x="f32[m, 16, 64]", out="f32[n, 16, 64]")
def no_more_than_there_are(x: Tensor, out: Tensor) -> None:
    i = pto.program_id(0)

    def copied(tile: Tile) -> Tile:
        return tile + pto.load(x[i, :, :])

    tile = pto.when(i < x.shape[0], copied, pto.full((16, 64), 2.0))
    pto.store(out[i, :, :], tile)


def test_what_is_left_out_is_not_loaded() -> None:
    program = schedule(no_more_than_there_are.trace()).kernel
    guard = next(loop for loop in ir.loops_of(program.body) if loop.is_guard)
    assert any(row.op == "load" for row in ir.all_rows(guard.body))
    x = np.ones((2, 16, 64), np.float32)
    bound = bind(program, {"x": x, "out": np.zeros((4, 16, 64), np.float32)})
    out = scheduled.run(program, bound, block_num=2)["out"]
    assert (out[:2] == 3).all() and (out[2:] == 2).all()
