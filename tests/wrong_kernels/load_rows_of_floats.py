"""Rows numbered by floats."""

import pto


@pto.kernel(grid="n", t="f32[rows, 64]", ids="f32[n, 16]", out="f32[n, 16, 64]")
def kernel(t, ids, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load_rows(t, ids[n, :]))
