"""Ranges need the tensor of their counts."""

import pto


@pto.kernel(
    grid="n",
    x="f32[n, 64, 64]",
    first="i32[n] disjoint ranges of counts",
    count="i32[n]",
    out="f32[rows, 64]",
)
def kernel(x, first, count, out):
    i = pto.program_id(0)
    pto.store(out[pto.ds(first[i], 64, valid=count[i]), :], pto.load(x[i, :, :]))
