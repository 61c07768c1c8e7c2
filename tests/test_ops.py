"""Ops: what they make, that they can be undone, and that independent libraries agree."""

import einops
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.ops import (
    Cast,
    Concat,
    Fill,
    Flip,
    Frame,
    Kind,
    OpError,
    Pick,
    Slice,
    Split,
    Stack,
    Take,
    Unstack,
    chain_kind,
    parse_fill,
    parse_rearrange,
)
from portkit.ops.casting import parse_cast
from portkit.ops.rearranging import fuse, simplify
from portkit.tensors import DType, TensorSpec


def distinct(*shape):
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def frame_of(*arrays, axes=()):
    return Frame(tuple(a.shape for a in arrays), (DType.F32,) * len(arrays), axes)


def run(op, *arrays, axes=(), symbols=None):
    bound, frame = op.bind(frame_of(*arrays, axes=axes), symbols or {})
    made = bound.apply(arrays)
    assert tuple(a.shape for a in made) == frame.shapes
    return bound, made


@pytest.mark.parametrize(
    ("pattern", "sizes", "shape"),
    [
        ("out (c h w) -> out c h w", {"h": 2, "w": 3}, (5, 24)),
        ("out c h w -> out (c h w)", {}, (5, 4, 2, 3)),
        ("(h w c) out -> out (c h w)", {"h": 2, "w": 3}, (24, 5)),
        ("h w i o -> o i h w", {}, (2, 3, 4, 5)),
        ("o i -> o i 1 1", {}, (5, 4)),
        ("o i 1 1 -> o i", {}, (5, 4, 1, 1)),
        ("o i () -> i o", {}, (5, 4, 1)),
        ("a b -> b a", {}, (0, 3)),
        ("->", {}, ()),
        ("a -> a 1", {}, (1,)),
    ],
)
def test_rearrange_does_what_einops_does_and_can_be_undone(pattern, sizes, shape):
    array = distinct(*shape)
    bound, (made,) = run(parse_rearrange(pattern, sizes), array)
    want = einops.rearrange(array, bound.pattern, **dict(bound.sizes))
    assert np.array_equal(made, want)
    _, (back,) = run(bound.inverse(), made)
    assert np.array_equal(back, array)
    split, order = bound.permutation()
    if array.size:
        assert np.array_equal(array.reshape(split).transpose(order).ravel(), made.ravel())


def test_rearrange_takes_sizes_from_the_model():
    op = parse_rearrange("o (c h w) -> o c h w", {"h": "pooled", "w": "pooled"})
    _, (made,) = run(op, distinct(5, 36), symbols={"pooled": 3})
    assert made.shape == (5, 4, 3, 3)


@pytest.mark.parametrize(
    ("pattern", "sizes", "what"),
    [
        ("a b", {}, "'a b' needs one '->' between what comes in and what goes out"),
        ("a -> b -> c", {}, "'a -> b -> c' needs one '->' between what comes in and what goes out"),
        ("a b -> a", {}, "axis 'b' is on one side of 'a b -> a' only"),
        ("a a -> a", {}, "axis 'a' stands twice in 'a a'"),
        ("a (b -> a b", {}, "a bracket is not closed in 'a (b -> a b'"),
        ("a b) -> a b", {}, "cannot read ')' in 'a b) -> a b'"),
        ("((a b)) -> a b", {}, "cannot read '(' in '((a b)) -> a b'"),
        ("a ... -> a ...", {}, "cannot read '...' in 'a ... -> a ...'"),
        ("a 2 -> a", {}, "cannot read '2' in 'a 2 -> a'"),
        ("a b -> b a", {"c": 2}, "sizes name 'c', no axis of 'a b -> b a'"),
    ],
)
def test_a_rearrange_that_cannot_be_read_says_why(pattern, sizes, what):
    with pytest.raises(OpError) as error:
        parse_rearrange(pattern, sizes)
    assert str(error.value) == what


@pytest.mark.parametrize(
    ("pattern", "sizes", "shape", "what"),
    [
        ("a b -> b a", {}, (2, 3, 4), "'a b -> b a' takes 2 axes, found [2, 3, 4]"),
        (
            "a (c h w) -> a c h w",
            {"h": 7},
            (2, 98),
            "(c h w) is 98 long: give sizes for all but one of ['c', 'w']",
        ),
        (
            "a (c h w) -> a c h w",
            {"h": 7, "w": 7},
            (2, 100),
            "(c h w): 100 is no multiple of 49",
        ),
        ("a (b c) -> a b c", {"b": 2, "c": 3}, (2, 7), "(b c) should be 6 long, found 7"),
        ("a 1 -> a", {}, (2, 3), "1 should be 1 long, found 3"),
        (
            "a b -> b a",
            {"b": "pooled"},
            (2, 3),
            "'pooled' is no parameter of this model, known: hidden",
        ),
    ],
)
def test_a_rearrange_that_does_not_fit_says_why(pattern, sizes, shape, what):
    with pytest.raises(OpError) as error:
        parse_rearrange(pattern, sizes).bind(Frame((shape,), (DType.F32,)), {"hidden": 4})
    assert str(error.value) == what


def test_an_uneven_concat_splits_back_unevenly():
    arrays = (distinct(4, 3), distinct(2, 3) + 100, distinct(1, 3) + 200)
    bound, (made,) = run(Concat("out", (4, 2, 1)), *arrays, axes=("out", "in"))
    assert np.array_equal(made, np.concatenate(arrays))
    _, back = run(bound.inverse(), made)
    assert [a.tolist() for a in back] == [a.tolist() for a in arrays]


def test_concat_and_split_check_the_sizes_that_were_written():
    with pytest.raises(OpError, match=r"concat 3\+3 on 0 joins lengths \[3, 3\], found \[4, 2\]"):
        run(Concat(0, (3, 3)), distinct(4, 3), distinct(2, 3))
    with pytest.raises(OpError, match=r"split 3\+3 on 1 makes 6 in all, found 7 in \[2, 7\]"):
        run(Split(1, (3, 3)), distinct(2, 7))
    with pytest.raises(OpError, match="needs tensors alike on every other axis"):
        run(Concat(0, (1, 1)), distinct(1, 3), distinct(1, 4))
    with pytest.raises(OpError, match="no axis is called 'out': give them with `axes:`"):
        run(Concat("out", (1, 1)), distinct(1, 3), distinct(1, 3))
    with pytest.raises(OpError, match="no axis is called 'out': they are called a b"):
        run(Flip(("out",)), distinct(1, 3), axes=("a", "b"))


def test_stack_and_unstack_undo_each_other():
    arrays = tuple(distinct(2, 3) + 10 * i for i in range(3))
    bound, (made,) = run(Stack(3), *arrays)
    assert np.array_equal(made, np.stack(arrays))
    _, back = run(bound.inverse(), made)
    assert np.array_equal(back, arrays)
    assert isinstance(bound.inverse().inverse(), Stack)
    with pytest.raises(
        OpError, match=r"unstack 4 takes one tensor of 4 on axis 0, found \[3, 2, 3\]"
    ):
        run(Unstack(4), made)


def test_flip_and_take_undo_themselves():
    array = distinct(2, 3, 4)
    bound, (made,) = run(Flip((1, 2)), array)
    assert np.array_equal(made, array[:, ::-1, ::-1])
    assert np.array_equal(run(bound.inverse(), made)[1][0], array)
    bound, (made,) = run(Take(1, (2, 0, 1)), array)
    assert bound.kind is Kind.EXACT
    assert np.array_equal(made, array[:, [2, 0, 1]])
    assert np.array_equal(run(bound.inverse(), made)[1][0], array)


def test_a_take_that_leaves_something_out_is_lossy():
    bound, (made,) = run(Take(1, (0, 1)), distinct(2, 3))
    assert (bound.kind, bound.inverse()) == (Kind.LOSSY, None)
    assert made.tolist() == [[0, 1], [3, 4]]
    with pytest.raises(OpError, match=r"take \[0, 3\] of 1: index 3 is not in 0 to 2"):
        run(Take(1, (0, 3)), distinct(2, 3))


def test_slice_decimates():
    array = distinct(8, 3, 7, 7)
    op = Slice((("out", "::4"), ("h", "::3"), ("w", "::3")))
    bound, (made,) = run(op, array, axes=("out", "in", "h", "w"))
    assert np.array_equal(made, array[::4, :, ::3, ::3])
    assert (bound.kind, bound.inverse()) == (Kind.LOSSY, None)


def test_pick_keeps_one():
    _, (made,) = run(Pick(1), distinct(2), distinct(3))
    assert made.shape == (3,)


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_bf16_rounds_as_torch_does(values):
    import torch

    array = np.array(values, np.float32)
    (bits,) = Cast(DType.F32, DType.BF16).apply((array,))
    want = torch.from_numpy(array.copy()).to(torch.bfloat16).view(torch.uint16).numpy()
    nan = np.isnan(array)
    assert np.array_equal(bits[~nan], want[~nan])
    (wide,) = Cast(DType.BF16, DType.F32).apply((bits,))
    assert np.isnan(wide[nan]).all()


def test_casts_are_spelt_out():
    assert parse_cast("F32", "F16").kind is Kind.LOSSY
    assert parse_cast("F16", "F32").kind is Kind.COMPUTED
    with pytest.raises(OpError, match="cast from F32 to itself does nothing"):
        parse_cast("F32", "F32")
    with pytest.raises(OpError, match="cast knows BF16, F16, F32, F64, found 'I64'"):
        parse_cast("I64", "F32")
    with pytest.raises(OpError, match="would round twice"):
        parse_cast("F64", "BF16")
    with pytest.raises(OpError, match="cast F16 to F32 found F32"):
        parse_cast("F16", "F32").bind(Frame(((1,),), (DType.F32,)), {})


def test_new_tensors_are_the_same_in_every_order_and_differ_by_name():
    def made(name, seed):
        spec = TensorSpec(name, (3, 4), DType.F32)
        return parse_fill("kaiming_normal", seed).bind_to(spec).apply(())[0]

    assert np.array_equal(made("a", 1), made("a", 1))
    assert not np.array_equal(made("a", 1), made("b", 1))
    assert not np.array_equal(made("a", 1), made("a", 2))


@pytest.mark.parametrize(
    ("scheme", "std"),
    [("normal", 0.02), ("kaiming_normal", (2 / 200) ** 0.5), ("kaiming_uniform", (2 / 200) ** 0.5)],
)
def test_new_tensors_have_the_spread_their_scheme_says(scheme, std):
    spec = TensorSpec("w", (300, 200), DType.F32)
    (made,) = Fill(scheme, std=0.02).bind_to(spec).apply(())
    assert made.dtype == np.float32
    assert abs(made.std() / std - 1) < 0.02
    assert abs(made.mean()) < 3 * std / made.size**0.5


def test_xavier_counts_both_fans():
    spec = TensorSpec("w", (30, 20, 3, 5), DType.F32)
    (made,) = Fill("xavier_uniform").bind_to(spec).apply(())
    assert abs(np.abs(made).max() / (6 / (20 * 15 + 30 * 15)) ** 0.5 - 1) < 0.01


def test_constants_keep_the_dtype():
    (ones,) = Fill("ones").bind_to(TensorSpec("n", (), DType.I64)).apply(())
    assert (ones.dtype, ones.shape, int(ones)) == (np.int64, (), 1)
    narrow = TensorSpec("n", (2, 3), DType.F8_E4M3)
    with pytest.raises(OpError, match="ones has no bits in F8_E4M3 here: use zeros"):
        parse_fill("ones").bind_to(narrow)
    assert not parse_fill("zeros").bind_to(narrow).apply(())[0].any()
    with pytest.raises(OpError, match="normal makes floats, n I64\\[\\] holds none"):
        Fill("normal").bind_to(TensorSpec("n", (), DType.I64))
    with pytest.raises(OpError, match="xavier_uniform needs a fan-in, b F32\\[3\\] has none"):
        Fill("xavier_uniform").bind_to(TensorSpec("b", (3,), DType.F32))


def test_a_chain_is_as_bad_as_its_worst_op():
    exact, lossy = Flip((0,)), Slice(((0, "::2"),))
    assert chain_kind(()) is Kind.EXACT
    assert chain_kind((exact, lossy)) is Kind.LOSSY
    assert chain_kind((lossy, Fill("zeros"))) is Kind.MADE


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@given(shapes.flatmap(lambda s: st.tuples(st.just(s), st.permutations(range(len(s))))))
def test_simplifying_changes_nothing(case):
    shape, order = case
    array = distinct(*shape)
    split, short = simplify(shape, tuple(order))
    assert len(split) <= len(shape)
    want = array.transpose(order).ravel()
    assert np.array_equal(array.reshape(split).transpose(short).ravel(), want)


@given(st.data())
def test_two_permutations_in_a_row_are_one(data):
    factors = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    order = tuple(data.draw(st.permutations(range(len(factors)))))
    first = (tuple(factors), order)
    middle = [factors[axis] for axis in order]
    cut = data.draw(st.integers(1, len(middle)))
    split = (int(np.prod(middle[:cut])), *middle[cut:])
    second = (split, tuple(data.draw(st.permutations(range(len(split))))))
    fused = fuse(first, second)
    flat = distinct(int(np.prod(factors)))
    once = flat.reshape(first[0]).transpose(first[1]).ravel()
    want = once.reshape(second[0]).transpose(second[1]).ravel()
    assert fused is not None
    assert np.array_equal(flat.reshape(fused[0]).transpose(fused[1]).ravel(), want)


def test_permutations_with_no_common_axes_stay_apart():
    assert fuse(((2, 3), (1, 0)), ((2, 3), (1, 0))) is None
