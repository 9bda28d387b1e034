"""Parts of tiles: what they are of, and what a written program may not say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import sequential
from lowering.execute.inputs import bind
from pto import Tensor, Tile
from pto.errors import LegalityError
from pto.ir import all_rows
from pto.legality import verify
from pto.text import parse


def made(body: Any, rows: int = 16, cols: int = 64) -> tuple[Any, Any]:
    """(rows of the traced kernel, what it stores), of a tile that counts its elements."""

    @pto.kernel(grid="1", x="f32[16, 64]", out=f"f32[{rows}, {cols}]")
    def kernel(x: Tensor, out: Tensor) -> None:
        pto.store(out[:, :], body(pto.load(x[:, :])))

    traced = kernel.trace()
    given = {"x": np.arange(16 * 64, dtype=np.float32).reshape(16, 64)}
    return list(all_rows(traced.body)), sequential.run(traced, bind(traced, given))["out"]


COUNTED = np.arange(16 * 64, dtype=np.float32).reshape(16, 64)


def test_a_part_of_a_part_is_one_of_the_whole() -> None:
    rows, out = made(lambda x: x[3:12, 8:40][2:, 8:24], 7, 16)
    *_, part, _ = rows
    assert [a.value for a in part.args[1:]] == [5, 16]
    assert np.array_equal(out, COUNTED[5:12, 16:32])


def test_all_of_a_tile_is_the_tile() -> None:
    rows, _ = made(lambda x: pto.concat([x[:, :].at[:].set(x)]))
    assert [r.op for r in rows] == ["load", "store"]


def test_a_place_adds_and_sets_and_leaves_the_tile_alone() -> None:
    def body(x: Tile) -> Tile:
        changed = x.at[2:3, 8:].add(1.0).at[:, :8].set(x[:, 56:])
        return changed - x

    _, out = made(body)
    want = np.zeros((16, 64), np.float32)
    want[2, 8:] = 1
    want[:, :8] = 56
    assert np.array_equal(out, want)


def test_more_tiles_than_a_row_joins() -> None:
    rows, out = made(lambda x: pto.concat([x[k : k + 1] for k in range(16)] * 2), 32)
    assert [r.op for r in rows].count("concat") == 3
    assert np.array_equal(out, np.concatenate([COUNTED] * 2))


def replaced(at: Any, value: Any) -> Any:
    """COUNTED with something else at a place."""
    want = COUNTED.copy()
    want[at] = value
    return want


LAST = COUNTED.max(axis=1, keepdims=True)
PLACES = {
    "a number of numpy": (lambda x: x.at[:, ::2].set(np.float32(1)), np.s_[:, ::2], 1),
    "in few columns": (lambda x: x.at[:, 5::16].set(9.0), np.s_[:, 5::16], 9),
    "a column": (lambda x: x.at[:, 63::64].set(pto.row_max(x)), np.s_[:, 63:], LAST),
    "one of all": (lambda x: x.at[2:4, 1::3].set(pto.max(x)), np.s_[2:4, 1::3], 1023),
    "a scalar": (lambda x: x.at[:, 0:8].set(pto.program_id(0) + 2), np.s_[:, :8], 2),
    "a row": (lambda x: x.at[2:9, 8:].set(x[0:1, 8:]), np.s_[2:9, 8:], COUNTED[0, 8:]),
    "some rows": (lambda x: x.at[4:8, ::2].add(1.0), np.s_[4:8, ::2], COUNTED[4:8, ::2] + 1),
    "bounds of numpy": (lambda x: x.at[np.int64(3) :].set(0.5), np.s_[3:], 0.5),
    "differences": (lambda x: x.at[3:].subtract(x[3:]), np.s_[3:], 0),
    "products": (lambda x: x.at[3:].multiply(2.0), np.s_[3:], COUNTED[3:] * 2),
    "quotients": (lambda x: x.at[3:].divide(2.0), np.s_[3:], COUNTED[3:] / 2),
    "the least": (lambda x: x.at[3:].min(500.0), np.s_[3:], np.minimum(COUNTED[3:], 500)),
    "the largest": (lambda x: x.at[3:].max(500.0), np.s_[3:], np.maximum(COUNTED[3:], 500)),
    "a function": (lambda x: x.at[3:].apply(lambda p: p * p), np.s_[3:], COUNTED[3:] ** 2),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_a_place_takes(name: str) -> None:
    body, at, value = PLACES[name]
    assert np.array_equal(made(body)[1], replaced(at, value))


@pytest.mark.parametrize("dtype", ["f16", "bf16", "i32", "i16", "i8", "u8"])
def test_a_number_in_every_so_many_columns_of_any_type(dtype: str) -> None:
    _, out = made(lambda x: (x * 0.0).astype(dtype).at[:, 1::7].set(3).astype("f32"))
    assert np.array_equal(out, np.where(np.arange(64) % 7 == 1, 3, 0) + np.zeros((16, 1)))


def test_the_columns_from_the_last_to_the_first() -> None:
    _, out = made(lambda x: pto.concat([x.T[k : k + 1, :] for k in range(63, -1, -1)]).T)
    assert np.array_equal(out, COUNTED[:, ::-1])


def test_columns_and_rows_of_a_part() -> None:
    assert np.array_equal(made(lambda x: x[2:7, 1::2], 5, 32)[1], COUNTED[2:7, 1::2])


def test_the_column_that_the_message_tells_of() -> None:
    _, out = made(lambda x: pto.row_sum(pto.where(pto.iota(1) == 5, x, 0.0)), 16, 1)
    assert np.array_equal(out, COUNTED[:, 5:6])


WRITTEN = """kernel k on a2a3
param out out f32[items, 16, 64]
param x in f32[items, 64]
param y in f32[items, 4, 2, 4, 64]
grid items
buffer vector ub a[1] f32[8, 64] nd at 0 by 2048
buffer vector ub b[1] f32[4, 64] nd at 2048 by 1024
buffer vector ub c[1] f32[8, 32] nd at 4096 by 1024
buffer vector ub d[1] f32[8, 64] both nd at 8192 by 2048
buffer vector ub e[1] f32[4, 64] both nd at 16384 by 1024

for w in 0 .. cdiv(items - block_idx, block_num):
  vector 0 {row}
"""

REFUSED = {
    "V b = part a, 0, 0": "it moves elements along rows, of which each lane has a part only",
    "V e = part a, 0, 0": "the lanes share its tiles in several ways",
    "V c = part a, 0, 4": "whole units of 32 bytes",
    "V c = part a, 1, 0": "it ends beyond the tile",
    "V d = put d, d, 0, 0": "y is smaller",
    "V d = put d, e, 5, 0": "it ends beyond the tile",
    "V a = concat c, c, c": "it ends beyond the tile",
    "V d = concat e, e, e": "it ends beyond the tile",
    "V a = put a, c, 0, 4": "whole units of 32 bytes",
    "MTE2 e = gather x[w:+2<1, :], x[w:+2, :]": "every region of a tile of several exists",
    "MTE2 e = gather x[w:+2, :], y[w, 0, 0:+2, 0, 0:+32]": "make no tile",
    "MTE2 d = gather x[w:+4, :], y[w, 0:+2, 0, 0:+2<1, :]": "only the first may end early",
    "MTE2 a = gather x[w:+4, :], x[w:+4, :]": "each lane has a part only",
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_a_program_may_not_say(row: str) -> None:
    with pytest.raises(LegalityError, match=REFUSED[row]):
        verify(parse(WRITTEN.format(row=row)))


ALLOWED = (
    "V c = part a, 0, 32",
    "V e = part d, 3, 0",
    "V a = concat c, c",
    "V d = put d, e, 3, 0",
    "MTE2 d = gather x[w:+4, :], y[w, 0:+2, 0, 0:+2, :]",
)


@pytest.mark.parametrize("row", ALLOWED)
def test_what_it_may_say(row: str) -> None:
    verify(parse(WRITTEN.format(row=row)))


def test_a_part_of_a_transpose_is_cut_where_the_vector_unit_can_turn() -> None:
    """It turns rows by sixteens: of a part with fewer all of the tile is turned."""
    for body, ops in (
        (lambda x: x.T[:, 8:], ["load", "transpose", "part", "store"]),
        (lambda x: x.T[8:24], ["load", "part", "transpose", "store"]),
        (lambda x: x.T[3:20], ["load", "transpose", "part", "store"]),
    ):
        want = body(COUNTED)
        rows, out = made(body, *want.shape)
        assert [r.op for r in rows] == ops
        assert np.array_equal(out, want)
