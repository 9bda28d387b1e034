"""A size given as a text."""

import pto


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="f32[rows, 128]",
    out="f32[rows, 128]",
    static=dict(tile=16),
)
def kernel(x, out, *, tile):
    here = pto.ds(pto.program_id(0) * tile, tile)
    pto.store(out[here, :], pto.load(x[here, :]))


kernel.trace(tile="32")
