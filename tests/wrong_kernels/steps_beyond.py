"""Every third of 64 rows, 32 times."""

import pto


@pto.kernel(grid="n", x="f32[n, 64, 64]", out="f32[n, 32, 64]")
def kernel(x, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, pto.ds(0, 32, step=3), :]))
