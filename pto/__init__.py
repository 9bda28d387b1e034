"""Tilewright's language: write NPU tile kernels as plain Python on tiles.

    import pto

    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]")
    def double(x, out):
        r = pto.program_id(0) * 32
        here = pto.ds(r, 32, valid=x.shape[0] - r)
        pto.store(out[here, :], pto.load(x[here, :]) * 2.0)

    double(array)   # its numbers;  double.lower(array): its schedule, proof, time and source

Importing this package imports neither ``lowering`` nor JAX; calling a kernel does.
"""

from typing import TYPE_CHECKING

from pto import debug, functions, mathematics, parts, row_lists, sorting
from pto.control import when
from pto.debug import *  # noqa: F403 - see its __all__
from pto.errors import (
    CapacityError,
    DTypeError,
    InputError,
    MemoryAccessError,
    ParseError,
    PtoError,
    ScheduleError,
    ShapeError,
    TraceError,
)
from pto.functions import *  # noqa: F403 - one for each row of a table; see its __all__
from pto.kernel import Kernel, kernel
from pto.loop import fori_loop
from pto.masks import iota
from pto.mathematics import *  # noqa: F403 - see its __all__
from pto.parts import *  # noqa: F403 - see its __all__
from pto.require import require
from pto.row_lists import *  # noqa: F403 - see its __all__
from pto.scalar import Scalar, cdiv, program_id
from pto.scalar_loops import first_where, fold
from pto.selection import where
from pto.signature import Choice, choice
from pto.sorting import *  # noqa: F403 - see its __all__
from pto.tensor import Tensor, ds
from pto.text import parse, print_kernel
from pto.tile import (
    Tile,
    astype,
    broadcast_to,
    full,
    matmul,
    maximum,
    minimum,
    zeros,
)
from pto.transfer import load, store

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "Choice",
    "DTypeError",
    "InputError",
    "Kernel",
    "MemoryAccessError",
    "ParseError",
    "PtoError",
    "Scalar",
    "ScheduleError",
    "ShapeError",
    "Tensor",
    "Tile",
    "TraceError",
    "astype",
    "broadcast_to",
    "cdiv",
    "choice",
    "ds",
    "first_where",
    "fold",
    "fori_loop",
    "full",
    "iota",
    "kernel",
    "load",
    "matmul",
    "maximum",
    "minimum",
    "parse",
    "print_kernel",
    "program_id",
    "require",
    "store",
    "when",
    "where",
    "zeros",
    *debug.__all__,
    *functions.__all__,
    *mathematics.__all__,
    *parts.__all__,
    *row_lists.__all__,
    *sorting.__all__,
]


if not TYPE_CHECKING:  # a checker says itself that there is no such function

    def __getattr__(name: str) -> object:
        """Tell a kernel's author what a missing function is called here."""
        from pto.unknown import missing

        raise missing(name, __all__)
