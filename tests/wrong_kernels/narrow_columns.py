"""Rows of less than 32 bytes."""

import pto


@pto.kernel(grid="items", x="f32[items, 16, 4]", out="f32[items, 16, 4]")
def kernel(x, out):
    item = pto.program_id(0)
    pto.store(out[item, :, :], pto.load(x[item, :, :]) * 2.0)
