"""Stores of work items that lie apart are proven to; what is only not shown is "not proven", with what
would have to be known, and what surely goes wrong has "failed"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pto
from lowering.hazards.proof import HazardError, Proof
from lowering.schedule import schedule
from pto.ir import Kernel
from pto.text import parse
from tests.lenient import check

TYPES = {"a": "f32[1024, 1024]", "table": "i32[tiles]", "out": "f32[1024, 1024]"}


Where = Callable[..., tuple[pto.Scalar, pto.Scalar]]
"""(pids.., i, table) -> which block: row and column."""


def kernel(grid: str, where: Where, trips: int = 1) -> Kernel:
    """A kernel that stores a block of 16 by 64 at ``where(pids.., i, table)``, in blocks."""

    @pto.kernel(grid=grid, **TYPES)
    def blocks(a: pto.Tensor, table: pto.Tensor, out: pto.Tensor) -> None:
        ids = [pto.program_id(k) for k in range(len(grid.split(",")))]

        def one(i: pto.Scalar) -> None:
            row, col = where(*ids, i, table)
            view = pto.ds(row * 16, 16), pto.ds(col * 64, 64)
            pto.store(out[view], pto.load(a[view]) * 2.0)

        pto.fori_loop(0, trips, one)

    return blocks.trace()


RIGHT = {
    "rows of blocks": ("1024", lambda p, i, t: (p // 16, p % 16)),
    "columns of blocks": ("1024", lambda p, i, t: (p % 64, p // 64)),
    "grouped": ("1024", lambda p, i, t: (p // 128 * 8 + p % 128 % 8, p % 128 // 8)),
    "backwards": ("1024", lambda p, i, t: (63 - p % 64, 15 - p // 64)),
    "every second row backwards": ("64, 16", lambda p, q, i, t: (p, q + p % 2 * (15 - 2 * q))),
    "every second pair": ("64, 16", lambda p, q, i, t: (p, q + p // 2 % 2 * (15 - 2 * q))),
    "two for each item": ("512", lambda p, i, t: ((p * 2 + i) // 16, (p * 2 + i) % 16), 2),
}


@pytest.mark.parametrize("what", RIGHT)
def test_blocks_that_lie_apart(what: str) -> None:
    grid, where, *trips = RIGHT[what]
    assert schedule(kernel(grid, where, *trips)).proof.ok


SIZES = {"a": "f32[m, n]", "out": "f32[m, n]"}


def grouped(p: Any, m: Any, n: Any) -> Any:
    """Groups of eight rows, column by column; the last group has fewer."""
    inside, height = p % (8 * n), pto.minimum(m - p // (8 * n) * 8, 8)
    return p // (8 * n) * 8 + inside % height, inside // height


SYMBOLIC: dict[str, tuple[str, Callable[..., Any]]] = {
    "rows of blocks": ("(m // 16) * (n // 64)", lambda p, m, n: (p // n, p % n)),
    "grouped": ("cdiv(m, 16) * cdiv(n, 64)", grouped),
    "diagonal": ("m // 16, n // 64", lambda p, q, m, n: (p, (p + q) % n)),
    "diagonal the other way": ("m // 16, n // 64", lambda p, q, m, n: (p, (q - p) % n)),
    "backwards": ("m // 16, n // 64", lambda p, q, m, n: (m - 1 - p, n - 1 - q)),
    "every second row backwards": (
        "m // 16, n // 64",
        lambda p, q, m, n: (p, q + p % 2 * (n - 1 - 2 * q)),
    ),
    "halves swapped": ("m // 16", lambda p, m, n: ((p + m // 2) % m, 0)),
    "in one row": ("m // 16, n // 64", lambda p, q, m, n: (0, p * n + q)),
    "two interleaved": ("2, n // 64", lambda p, q, m, n: (0, p + q * 2)),
    "two side by side": ("2, n // 64", lambda p, q, m, n: (0, p * n + q)),
    "of three axes": (
        "3, m // 16, n // 64",
        lambda p, q, r, m, n: (0, (p + 3 * q) * n + r),
    ),
    "bits taken in turns": (
        "16",
        lambda p, m, n: (p % 2 + p // 4 % 2 * 2, p // 2 % 2 + p // 8 % 2 * 2),
    ),
}
NOT_SHOWN: dict[str, tuple[str, Callable[..., Any]]] = {
    "every second diagonal": ("m // 16, n // 64", lambda p, q, m, n: (p, (p + 2 * q) % n)),
    "diagonals of another length": ("m // 16, n // 64", lambda p, q, m, n: (p, (p + q) % m)),
    "rows of another length": ("m // 16, n // 64", lambda p, q, m, n: (0, p * m + q)),
    "three interleaved by two": ("3, n // 64", lambda p, q, m, n: (0, p + q * 2)),
    "groups of seven and of eight": ("m // 16 * (n // 64)", lambda p, m, n: (p // (8 * n) * 8 + p % (8 * n) % 7, p % (8 * n) // 8)),
}  # fmt: skip


def of_sizes(grid: str, where: Callable[..., Any]) -> Kernel:
    """A kernel that stores a block of 16 by 64 at ``where(pids.., m, n)``, in blocks as the sizes are."""

    @pto.kernel(grid=grid, **SIZES)
    def blocks(a: pto.Tensor, out: pto.Tensor) -> None:
        ids = [pto.program_id(k) for k in range(where.__code__.co_argcount - 2)]
        up = pto.cdiv if "cdiv" in grid else lambda x, y: x // y
        row, col = where(*ids, up(a.shape[0], 16), up(a.shape[1], 64))
        pto.store(out[pto.ds(row * 16, 16), pto.ds(col * 64, 64)], pto.zeros((16, 64)) + ids[0])

    return blocks.trace()


@pytest.mark.parametrize("what", SYMBOLIC)
def test_one_to_one_for_any_sizes(what: str) -> None:
    assert schedule(of_sizes(*SYMBOLIC[what])).proof.ok


@pytest.mark.parametrize("what", NOT_SHOWN)
def test_what_is_not_one_to_one_for_all_sizes(what: str) -> None:
    """Some run goes wrong, and that is found while it is traced or left open."""
    with pytest.raises((pto.MemoryAccessError, HazardError), match=r"two steps write|not shown"):
        schedule(of_sizes(*NOT_SHOWN[what]))


@pytest.mark.parametrize("fewer", [True, False])
def test_shares_of_rows_in_tiles(fewer: bool) -> None:
    """Each item has 100 rows, the last one fewer, in tiles of 32 of which the last has fewer."""

    @pto.kernel(grid="cdiv(rows, 100)", x="f32[rows, 64]", out="f32[rows, 64]")
    def kernel(x: pto.Tensor, out: pto.Tensor) -> None:
        first = pto.program_id(0) * 100
        rest = x.shape[0] - first
        mine = pto.minimum(rest, 100) if fewer else 100

        def tile(i: pto.Scalar) -> None:
            left = mine - i * 32
            at = pto.ds(first + i * 32, 32, valid=pto.minimum(left, rest - i * 32))
            pto.store(out[at, :], pto.load(x[at, :]) * 2.0)

        pto.fori_loop(0, pto.cdiv(mine, 32), tile)

    assert schedule(kernel.trace()).proof.ok


def failed(traced: Kernel) -> Proof:
    with pytest.raises(HazardError) as caught:
        schedule(traced)
    return caught.value.proof


def test_a_place_from_a_table_is_not_proven() -> None:
    proof = failed(kernel("tiles", lambda p, i, t: (t[p], 0)))
    assert proof.message == "blocks: not proven; nothing is known to go wrong"
    (violation,) = proof.violations
    assert violation.open and violation.text == (
        "two hardware blocks may access the same elements of out, and nothing orders them; not shown: "
        "that 'row * 16' moves by 16 or more (it comes from table, whose entries can be anything: "
        "'distinct' behind its type states that no two are equal)"
    )


RACE = """kernel t on a2a3
param src in f32[rows, 64]
param out out f32[rows, 64]
param n scalar i32
grid {grid}
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
event vector a.full MTE2 -> MTE3 id 0
event vector a.free MTE3 -> MTE2 id 0
vector 0 MTE3 sync | set a.free
for w in 0 .. cdiv({grid} - block_idx, block_num):
  vector 0 MTE2 a = load src[0:+8, :] | wait a.free | set a.full
  vector 0 MTE3 out[{row}:+8, :] = store a | wait a.full | set a.free
vector 0 MTE2 sync | wait a.free
vector 0 S drain MTE3
"""


@pytest.mark.parametrize(
    ("row", "verdict", "text"),
    [
        ("lane * 8", "failed; no run of it is valid", "two hardware blocks access the same"),
        ("n + lane * 8", "failed; no run of it is valid", "two hardware blocks access the same"),
        ("(block_idx + w * block_num) * 16", "failed; no run of it is valid", "the two vector lanes access"),
        ("w * 16 + lane * 8", "not proven; nothing is known", "not shown: that 'w * 16' moves by 16 or more"),
        ("(block_idx + w * block_num) * 8 + lane * 8", "not proven", "moves by 16 or more"),
    ],
)  # fmt: skip
def test_what_goes_wrong_and_what_is_not_shown(row: str, verdict: str, text: str) -> None:
    proof = check(parse(RACE.format(row=row, grid="rows")))
    assert verdict in proof.message and text in proof.violations[0].text
    assert proof.violations[0].open == verdict.startswith("not")


def test_one_item_is_alone() -> None:
    assert check(parse(RACE.format(row="lane * 8", grid="1"))).ok


WHEN = {
    "x": "f32[items, 16, 64]",
    "flag": "i32",
    "marks": "i32[items]",
    "out": "f32[items, 16, 64]",
}


def conditional(condition: Callable[..., Any], where: Callable[..., Any]) -> Kernel:
    """A kernel that stores at ``where(b, n)`` where ``condition(b, n, flag, marks)`` holds."""

    @pto.kernel(grid="items", **WHEN)
    def stores(x: pto.Tensor, flag: pto.Scalar, marks: pto.Tensor, out: pto.Tensor) -> None:
        b, n = pto.program_id(0), x.shape[0]

        def body() -> None:
            pto.store(out[where(b, n), :, :], pto.load(x[b, :, :]) * 2.0)

        pto.when(condition(b, n, flag, marks), body)

    return stores.trace()


def test_a_condition_keeps_stores_apart() -> None:
    assert schedule(conditional(lambda b, n, f, m: b == n - 1, lambda b, n: 0)).proof.ok
    assert schedule(conditional(lambda b, n, f, m: b % 2 != 0, lambda b, n: b // 2)).proof.ok


@pytest.mark.parametrize(
    ("condition", "where", "missing"),
    [
        (lambda b, n, f, m: b >= n - 2, lambda b, n: 0, "that 'items - 2 <= b' holds for one of them only"),
        (lambda b, n, f, m: m[b] == 2, lambda b, n: 0, "that 'marks_item == 2' holds for one of them only"),
        (lambda b, n, f, m: m[b] % 2 == 0, lambda b, n: b // 2, "that 'b // 2' differs, or that 'marks_item % 2 == 0' holds"),
    ],
)  # fmt: skip
def test_what_a_condition_does_not_show_is_left_open(
    condition: Any, where: Any, missing: str
) -> None:
    """Tracing claims nothing, and the verdict says what would have to be known."""
    proof = failed(conditional(condition, where))
    assert proof.message == "stores: not proven; nothing is known to go wrong"
    assert missing in proof.violations[0].text
    assert all(v.open for v in proof.violations)


@pytest.mark.parametrize(
    ("condition", "where", "told"),
    [
        (lambda b, n, f, m: b < 2, lambda b, n: 0, "two steps write"),
        (lambda b, n, f, m: b % 4 < 2, lambda b, n: b // 2, "two steps write"),
        (lambda b, n, f, m: f == 2, lambda b, n: 0, "all work items along axis 0"),
    ],
)
def test_what_surely_meets_is_told_while_tracing(condition: Any, where: Any, told: str) -> None:
    with pytest.raises(pto.MemoryAccessError, match=told):
        conditional(condition, where)


ITEM = "(block_idx + w * block_num)"
PAIR = f"{ITEM} // 2 * 32 + {ITEM} % 2 + lane * 16"


@pytest.mark.parametrize(
    ("row", "by", "right"),
    [
        (PAIR, 2, True),
        (PAIR, 1, False),
        (PAIR, 3, False),
        (PAIR.replace("lane * 16", "lane * 15"), 2, False),
        (PAIR.replace("% 2 +", "% 2 * 2 +"), 2, False),
        (f"{ITEM} + lane * 16", 2, False),
        (f"{ITEM} // 3 * 48 + {ITEM} % 3 + lane * 24", 3, True),
        (f"{ITEM} // 3 * 48 + {ITEM} % 3 + lane * 24", 2, False),
        (f"{ITEM} * 2 + lane", 2, False),
        (f"{ITEM} * 16 + lane", 2, True),
        (f"{ITEM} * 15 + lane", 2, False),
    ],
)
def test_every_so_many_rows(row: str, by: int, right: bool) -> None:
    """Work items and lanes whose rows lie between each other."""
    text = RACE.format(row=row, grid="rows").replace(":+8, :] = store", f":+8 by {by}, :] = store")
    assert check(parse(text)).ok == right
