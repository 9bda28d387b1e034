"""Stores that write an element twice: what is proven apart without a search, and what is searched.

``p`` and ``q`` are the two axes of the grid, ``i`` an iteration, ``t`` a table, ``n`` a symbolic size.
"""

from __future__ import annotations

from typing import Any

import pytest

import pto
from pto import Tensor, overlap

APART, SEARCHED, CLASH = "apart", "searched", "clash"


def verdict(monkeypatch: pytest.MonkeyPatch, grid: str, trips: int, *regions: str) -> str:
    """How the stores of a kernel to these regions are judged."""
    searches: list[Any] = []
    search = overlap._witness
    monkeypatch.setattr(overlap, "_witness", lambda a, b: searches.append(b) or search(a, b))

    @pto.kernel(grid=grid, t="i32[n, n]", out="f32[n, n, 64]")
    def kernel(t: Tensor, out: Tensor) -> None:
        p, q = pto.program_id(0), pto.program_id(1)

        def body(i: Any, carry: Any) -> Any:
            names = dict(p=p, q=q, i=i, t=t, n=t.shape[0], ds=pto.ds, whole=slice(None))
            for region in regions:
                at = eval(f"({region})", names)
                pto.store(out[at], pto.zeros(out[at].shape))
            return carry

        pto.fori_loop(0, trips, body, pto.zeros((16, 16)))

    try:
        kernel.trace()
    except pto.PtoError as error:
        if not error.message.startswith("store: "):
            raise
        return CLASH
    return SEARCHED if searches else APART


@pytest.mark.parametrize(
    "case",
    [
        (APART, "n, 4", 1, "p, ds(q * 16, 16), whole"),
        (CLASH, "n, 4", 1, "p, ds(q * 16, 17), whole"),
        (APART, "n, 4", 1, "p, ds(q * 17, 16), whole"),
        (APART, "4, n", 1, "0, ds(p * 16 + q * 64, 16), whole"),
        (CLASH, "4, n", 1, "0, ds(p * 16 + q * 63, 16), whole"),
        (CLASH, "4, n", 1, "0, ds(p * 16 + q * 48, 16), whole"),
        (CLASH, "4, n", 1, "0, ds(q * 16 + p * 64, 16), whole"),
        (APART, "n, n", 1, "p, q, whole"),
        (CLASH, "n, n", 1, "p, p, whole"),
        (SEARCHED, "n, n", 1, "q + p, p, whole"),
        (CLASH, "n, n", 1, "p + q, 0, whole"),
        (SEARCHED, "n, 4", 1, "p // 2, ds(p % 2 * 64 + q * 16, 16), whole"),
        (SEARCHED, "n, 4", 1, "t[p, 0], ds(q * 16, 16), whole"),
        (SEARCHED, "n, 4", 1, "t[p, q], 0, whole"),
        (SEARCHED, "n, 1", 64, "0, ds(t[p, 0] + i * 256, 256), whole"),
        (CLASH, "n, 1", 64, "0, ds(t[p, 0] + i * 255, 256), whole"),
        (CLASH, "n, 1", 64, "0, ds(t[p // 2, 0] + i * 256, 256), whole"),
        (SEARCHED, "n, 4", 1, "t[0, 0] + p, q, whole"),
        (APART, "n, 3", 1, "p, ds(q * 16, 16, valid=40 - q * 16), whole"),
        (APART, "n, 3", 1, "p, ds(q * 16, 32, valid=16), whole"),
        (CLASH, "n, 3", 1, "p, ds(q * 16, 32, valid=17), whole"),
        (CLASH, "n, 3", 1, "p, ds(q * 16, 32, valid=40 - q * 16), whole"),
        (APART, "3, n", 1, "0, ds(q * 48 + p * 16, 16, valid=48 - p * 16), whole"),
        (APART, "3, n", 1, "0, ds(q * 48 + p * 20, 20, valid=48 - p * 20), whole"),
        (CLASH, "3, n", 1, "0, ds(q * 48 + p * 20, 20, valid=49 - p * 20), whole"),
        (CLASH, "3, n", 1, "0, ds(q * 48 + p * 20, 20, valid=n - p * 20), whole"),
        (CLASH, "3, n", 1, "0, ds(q * 48 + p * 20, 20, valid=48 + p * 20), whole"),
        (APART, "n, 1", 4, "p, i, whole"),
        (APART, "n, 1", 4, "p, ds(i * 16, 16), whole"),
        (APART, "n, 1", 4, "p * 4 + i, 0, whole"),
        (CLASH, "n, 1", 4, "p * 3 + i, 0, whole"),
        (APART, "n, 1", 1, "p, 0, whole"),
        (CLASH, "n, 1", 2, "p, 0, whole"),
        (APART, "n, n", 1, "p, q, ds(0, 32)", "p, q, ds(32, 32)"),
        (CLASH, "n, n", 1, "p, q, ds(0, 32)", "p, q, ds(31, 32)"),
        (APART, "n, n", 1, "p, q, ds(32, 32)", "p, q, ds(0, 32)"),
        (CLASH, "n, n", 1, "p, q, ds(32, 32)", "p, q, ds(0, 33)"),
        (SEARCHED, "n, 4", 1, "p, ds(q * 32, 16), whole", "p, ds(q * 32 + 16, 16), whole"),
        (CLASH, "n, 4", 1, "p, ds(q * 32, 16), whole", "p, ds(q * 32 + 15, 16), whole"),
        (CLASH, "n, 1", 4, "p, ds(i, 1), ds(0, 8)", "p, ds(i + 3, 1), ds(7, 8)"),
        (SEARCHED, "n, 1", 4, "p, ds(i, 1), ds(0, 8)", "p, ds(i + 4, 1), ds(7, 8)"),
        (APART, "n, 1", 4, "p, ds(i, 1), ds(0, 8)", "p, ds(i + 3, 1), ds(8, 8)"),
        (SEARCHED, "n, 1", 4, "t[p, 0], ds(i, 1), whole", "t[p, 1], ds(i, 1), whole"),
    ],
    ids=str,
)  # fmt: skip
def test_verdict(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, grid, trips, *regions = case
    assert verdict(monkeypatch, grid, trips, *regions) == expected
