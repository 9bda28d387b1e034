"""i8 lies in boxes of 32."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="i8[rows, 48]", out="i32[rows, 32]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], tile @ pto.load(x[here, :]).T)
