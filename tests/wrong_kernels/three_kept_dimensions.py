"""A tile has two dimensions."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    tile = pto.load(x[0:2, :, :])
    pto.store(out[b, :, :], tile)
