"""Element types, layouts and tile types.

Non-goal: the memories and costs of a particular chip; those live in ``pto/targets``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DTYPE_BYTES: dict[str, int] = {
    "f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i16": 2, "i8": 1, "u8": 1,
}  # fmt: skip
"""Element types by name, with their size in bytes."""

CALLED: dict[str, str] = {
    "float32": "f32", "float": "f32", "fp32": "f32", "float16": "f16", "half": "f16", "fp16": "f16",
    "bfloat16": "bf16", "int32": "i32", "int": "i32", "int16": "i16", "int8": "i8", "uint8": "u8",
    "byte": "u8",
}  # fmt: skip
"""What other libraries call an element type -> its name here."""

ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(("f8", "fp8", "float8", "hif8", "f8e4m3", "f8e5m2", "fp8_e4m3", "fp8_e5m2"), "fp8"),
    **dict.fromkeys(("float8_e4m3", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"), "fp8"),
    **dict.fromkeys(("f4", "fp4", "float4", "f4e2m1", "f4e1m2", "fp4_e2m1", "float4_e2m1fn"), "fp4"),
    **dict.fromkeys(("i4", "int4", "u4", "uint4"), "four-bit integers"),
    **dict.fromkeys(("u16", "uint16", "u32", "uint32", "i64", "int64", "f64", "float64", "double"), ""),
}  # fmt: skip
"""What an element type is called that no chip of ``pto/targets`` computes with -> its family ('': itself)."""

SCALAR_DTYPES = ("f32", "i32")
"""Types of scalar parameters: a float travels to the kernel as its 32 bits (docs/scalars.md)."""

SCALAR_HINT = "scalars are computed in f32: declare it f32, tiles of any type take it"

GREATEST: dict[str, float] = {
    "f32": 3.4028234663852886e38,
    "f16": 65504.0,
    "bf16": 3.3895313892515355e38,
}
"""The largest finite number of each float type."""

INTEGERS: dict[str, tuple[int, int]] = {
    "i32": (-(1 << 31), (1 << 31) - 1),
    "i16": (-(1 << 15), (1 << 15) - 1),
    "i8": (-(1 << 7), (1 << 7) - 1),
    "u8": (0, (1 << 8) - 1),
}
"""The least and the greatest number of each integer type."""

LAYOUTS = ("nd", "dn", "nz", "zn", "zz", "pairs")
"""nd row-major, dn column-major, nz / zn / zz boxes of 16 rows by 32 bytes (docs/machine.md 12), pairs rows of two
words one behind the other."""

BOXED = ("nz", "zn", "zz")

PAIR = 2
"""Words of a scale of a column on the way out of L0C: the bits of a float, and what becomes of the result."""

BOX_ROWS, UNIT_BYTES = 16, 32
"""Height of a box, which all sizes of a product are multiples of; width of a box, which a row of any other
tile is a multiple of.  They are the language's: a kernel is traced before it has a target."""


def holds(dtype: str, value: float) -> bool:
    """Whether an element of ``dtype`` can be ``value``, rounded: an integer type whole numbers from its least to
    its greatest, a float type what is not above its largest number, infinities and NaN."""
    if dtype in INTEGERS:
        least, greatest = INTEGERS[dtype]
        return isinstance(value, int) and least <= value <= greatest
    return not math.isfinite(value) or abs(value) <= GREATEST[dtype]


def box_unit(dtype: str) -> int:
    """What the inner size of a product of ``dtype``, and the columns of its right operand, are multiples of: both
    sides of a box, whichever way it lies (docs/machine.md 2.3, 12)."""
    return max(BOX_ROWS, UNIT_BYTES // DTYPE_BYTES[dtype])


def box_of(layout: str, dtype: str, turned: bool = False) -> tuple[int, int]:
    """(rows, columns) that those of a boxed tile are multiples of; ``turned``: of the transpose of how it lies.
    Sums lie in boxes of 16 by 16."""
    box = (BOX_ROWS, box_unit(dtype))
    return box[::-1] if (layout == "zn") != turned else box


SHARES = ("rows", "cols", "both")
"""What each lane of the vector core holds of a tile: a part of its rows, a part of its columns, all of it."""


TURNED = {"rows": "cols", "cols": "rows", "both": "both"}
"""What it holds of the transpose."""


@dataclass(frozen=True, slots=True)
class TileType:
    """A static two-dimensional tile: element type, rows, columns (both in elements).

    ``lanes``: of a tile of the vector core once it is given to lanes, which then is what one lane holds: one
    of ``SHARES``; '': as usual, a part of the rows, and all of a tile of one row.
    """

    dtype: str
    rows: int
    cols: int
    lanes: str = ""

    def __post_init__(self) -> None:
        if self.lanes == self._usual:  # one way to write it
            object.__setattr__(self, "lanes", "")

    @property
    def _usual(self) -> str:
        return "rows" if self.rows > 1 else "both"

    @property
    def share(self) -> str:
        """``lanes``, what is usual included."""
        return self.lanes or self._usual

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tile."""
        return self.rows * self.cols * DTYPE_BYTES[self.dtype]

    @property
    def column(self) -> TileType:
        """One number for every row of it, as it is held beside it."""
        return TileType(self.dtype, self.rows, 1, "rows" if self.share == "rows" else "both")

    @property
    def row(self) -> TileType:
        """One number for every column of it, as it is held beside it."""
        return TileType(self.dtype, 1, self.cols, "cols" if self.share == "cols" else "both")

    @property
    def turned(self) -> TileType:
        """The transpose of what a lane holds: of rows it has columns."""
        return TileType(self.dtype, self.cols, self.rows, TURNED[self.share])

    def of_all(self, lanes: int) -> TileType:
        """The tile of which this is what one of ``lanes`` lanes holds."""
        rows = lanes if self.share == "rows" else 1
        cols = lanes if self.share == "cols" else 1
        return TileType(self.dtype, rows * self.rows, cols * self.cols)

    def of_one(self, lanes: int, share: str) -> TileType:
        """What one of ``lanes`` lanes holds of this whole tile: a part where it has several rows, or columns."""
        rows = lanes if share == "rows" and self.rows > 1 else 1
        cols = lanes if share == "cols" and self.cols > 1 else 1
        held = share if rows * cols > 1 else "both"
        return TileType(self.dtype, self.rows // rows, self.cols // cols, held)

    def __str__(self) -> str:
        return f"{self.dtype}[{self.rows}, {self.cols}]" + (f" {self.lanes}" if self.lanes else "")


PAIRS = f"i32[n, {PAIR}], with n a multiple of {BOX_ROWS}"


def is_pairs(t: TileType) -> bool:
    """Whether a tile may be scales of columns: ``PAIRS``."""
    return (t.dtype, t.cols) == ("i32", PAIR) and t.rows % BOX_ROWS == 0


def scales_of(t: TileType) -> TileType:
    """The type of the scales of its columns."""
    return TileType("i32", t.cols, PAIR)
