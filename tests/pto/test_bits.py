"""Bits, shifts, ``//``, ``%`` and ``**`` of tiles: what they refuse, and how; what they become otherwise."""

from __future__ import annotations

import re

import pytest

import pto
from pto import Tensor
from pto.errors import LegalityError
from pto.legality import verify
from pto.text import parse

REFUSED = {
    "x & x": "&: 'x' is f32, and bits are those of integers",
    "3 | x": "|: 'x' is f32, and bits are those of integers",
    "~x": "~: 'x' is f32, and bits are those of integers",
    "u ^ n": "^: 'u' is u8 and cannot be combined with scalar 'n'",
    "n ^ w": "'^' does not work on scalar 'n'",
    "w & 0.5": "&: an element of i32 cannot be 0.5",
    "u & 256": "&: an element of u8 cannot be 256",
    "u & w": "&: 'u' is u8 but 'w' is i32",
    "w & (w < 3)": "& combines tiles with tiles, or masks with masks, found a mask",
    "w & pto.load(t[0:8, :])": "&: [8, 32] does not broadcast to [16, 32]",
    "u >> 1": ">>: 'u' is u8, and the vector unit shifts i32 and i16",
    "x << 1": "<<: 'x' is f32, and the vector unit shifts i32 and i16",
    "w << u": "<<: 'u' is u8, and the vector unit shifts i32 and i16",
    "w << w.astype('i16')": "<<: 'w' is i32 but 'astype' is i16",
    "w << 1.5": "<<: 'w' is shifted by integers, found the number 1.5",
    "w << (n / 2)": "what 'w' is shifted by must be an integer",
    "w << [1]": "<<: 'w' is shifted by integers or a tile, found a list",
    "1.5 << w": "<<: an element of i32 cannot be 1.5",
    "n << w": "'<<' does not work on scalar 'n'",
    "[1] << w": "the left operand of << must be a tile, found a list",
    "w << pto.load(t[0:8, :])": "<<: [8, 32] does not broadcast to [16, 32]",
    "w >> 32": ">>: 'w' is i32, which is shifted by 0 to 31, found 32",
    "w % -16": "%: 'w' is i32, which is divided by positive powers of two, found -16",
    "w // 3": "//: 'w' is i32, which is divided by positive powers of two, found 3",
    "w % w": "%: 'w' is i32, which is divided by positive powers of two, found tile 'w'",
    "x ** x": "the exponent of power must be a Python number, found tile 'x'",
    "2 ** x": "'**' takes a tile to the power of a Python number, found the number 2 to that of a tile",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    @pto.kernel(
        grid="1", t="i32[16, 32]", a="f32[16, 32]", b="u8[16, 32]", n="i32", out="i32[16, 32]"
    )
    def kernel(t: Tensor, a: Tensor, b: Tensor, n: pto.Scalar, out: Tensor) -> None:
        w = pto.load(t[:, :])
        x = pto.load(a[:, :])
        u = pto.load(b[:, :])
        pto.store(out[:, :], eval(text, dict(pto=pto, t=t, w=w, x=x, u=u, n=n)))

    with pytest.raises(pto.PtoError, match=re.escape(REFUSED[text])):
        kernel.trace()


TEXT = """kernel t
param x in i32[16, 32]
param y out i32[16, 32]
grid 1
a: i32[16, 32] = load x[:, :]
c: i32[16, 1] = row_max a
b: i32[16, 32] = {}
y[:, :] = store b
"""


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("bitwise_and a, c", "the second operand must be a tile of that shape, or a scalar"),
        ("bitwise_or a, 1.5", "the elements of an i32 tile are integers"),
        ("left_shift a, 32", "the elements of an i32 tile are shifted by 0 to 31"),
        ("right_shift a, -1", "the elements of an i32 tile are shifted by 0 to 31"),
        ("right_shift a, a", "operand 2 is a scalar, found a tile"),
    ],
)
def test_a_text_refused(row: str, told: str) -> None:
    with pytest.raises(LegalityError, match=re.escape(told)):
        verify(parse(TEXT.format(row), "t.ptoir"))


def rows_of(text: str) -> list[str]:
    """The rows that an expression of a tile and a scalar becomes."""

    @pto.kernel(grid="1", t="i32[16, 32]", n="i32", out="i32[16, 32]")
    def kernel(t: Tensor, n: pto.Scalar, out: Tensor) -> None:
        w = pto.load(t[:, :])
        pto.store(out[:, :], eval(text, dict(pto=pto, w=w, n=n)))

    lines = pto.print_kernel(kernel.trace()).splitlines()
    return [row for line in lines if "_shift " in (row := line.partition(" = ")[2])]


def test_a_count_that_is_surely_below_is_one_row() -> None:
    """Others are brought to what there are bits for, to the left in two steps."""
    assert rows_of("w << n % 32") == ["left_shift w, n % 32"]
    assert rows_of("w >> pto.minimum(n * 1 * 0 + 3, 31)") == ["right_shift w, 3"]
    (right,) = rows_of("w >> n")
    assert right == "right_shift w, max(min(n, 31), (n < 0) * 31)"
    first, second = rows_of("w << n")
    assert first == "left_shift w, max(min(n, 31), (n < 0) * 31)"
    assert second.endswith(", max(n < 0, 31 < n)")
    assert len(rows_of("w << w")) == 6 and len(rows_of("w >> w")) == 7
