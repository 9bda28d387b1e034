"""A place with a format: what a tile looks like is decided."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.debug_print("item {b:3}", b)
    pto.store(out[b, :, :], tile)
