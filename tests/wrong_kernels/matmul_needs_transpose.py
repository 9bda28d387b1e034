"""The right operand lies the other way round."""

import pto


@pto.kernel(
    grid="batch", q="bf16[batch, 16, 128]", k="bf16[batch, 64, 128]", out="f32[batch, 16, 64]"
)
def kernel(q, k, out):
    b = pto.program_id(0)
    scores = pto.load(q[b, :, :]) @ pto.load(k[b, :, :])
    pto.store(out[b, :, :], scores)
