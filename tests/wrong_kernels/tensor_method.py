"""A whole tensor is transposed."""

import pto


@pto.kernel(grid="n // 64", x="bf16[64, 64]", w="bf16[n, 64]", out="f32[64, n]")
def kernel(x, w, out):
    here = pto.ds(pto.program_id(0) * 64, 64)
    pto.store(out[:, here], pto.load(x[:, :]) @ pto.load(w.T[:, here]))
