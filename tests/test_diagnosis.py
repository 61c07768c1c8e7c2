"""What went wrong, named: tensors, layers and spans, and no cause without evidence."""

import ast
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from portkit.verification import causes
from portkit.verification.causes import Cause
from portkit.verification.diagnosis.layers import LayerCase, explain_layer
from portkit.verification.diagnosis.moves import usual_moves
from portkit.verification.diagnosis.roundings import usual_roundings
from portkit.verification.diagnosis.signals import signals
from portkit.verification.diagnosis.spans import SpanCase, explain_span
from portkit.verification.diagnosis.tensors import explain_parameter
from portkit.verification.diagnosis.variants import layer_variants, span_variants

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def edited(array, place, value):
    made = array.copy()
    made[place] = value
    return made


def eight_bits(array):
    step = np.abs(array).max() / 127
    return (np.round(array / step) * step).astype(np.float32)


def decimal(array, digits):
    return np.array([f"{v:.{digits}g}" for v in array.flat], np.float32).reshape(array.shape)


KERNEL, SQUARE = drawn(6, 8, 3, 3), drawn(12, 12)
WRONG = {
    "transposed": (SQUARE, lambda a: a.T.copy()),
    "kernel_transposed": (KERNEL, lambda a: a.swapaxes(2, 3).copy()),
    "kernel_rotated": (KERNEL, lambda a: a[..., ::-1, ::-1].copy()),
    "kernel_mirrored": (KERNEL, lambda a: a[..., ::-1].copy()),
    "channels_reversed": (KERNEL, lambda a: a[:, ::-1].copy()),
    "shifted": (KERNEL, lambda a: np.roll(a, 1, 0)),
    "halves_swapped": (KERNEL, lambda a: np.roll(a, 3, 0)),
    "channel_last_flatten": (KERNEL, lambda a: a.transpose(0, 2, 3, 1).reshape(a.shape)),
    "rows_permuted": (KERNEL, lambda a: a[[1, 0, 2, 3, 4, 5]]),
    "zeros": (KERNEL, np.zeros_like),
    "ones": (KERNEL, np.ones_like),
    "negated": (KERNEL, lambda a: -a),
    "scaled": (KERNEL, lambda a: a * np.float32(1.25)),
    "half": (KERNEL, lambda a: a.astype(np.float16).astype(np.float32)),
    "int8": (KERNEL, eight_bits),
    "few_digits": (KERNEL, lambda a: decimal(a, 4)),
    "one_element": (KERNEL, lambda a: edited(a, (2, 3, 1, 0), 7.5)),
    "one_bit": (KERNEL, lambda a: edited(a, (2, 3, 1, 0), -a[2, 3, 1, 0])),
    "unrelated": (KERNEL, lambda a: drawn(*a.shape, seed=9)),
    "another_checkpoint": (KERNEL, lambda a: a + drawn(*a.shape, seed=9) * np.float32(0.1)),
    "clamped": (KERNEL, lambda a: a.clip(-1, 1)),
    "not_finite": (KERNEL, lambda a: edited(a, (0, 0, 0, 0), np.nan)),
}  # fmt: skip


@pytest.mark.parametrize("cause", WRONG)
def test_what_befell_a_tensor_is_named(cause):
    want, change = WRONG[cause]
    got = change(want)
    before = got.copy(), want.copy()
    found = explain_parameter("net.weight", got, want, {})
    assert found.cause == cause
    assert "net.weight" in found.evidence
    np.testing.assert_array_equal(got, before[0])
    np.testing.assert_array_equal(want, before[1])


def test_another_s_tensor_is_named_with_whose_it_is():
    other = drawn(6, 8, 3, 3, seed=4)
    found = explain_parameter("net.weight", other.copy(), KERNEL, {"next.weight": other})
    assert found.cause == "sibling_swapped"
    assert "next.weight" in found.evidence


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 3))
def test_nothing_is_called_equal_that_is_not(order, seed):
    want = drawn(4, 4, 4, 4, seed=seed)
    got = want.transpose(order).copy()
    got[0, 1, 2, 3] += 1
    if tuple(order) == (0, 1, 2, 3):
        return
    found = explain_parameter("w", got, want, {})
    assert "256 of 256" not in found.evidence


def test_a_turned_sign_is_the_simpler_explanation():
    half = drawn(3, 8, 3, 3)
    want = np.concatenate([half, -half])  # with its halves swapped, it is its own negative
    assert np.array_equal(np.roll(want, 3, 0), -want)
    assert explain_parameter("w", -want, want, {}).cause == "negated"


def test_zeros_may_keep_their_sign():
    want = edited(KERNEL, (0, 0), 0)
    got = edited(-want, (0, 0), 0)
    assert explain_parameter("w", got, want, {}).cause == "negated"


def layer_case(source, target, given):
    with torch.no_grad():
        return LayerCase("net.0", source, target, given, source(given), target(given), {})


def normed():
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(5).double().eval()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 3)
    return norm


def swap(one, other):
    def change(norm):
        first, second = getattr(norm, one), getattr(norm, other)
        kept = first.detach().clone()
        first.data.copy_(second.data)
        second.data.copy_(kept)

    return change


NORMS = {
    "batchnorm_eps": lambda norm: setattr(norm, "eps", 1e-3),
    "batchnorm_stats_initial": lambda norm: norm.reset_running_stats(),
    "batchnorm_mean_var_swapped": swap("running_mean", "running_var"),
    "batchnorm_gamma_beta_swapped": swap("weight", "bias"),
    "batchnorm_gamma_one": lambda norm: norm.weight.data.fill_(1),
    "batchnorm_train_mode": lambda norm: norm.train(),
}


@pytest.mark.parametrize("cause", NORMS)
def test_what_befell_a_batch_norm_is_named(cause):
    source = normed()
    target = copy.deepcopy(source)
    NORMS[cause](target)
    state = {name: value.clone() for name, value in target.state_dict().items()}
    case = layer_case(source, target, torch.randn(4, 5, 6, 7, dtype=torch.float64) * 2 + 1)
    state = {name: value.clone() for name, value in target.state_dict().items()}
    assert explain_layer(case).cause == cause
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[name]), "the search must not change what it looks at"


def span_case(source, target, given):
    def named(modules):
        return tuple((f"f.{i}", module) for i, module in enumerate(modules))

    with torch.no_grad():
        wanted, got = nn.Sequential(*source)(given), nn.Sequential(*target)(given)
    return SpanCase("a → b", given, wanted, got, named(source), named(target))


POOL = nn.MaxPool2d(3, 2)
LRN = nn.LocalResponseNorm(5, 1e-2, 0.75, 2.0)
SPANS = {
    "activation_missing": ([nn.ReLU(), POOL], [POOL]),
    "activation_changed": ([nn.ReLU()], [nn.LeakyReLU(0.01)]),
    "lrn_missing": ([nn.ReLU(), LRN], [nn.ReLU()]),
    "lrn_k": ([LRN], [nn.LocalResponseNorm(5, 1e-2, 0.75, 1.0)]),
    "lrn_alpha": ([LRN], [nn.LocalResponseNorm(5, 5e-2, 0.75, 2.0)]),
    "lrn_size": ([LRN], [nn.LocalResponseNorm(7, 1e-2, 0.75, 2.0)]),
    "lrn_pool_order": ([LRN, POOL], [POOL, LRN]),
    "softmax_appended": ([nn.Flatten()], [nn.Flatten(), nn.Softmax(1)]),
}


def used_in(path):
    """Return the causes that a module names by their member, and those it names by a string."""
    tree = ast.parse(path.read_text())
    members, strings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Cause":
            members.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Diagnosis":
            strings |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
    return members, strings


def test_the_table_has_every_cause_that_is_named_and_no_other():
    folder = Path(causes.__file__).parent
    found = [used_in(path) for path in folder.rglob("*.py")]
    assert set().union(*(members for members, _ in found)) == set(Cause.__members__)
    assert set().union(*(strings for _, strings in found)) <= set(Cause)
    assert [cause.value for cause in Cause] == [name.lower() for name in Cause.__members__]


def test_no_candidate_has_a_cause_of_its_own():
    given = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    tried = [
        *signals(given, images=True),
        *layer_variants(nn.Conv2d(3, 4, 3, padding=1).double(), given),
        *layer_variants(normed(), given),
    ]
    found = {candidate.cause for candidate in tried}
    for layer in (nn.ReLU(), LRN, POOL, nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Softmax(1)):
        found |= {cause for cause, _, _ in span_variants(layer)}
    found |= {named.cause for named in usual_moves((12, 12))}
    found |= {named.cause for named in usual_moves(KERNEL.shape)}
    found |= {rounding.cause for rounding in usual_roundings(KERNEL)}
    assert len(found) >= 40
    assert {type(cause) for cause in found} == {Cause}


@pytest.mark.parametrize("cause", SPANS)
def test_what_befell_a_span_is_named(cause):
    torch.manual_seed(2)
    case = span_case(*SPANS[cause], torch.randn(2, 8, 9, 11, dtype=torch.float64) * 3)
    assert explain_span(case).cause == cause
