"""More live tiles than the vector buffer holds."""

import pto


@pto.kernel(grid="cdiv(rows, 128)", x="f32[rows, 256]", y="f32[rows, 256]", out="f32[rows, 256]")
def kernel(x, y, out):
    here = pto.ds(pto.program_id(0) * 128, 128)
    left, right = pto.load(x[here, :]), pto.load(y[here, :])
    total = pto.exp(left) * pto.exp(right)
    pto.store(out[here, :], (left + right) / total)
