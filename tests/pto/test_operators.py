"""Every operator and function of tiles and scalars: what a user writes, and the rows it becomes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import pto
from pto import Scalar, Tensor, Tile


def rows_of(text: str) -> list[str]:
    """The rows that an expression adds to a program: over the tiles ``x`` and ``y``, a column and a
    row of them, ``whole`` numbers, an integer ``n`` and a float ``s``."""

    @pto.kernel(
        grid="1",
        a="f32[16, 32]",
        b="f32[16, 32]",
        c="f32[16, 1]",
        d="f32[1, 32]",
        e="i32[16, 32]",
        n="i32",
        s="f32",
        out="f32[16, 32]",
    )
    def kernel(
        a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, n: Scalar, s: Scalar, out: Tensor
    ) -> None:
        x = pto.load(a[:, :])
        y = pto.load(b[:, :])
        column = pto.load(c[:, :])
        row = pto.load(d[:, :])
        whole = pto.load(e[:, :])
        names = dict(
            pto=pto, math=math, np=np, x=x, y=y, column=column, row=row, whole=whole, n=n, s=s
        )
        found = eval(text, names)
        pto.store(out[:, :], found if isinstance(found, Tile) else x + found)

    lines = [line.strip() for line in pto.print_kernel(kernel.trace()).splitlines()]
    rows = [re.sub(r": \w+\[\d+, \d+\]", "", line) for line in lines if " = " in line]
    return [row for row in rows if " = load " not in row and " = store " not in row]


TILES = {
    "x + y": "add = add x, y",
    "x + 1": "add = add x, 1",
    "1 + x": "add = add x, 1",
    "x - y": "sub = sub x, y",
    "x - 1": "sub = sub x, 1",
    "1 - x": "mul = mul x, -1.0; add = add mul, 1",
    "x * y": "mul = mul x, y",
    "x * s": "mul = mul x, s",
    "2.0 * x": "mul = mul x, 2.0",
    "x / y": "div = div x, y",
    "x / 2": "div = div x, 2",
    "1 / x": "reciprocal = reciprocal x",
    "1.0 / x": "reciprocal = reciprocal x",
    "3 / x": "reciprocal = reciprocal x; mul = mul reciprocal, 3",
    "-x": "mul = mul x, -1.0",
    "+x": "",
    "abs(x)": "abs = abs x",
    "x + column": "add = add x, column",
    "column + x": "add = add x, column",
    "x - column": "sub = sub x, column",
    "column - x": "mul = mul x, -1.0; add = add mul, column",
    "x * column": "mul = mul x, column",
    "column * x": "mul = mul x, column",
    "x / column": "div = div x, column",
    "column / x": "reciprocal = reciprocal x; mul = mul reciprocal, column",
    "x + row": "add = add x, row",
    "row + x": "add = add x, row",
    "row - x": "mul = mul x, -1.0; add = add mul, row",
    "row / x": "reciprocal = reciprocal x; mul = mul reciprocal, row",
    "x - row": "sub = sub x, row",
    "pto.maximum(x, y)": "maximum = maximum x, y",
    "pto.minimum(x, y)": "minimum = minimum x, y",
    "pto.maximum(x, 0)": "maximum = maximum x, 0",
    "pto.minimum(0, x)": "minimum = minimum x, 0",
    "pto.maximum(column, x)": "maximum = maximum x, column",
    "pto.minimum(x, row)": "minimum = minimum x, row",
    "pto.exp(x)": "exp = exp x",
    "pto.log(x)": "log = log x",
    "pto.sqrt(x)": "sqrt = sqrt x",
    "pto.reciprocal(x)": "reciprocal = reciprocal x",
    "pto.rsqrt(x)": "rsqrt = rsqrt x",
    "pto.abs(x)": "abs = abs x",
    "pto.relu(x)": "relu = relu x",
    "pto.tanh(x)": (
        "abs = abs x; mul = mul abs, -2.0; exp = exp mul; sub = sub exp, 1.0; add = add exp, 1.0; "
        "div = div sub, add; mul_2 = mul div, -1.0; minimum = minimum x, mul_2; "
        "tanh = maximum minimum, div"
    ),
    "pto.silu(x)": "mul = mul x, -1.0; exp = exp mul; add = add exp, 1.0; silu = div x, add",
    "pto.clip(x, 0, n)": "maximum = maximum x, 0; clip = minimum maximum, n",
    "pto.power(x, 2)": "power = mul x, x",
    "x ** 2": "power = mul x, x",
    "(whole & whole).astype('f32')": "bitwise_and = bitwise_and whole, whole; astype = astype bitwise_and, f32",
    "(7 | whole ^ n).astype('f32')": (
        "bitwise_xor = bitwise_xor whole, n; bitwise_or = bitwise_or bitwise_xor, 7; "
        "astype = astype bitwise_or, f32"
    ),
    "(~whole << 3 >> 2).astype('f32')": (
        "bitwise_not = bitwise_not whole; left_shift = left_shift bitwise_not, 3; "
        "right_shift = right_shift left_shift, 2; astype = astype right_shift, f32"
    ),
    "(n & whole).astype('f32')": "bitwise_and = bitwise_and whole, n; astype = astype bitwise_and, f32",
    "(whole // 8).astype('f32')": "right_shift = right_shift whole, 3; astype = astype right_shift, f32",
    "(whole % 8).astype('f32')": "bitwise_and = bitwise_and whole, 7; astype = astype bitwise_and, f32",
    "pto.where(whole < n, x, y)": (
        "maximum = maximum whole, n; select_eq = select_eq maximum, whole, y, x"
    ),
    "x.astype('i32', 'floor').astype('f32')": "astype = astype x, i32, floor; astype_2 = astype astype, f32",
    "x + pto.row_max(x)": "row_max = row_max x; add = add x, row_max",
    "x + pto.row_min(x)": "row_min = row_min x; add = add x, row_min",
    "x + pto.row_sum(x)": "row_sum = row_sum x; add = add x, row_sum",
    "pto.where(pto.iota(1) < n, x, 1)": "where = where x, n, 1.0",
    "pto.where(pto.iota(1) <= n, x, 0.5)": "where = where x, n + 1, 0.5",
    "pto.where(pto.iota(1) >= n, x, y)": (
        "columns = iota 0; places = expand columns; places_2 = astype places, f32; "
        "select_lt = select_lt places_2, n, y, x"
    ),
    "pto.where(n + pto.iota(0) - 2 * pto.iota(1) > 3, x, 0.5)": (
        "columns = iota 0; columns_2 = mul columns, 2; rows = iota 0; rows_2 = mul rows, -1; "
        "places = expand columns_2; places_2 = add places, rows_2; "
        "places_3 = astype places_2, f32; full = full 0.5; "
        "select_gt = select_gt places_3, n - 4, full, x"
    ),
    "pto.where(whole == 1, 0.5, 2)": (
        "full = full 1; full_2 = full 0.5; full_3 = full 2.0; select_eq = select_eq whole, full, full_2, full_3"
    ),
    "pto.where(whole == 1, 5, 2).astype('f32')": (
        "full = full 1; full_2 = full 5; full_3 = full 2; select_eq = select_eq whole, full, full_2, full_3; "
        "astype = astype select_eq, f32"
    ),
    "pto.where(x < y, x, y)": "select_lt = select_lt x, y, x, y",
    "pto.where(y <= n, x, y)": "select_le = select_le y, n, x, y",
    "pto.where(2.0 < x, x, y)": "select_gt = select_gt x, 2.0, x, y",
    "pto.where(x >= column, x, y)": "expand = expand column; select_ge = select_ge x, expand, x, y",
    "pto.where(row == x, x, y)": "expand = expand row; select_eq = select_eq expand, x, x, y",
    "pto.where(x != 1, x, y)": "full = full 1.0; select_eq = select_eq x, full, y, x",
    "pto.where(~(x < y), x, s)": "full = full s; select_lt = select_lt x, y, full, x",
    "pto.where((x < y) & (pto.iota(1) < n), x, 0)": (
        "where = where x, n, 0.0; full = full 0.0; select_lt = select_lt x, y, where, full"
    ),
    "pto.where((x < 1) | (y < 1), x, y)": (
        "select_lt = select_lt y, 1, x, y; select_lt_2 = select_lt x, 1, x, select_lt"
    ),
    "x + pto.iota(1)": (
        "columns = iota 0; places = expand columns; places_2 = astype places, f32; "
        "add = add x, places_2"
    ),
    "x + (3 - pto.iota(0)) * column": (
        "rows = iota 0; rows_2 = mul rows, -1; places = astype rows_2, f32; add = add places, 3; "
        "mul = mul column, add; add_2 = add x, mul"
    ),
    "(whole + pto.iota(1)).astype('f32')": (
        "columns = iota 0; places = expand columns; add = add whole, places; astype = astype add, f32"
    ),
    "pto.broadcast_to(row, (16, 32))": "expand = expand row",
    "pto.broadcast_to(x, (16, 32))": "",
    "x.astype('f32')": "",
    "x.astype('f16').astype('f32')": "astype = astype x, f16; astype_2 = astype astype, f32",
    "whole.astype('f32')": "astype = astype whole, f32",
    "(whole + n).astype('f32')": "add = add whole, n; astype = astype add, f32",
    "(whole * whole).astype('f32')": "mul = mul whole, whole; astype = astype mul, f32",
    "pto.relu(whole).astype('f32')": "relu = relu whole; astype = astype relu, f32",
    "pto.maximum(whole, 3).astype('f32')": "maximum = maximum whole, 3; astype = astype maximum, f32",
    "x + pto.full((16, 32), 2)": "full = full 2.0; add = add x, full",
    "x + pto.zeros((16, 1))": "full = full 0.0; add = add x, full",
    "(-whole).astype('f32')": "mul = mul whole, -1; astype = astype mul, f32",
    "(63 - whole).astype('f32')": "mul = mul whole, -1; add = add mul, 63; astype = astype add, f32",
    "(n - whole).astype('f32')": "mul = mul whole, -1; add = add mul, n; astype = astype add, f32",
    "(whole[:1] - whole).astype('f32')": (
        "part = part whole, 0, 0; mul = mul whole, -1; add = add mul, part; astype = astype add, f32"
    ),
    "pto.where((x > 0) & (whole == 1), 1, 0)": (
        "full = full 1; full_2 = full 1.0; full_3 = full 0.0; "
        "select_eq = select_eq whole, full, full_2, full_3; select_gt = select_gt x, 0, select_eq, full_3"
    ),
    "x @ x.T @ y": "matmul = matmul x, x.T; matmul_2 = matmul matmul, y",
    "pto.matmul(x @ y.T, y, acc=x)": "matmul = matmul x, y.T; matmul_2 = matmul matmul, y, x",
    "pto.matmul(x @ y.T, y)": "matmul = matmul x, y.T; matmul_2 = matmul matmul, y",
}
SCALARS = {
    "n + 1": "n + 1",
    "1 + n": "1 + n",
    "n + n": "n + n",
    "n - 1": "n - 1",
    "1 - n": "1 - n",
    "n * 2": "n * 2",
    "2 * n": "2 * n",
    "n // 2": "n // 2",
    "7 // n": "7 // n",
    "n % 3": "n % 3",
    "7 % n": "7 % n",
    "n / 2": "n / 2",
    "2 / n": "2 / n",
    "-n": "0 - n",
    "n < 3": "n < 3",
    "n <= 3": "n <= 3",
    "n > 3": "3 < n",
    "n >= 3": "3 <= n",
    "3 < n": "3 < n",
    "3 >= n": "n <= 3",
    "n == 3": "n == 3",
    "n != 3": "n != 3",
    "s * 0.5": "s * 0.5",
    "s + n": "s + n",
    "2 - s": "2 - s",
    "(n < 3) & (s > 0.5)": "(n < 3) * (0.5 < s)",
    "(n < 3) | (n == 5)": "max(n < 3, n == 5)",
    "~(n < 3)": "1 - (n < 3)",
    "~((n < 3) & ~(n == 5) | (s < 2))": "1 - max((n < 3) * (1 - (n == 5)), s < 2)",
    "True & (n < 3)": "n < 3",
    "(n < 3) * False": "0",
    "(n < 3) == True": "n < 3 == 1",
    "pto.maximum(n < 3, not True)": "max(n < 3, 0)",
    "pto.cdiv(n, 16)": "cdiv(n, 16)",
    "pto.cdiv(16, n)": "cdiv(16, n)",
    "pto.maximum(n, 3)": "max(n, 3)",
    "pto.minimum(3, n)": "min(3, n)",
    "pto.maximum(s, 0.5)": "max(s, 0.5)",
    "pto.minimum(n, n + 1)": "min(n, n + 1)",
    "pto.maximum(2, 3)": "3",
    "pto.minimum(2, 3)": "2",
    "pto.cdiv(7, 2)": "4",
    "x.shape[0]": "16",
    "x.shape[1]": "32",
    "x.ndim": "2",
    "x.T.shape[0]": "32",
}


@pytest.mark.parametrize("text", TILES)
def test_tiles(text: str) -> None:
    assert "; ".join(rows_of(text)) == TILES[text]


@pytest.mark.parametrize("text", SCALARS)
def test_scalars(text: str) -> None:
    assert rows_of(text) == [f"add = add x, {SCALARS[text]}"]


REFUSED = {
    "divmod(x, 2)": "divmod", "divmod(2, x)": "divmod",
    "math.trunc(x)": "trunc", "math.floor(x)": "floor", "math.ceil(x)": "ceil",
    "n & 1": "&", "n | 1": "|", "n ^ 1": "^", "n << 1": "<<", "n >> 1": ">>", "n ** 2": "**",
    "divmod(n, 2)": "divmod", "~n": "~",
    "(n < 3) & n": "&", "(n < 3) & 2": "&", "(n < 3) | s": "|", "n & (n < 3)": "&", "~(n - (n < 3))": "~",
    "(n < 3) ^ (n < 4)": "^", "abs(n)": "abs", "math.floor(n)": "floor",
}  # fmt: skip
"""Operators that tiles or scalars have not, and what the message calls them."""


@pytest.mark.parametrize("text", REFUSED)
def test_no_such_operator(text: str) -> None:
    with pytest.raises(pto.TraceError, match=re.escape(f"'{REFUSED[text]}' does not work on ")):
        rows_of(text)


OF_INTEGERS = {
    "63.5 - whole": "-: 'whole' is i32 and cannot be combined with the float",
    "s - whole": "-: 'whole' is i32 and cannot be combined with the float",
    "3 / whole": "/: 'whole' is i32 and cannot be divided",
    "1 / whole": "/: 'whole' is i32 and cannot be divided",
    "-whole.astype('i16')": "-: 'astype' is i16, which the vector unit cannot compute with",
    "2 - whole.astype('i16')": "-: 'astype' is i16, which the vector unit cannot compute with",
}
"""Refused of integers, in the terms of what is written."""


@pytest.mark.parametrize("text", OF_INTEGERS)
def test_integers_are_told_of_the_operator_that_is_written(text: str) -> None:
    with pytest.raises(pto.DTypeError, match=re.escape(OF_INTEGERS[text])):
        rows_of(text)


NO_NUMPY = [
    "np.exp(x)", "np.abs(x)", "np.negative(x)", "np.power(np.float32(2), x)", "np.float32(2) ** x",
    "np.arctan2(np.float32(2), x)", "np.add(x, y)", "np.add(x, np.float32(2))", "np.add.reduce(x)",
    "np.add(np.float32(2), x, where=False)", "np.add(np.float32(2), x, out=np.ones(2))",
    "np.add.at(np.ones(2), 0, x)", "np.add.accumulate(x)", "np.sum(x)", "np.array(x)", "np.stack([x])",
]  # fmt: skip
"""numpy's numbers may stand on the left of an operator; its functions do not take tiles."""


@pytest.mark.parametrize("text", NO_NUMPY)
def test_no_function_of_numpy(text: str) -> None:
    with pytest.raises(pto.TraceError, match=r"works on arrays, found|does not work on"):
        rows_of(text)


def test_a_number_of_numpy_on_the_left() -> None:
    for text in ("np.float32(2) + x", "np.add(np.float32(2), x)"):
        assert rows_of(text) == ["add = add x, 2.0"]
