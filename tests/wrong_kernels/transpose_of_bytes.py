"""Bytes are turned by products only."""

import pto


@pto.kernel(grid="n", x="i8[n, 32, 64]", out="i8[n, 64, 32]")
def kernel(x, out):
    tile = pto.load(x[pto.program_id(0), :, :])
    pto.store(out[pto.program_id(0), :, :], tile.T)
