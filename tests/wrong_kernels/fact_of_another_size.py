"""A bound is over the dimensions of the kernel."""

import pto


@pto.kernel(
    grid="batch", x="f32[batch, 16, 64]", table="i32[batch] in 0 .. pages", out="f32[slots, 16, 64]"
)
def kernel(x, table, out):
    b = pto.program_id(0)
    pto.store(out[table[b], :, :], pto.load(x[b, :, :]))
