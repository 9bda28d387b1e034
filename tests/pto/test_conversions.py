"""Conversions: every way through several types gives what one conversion would."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import sequential
from lowering.execute.access import DTYPES
from lowering.execute.inputs import bind
from lowering.schedule import schedule
from pto import Tensor
from pto.conversions import DIRECT, THROUGH, way
from pto.ops import ROUNDINGS
from pto.types import DTYPE_BYTES, GREATEST, INTEGERS

PAIRS = [(x, y) for x, y in product(DTYPE_BYTES, repeat=2) if x != y]
ONCE = [p for p in PAIRS if way(*p) is not None]

NUMBERS = [
    0.0, -0.0, 0.5, 1.5, 2.5, 0.5 + 2**-20, 1.0 + 2**-12, 1.0 + 2**-9, 126.5, 127.5, 127.5 + 2**-16, 128.0, 254.5, 255.5, 2047.5, 2049.0,
    4097.0, 32767.5, 32768.0, 65504.0, 65519.0, 65520.0, 65521.0, 2.0**24 + 1, 2.0**24 + 3, 2.0**31 - 1, 2.0**31, 3e38, math.inf, 1e-6, 6e-8,
]  # fmt: skip
"""Ties, what would become one on the way, edges of types and what lies beyond."""


def numbers(dtype: str) -> Any:
    wide = np.array([*NUMBERS, *(-x for x in NUMBERS)])
    with np.errstate(over="ignore"):
        if dtype in GREATEST:
            return np.append(wide, math.nan).astype(DTYPES[dtype])
        return np.unique(np.clip(wide, *INTEGERS[dtype])).astype(DTYPES[dtype])


def to_integer(x: float, dtype: str, rounding: str) -> int:
    if math.isnan(x):
        return 0
    least, greatest = INTEGERS[dtype]
    if math.isinf(x):
        return greatest if x > 0 else least
    exact, down = Fraction(x), math.floor(x)
    rest = exact - down
    near = down + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and down % 2 == 1))
    away = down + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and exact > 0))
    found = {
        "rint": near,
        "away": away,
        "floor": down,
        "ceil": math.ceil(x),
        "trunc": math.trunc(x),
    }
    return max(least, min(greatest, found[rounding]))


def once(given: Any, dtype: str, rounding: str) -> Any:
    """One conversion, by rules of its own: fractions to integers, numpy's casts to floats."""
    if dtype in INTEGERS:
        return np.array([to_integer(float(x), dtype, rounding) for x in given], DTYPES[dtype])
    with np.errstate(over="ignore"):
        return given.astype(np.float64).astype(DTYPES[dtype])


@pytest.mark.parametrize(("given", "wanted"), ONCE)
def test_every_way_rounds_once(given: str, wanted: str) -> None:
    names = list(ROUNDINGS) if given in GREATEST and wanted in INTEGERS else ["rint"]
    x = numbers(given)
    count = -(-len(x) // 32) * 32

    @pto.kernel(grid="1", x=f"{given}[32, {count}]", out=f"{wanted}[{len(names)}, 32, {count}]")
    def converted(x: Tensor, out: Tensor) -> None:
        for k, name in enumerate(names):
            pto.store(out[k, :, :], pto.load(x[:, :]).astype(wanted, name))

    all_of_them = np.broadcast_to(np.resize(x, count), (32, count))
    traced = converted.trace()
    found = sequential.run(traced, bind(traced, {"x": all_of_them}))["out"]
    for k, name in enumerate(names):
        want = once(np.resize(x, count), wanted, name)
        got = found[k, 7]
        same = (got == want) | ((got != got) & (want != want))
        assert same.all(), (name, all_of_them[7][~same], got[~same], want[~same])


def test_what_has_no_way() -> None:
    assert [p for p in PAIRS if p not in ONCE] == [("i32", "bf16")]


def test_every_step_is_one_instruction() -> None:
    for (given, wanted), between in THROUGH.items():
        assert wanted not in DIRECT[given], "the way through others is longer"
        steps = [given, *between, wanted]
        assert all(y in DIRECT[x] for x, y in pairwise(steps))


def test_only_a_sum_of_products_has_a_scale_on_its_way_out() -> None:
    """Which of them lies in L0C is known when it is scheduled."""

    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 64]", out="u8[rows, 64]")
    def loaded(x: Tensor, out: Tensor) -> None:
        rows = pto.ds(pto.program_id(0) * 32, 32)
        tile = pto.load(x[rows, :])
        pto.store(out[rows, :], tile, scale=0.5)

    with pytest.raises(pto.ShapeError, match="'tile' has a scale, but is no sum of products"):
        schedule(loaded.trace())
