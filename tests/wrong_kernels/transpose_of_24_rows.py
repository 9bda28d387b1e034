"""The vector unit turns boxes of 16 rows."""

import pto


@pto.kernel(grid="cdiv(rows, 24)", x="f32[rows, 128]", out="f32[128, rows]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 24, 24)
    tile = pto.load(x[here, :])
    pto.store(out[:, here], tile.T)
