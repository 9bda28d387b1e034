"""A check that Python can decide, and that fails."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]", static=dict(n=16))
def kernel(x, out, *, n):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    pto.debug_check(n % 32 == 0, "n is a multiple of 32")
    pto.store(out[b, :, :], tile)
