"""Only some things can be stated of a table."""

import pto


@pto.kernel(
    grid="batch", x="f32[batch, 16, 64]", slots="i32[batch] unique", out="f32[pages, 16, 64]"
)
def kernel(x, slots, out):
    b = pto.program_id(0)
    pto.store(out[slots[b], :, :], pto.load(x[b, :, :]))
