"""Two layers with a relu between them, 64 hidden units at a time: the example of these pages."""

import numpy as np

import pto


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="bf16[rows, 64]",
    w1="bf16[64, hidden]",
    w2="bf16[hidden, 64]",
    out="f32[rows, 64]",
)
def feed_forward(x, w1, w2, out):
    """out = relu(x @ w1) @ w2"""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=x.shape[0] - first)
    xs = pto.load(x[here, :])

    def units(i, acc):
        at = pto.ds(i * 64, 64, valid=w1.shape[1] - i * 64)
        h = xs @ pto.load(w1[:, at])
        r = pto.maximum(h, 0.0).astype("bf16")
        return acc + r @ pto.load(w2[at, :])

    y = pto.fori_loop(0, pto.cdiv(w1.shape[1], 64), units, pto.zeros((32, 64)))
    pto.store(out[here, :], y)


@feed_forward.case
def draw(rng, *, rows=100, hidden=200):
    shapes = {"x": (rows, 64), "w1": (64, hidden), "w2": (hidden, 64)}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


@feed_forward.reference
def oracle(x, w1, w2):
    return {"out": np.maximum(x @ w1, 0) @ w2}
