"""A step that is known only when the kernel runs."""

import pto


@pto.kernel(grid="n", x="f32[n, 64, 64]", out="f32[n, 32, 64]", every="i32")
def kernel(x, out, every):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load(x[n, pto.ds(0, 32, step=every), :]))
