"""A part at a place that a scalar says."""

import pto


@pto.kernel(grid="n", x="bf16[n, 64, 64]", out="f32[n, 64, 64]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.store(out[b, :, :], tile[:, 16 * b : 16 * b + 16] @ tile[0:16, :])
