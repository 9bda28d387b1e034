"""What a signature states of a table: the proof takes it, no more than it says, and calls are held to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pto
from lowering.ascend import emit
from lowering.execute.inputs import bind
from lowering.hazards.proof import HazardError
from lowering.schedule import schedule
from pto import Scalar, Tensor
from pto.errors import LegalityError
from pto.legality import verify
from pto.text import parse, print_kernel
from tests.lenient import check

Place = Callable[[Tensor, Scalar], Any]
"""Where work item t stores, by the table."""

MEETS = r"two steps write the same elements|may access the same elements of out"

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
    with pytest.raises((pto.MemoryAccessError, HazardError), match=MEETS):
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


# ----------------------------------------------------------------------------- ranges of rows

ROWS = 32
Rows = Callable[..., tuple[Any, Any]]
"""(first, count, starts, t, k) -> where tile ``k`` of item ``t`` begins, and how many rows of it exist."""

ITS_OWN: dict[str, tuple[Rows, Any]] = {
    "tile by tile": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, count[t] - k * ROWS),
        lambda first, count, starts, t: pto.cdiv(count[t], ROWS),
    ),
    "and no more than a tile": (
        lambda first, count, starts, t, k: (
            first[t] + k * ROWS,
            pto.minimum(count[t] - k * ROWS, ROWS),
        ),
        lambda first, count, starts, t: pto.cdiv(count[t], ROWS),
    ),
    "whole tiles": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, ROWS),
        lambda first, count, starts, t: count[t] // ROWS,
    ),
    "ranges of tiles": (
        lambda first, count, starts, t, k: ((first[t] + k) * ROWS, ROWS),
        lambda first, count, starts, t: count[t],
    ),
    "behind a header": (
        lambda first, count, starts, t, k: (
            first[t] + first[0] + 7 + k * ROWS,
            count[t] - k * ROWS,
        ),
        lambda first, count, starts, t: 9,
    ),
    "to the next start": (
        lambda first, count, starts, t, k: (
            starts[t] + k * ROWS,
            starts[t + 1] - starts[t] - k * ROWS,
        ),
        lambda first, count, starts, t: pto.cdiv(starts[t + 1] - starts[t], ROWS),
    ),
    "two starts at once": (
        lambda first, count, starts, t, k: (
            starts[t * 2] + k * ROWS,
            starts[t * 2 + 2] - k * ROWS - starts[t * 2],
        ),
        lambda first, count, starts, t: 9,
    ),
    "tiles to the next start": (
        lambda first, count, starts, t, k: ((starts[t] + k) * ROWS, ROWS),
        lambda first, count, starts, t: starts[t + 1] - starts[t],
    ),
}
NOT_ITS_OWN: dict[str, tuple[Rows, Any]] = {
    "a row more": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, count[t] + 1 - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "from a row before": (
        lambda first, count, starts, t, k: (first[t] - 1 + k * ROWS, count[t] + 1 - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "rounded up to whole tiles": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, ROWS),
        lambda first, count, starts, t: pto.cdiv(count[t], ROWS),
    ),
    "one tile too many": (
        lambda first, count, starts, t, k: ((first[t] + k) * ROWS, ROWS),
        lambda first, count, starts, t: count[t] + 1,
    ),
    "the count of another table": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, starts[t] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "the count of the next entry": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, count[t + 1] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "the first of another count": (
        lambda first, count, starts, t, k: (first[t + 1] + k * ROWS, count[t] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "one entry for two items": (
        lambda first, count, starts, t, k: (first[t // 2] + k * ROWS, count[t // 2] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "the sum of two entries": (
        lambda first, count, starts, t, k: (
            first[t] + first[t + 1] + k * ROWS,
            count[t] - k * ROWS,
        ),
        lambda first, count, starts, t: 9,
    ),
    "an entry and its item": (
        lambda first, count, starts, t, k: (first[t] + t + k * ROWS, count[t] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "rows of half a range": (
        lambda first, count, starts, t, k: (first[t] // 2 + k * ROWS, count[t] // 2 - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "counts of tiles, starts of rows": (
        lambda first, count, starts, t, k: (first[t] + k * ROWS, ROWS),
        lambda first, count, starts, t: count[t],
    ),
    "past the next start": (
        lambda first, count, starts, t, k: (
            starts[t] + k * ROWS,
            starts[t + 2] - starts[t] - k * ROWS,
        ),
        lambda first, count, starts, t: 9,
    ),
    "the order of starts turned round": (
        lambda first, count, starts, t, k: (
            starts[t + 1] + k * ROWS,
            starts[t + 1] - starts[t] - k * ROWS,
        ),
        lambda first, count, starts, t: 9,
    ),
    "a start and a count": (
        lambda first, count, starts, t, k: (starts[t] + k * ROWS, count[t] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
    "an end that is no start": (
        lambda first, count, starts, t, k: (starts[t] + k * ROWS, starts[t + 1] - k * ROWS),
        lambda first, count, starts, t: 9,
    ),
}
STATES = dict(first="disjoint ranges of count", starts="sorted")


def packing(name: str, first: str = "", starts: str = "") -> Any:
    """A kernel of tiles of rows at ``ITS_OWN[name]``, or another place of that name."""
    rows, trips = {**ITS_OWN, **NOT_ITS_OWN}[name]

    @pto.kernel(
        grid="items",
        x="f32[items, 32, 64]",
        first=f"i32[edges] {first}",
        count="i32[edges]",
        starts=f"i32[edges] {starts}",
        out="f32[rows, 64]",
    )
    def kernel(x: Tensor, first: Tensor, count: Tensor, starts: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)

        def body(k: Scalar) -> None:
            at, valid = rows(first, count, starts, t, k)
            pto.store(out[pto.ds(at, ROWS, valid=valid), :], pto.load(x[t, :, :]))

        pto.fori_loop(0, trips(first, count, starts, t), body)

    return kernel.trace()


@pytest.mark.parametrize("name", ITS_OWN)
def test_ranges_of_rows_lie_apart(name: str) -> None:
    made = schedule(packing(name, **STATES))
    given = "given first disjoint ranges of count, starts sorted"
    assert made.proof.ok and given in made.proof.message


@pytest.mark.parametrize("name", ITS_OWN)
def test_without_the_fact_ranges_do_not(name: str) -> None:
    with pytest.raises(HazardError, match="whose entries can be anything"):
        schedule(packing(name))


@pytest.mark.parametrize("name", NOT_ITS_OWN)
def test_a_range_is_no_longer_than_it_says(name: str) -> None:
    """What surely meets is told while it is traced, what may by the proof."""
    with pytest.raises((pto.MemoryAccessError, HazardError), match=MEETS):
        schedule(packing(name, **STATES))


def test_two_loops_over_one_range() -> None:
    """Told while it is traced: every world has it."""

    @pto.kernel(grid="n", x="f32[n, 32, 64]", first="i32[n] disjoint ranges of count", count="i32[n]", out="f32[rows, 64]")  # fmt: skip
    def kernel(x: Tensor, first: Tensor, count: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)

        def body(k: Scalar) -> None:
            rows = pto.ds(first[t] + k * ROWS, ROWS, valid=count[t] - k * ROWS)
            pto.store(out[rows, :], pto.load(x[t, :, :]))

        pto.fori_loop(0, pto.cdiv(count[t], ROWS), body)
        pto.fori_loop(0, pto.cdiv(count[t], ROWS), body)

    with pytest.raises(pto.MemoryAccessError, match="that it already gets at"):
        kernel.trace()


LANES = """kernel t on a2a3
param src in f32[rows, 64]
param first in i32[n] disjoint ranges of count
param count in i32[n]
param out out f32[rows, 64]
grid n
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
event vector a.full MTE2 -> MTE3 id 0
event vector a.free MTE3 -> MTE2 id 0
vector 0 MTE3 sync | set a.free
for w in 0 .. cdiv(n - block_idx, block_num):
  vector 0 S item = let block_idx + w * block_num
  vector 0 S at = read first[item]
  vector 0 S size = read count[item]
  vector 0 MTE2 a = load src[0:+8, :] | wait a.free | set a.full
  vector 0 MTE3 out[at + {lanes}, :] = store a | wait a.full | set a.free
vector 0 MTE2 sync | wait a.free
vector 0 S drain MTE3
"""


@pytest.mark.parametrize(
    ("lanes", "ok"),
    [
        ("lane * 8:+8<size - lane * 8", True),
        ("lane * 4:+8<size - lane * 4", False),
        ("lane * 8:+8<size", False),
        ("0:+8<size", False),
        ("lane * 8:+16<size - lane * 8", False),
    ],
)
def test_lanes_share_nothing_of_a_range(lanes: str, ok: bool) -> None:
    proof = check(parse(LANES.format(lanes=lanes)))
    assert proof.ok == ok
    if not ok:
        assert re.search("two (hardware blocks|vector lanes)", proof.violations[0].text)


def test_what_is_missing_is_said() -> None:
    def told(name: str, **states: str) -> str:
        with pytest.raises(HazardError) as caught:
            schedule(packing(name, **states))
        text: str = caught.value.proof.violations[0].text
        return text.split("not shown: ")[-1]

    assert told("tile by tile") == (
        "that 'first_item + k * 32' moves by 32 or more (it comes from first, whose entries can be anything: "
        "'disjoint ranges of COUNT' behind its type states that COUNT elements from each on are of no other, "
        "'sorted' that the next one ends them)"
    )
    assert "first, which is known to begin ranges of count: 'valid' must end" in told(
        "rounded up to whole tiles", **STATES
    )
    assert "starts, which is known to be sorted: 'valid' must end" in told(
        "past the next start", **STATES
    )


# ------------------------------------------------------------------------------------ bounds


def bounded(fact: str) -> Any:
    """``count[t]`` tiles are added up, at least one if the type says so; the sum goes to ``out[t * 4 + count[t]]``."""

    @pto.kernel(grid="n", x="f32[n, 32, 64]", count=f"i32[n] {fact}", out="f32[rows, 32, 64]")
    def kernel(x: Tensor, count: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)

        def body(i: Scalar, total: Any) -> Any:
            return total + pto.load(x[t + i, :, :])

        total = pto.fori_loop(0, count[t], body, pto.zeros((32, 64)))
        pto.store(out[t * 4 + count[t], :, :], total)

    return kernel.trace()


@pytest.mark.parametrize(("fact", "ok"), [("in 1 .. 5", True), ("in 0 .. 4", True), ("in 1 .. 6", False), ("", False)])  # fmt: skip
def test_bounded_entries_keep_stores_apart(fact: str, ok: bool) -> None:
    if ok:
        made = schedule(bounded(fact))
        assert made.proof.ok and f"given count {fact}" in made.proof.message
    else:
        with pytest.raises(HazardError, match="may access the same elements of out"):
            schedule(bounded(fact))


# ------------------------------------------------------------------------------------- calls

HELD = {
    "distinct": "must be distinct, but table[1] and table[4] are both 7",
    "sorted": "must be sorted, but table[1] is 7 and table[2] is 5",
    "disjoint ranges of count": "must be disjoint ranges of count, but table[0] is 3 with count[0] = 3 and "
    "table[2] is 5 with count[2] = 2: both have element 5",
    "in 3 .. pages": "must be in 3 .. pages, but table[3] is 11 where pages = 11",
}


@pytest.mark.parametrize("fact", HELD)
def test_a_call_is_held_to_it(fact: str) -> None:
    """By ``pto run``, by a call, and by one with other numbers after one that was right."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", table=f"i32[n] {fact}", count="i32[n]", out="f32[pages, 16, 64]")  # fmt: skip
    def kernel(x: Tensor, table: Tensor, count: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)
        pto.store(out[t, :, :], pto.load(x[t, :, :]) * (table[t] + count[t]))

    x, out = np.zeros((5, 16, 64), np.float32), np.zeros((11, 16, 64), np.float32)
    good = np.int32([3, 4, 5, 6, 7]), np.int32([1, 1, 1, 1, 1])
    bad = np.int32([3, 7, 5, 11, 7]), np.int32([3, 0, 2, 1, 0])
    bind(kernel.trace(), dict(x=x, table=good[0], count=good[1], out=out))
    kernel(x, *good, out=out)
    for called in (
        lambda: bind(kernel.trace(), dict(x=x, table=bad[0], count=bad[1], out=out)),
        lambda: kernel(x, *bad, out=out),
    ):
        with pytest.raises(pto.InputError) as caught:
            called()
        assert caught.value.message == f"'table' {HELD[fact]}"


def test_a_negative_count_is_none() -> None:
    traced, ones = packing("tile by tile", **STATES), np.ones(3, np.int32)
    x, out = np.zeros((3, 32, 64), np.float32), np.zeros((9, 64), np.float32)
    with pytest.raises(pto.InputError) as caught:
        bind(traced, dict(x=x, first=ones, count=np.int32([0, -1, 0]), starts=ones, out=out))
    expected = "'first' must be disjoint ranges of count, but count[1] is -1"
    assert caught.value.message == expected


def test_entries_of_several_dimensions_are_named() -> None:
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
    for fact in ("disjoint ranges of count in 0 .. rows * 2 + 1", "sorted distinct in 2 .. edges"):
        traced = packing("tile by tile", first=fact)
        text = print_kernel(traced)
        assert f"in  i32[edges] {fact}\n" in text and parse(text) == traced


def test_manifest_and_orchestration_carry_it() -> None:
    files = emit(schedule(packing("tile by tile", **STATES)).kernel)
    given = json.loads(files["manifest.json"])["given"]
    assert given == {"first": ["disjoint ranges of count"], "starts": ["sorted"]}
    assert (
        "// The caller makes sure of: first disjoint ranges of count."
        in files["kernel_orchestration.cpp"]
    )


WRONG = {
    "f32[count] distinct": "'distinct' is stated once, of an i32 tensor that is read",
    "i32[count] distinct distinct": "'distinct' is stated once, of an i32 tensor that is read",
    "i32[count] unique": "'unique' is not a fact",
    "i32[count] in 0": "expected '..'",
    "i32[count] in 4 .. 4": "no number lies from 4 to below 4",
    "i32[count] in 0 .. rows": "'rows' is no dimension",
    "i32[count] in 0 .. count / 2": "a bound is an integer",
    "i32[count] disjoint ranges of table": "'table' is no other i32\\[count\\] that is only read",
    "i32[count] disjoint ranges of x": "'x' is no other i32\\[count\\] that is only read",
    "i32[count] disjoint ranges of size": "'size' is no other i32\\[count\\] that is only read",
    "i32[count] disjoint": "expected 'ranges'",
    "i32 distinct": "expected '\\['",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_fact(text: str) -> None:
    with pytest.raises(pto.TraceError, match=WRONG[text]):

        @pto.kernel(grid="n", x="f32[n, 16, 64]", table=text, size="i32[n]", out="f32[n, 16, 64]")
        def kernel(x: Tensor, table: Any, size: Tensor, out: Tensor) -> None: ...


def test_what_is_stored_to_has_no_facts() -> None:
    @pto.kernel(grid="n", x="i32[n, 16, 64]", out="i32[n, 16, 64] distinct")
    def kernel(x: Tensor, out: Tensor) -> None:
        t = pto.program_id(0)
        pto.store(out[t, :, :], pto.load(x[t, :, :]))

    with pytest.raises(pto.TraceError, match="'out' is stored to"):
        kernel.trace()


def test_counts_are_not_stored_to() -> None:
    text = print_kernel(packing("tile by tile", **STATES)).replace(
        "param count  in ", "param count  out"
    )
    with pytest.raises(LegalityError, match="'count' is no other i32"):
        verify(parse(text))
