"""A region runs upwards."""

import pto


@pto.kernel(grid="n", x="f32[n, 64, 64]", out="f32[n, 64, 64]")
def kernel(x, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, ::-1, :]))
