"""A work item writes what all of them read."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]")
def kernel(x):
    first = pto.load(x[0:16, :])
    here = pto.ds(pto.program_id(0) * 16, 16)
    pto.store(x[here, :], pto.load(x[here, :]) - first)
