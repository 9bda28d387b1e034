"""A loop is as long as a tile says."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    result = pto.fori_loop(0, pto.max(tile), lambda i, t: t * 0.5, tile)
    pto.store(out[b, :, :], result)
