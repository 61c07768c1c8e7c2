"""The second implementation of every op agrees with the first, and shares no code with it."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import ops
from portkit.errors import PortkitError
from portkit.ops import Frame, parse_fill, parse_rearrange
from portkit.planning import Step, apply_step
from portkit.tensors import DType, TensorSpec
from portkit.verification import arithmetic, recomputing
from portkit.verification.recomputing import AGAIN

A, B = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 100 * i for i in range(2))
MODULES = (
    ops.blocks,
    ops.casting,
    ops.choosing,
    ops.computing,
    ops.filling,
    ops.folding,
    ops.joining,
    ops.padding,
    ops.rearranging,
)
RIM = np.zeros((2, 3, 4), bool)
RIM[:1, :, 1:] = True
STATISTICS = np.array([0.3, -0.7], np.float32), np.array([0.2, 4.1], np.float32)
VAR = np.array([0.2, 4.1, 3e-5], np.float32)
THREES = (1, -2, 4), (7, 1, 0), (-1, 5, 2)
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
    (ops.Pad(((0, 0, 2), (2, 1, 3))), (A,)),
    (ops.Unpad(((0, 0, 1), (2, 1, 0))), (np.where(RIM, A, 0),)),
    (ops.BlockDiagonal(2), (A,)),
    (ops.DiagonalBlocks(2), (np.kron(np.eye(2, dtype=np.float32), A[:, :, 0] + 1),)),
    (ops.Sum(1), (A / 7,)),
    (ops.Mean(0), (A / 7, B / 3)),
    (ops.Scale(-0.3), (A / 7,)),
    (ops.Scale((0.1, 3.0, -1e-3), 1), (A / 7, B)),
    (ops.Add(0.1), (A / 7,)),
    (ops.Add((0.0, -1e-3), 0), (-A,)),
    (ops.FoldBatchnorm(("weight", "mean", "var"), 1e-5), (A / 7, *STATISTICS)),
    (
        ops.FoldBatchnorm(("var", "beta", "gamma", "mean", "weight", "bias"), 1e-3, 1),
        (VAR, *(np.array(three, np.float32) / 3 for three in THREES), A / 7, VAR / 9),
    ),
    (ops.FoldNormalization(("weight",), (0.5, 0.0, -3.0), (0.1, 255.0, 3.0), "differ"), (A / 7,)),
    (
        ops.FoldNormalization(("bias", "weight"), (0.5, 0.0, -3.0), (0.1, 255.0, 3.0), "exact"),
        (STATISTICS[0], B / 7),
    ),
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
        for module in MODULES
        for _, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__ and hasattr(found, "apply")
    }
    assert set(AGAIN) == classes
    sources = inspect.getsource(recomputing), inspect.getsource(arithmetic)
    # Drawing numbers again is the one use of the first, which the docstring admits.
    assert [source.count(".apply(") for source in sources] == [1, 0]


@pytest.mark.parametrize("op", [ops.Unpad(((0, 1, 0),)), ops.DiagonalBlocks(2)], ids=str)
def test_what_would_lose_values_is_refused_by_both(op):
    array = np.zeros((2, 2), np.float32)
    array[0, 1] = -0.0
    step = Step((), TensorSpec("w", (2, 1), DType.F32), (op,), "m.yaml:3")
    with pytest.raises(PortkitError, match=r"^m.yaml:3: w: .* would lose 1 values .*not zero$"):
        apply_step(step, (array,))
    with pytest.raises(PortkitError, match=r"^m.yaml:3: w: .* values out that are not zero$"):
        recomputing.recompute(step, (array,))


def test_a_variance_that_has_no_root_is_refused_by_both():
    op = ops.FoldBatchnorm(("weight", "mean", "var"), 1e-5)
    arrays = A, STATISTICS[0], np.array([1, -1], np.float32)
    step = Step((), TensorSpec("w", A.shape, DType.F32), (op, ops.Pick(0)), "m.yaml:3")
    for carry_out in (apply_step, recomputing.recompute):
        with pytest.raises(PortkitError, match=r"^m.yaml:3: w: fold batch norm .* var \+ eps is"):
            carry_out(step, arrays)


floats = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(
    st.lists(floats, min_size=24, max_size=24),
    st.lists(st.floats(2.0**-20, 2.0**10, width=32), min_size=2, max_size=2),
    st.lists(floats, min_size=6, max_size=6),
)
def test_folds_agree_to_the_last_bit(weights, variances, others):
    weight = np.array(weights, np.float32).reshape(2, 3, 4)
    bias, gamma, mean = np.array(others, np.float32).reshape(3, 2)
    op = ops.FoldBatchnorm(("weight", "bias", "gamma", "mean", "var"), 1e-5)
    arrays = weight, bias, gamma, mean, np.array(variances, np.float32)
    for one, other in zip(op.apply(arrays), AGAIN[type(op)](op, arrays), strict=True):
        assert one.tobytes() == other.tobytes()
    factor = max(abs(others[0]), 1e-3)
    for again in (ops.Scale(factor), ops.Add(-factor), ops.Sum(2), ops.Mean(1)):
        (one,), (other,) = again.apply((weight,)), AGAIN[type(again)](again, (weight,))
        assert one.tobytes() == other.tobytes()


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
