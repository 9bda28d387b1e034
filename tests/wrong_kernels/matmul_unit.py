"""The matmul unit takes 16 rows at a time."""

import pto


@pto.kernel(grid="batch", q="bf16[batch, 8, 128]", w="bf16[128, 64]", out="f32[batch, 8, 64]")
def kernel(q, w, out):
    b = pto.program_id(0)
    pto.store(out[b, :, :], pto.load(q[b, :, :]) @ pto.load(w[:, :]))
