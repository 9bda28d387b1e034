"""More rows than one tile is loaded from."""

import pto


@pto.kernel(grid="n", t="f32[rows, 64]", ids="i32[n, 100]", out="f32[n, 100, 64]")
def kernel(t, ids, out):
    n = pto.program_id(0)
    pto.store(out[n, :, :], pto.load_rows(t, ids[n, :]))
