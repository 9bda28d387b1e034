"""Columns side by side, each of one number."""

import pto


@pto.kernel(grid="n", x="f32[n, 32, 64]", out="f32[n, 32, 2]")
def kernel(x, out):
    tile = pto.load(x[pto.program_id(0), :, :])
    both = [pto.row_max(tile), pto.row_min(tile)]
    pto.store(out[pto.program_id(0), :, :], pto.concat(both, axis=1))
