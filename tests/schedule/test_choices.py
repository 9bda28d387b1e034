"""Choices in loops: which become rows of the loop around them, and over what these write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import pto
from lowering.ascend import emit
from lowering.schedule import options_for, schedule, stages
from lowering.schedule.passes.choose import chosen
from lowering.simulate import Setup, simulate
from pto import Tensor, Tile, ir
from pto.scalar import Index
from tests.conftest import Golden
from tests.words.all import WORDS

Step = Callable[[Index, Index, Tile, Tile], Tile]


def summing(step: Step, behind: bool = False) -> ir.Kernel:
    """``step`` of the loop index, a number that is read, a tile and the carry."""

    @pto.kernel(
        grid="items", x="f32[items, n, 16, 64]", table="i32[items, n]", out="f32[items, 16, 64]"
    )
    def kernel(x: Tensor, table: Tensor, out: Tensor) -> None:
        item = pto.program_id(0)

        def body(i: Index, acc: Tile) -> Tile:
            return step(i, table[item, i], pto.load(x[item, i, :, :]), acc)

        acc = pto.fori_loop(0, x.shape[1], body, pto.zeros((16, 64)))
        if behind:
            acc = pto.when(table[item, 0] > 0, pto.exp, acc)
        pto.store(out[item, :, :], acc)

    return kernel.trace()


def copies(kernel: ir.Kernel) -> list[ir.Row]:
    """The copies in the loop of an item."""
    item = next(n for n in kernel.body if isinstance(n, ir.Loop))
    return [r for loop in ir.loops_of(item.body) for r in ir.all_rows(loop.body) if r.op == "copy"]


def test_a_choice_in_a_loop_is_rows_of_it() -> None:
    traced = summing(lambda i, n, x, acc: pto.when(n > 0, lambda acc: acc + x, acc))
    kernel = schedule(traced).kernel
    loops = list(ir.loops_of(kernel.body))
    assert len(loops) == 2 and loops[0].flat
    (add,) = (r for r in ir.all_rows(kernel.body) if r.op == "add")
    assert add.tests and add.out == add.args[0] and not copies(kernel)
    ahead = [r for r in ir.all_rows(kernel.body) if r.op == "load"]
    assert [r.shift for r in ahead] == [1]


STEPS: dict[str, tuple[Step, int]] = {
    "over its own carry": (lambda i, n, x, acc: pto.when(n > 0, lambda a: (a + x) * 0.5, acc), 0),
    "one way after the other": (
        lambda i, n, x, acc: pto.when(n > 0, lambda a: a + x, acc, lambda a: a - x),
        0,
    ),
    "a choice in a choice": (
        lambda i, n, x, acc: pto.when(
            n > 0, lambda a: pto.when(i > 2, lambda a: a * 0.5, a) + x, acc
        ),
        1,
    ),
    "read behind it": (
        lambda i, n, x, acc: pto.when(n > 0, lambda a: a + x, acc) * 0.5 + acc,
        1,
    ),
    "of what comes in": (lambda i, n, x, acc: acc + pto.when(n > 0, lambda x: x * 2.0, x), 0),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_it_writes_over(name: str) -> None:
    """In place where nothing reads that any more, else over a copy, which is made always."""
    step, wanted = STEPS[name]
    assert len(copies(schedule(summing(step)).kernel)) == wanted


def test_beside_a_loop_it_is_rows_of_the_item() -> None:
    traced = summing(lambda i, n, x, acc: acc + x, behind=True)
    kernel = schedule(traced).kernel
    item = next(n for n in kernel.body if isinstance(n, ir.Loop))
    assert item.flat and [x.index for x in ir.loops_of(item.body)] == ["i"]


def test_the_only_one_of_an_item_without_a_loop_stays_a_loop() -> None:
    """What an item leaves out is left out as a whole."""
    assert not chosen(WORDS["adapters of some tiles"].traced)
    assert any(x.is_guard for x in ir.loops_of(WORDS["adapters of some tiles"].scheduled.body))


def test_several_of_an_item_without_a_loop_let_items_overlap() -> None:
    word = WORDS["one of two ways"]
    kept = schedule(word.traced, options_for("best", loops="kept")).kernel
    assert len(chosen(word.traced)) == 2
    assert not any(x.is_guard for x in ir.loops_of(word.scheduled.body))
    for holds in (0, 50, 100):
        ways = (simulate(k, (1,) * 24, Setup(holds=holds)).makespan for k in (word.scheduled, kept))
        assert next(ways) < 0.9 * next(ways), holds


def test_kept_loops_keep_their_choices() -> None:
    traced = summing(lambda i, n, x, acc: pto.when(n > 0, lambda acc: acc + x, acc))
    kernel = schedule(traced, options_for("best", loops="kept")).kernel
    assert any(x.is_guard for x in ir.loops_of(kernel.body))
    assert not any(r.tests for r in ir.all_rows(kernel.body))


def test_while_values_have_no_slots_a_row_says_what_its_result_is_elsewhere() -> None:
    traced = summing(lambda i, n, x, acc: pto.when(n > 0, lambda acc: acc + x, acc))
    assigned = dict(stages(traced, options_for("best")))["assign"]
    assert [r.other for r in ir.all_rows(assigned.body) if r.other] == [ir.Ref("acc")]
    text = pto.print_kernel(assigned)
    assert "else acc" in text and pto.parse(text) == assigned


def test_what_is_left_out_takes_its_signals_only() -> None:
    kernel = WORDS["attention to marked blocks"].scheduled
    cycles = [simulate(kernel, (64,), Setup(holds=holds)).makespan for holds in (0, 10, 50, 100)]
    assert cycles == sorted(cycles) and cycles[0] < 0.6 * cycles[-1]
    always = ir.map_rows(kernel.body, lambda r: replace(r, test=None))
    assert simulate(replace(kernel, body=always), (64,)).makespan == cycles[-1]


def test_the_text_of_a_schedule(golden: Golden) -> None:
    """Among the texts that ``tests/judges/text_mutants.py`` changes."""
    golden("schedule/ways.ptoir", pto.print_kernel(WORDS["ways in a loop"].scheduled))


def test_the_text_goes_on_by_one_place_where_nothing_moves() -> None:
    source = emit(WORDS["attention to marked blocks"].scheduled)["sparse.cpp"]
    for call in ("push_nothing<", "pop_nothing<"):
        assert source.count(call) == 3, call
    assert "marks_item != 0 ? " in source
