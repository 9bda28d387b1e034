"""A float that was read does not scale integers."""

import pto


@pto.kernel(grid="batch", x="i32[batch, 16, 128]", scale="f32[batch]", out="i32[batch, 16, 128]")
def kernel(x, scale, out):
    b = pto.program_id(0)
    pto.store(out[b, :, :], pto.load(x[b, :, :]) * scale[b])
