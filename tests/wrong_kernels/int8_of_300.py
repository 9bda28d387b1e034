"""An i8 tile holds -128 to 127."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="i8[rows, 128]", out="i8[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], pto.full((32, 128), 300, "i8"))
