"""A Python list is indexed with a traced scalar."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    scales = [0.5, 1.0, 2.0]
    pto.store(out[b, :, :], pto.load(x[b, :, :]) * scales[n])
