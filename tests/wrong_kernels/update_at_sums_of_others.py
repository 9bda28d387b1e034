"""Chunks that are updated in place, and end by another table than that of their sums."""

import pto


@pto.kernel(grid="items", x="f32[items, rows, 64]", lens="i32[items, most] in 0 .. 17", other="i32[items, most]")
def kernel(x, lens, other):
    b = pto.program_id(0)

    def chunk(i, at):
        here = x[b, pto.ds(at, 16, valid=other[b, i]), :]
        pto.store(here, pto.load(here) * 2.0)
        return at + lens[b, i]

    pto.fori_loop(0, lens.shape[1], chunk, 0)
