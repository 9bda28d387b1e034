"""A Python branch on a length that is known only at run time."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    tile = pto.load(x[b, :, :])
    if n > 0:
        tile = tile * 2.0
    pto.store(out[b, :, :], tile)
