"""A float that was read is no index."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", order="f32[batch]", out="f32[batch, 16, 128]")
def kernel(x, order, out):
    b = pto.program_id(0)
    pto.store(out[b, :, :], pto.load(x[order[b], :, :]))
