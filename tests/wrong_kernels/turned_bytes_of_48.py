"""Boxes of bytes are turned two at a time."""

import pto


@pto.kernel(grid="n", x="i8[n, 64, 48]", y="i8[n, 64, 64]", out="i32[n, 48, 64]")
def kernel(x, y, out):
    n = pto.program_id(0)
    left, right = pto.load(x[n, :, :]), pto.load(y[n, :, :])
    pto.store(out[n, :, :], left.T @ right)
