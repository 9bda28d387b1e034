"""A scalar is f32 or i32."""

import pto


@pto.kernel(grid="batch", x="bf16[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    first = x[b, 0, 0]
    pto.store(out[b, :, :], pto.load(x[b, :, :]).astype('f32') * first)
