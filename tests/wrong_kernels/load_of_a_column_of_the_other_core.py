"""Columns that are no whole units of 32 bytes are stored by the vector core and loaded by the cube core."""

import pto


@pto.kernel(grid="n", x="f32[n, 16, 64]", y="f32[n, 16, 64]", w="f32[64, 64]", out="f32[n, 16, 64]")
def kernel(x, y, w, out):
    b = pto.program_id(0)
    pto.store(y[b, :, 0:1], pto.row_sum(pto.load(x[b, :, :])))
    pto.store(out[b, :, :], pto.load(y[b, :, :]) @ pto.load(w[:, :]))
