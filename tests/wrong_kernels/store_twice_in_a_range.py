"""A range is of one entry: two items of one entry write it twice."""

import pto


@pto.kernel(
    grid="n, 2",
    x="f32[n, 64, 64]",
    first="i32[n] disjoint ranges of count",
    count="i32[n]",
    out="f32[rows, 64]",
)
def kernel(x, first, count, out):
    i, half = pto.program_id(0), pto.program_id(1)
    rows = pto.ds(first[i] + half * 32, 64, valid=count[i] - half * 32)
    pto.store(out[rows, :], pto.load(x[i, :, :]))
