"""A scalar is read from a tensor that is stored to."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 128]")
def kernel(x):
    row = pto.program_id(0)
    pto.store(x[pto.ds(row, 1), :], pto.load(x[pto.ds(row, 1), :]) * x[row, 0])
