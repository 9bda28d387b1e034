"""A choice by elements, as if it were one for all of them."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    tile = pto.when(tile > 0.0, lambda t: t * 2.0, tile)
    pto.store(out[b, :, :], tile)
