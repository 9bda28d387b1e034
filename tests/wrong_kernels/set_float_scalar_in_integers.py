"""A float scalar in integers."""

import pto


@pto.kernel(grid="n", x="f32[n, 32, 64]", out="f32[n, 32, 64]")
def kernel(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.store(out[b, :, :], tile.astype('i32').at[0:8, :].set(b * 0.5).astype('f32'))
