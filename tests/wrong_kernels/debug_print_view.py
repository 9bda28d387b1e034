"""A view is no value: it has to be loaded."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", out="f32[batch, 16, 128]")
def kernel(x, out):
    b = pto.program_id(0)
    pto.debug_print("x {}", x[b, :, :])
    pto.store(out[b, :, :], pto.load(x[b, :, :]))
