"""Tiles of two widths, one below the other."""

import pto


@pto.kernel(grid="n", x="f32[n, 32, 64]", y="f32[n, 32, 32]", out="f32[n, 32, 96]")
def kernel(x, y, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.concat([pto.load(x[n, :, :]), pto.load(y[n, :, :])]))
