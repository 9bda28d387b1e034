"""A tile is no condition; a comparison of its elements is."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.debug_check(tile, "all are true")
    pto.store(out[b, :, :], tile)
