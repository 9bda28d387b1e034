"""A store writes what the next iteration of another one writes."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i):
        tile = pto.load(x[b, i, :])
        pto.store(out[b, i, :], tile)
        pto.store(out[b, i + 1, :], tile * 2.0)

    pto.fori_loop(0, n, body)
