"""A float as a condition: nothing is said of what it must be."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", scale="f32", out="f32[batch, 16, 128]")
def kernel(x, scale, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    tile = pto.when(scale, lambda t: t * 2.0, tile)
    pto.store(out[b, :, :], tile)
