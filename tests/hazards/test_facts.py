"""What a signature states of a table: the proof takes it, no more than it says, and calls are held to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute.inputs import bind
from lowering.hazards.proof import HazardError
from lowering.schedule import schedule
from pto import Scalar, Tensor
from pto.text import parse, print_kernel

Place = Callable[[Tensor, Scalar], Any]
"""Where work item t stores, by the table."""

APART: dict[str, Place] = {
    "an entry of its own": lambda table, t: table[t, 0],
    "of another column": lambda table, t: table[t, 3],
    "of a row in the middle": lambda table, t: table[t * 2 + 1, 0],
    "by two counters": lambda table, t: table[t // 4, t % 4],
    "blocks of them": lambda table, t: table[t, 0] * 4,
}
MAY_MEET: dict[str, Place] = {
    "one entry for two": lambda table, t: table[t // 2, 0],
    "one entry in turns": lambda table, t: table[t % 3, 0],
    "by the sum of counters": lambda table, t: table[t // 4 + t % 4, 0],
    "two entries added": lambda table, t: table[t, 0] + table[t, 1],
    "an entry and its item": lambda table, t: table[t, 0] + t,
    "half of an entry": lambda table, t: table[t, 0] // 2,
    "an entry of an entry": lambda table, t: table[table[t, 0] // 2, 0],
}


def storing(place: Place, fact: str = "distinct", rows: int = 0) -> Any:
    """A tile for every item to page ``place``, or to ``rows`` rows from there on."""

    @pto.kernel(
        grid="tiles",
        x="f32[tiles, 16, 64]",
        table=f"i32[count, 4] {fact}",
        out="f32[pages, 16, 64]",
        flat="f32[total, 64]",
    )
    def kernel(x: Tensor, table: Tensor, out: Tensor, flat: Tensor) -> None:
        t = pto.program_id(0)
        tile = pto.load(x[t, :, :])
        if rows:
            pto.store(flat[pto.ds(place(table, t), rows), :], tile)
            pto.store(out[t, :, :], tile)
        else:
            pto.store(out[place(table, t), :, :], tile)
            pto.store(flat[pto.ds(t * 16, 16), :], tile)

    return kernel.trace()


@pytest.mark.parametrize("name", APART)
def test_distinct_entries_keep_stores_apart(name: str) -> None:
    made = schedule(storing(APART[name]))
    assert made.proof.ok and "given table distinct" in made.proof.message


@pytest.mark.parametrize("name", APART)
def test_without_the_fact_nothing_does(name: str) -> None:
    with pytest.raises(HazardError, match="'distinct' behind its type states"):
        schedule(storing(APART[name], ""))


@pytest.mark.parametrize("name", MAY_MEET)
def test_it_says_no_more_than_that(name: str) -> None:
    """What surely meets is told while it is traced, what may by the proof."""
    meets = "two steps write the same elements|may access the same elements of out"
    with pytest.raises((pto.MemoryAccessError, HazardError), match=meets):
        schedule(storing(MAY_MEET[name]))


def test_distinct_rows_are_not_distinct_ranges() -> None:
    with pytest.raises(HazardError, match="may access the same elements of flat"):
        schedule(storing(lambda table, t: table[t, 0], rows=16))
    assert schedule(storing(lambda table, t: table[t, 0] * 16, rows=16)).proof.ok


def test_two_tables_may_name_one_page() -> None:
    @pto.kernel(grid="tiles", x="f32[tiles, 16, 64]", a="i32[tiles] distinct", b="i32[tiles] distinct", out="f32[pages, 16, 64]")  # fmt: skip
    def kernel(x: Tensor, a: Tensor, b: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)
        tile = pto.load(x[t, :, :])
        pto.store(out[a[t], :, :], tile)
        pto.store(out[b[t], :, :], tile)

    with pytest.raises(HazardError, match="may access the same elements of out"):
        schedule(kernel.trace())


def test_a_call_is_held_to_it() -> None:
    traced = storing(APART["an entry of its own"])
    table = np.arange(12, dtype=np.int32).reshape(3, 4)
    arrays = dict(
        x=np.zeros((3, 16, 64), np.float32),
        table=table,
        out=np.zeros((12, 16, 64), np.float32),
        flat=np.zeros((48, 64), np.float32),
    )
    bind(traced, arrays)
    table[2, 1] = table[1, 3] = 4
    with pytest.raises(pto.InputError) as caught:
        bind(traced, arrays)
    expected = "'table' must be distinct, but table[1, 0] and table[1, 3] are both 4"
    assert str(caught.value).startswith(expected)


def test_it_stands_in_the_text() -> None:
    traced = storing(APART["an entry of its own"])
    text = print_kernel(traced)
    assert "in  i32[count, 4] distinct\n" in text and parse(text) == traced


WRONG = {
    "f32[count] distinct": "'distinct' is stated once, of an i32 tensor that is read",
    "i32[count] distinct distinct": "'distinct' is stated once, of an i32 tensor that is read",
    "i32[count] sorted": "'sorted' is not a fact",
    "i32 distinct": "expected '\\['",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_fact(text: str) -> None:
    with pytest.raises(pto.TraceError, match=WRONG[text]):

        @pto.kernel(grid="n", x="f32[n, 16, 64]", table=text, out="f32[n, 16, 64]")
        def kernel(x: Tensor, table: Any, out: Tensor) -> None: ...


def test_what_is_stored_to_has_no_facts() -> None:
    @pto.kernel(grid="n", x="i32[n, 16, 64]", out="i32[n, 16, 64] distinct")
    def kernel(x: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)
        pto.store(out[t, :, :], pto.load(x[t, :, :]))

    with pytest.raises(pto.TraceError, match="'out' is stored to"):
        kernel.trace()
