"""The two ways of a choice end with different types."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    tile = pto.when(lens[b] > 0, lambda t: t * 2.0, tile, lambda t: t.astype("f16"))
    pto.store(out[b, :, :], tile)
