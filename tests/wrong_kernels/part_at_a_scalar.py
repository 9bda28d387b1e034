"""Rows from a scalar on."""

import pto


@pto.kernel(grid="n", x="f32[n, 32, 64]", out="f32[n, 32, 64]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.store(out[b, :, :], tile[b : b + 16, :])
