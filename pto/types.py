"""Element types, memory spaces and tile types.

Non-goal: sizes and costs of a particular chip; those live in ``lowering/target.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

DTYPE_BYTES: dict[str, int] = {"f32": 4, "i32": 4, "f16": 2, "bf16": 2}
"""Element types by name, with their size in bytes."""

SPACES = ("l1", "l0a", "l0b", "l0c", "ub")
"""On-chip memories: L1, the two matmul operands, the accumulator, the vector buffer."""

LAYOUTS = ("nd", "dn", "nz", "zn", "zz")
"""nd row-major, dn column-major, nz / zn / zz boxes of 16 rows by 32 bytes (docs/machine.md 12)."""


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
