"""The matmul unit multiplies signed bytes."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="u8[rows, 32]", out="i32[rows, 32]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], tile @ tile.T)
