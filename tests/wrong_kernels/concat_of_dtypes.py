"""Tiles of two types."""

import pto


@pto.kernel(grid="n", x="f32[n, 32, 64]", y="f16[n, 32, 64]", out="f32[n, 32, 128]")
def kernel(x, y, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.concat([pto.load(x[n, :, :]), pto.load(y[n, :, :])], axis=1))
