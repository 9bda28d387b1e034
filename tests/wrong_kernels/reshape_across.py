"""Rows of a tile are made of whole dimensions."""

import pto


@pto.kernel(grid="n", x="f32[n, 4, 16, 64]", out="f32[n, 32, 128]")
def kernel(x, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, :, :, :].reshape(32, 128)))
