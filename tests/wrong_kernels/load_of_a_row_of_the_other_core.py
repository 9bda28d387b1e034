"""One row is stored by the vector core and loaded by the cube core."""

import pto


@pto.kernel(grid="n", x="f32[n, 16, 64]", y="bf16[n, 16, 64]", w="bf16[64, 64]", out="f32[n, 16, 64]")
def kernel(x, y, w, out):
    b = pto.program_id(0)
    pto.store(y[b, 0:1, :], pto.col_sum(pto.load(x[b, :, :])).astype("bf16"))
    pto.store(out[b, :, :], pto.load(y[b, :, :]) @ pto.load(w[:, :]))
