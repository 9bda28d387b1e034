"""f32 does not hold every i32."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="i32[rows, 128]", out="bf16[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], tile.astype("bf16"))
