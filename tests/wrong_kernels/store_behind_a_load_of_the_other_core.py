"""The cube core loads what the vector core then writes over, with something else."""

import pto


@pto.kernel(grid="n", x="f32[n, 16, 64]", y="bf16[n, 16, 64]", w="bf16[64, 64]", out="f32[n, 16, 64]")
def kernel(x, y, w, out):
    b = pto.program_id(0)
    pto.store(out[b, :, :], pto.load(y[b, :, :]) @ pto.load(w[:, :]))
    pto.store(y[b, :, :], pto.load(x[b, :, :]).astype("bf16"))
