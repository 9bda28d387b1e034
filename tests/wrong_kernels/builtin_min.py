"""The built-in min compares and branches."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    tile = pto.load(x[b, :, :])
    left = min(n, 128)
    pto.store(out[b, :, :], tile * left)
