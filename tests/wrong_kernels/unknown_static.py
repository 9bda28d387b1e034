"""A static parameter that the kernel does not have."""

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


kernel.trace(tiles=32)
