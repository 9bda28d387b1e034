"""The functions of one tile, one for each row of ``FUNCTIONS`` in ``pto/ops.py``.

Written by ``pytest tests/pto/test_ops.py --update-golden``: change the row.
"""

from __future__ import annotations

from pto.tile import Tile, of_tile

__all__ = [
    "abs",
    "col_max",
    "col_min",
    "col_sum",
    "exp",
    "log",
    "reciprocal",
    "relu",
    "row_max",
    "row_min",
    "row_sum",
    "rsqrt",
    "sqrt",
]


def exp(x: Tile) -> Tile:
    """The exponential, e^x, of each element; f32 or f16."""
    return of_tile("exp", x)


def log(x: Tile) -> Tile:
    """The natural logarithm of each element; f32 or f16."""
    return of_tile("log", x)


def sqrt(x: Tile) -> Tile:
    """The square root of each element; f32 or f16."""
    return of_tile("sqrt", x)


def reciprocal(x: Tile) -> Tile:
    """1 / x of each element; f32 or f16."""
    return of_tile("reciprocal", x)


def rsqrt(x: Tile) -> Tile:
    """1 / sqrt(x) of each element; f32 or f16."""
    return of_tile("rsqrt", x)


def abs(x: Tile) -> Tile:
    """The absolute value of each element; f32 or f16."""
    return of_tile("abs", x)


def relu(x: Tile) -> Tile:
    """The larger of each element and 0; f32, f16 or i32."""
    return of_tile("relu", x)


def row_max(x: Tile) -> Tile:
    """The largest element of every row, as a [rows, 1] tile; f32, f16 or i32."""
    return of_tile("row_max", x)


def row_min(x: Tile) -> Tile:
    """The smallest element of every row, as a [rows, 1] tile; f32, f16 or i32."""
    return of_tile("row_min", x)


def row_sum(x: Tile) -> Tile:
    """The sum of every row, as a [rows, 1] tile; f32, f16 or i32."""
    return of_tile("row_sum", x)


def col_max(x: Tile) -> Tile:
    """The largest element of every column, as a [1, cols] tile; f32 or f16."""
    return of_tile("col_max", x)


def col_min(x: Tile) -> Tile:
    """The smallest element of every column, as a [1, cols] tile; f32 or f16."""
    return of_tile("col_min", x)


def col_sum(x: Tile) -> Tile:
    """The sum of every column, as a [1, cols] tile; f32."""
    return of_tile("col_sum", x)
