"""``pto check FILE.ptoir --against KERNEL``: a schedule written by hand, and the values it should store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pto
from lowering.cli import main
from lowering.schedule import schedule
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from lowering.values.unscheduled import unscheduled
from pto.errors import ScheduleError
from pto.ir import Kernel
from pto.kernels import SHIPPED
from pto.text import parse, print_kernel
from tests.lenient import check

PA = print_kernel(schedule(SHIPPED["paged_attention"].trace(heads=8), "repair").kernel)
CHANGES = {
    "the tensor": ("load value_cache[", "load key_cache[", "here         v", "there        v"),
    "a page": ("block_table[b, i]", "block_table[b, i + 1]", "[b, i + 1]", "[b, i]"),
    "an op": ("= sub qk_v", "= add qk_v", "= add qk_v", "= sub s"),
    "a constant": ("full 0.0", "full 1.0", "full 1.0", "full 0.0"),
    "how much is valid": ("<left, 0, :]", "<left - 1, 0, :]", "<left - 1, 0, :]", "<left, 0, :]"),
    "a trip count": ("let cdiv(context, 128)", "let cdiv(context, 64)", "", ""),
    "where it is stored": ("out[b, lane", "out[b + 1, lane", "", ""),
}


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, cols]", out="f32[rows, 1]", static=dict(wide=1024))
def sums(x: Any, out: Any, *, wide: int) -> None:
    """The sum of every row; a partial row is padded."""
    first = pto.program_id(0) * 16
    here = pto.ds(first, 16, valid=x.shape[0] - first)
    v = pto.load(x[here, pto.ds(0, wide, valid=x.shape[1])])
    pto.store(out[here, :], pto.row_sum(v))


ROWS = print_kernel(schedule(SHIPPED["rmsnorm"].trace()).kernel)
OF_LANES = {
    "the lane of a load": ("x[first + lane * 8:", "x[first:"),
    "a stride of lanes": ("x[first + lane * 8:", "x[first + lane * 16:"),
    "what is valid": ("first - lane * 8, :]\n                     | wait x_", "first, :]\n | wait x_"),
    "what is stored": ("out[first + lane * 8:+8<rows - first - lane * 8", "out[first + lane * 8:+8<rows - first"),
    "a number of a lane": ("norm, 0.0009765625", "norm, 0.0009765625 + lane"),
}  # fmt: skip
"""What is the same on lane 0, or once what is not valid is left out."""


def checked(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, str, str]:
    path = folder / "mine.ptoir"
    path.write_text(text)
    status = main(["check", str(path), *more])
    found = capsys.readouterr()
    return status, found.out, found.err


LENIENT = ("--assume", "ordered-signals")


def test_without_a_kernel_values_are_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = checked(PA, tmp_path, capsys, *LENIENT)
    assert status == 0 and "values not checked: --against KERNEL" in out


def test_the_right_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the static parameters that the text states."""
    status, out, _ = checked(PA, tmp_path, capsys, "--against", "paged_attention", *LENIENT)
    assert status == 0 and out.endswith("values: those of paged_attention\n")
    turned = PA.replace("maximum m[i], m_new_row_max", "maximum m_new_row_max, m[i]")
    turned = turned.replace("block_idx + w * block_num", "w * block_num + block_idx")
    assert checked(turned, tmp_path, capsys, "--against", "paged_attention", *LENIENT)[0] == 0


@pytest.mark.parametrize("what", CHANGES)
def test_other_values_are_told(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, here, there = CHANGES[what]
    assert old in PA
    status, out, _ = checked(PA.replace(old, new), tmp_path, capsys, "--against", "paged_attention")
    assert status == 1 and "values not shown to be those of paged_attention" in out
    told = out[out.index("values not shown") :].splitlines()
    assert here in told[1] and there in told[3]


@pytest.mark.parametrize("what", OF_LANES)
def test_values_of_every_lane_are_compared(what: str) -> None:
    traced = persist(SHIPPED["rmsnorm"].trace())
    old, new = OF_LANES[what]
    assert old in ROWS
    assert difference(traced, parse(ROWS)) is None
    assert difference(traced, parse(ROWS.replace(old, new))) is not None


@pytest.mark.parametrize("counts", ["16, cols - 1", "16, 1000", "16, cols + lane", "7, cols"])
def test_a_padding_keeps_what_is_there(counts: str) -> None:
    traced, text = persist(sums.trace()), print_kernel(schedule(sums.trace()).kernel)
    assert "v[w], 16, cols" in text
    assert difference(traced, parse(text)) is None
    assert difference(traced, parse(text.replace("v[w], 16, cols", f"v[w], {counts}"))) is not None
    rows = text.replace("v[w], 16, cols", "v[w], rows - first - lane * 8, cols")
    assert difference(traced, parse(rows)) is None
    rows = rows.replace("lane * 8, cols", "lane * 7, cols")
    assert difference(traced, parse(rows)) is not None


def test_a_lane_may_be_named() -> None:
    traced = persist(SHIPPED["rmsnorm"].trace())
    named = ROWS.replace("first + lane * 8", "mine").replace(
        "  vector  0  MTE2  x_tile",
        "  vector  0  S     mine = let first + lane * 8\n  vector  0  MTE2  x_tile",
    )
    assert difference(traced, parse(named)) is None
    wrong = named.replace("let first + lane * 8", "let first + lane * 4")
    assert difference(traced, parse(wrong)) is not None


@pytest.mark.parametrize(
    ("kernel", "more", "message"),
    [
        ("gemm", (), "error: gemm and the schedule differ in parameter 'a'"),
        ("nix", (), "error: no shipped kernel is called 'nix'"),
        ("paged_attention", ("-D", "heads=32"), "error: -D heads=32: the schedule is for 8"),
        ("paged_attention", ("-D", "nix=1"), "error: paged_attention has no static parameter"),
    ],
)
def test_what_cannot_be_compared(
    kernel: str,
    more: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, err = checked(PA, tmp_path, capsys, "--against", kernel, *more)
    assert status == 2 and message in err


def test_only_a_schedule_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gemm", "--against", "gemm"]) == 2
    assert "is made here" in capsys.readouterr().err


TILES = """
kernel tiles
param src in  f32[rows, 64]
param out out f32[rows, 64]
param tab in  i32[m]
param n   scalar i32
grid {grid}

{before}for i in 0 .. {n}:
  a: f32[16, 64] = load src[i * 16:+16, :]
  out[i * 16:+16, :] = store a
"""
ONE = TILES.format(grid=1, before="", n="n")
ITEMS = TILES.format(grid="m", before="n = read tab[pid0]\n", n="n")
AHEAD = """
kernel tiles on a2a3
param src in  f32[rows, 64]
param out out f32[rows, 64]
param tab in  i32[m]
param n   scalar i32
grid {grid}
buffer vector ub a[{slots}] f32[8, 64] nd at 0 by 2048

for w, turn in 0 .. cdiv({grid} - block_idx, block_num){flat}:
{before}  for i, u in 0 .. n:
    vector +{steps} MTE2 barrier
    vector +{steps} MTE2 a[u] = load src[i * 16 + lane * 8:+8, :]
    vector 0 S drain MTE2
    vector 0 MTE3 out[i * 16 + lane * 8:+8, :] = store a[u]
    vector 0 S drain MTE3
vector 0 S drain MTE3
"""


def ahead(slots: int, steps: int, flat: bool) -> Kernel:
    """``TILES`` with loads so many steps ahead, into a ring; nothing overlaps, so the order is right."""
    before = "  vector 0 S n_1 = read tab[block_idx + w * block_num]\n" if flat else ""
    text = AHEAD.format(
        grid="m" if flat else 1,
        slots=slots,
        steps=steps,
        flat=" flat" if flat else "",
        before=before,
    )
    return parse(text.replace("0 .. n:", "0 .. n_1:") if flat else text)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("slots", [2, 3, 6, 7, 9, 13, 40])
def test_a_ring_that_is_too_short(slots: int, flat: bool) -> None:
    """The load of a later iteration overwrites a slot before it is stored: in order, and wrong."""
    traced = persist(parse(ITEMS if flat else ONE))
    right, wrong = ahead(slots, slots - 1, flat), ahead(slots, slots, flat)
    if not flat:
        assert check(right).ok and check(wrong).ok
    assert difference(traced, right) is None
    assert difference(traced, wrong) is not None
    unscheduled(right)
    with pytest.raises(
        ScheduleError, match=r"reads the value of another iteration|in another order"
    ):
        unscheduled(wrong)


# ------------------------------------------------------------------------------- stores that add


@pto.kernel(grid="parts", x="f32[parts, 32, 32]", y="f32[parts, 32, 32]", out="f32[32, 32]")
def added(x: Any, y: Any, out: Any) -> None:
    """Rows and columns look alike."""
    p = pto.program_id(0)
    pto.store(out[:, :], pto.load(x[p, :, :]) * 2.0, add=True)
    pto.store(out[:, :], pto.exp(pto.load(y[p, :, :])), add=True)


ADDED = print_kernel(schedule(added.trace()).kernel)
TERM = next(line for line in ADDED.splitlines() if "= store x_tile" in line)
LAST = next(line for line in ADDED.splitlines() if "= store y_tile" in line)
OTHER_SUMS = {
    "a store that only stores": (TERM, TERM.replace(", add", "")),
    "a term twice": (TERM, f"{TERM.split('|')[0]}\n{TERM}"),
    "a term on both lanes": (TERM, TERM.replace("lane * 16:", "0:")),
    "a term that is left out": (TERM, TERM.replace("out[lane * 16:+16, :] = store x_tile[w], add", "sync")),
    "another term": (TERM, TERM.replace("store x_tile", "store y_tile")),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER_SUMS)
def test_another_sum_is_told(what: str) -> None:
    old, new = OTHER_SUMS[what]
    assert new != old and ADDED.count(old) == 1
    before = persist(added.trace())
    assert difference(before, parse(ADDED)) is None
    assert difference(before, parse(ADDED.replace(old, new))) is not None


@pto.kernel(grid="parts", x="f32[parts, 32, 64]", out="f32[64]")
def added_by_one(x: Any, out: Any) -> None:
    """What both lanes hold, for want of a way to share it."""
    a = pto.load(x[pto.program_id(0), :, :])
    pto.store(out[:], pto.col_sum(a - pto.row_max(a)), add=True)


def test_what_both_lanes_hold_is_added_by_one_of_them() -> None:
    before, text = (
        persist(added_by_one.trace()),
        print_kernel(schedule(added_by_one.trace()).kernel),
    )
    alone = "out[lane * 64:+64<64 - lane * 64] = store"
    assert text.count(alone) == 1 and difference(before, parse(text)) is None
    assert difference(before, parse(text.replace(alone, "out[0:+64] = store"))) is not None


def test_terms_have_no_order() -> None:
    swapped = ADDED.replace(TERM, "@").replace(LAST, TERM).replace("@", LAST)
    assert swapped != ADDED and difference(persist(added.trace()), parse(swapped)) is None
    assert unscheduled(parse(swapped))
