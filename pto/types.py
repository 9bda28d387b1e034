"""Element types, layouts and tile types.

Non-goal: the memories and costs of a particular chip; those live in ``pto/targets``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DTYPE_BYTES: dict[str, int] = {"f32": 4, "i32": 4, "f16": 2, "bf16": 2}
"""Element types by name, with their size in bytes."""

CALLED: dict[str, str] = {
    "float32": "f32", "float": "f32", "fp32": "f32", "float16": "f16", "half": "f16", "fp16": "f16",
    "bfloat16": "bf16", "int32": "i32", "int": "i32",
}  # fmt: skip
"""What other libraries call an element type -> its name here."""

SCALAR_DTYPES = ("f32", "i32")
"""Types of scalar parameters: a float travels to the kernel as its 32 bits (docs/scalars.md)."""

SCALAR_HINT = "scalars are computed in f32: declare it f32, tiles of any type take it"

GREATEST: dict[str, float] = {
    "f32": 3.4028234663852886e38,
    "f16": 65504.0,
    "bf16": 3.3895313892515355e38,
}
"""The largest finite number of each float type."""

LAYOUTS = ("nd", "dn", "nz", "zn", "zz")
"""nd row-major, dn column-major, nz / zn / zz boxes of 16 rows by 32 bytes (docs/machine.md 12)."""

BOXED = ("nz", "zn", "zz")

BOX_ROWS, UNIT_BYTES = 16, 32
"""Height of a box, which all sizes of a product are multiples of; width of a box, which a row of any other
tile is a multiple of.  They are the language's: a kernel is traced before it has a target."""


def holds(dtype: str, value: float) -> bool:
    """Whether an element of ``dtype`` can be ``value``, rounded: i32 whole numbers of 32 bits, a
    float type what is not above its largest number, infinities and NaN."""
    if dtype == "i32":
        return isinstance(value, int) and -(1 << 31) <= value < 1 << 31
    return not math.isfinite(value) or abs(value) <= GREATEST[dtype]


@dataclass(frozen=True, slots=True)
class TileType:
    """A static two-dimensional tile: element type, rows, columns (both in elements)."""

    dtype: str
    rows: int
    cols: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tile."""
        return self.rows * self.cols * DTYPE_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{self.rows}, {self.cols}]"
