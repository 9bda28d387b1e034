"""A while loop on a traced count."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    tile, i = pto.load(x[b, :, :]), 0
    while i < n:
        tile, i = tile * 2.0, i + 1
    pto.store(out[b, :, :], tile)
