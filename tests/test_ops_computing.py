"""Ops that compute, pad and spread: against numpy and torch, with what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.ops import (
    Add,
    BlockDiagonal,
    DiagonalBlocks,
    FoldBatchnorm,
    FoldNormalization,
    Frame,
    Kind,
    Mean,
    OpError,
    Pad,
    Scale,
    Sum,
    Unpad,
    chain_kind,
)
from portkit.tensors import DType

WHOLE = ("weight", "bias", "gamma", "beta", "mean", "var")
OIHW = ("out", "in", "h", "w")


def distinct(*shape):
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.float32).reshape(shape)


def bind(op, *shapes, dtypes=(), axes=(), symbols=None):
    dtypes = dtypes or (DType.F32,) * len(shapes)
    return op.bind(Frame(shapes, dtypes, axes), symbols or {})


def run(op, *arrays, axes=(), symbols=None):
    bound, frame = bind(op, *(a.shape for a in arrays), axes=axes, symbols=symbols)
    made = bound.apply(arrays)
    assert [(a.shape, a.dtype) for a in made] == [
        (shape, dtype.carrier) for shape, dtype in zip(frame.shapes, frame.dtypes, strict=True)
    ]
    return bound, made


@pytest.fixture
def layers():
    """A convolution and a batch norm after it, with statistics of their own."""
    import torch

    torch.manual_seed(3)
    conv, norm = torch.nn.Conv2d(5, 7, 3), torch.nn.BatchNorm2d(7, eps=1e-3).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.01, 3)
    return conv.eval(), norm


def arrays_of(conv, norm):
    tensors = (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return tuple(tensor.detach().numpy() for tensor in tensors)


def test_folding_a_batch_norm_agrees_with_torch_and_with_the_layers(layers):
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    bound, (weight, bias) = run(FoldBatchnorm(WHOLE, 1e-3), *arrays_of(*layers))
    assert (bound.kind, bound.inverse()) == (Kind.COMPUTED, None)
    fused = fuse_conv_bn_eval(*layers)
    assert np.allclose(weight, fused.weight.detach().numpy(), rtol=1e-6, atol=0)
    assert np.allclose(bias, fused.bias.detach().numpy(), rtol=1e-6, atol=1e-6)
    images = torch.randn(2, 5, 9, 9, dtype=torch.float64)
    want = layers[1].double()(layers[0].double()(images)).detach()
    got = torch.nn.functional.conv2d(
        images, *(torch.from_numpy(a).double() for a in (weight, bias))
    )
    assert float((got - want).abs().max()) < 5e-7 * float(want.abs().max())


def test_a_fold_is_rounded_once(layers):
    arrays = arrays_of(*layers)
    _, single = run(FoldBatchnorm(WHOLE, 1e-3), *arrays)
    double = FoldBatchnorm(WHOLE, 1e-3).apply(tuple(a.astype(np.float64) for a in arrays))
    for one, exact in zip(single, double, strict=True):
        assert np.array_equal(one, exact.astype(np.float32))


def test_what_a_fold_does_not_take_is_as_if_it_were_not_there(layers):
    weight, bias, gamma, beta, mean, var = arrays_of(*layers)
    order = ("var", "weight", "mean")
    _, bare = run(FoldBatchnorm(order, 1e-3), var, weight, mean)
    zeros, ones = np.zeros_like(bias), np.ones_like(gamma)
    _, full = run(FoldBatchnorm(WHOLE, 1e-3), weight, zeros, ones, zeros, mean, var)
    for one, other in zip(bare, full, strict=True):
        assert np.array_equal(one, other)
    _, tilted = run(FoldBatchnorm(WHOLE, 1e-3), weight, bias, gamma, beta, mean, var)
    assert not np.array_equal(tilted[1], full[1])


def test_a_transposed_convolution_s_channels_are_on_axis_1(layers):
    weight, *rest = arrays_of(*layers)
    _, (straight, bias) = run(FoldBatchnorm(WHOLE, 1e-3), weight, *rest)
    turned = np.ascontiguousarray(weight.swapaxes(0, 1))
    _, (folded, other) = run(FoldBatchnorm(WHOLE, 1e-3, 1), turned, *rest)
    assert np.array_equal(folded.swapaxes(0, 1), straight)
    assert np.array_equal(other, bias)


@pytest.mark.parametrize("padding", [0, 1])
def test_folding_the_input_s_normalisation_is_exact_but_for_padded_borders(padding):
    import torch
    from torch.nn.functional import conv2d

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    torch.manual_seed(1)
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    shaped = [torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (mean, std)]
    inputs = (images - shaped[0]) / shaped[1]
    want = conv2d(inputs, weight.double(), bias.double(), padding=padding)
    op = FoldNormalization(("weight", "bias"), mean, std, "exact")
    _, folded = run(op, weight.numpy(), bias.numpy())
    got = conv2d(images, *(torch.from_numpy(a).double() for a in folded), padding=padding)
    inside = slice(padding, -padding or None)
    off = (got - want).abs()
    gate = 5e-7 * float(want.abs().max())
    assert float(off[..., inside, inside].max()) < gate
    assert (float(off.max()) < gate) == (padding == 0)


@pytest.mark.parametrize(
    ("op", "want"),
    [
        (Scale(0.3), lambda a: a * 0.3),
        (Scale((2.0, 0.5, -1.0), "in"), lambda a: a * np.array([2, 0.5, -1]).reshape(1, 3, 1, 1)),
        (Add(-0.7), lambda a: a - 0.7),
        (Add((1.0, 1e-9), "out"), lambda a: a + np.array([1, 1e-9]).reshape(2, 1, 1, 1)),
        (Sum("in"), lambda a: a.sum(1)),
        (Mean("w"), lambda a: a.mean(3)),
    ],
    ids=["scale", "scale on an axis", "add", "add on an axis", "sum", "mean"],
)
def test_arithmetic_is_numpy_s_in_float64_rounded_once(op, want):
    array = distinct(2, 3, 2, 5) / 7
    bound, (made,) = run(op, array, axes=OIHW)
    assert np.array_equal(made, want(array.astype(np.float64)).astype(np.float32))
    assert bound.kind is (Kind.LOSSY if isinstance(op, Sum | Mean) else Kind.COMPUTED)
    assert bound.inverse() is None
    assert op.rename(OIHW) == (OIHW if made.ndim == 4 else tuple(a for a in OIHW if a != op.axis))


def test_a_sum_s_axes_keep_their_names_for_the_next_op():
    _, frame = bind(Sum("in"), (2, 3, 4), axes=("out", "in", "w"))
    assert (frame.shapes, frame.axes) == (((2, 4),), ("out", "w"))


def test_a_chain_with_arithmetic_is_computed():
    assert chain_kind((Pad(((0, 1, 1),)), Scale(2.0))) is Kind.COMPUTED


@given(st.data())
@settings(deadline=None)
def test_a_pad_is_numpy_s_and_an_unpad_gives_it_back(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    pairs = [data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in shape]
    array = distinct(*shape)
    op = Pad(tuple((axis, *pair) for axis, pair in enumerate(pairs)))
    bound, (made,) = run(op, array)
    assert np.array_equal(made, np.pad(array, pairs))
    assert bound.kind is bound.inverse().kind is Kind.EXACT
    assert bound.inverse().inverse() == bound
    _, (back,) = run(bound.inverse(), made)
    assert np.array_equal(back, array)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None)
def test_a_grouped_convolution_is_a_dense_one_with_blocks_on_its_diagonal(groups, rows, columns):
    import torch
    from torch.nn.functional import conv2d

    weight = distinct(groups * rows, columns, 1, 2)
    bound, (dense,) = run(BlockDiagonal("groups"), weight, symbols={"groups": groups})
    images = torch.arange(groups * columns * 12.0).reshape(1, groups * columns, 3, 4)
    want = conv2d(images, torch.from_numpy(weight), groups=groups)
    assert torch.equal(conv2d(images, torch.from_numpy(dense)), want)
    _, (back,) = run(bound.inverse(), dense)
    assert np.array_equal(back, weight)
    assert bound.kind is bound.inverse().kind is Kind.EXACT
    assert bound.inverse().inverse() == bound


@pytest.mark.parametrize("stray", [1.0, -0.0, np.nan])
def test_what_stands_beside_the_blocks_or_in_the_rim_is_never_lost(stray):
    dense = run(BlockDiagonal(2), distinct(4, 1, 3))[1][0]
    dense[0, 1, 2] = stray
    with pytest.raises(OpError) as error:
        DiagonalBlocks(2).apply((dense,))
    assert str(error.value) == (
        "diagonal blocks of 2 would lose 1 values beside them that are not zero"
    )
    rim = np.array([1, 2, stray], np.float32)
    with pytest.raises(OpError) as error:
        Unpad(((0, 0, 1),)).apply((rim,))
    assert str(error.value) == "unpad 0 0+1 would lose 1 values that are not zero"


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(OpError, match=r"values up to 6.55e\+08 do not fit float16"):
        Scale(1e4).apply((np.array([65504], np.float16),))
    (kept,) = Scale(1e4).apply((np.array([np.inf], np.float16),))
    assert np.isinf(kept).all()


OUT = ((4, 3, 3, 3), (4,), (4,))
THREE = ("weight", "mean", "var")


@pytest.mark.parametrize(
    ("op", "shapes", "what"),
    [
        (
            FoldBatchnorm(THREE, 1e-5),
            OUT[:2],
            "fold_batchnorm takes weight mean var, found 2 tensors",
        ),
        (
            FoldBatchnorm(THREE, 1e-5),
            (*OUT[:2], (3,)),
            "fold batch norm (weight mean var), eps 1e-05: var should be [4], found [3]",
        ),
        (
            FoldBatchnorm(THREE, 1e-5, 4),
            OUT,
            "fold batch norm (weight mean var), eps 1e-05 on axis 4: [4, 3, 3, 3] has no such axis",
        ),
        (
            FoldNormalization(("weight",), (0.5,), (0.5,), "exact"),
            OUT[:1],
            "fold_normalization has 1 channels, found [4, 3, 3, 3]: [out, in, …] is needed",
        ),
        (Scale((1.0, 2.0), 1), OUT[:1], "scale has 2 numbers for 3 entries of 1"),
        (Sum("c"), OUT[:1], "no axis is called 'c': give them with `axes:`"),
        (Mean(0), ((0, 3),), "mean over 0 of [0, 3] has nothing to add up"),
        (Unpad(((0, 3, 2),)), OUT[:1], "unpad 0 3+2 cuts off more than [4, 3, 3, 3] has"),
        (Pad(((4, 3, 2),)), OUT[:1], "[4, 3, 3, 3] has no axis 4"),
        (BlockDiagonal(3), OUT[:1], "[4, 3, 3, 3] cannot be 3 groups of [out, in, …]"),
        (DiagonalBlocks(2), OUT[:1], "[4, 3, 3, 3] has no 2 blocks on its diagonal"),
        (BlockDiagonal("g"), OUT[:1], "'g' is no parameter of this model, known: none"),
    ],
)
def test_an_op_that_does_not_fit_says_why(op, shapes, what):
    with pytest.raises(OpError) as error:
        bind(op, *shapes)
    assert str(error.value) == what


@pytest.mark.parametrize("op", [Scale(2.0), Add(1.0), Sum(0), Mean(0)], ids=str)
def test_only_floats_that_numpy_has_are_computed_on(op):
    name = str(op).split()[0]
    with pytest.raises(OpError, match=f"{name} computes on F16, F32, F64, found BF16: cast it"):
        bind(op, (2, 2), dtypes=(DType.BF16,))
    with pytest.raises(OpError, match=f"{name} needs tensors of one dtype, found F32, F64"):
        bind(op, (2, 2), (2, 2), dtypes=(DType.F32, DType.F64))
