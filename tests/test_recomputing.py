"""The second implementation of every op agrees with the first, and shares no code with it."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import ops
from portkit.ops import Frame, parse_fill, parse_rearrange
from portkit.tensors import DType, TensorSpec
from portkit.verification import recomputing
from portkit.verification.recomputing import AGAIN

A, B = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 100 * i for i in range(2))
CASES = [
    (parse_rearrange("in b (c d) -> (d in) c b", {"c": 2}), (A,)),
    (ops.Concat(1, (3, 3)), (A, B)),
    (ops.Split(2, (1, 3)), (A,)),
    (ops.Stack(2), (A, B)),
    (ops.Unstack(2), (A,)),
    (ops.Pick(1), (A, B)),
    (ops.Flip((0, 2)), (A,)),
    (ops.Take(2, (3, 0, 1)), (A,)),
    (ops.Slice(((1, "1:"), (2, "::3"))), (A,)),
    (ops.Cast(DType.F32, DType.F16), (A / 7,)),
    (ops.Cast(DType.F32, DType.BF16), (A / 7,)),
    (parse_fill("ones").bind_to(TensorSpec("n", (2, 3), DType.I64)), ()),
    (parse_fill("zeros").bind_to(TensorSpec("n", (), DType.F32)), ()),
    (parse_fill("normal").bind_to(TensorSpec("n", (2, 3), DType.F32)), ()),
]


@pytest.mark.parametrize(("op", "arrays"), CASES, ids=lambda value: str(value)[:30])
def test_both_implementations_agree(op, arrays):
    frame = Frame(tuple(a.shape for a in arrays), (DType.F32,) * len(arrays))
    bound, _ = op.bind(frame, {})
    first, second = bound.apply(arrays), AGAIN[type(op)](bound, arrays)
    assert [(a.shape, a.dtype, a.tobytes()) for a in first] == [
        (a.shape, a.dtype, a.tobytes()) for a in second
    ]


def test_every_op_has_a_second_implementation_that_does_not_call_the_first():
    classes = {
        found
        for module in (ops.casting, ops.choosing, ops.filling, ops.joining, ops.rearranging)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__ and hasattr(found, "apply")
    }
    assert set(AGAIN) == classes
    source = inspect.getsource(recomputing)
    assert source.count(".apply(") == 1  # drawing numbers again, which the docstring admits


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=30))
def test_bf16_is_rounded_alike_by_bits_and_by_arithmetic(values):
    array = np.array(values, np.float32)
    cast = ops.Cast(DType.F32, DType.BF16)
    (one,), (other,) = cast.apply((array,)), AGAIN[ops.Cast](cast, (array,))
    real = ~np.isnan(array)
    assert np.array_equal(one[real], other[real])
    back = ops.Cast(DType.BF16, DType.F32)
    (wide,), (exact,) = back.apply((one,)), AGAIN[ops.Cast](back, (one,))
    assert np.array_equal(wide, exact, equal_nan=True)
