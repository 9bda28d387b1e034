"""Running a compiled kernel on bound arrays, through files.

In: an executable that takes a job (``job.hpp``), a scheduled kernel, its bound arrays.  Out: what the
executable printed, and the outputs that it left.  Non-goals: what the printed lines mean.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lowering.ascend.orchestration import Argument, arguments
from lowering.execute.access import DTYPES, Array
from lowering.execute.inputs import Bound
from lowering.files import naming
from pto.errors import InputError, ScheduleError
from pto.ir import Kernel
from pto.targets import target_of


def execute(
    program: Path, kernel: Kernel, bound: Bound, block_num: int | None, facts: Sequence[str] = ()
) -> tuple[str, dict[str, Array]]:
    """What ``program`` prints, and its outputs; ``facts`` are further lines of the job.

    Raises:
        ScheduleError: the program ended badly.
    """
    blocks = target_of(kernel).block_num if block_num is None else block_num
    with tempfile.TemporaryDirectory(prefix="pto-") as folder:
        place, outputs = Path(folder), bound.outputs()
        lines = [f"block_num {blocks}", *facts]
        with naming(place):
            lines += [_argument(a, bound, outputs, place, blocks) for a in arguments(kernel)]
            (place / "job").write_text("\n".join(lines) + "\n", encoding="utf-8")
        done = subprocess.run([program, str(place / "job")], capture_output=True, text=True)
        if done.returncode != 0:
            raise ScheduleError(f"the compiled kernel ended with {done.returncode}: {done.stderr}")
        for name, array in outputs.items():
            made = np.fromfile(place / name, array.dtype)
            if made.size != array.size:
                message = f"{place} has no room for '{name}'"
                raise InputError(message, hint="TMPDIR names another folder")
            array[...] = made.reshape(array.shape)
    return done.stdout, outputs


def _argument(
    a: Argument, bound: Bound, outputs: Mapping[str, Array], place: Path, blocks: int
) -> str:
    """One line of a job: what the kernel's next argument is."""
    if a.kind == "scalar":
        value = bound.names[a.name]
        bits = np.float32(value).view(np.uint32)
        return f"scalar {int(bits if a.dtype == 'f32' else value)}"
    if a.kind == "workspace":
        shape = (blocks, *(int(n) for n in (a.shape or ())[1:]))
        size = int(np.prod(shape)) * DTYPES[a.dtype].itemsize
        return f"tensor {a.name} workspace - {size} {len(shape)} {' '.join(map(str, shape))}"
    array = outputs.get(a.name, bound.arrays[a.name])
    np.ascontiguousarray(array).tofile(place / a.name)
    sizes = " ".join(map(str, array.shape))
    return f"tensor {a.name} {a.direction} {place / a.name} {array.nbytes} {array.ndim} {sizes}"
