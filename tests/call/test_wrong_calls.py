"""Wrong calls: one message each, in the user's terms, at the line of the call."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pto
from pto.kernels import gemm, paged_attention
from tests import ROOT
from tests.call.cases import called, rows, scaled, times
from tests.conftest import Golden
from tests.judges import foreign_arrays

GIVEN = called("paged_attention")[0]
QUERY, KEYS, VALUES, TABLE, LENS, SCALE = GIVEN.values()
A, B, BIAS = called("gemm")[0].values()
X = rows()
TEN_HEADS = np.zeros((4, 10, 128), QUERY.dtype)
KEYS3 = np.zeros((15, 128, 3, 128), KEYS.dtype)


@pto.kernel(grid="2, cdiv(rows, 32)", x="f32[rows, 128]", out="f32[2, rows, 128]")
def whole_tiles(x: Any, out: Any) -> None:
    first = pto.program_id(1) * 32
    here = pto.ds(first, 32, valid=x.shape[0] - first)
    pto.store(out[pto.program_id(0), here, :], pto.load(x[pto.ds(first, 32), :]))


def attention(**changed: Any) -> Any:
    return paged_attention(**{**GIVEN, **changed})


def foreign(x: Any, **how: Any) -> Any:
    return foreign_arrays.Array(jnp.asarray(x), **how)


def deleted(x: Any) -> Any:
    array = jnp.array(x)
    array.delete()
    return array


WRONG: dict[str, Callable[[], Any]] = {
    "a dtype": lambda: times(X.astype(np.float64), factor=2.0),
    "a dtype of 16 bits": lambda: gemm(A.astype(np.float32), B, BIAS),
    "an integer of 64 bits": lambda: attention(block_table=TABLE.astype(np.int64)),
    "a number of dimensions": lambda: times(X[0], factor=2.0),
    "a fixed size": lambda: times(X[:, :64], factor=2.0),
    "sizes that disagree": lambda: gemm(A, B[:-1], BIAS),
    "a static parameter that two arrays show": lambda: attention(key_cache=KEYS[..., :64]),
    "a static parameter against an array": lambda: attention(dim=64),
    "missing": lambda: gemm(A, BIAS),
    "several missing": lambda: paged_attention(QUERY),
    "one too many": lambda: gemm(A, B, BIAS, X),
    "an output by position": lambda: times(X, X, factor=2.0),
    "by position what has a name": lambda: times(X, 2.0),
    "a name that there is not": lambda: times(x=X, facto=2.0),
    "given twice": lambda: times(X, x=X, factor=2.0),
    "the wrong order": lambda: gemm(BIAS, A, B),
    "a list": lambda: times([[1.0, 2.0]], factor=2.0),
    "nothing": lambda: times(None, factor=2.0),
    "text": lambda: times("x", factor=2.0),
    "a shape": lambda: times(jax.ShapeDtypeStruct((100, 128), "float32"), factor=2.0),
    "an array for a number": lambda: times(X, factor=X),
    "a number for an array": lambda: times(3.0, factor=2.0),
    "a number that is none": lambda: times(X, factor=float("nan")),
    "text for a number": lambda: times(X, factor="2"),
    "a static parameter that is traced": lambda: jax.jit(lambda n: scaled(X, 2.0, tile=n))(32),
    "a static parameter of another type": lambda: scaled(X, 2.0, tile=32.5),
    "a static parameter that is a list": lambda: scaled(X, 2.0, tile=[32]),
    "a static parameter that does not fit": lambda: scaled(X, 2.0, tile=17),
    "an array that is traced for a number": lambda: jax.jit(lambda f: times(X, factor=f))(X),
    "a type that is traced": lambda: jax.jit(lambda x: times(x, factor=2.0))(X.astype(np.int32)),
    "another device": lambda: times(foreign(X, device=(2, 0)), factor=2.0),
    "what cannot be shared": lambda: times(foreign(X, shares=False), factor=2.0),
    "two libraries": lambda: gemm(foreign(A), jnp.asarray(B), BIAS),
    "an index out of bounds": lambda: attention(block_table=TABLE + 1000),
    "a partial tile without valid": lambda: whole_tiles(X),
    "what the kernel requires": lambda: attention(
        query=TEN_HEADS, key_cache=KEYS3, value_cache=KEYS3
    ),
    "a masked array": lambda: times(np.ma.masked_less(X, 0), factor=2.0),
    "keys of random numbers": lambda: times(jax.random.key(0), factor=2.0),
    "a deleted array": lambda: times(deleted(X), factor=2.0),
    "a date for a static parameter": lambda: scaled(X, 2.0, tile=np.datetime64("2020")),
    "no array to lower for": lambda: times.lower((100, 128)),
    "text to lower for": lambda: times.lower("x"),
    "a size to lower for": lambda: times.lower(X[:, :64]),
    "a dtype to lower for": lambda: times.lower(jax.ShapeDtypeStruct((3, 128), "int32")),
    "sizes that disagree to lower for": lambda: gemm.lower(A, B[:-1]),
    "an array to lower for a number": lambda: times.lower(factor=X),
    "a lookahead that is no number": lambda: times.lower(lookahead=1.5),
    "an executor that is no word": lambda: times.lower().run(X, factor=2.0, executor=3),
    "seeds that are no number": lambda: times.lower().run(
        X, factor=2.0, executor="adversarial", seeds="3"
    ),
    "blocks that are no number": lambda: times.lower().simulate("x"),
    "more than all choices": lambda: times.lower().simulate(8, holds=101),
    "records": lambda: times(np.zeros(3, [("a", "f4")]), factor=2.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_message_at_the_line_of_the_call(name: str, golden: Golden) -> None:
    with pytest.raises(pto.PtoError) as told:
        WRONG[name]()
    error = told.value
    assert error.loc is not None
    shown = "".join(traceback.format_exception(error))
    assert "During handling" not in shown, "one message, not two"
    text = str(error).replace(f"{ROOT}/", "")
    text = text.replace(f":{error.loc.line}", "") if str(ROOT / "tests") in error.loc.file else text
    golden(f"calls/{name.replace(' ', '_')}.txt", text + "\n")


def test_a_kernel_in_a_kernel() -> None:
    @pto.kernel(grid="rows", x="f32[rows, 128]", out="f32[rows, 128]")
    def outer(x: Any, out: Any) -> None:
        times(x, factor=2.0)

    with pytest.raises(pto.TraceError, match="kernel 'times' cannot be called") as told:
        outer(X)
    assert told.value.hint == "what two kernels share goes into a plain function"


def test_nothing_is_left_behind() -> None:
    """A right call after a wrong one of the same shapes."""
    with pytest.raises(pto.PtoError):
        times(X, factor=float("inf"))
    assert np.array_equal(times(X, factor=2.0), X * 2)
