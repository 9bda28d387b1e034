"""A tile leaves the loop body through a list."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    kept = []

    def body(i):
        kept.append(pto.load(x[i, :, :]))

    pto.fori_loop(0, n, body)
    pto.store(out[b, :, :], kept[0])
