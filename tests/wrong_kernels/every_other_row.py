"""A dimension of which every other element is meant is two."""

import pto


@pto.kernel(grid="n", x="f32[n, 64, 64]", out="f32[n, 32, 64]")
def kernel(x, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, 0:64:2, :]))
