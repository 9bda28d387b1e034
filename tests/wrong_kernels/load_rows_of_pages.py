"""Rows of a tensor of three dimensions."""

import pto


@pto.kernel(grid="n", t="f32[pages, 8, 64]", ids="i32[n, 16]", out="f32[n, 16, 64]")
def kernel(t, ids, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load_rows(t, ids[n, :]))
