"""Regions that may be partial, for the vector core."""

import pto


@pto.kernel(grid="n", x="f32[rows, 64]", out="f32[n, 64, 64]")
def kernel(x, out):
    n = pto.program_id(0)
    parts = [pto.ds(k * 32, 32, valid=x.shape[0] - n) for k in range(2)]
    pto.store(out[n, :, :], pto.exp(pto.load([x[part, :] for part in parts])))
