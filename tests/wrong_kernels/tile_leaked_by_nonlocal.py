"""A tile leaves the loop body through a nonlocal name."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    best = pto.zeros((16, 128))

    def body(i):
        nonlocal best
        best = pto.maximum(best, pto.load(x[i, :, :]))

    pto.fori_loop(0, n, body)
    pto.store(out[b, :, :], best)
