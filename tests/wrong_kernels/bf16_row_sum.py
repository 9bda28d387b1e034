"""Row reductions are vector work: not in bf16."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", a="bf16[rows, 64]", b="bf16[64, 128]", out="f32[rows, 128]")
def kernel(a, b, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    left = pto.load(a[here, :])
    pto.store(out[here, 0:1], pto.row_sum(left).astype("f32"))
