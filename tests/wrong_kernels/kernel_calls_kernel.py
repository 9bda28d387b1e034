"""A kernel is called like a function."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def double(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    pto.store(out[here, :], pto.load(x[here, :]) * 2.0)


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    double(x, out)
