"""numpy's name of a dtype."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", a="bf16[rows, 64]", b="bf16[64, 128]", out="f32[rows, 128]")
def kernel(a, b, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    left = pto.load(a[here, :])
    pto.store(out[here, 0:64], left.astype("float32"))
