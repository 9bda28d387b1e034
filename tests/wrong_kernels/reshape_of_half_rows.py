"""Parts of rows, side by side."""

import pto


@pto.kernel(grid="n", x="f32[n, 16, 4, 64]", out="f32[n, 16, 128]")
def kernel(x, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, :, :, 0:32].reshape(16, 128)))
