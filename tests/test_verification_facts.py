"""Facts and settings: what a mapping states is held against both models, never just believed."""

import pytest
import torch
from torch import nn

from portkit.mapping import invert, load_mapping
from portkit.planning import Ends, compose_plans, make_plan
from portkit.tensors import DType, TensorSpec
from portkit.verification.configuration import compare_configurations
from portkit.verification.facts import check_facts

HEAD = "portkit: 1\nfrom: theirs\nto: ours\nfor: [tiny]\nrules:\n"
SAME = '  - map: "{x:**}"\n'
FLIPPED = (
    '  - {map: "0.weight", axes: "out in h w", ops: [{flip: in}]}\n'
    '  - {map: "0.bias"}\n  - {map: "{i}.{p:weight|bias}", where: {i: [4]}}\n'
)


class Named(nn.Module):
    """A net with an auxiliary head."""

    def __init__(self, *, aux):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        if aux:
            self.aux1 = nn.Linear(4, 2)


def net(channels=3, classes=5, *more, pool=None):
    """Return a net of two layers over 8×8 images: its linear layer is called 4."""
    pool = pool or nn.MaxPool2d(2)
    layers = (nn.Conv2d(channels, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(36, classes))
    return nn.Sequential(*layers, *more).eval()


def specs(module):
    kinds = {torch.float32: DType.F32, torch.int64: DType.I64}
    return {
        name: TensorSpec(name, tuple(tensor.shape), kinds[tensor.dtype])
        for name, tensor in module.state_dict().items()
    }


@pytest.fixture
def plan_of(tmp_path):
    def make(facts, source, target, rules=SAME, *, back=False):
        path = tmp_path / "m.yaml"
        path.write_text(f"{HEAD}{rules}" + (f"facts:\n{facts}" if facts else ""))
        portmap = load_mapping(path, "m")
        ends = Ends(specs(source), specs(target), {"num_classes": 5})
        return make_plan(invert(portmap) if back else portmap, ends)

    return make


@pytest.fixture
def judged(plan_of):
    """Return what failed of a fact, and how many checks there were."""

    def judge(facts, source=None, target=None, rules=SAME, *, back=False):
        source, target = source or net(), target or net()
        plan = plan_of(facts, source, target, rules, back=back)
        checks = check_facts(plan, source, target)
        return [check for check in checks if not check.passed], len(checks)

    return judge


def said(failed):
    return [f"{check.subject}: {check.what}" for check in failed]


def test_the_input_s_channels_are_counted(judged):
    fact = "  input: {layout: NCHW, channel_order: RGB, mean: [0, 0, 0], std: [1, 1, 1]}\n"
    assert judged(fact) == ([], 10)
    failed, count = judged(fact, net(1), net(1))
    assert (len(failed), count) == (6, 10)
    assert said(failed)[0] == "input of the source: 0 takes 1 channels, mean has 3"
    (failed, _) = judged("  input: {layout: NHWC}\n")
    assert said(failed) == [
        f"input of the {side}: layout NHWC, 0 takes NCHW" for side in ("source", "target")
    ]


@pytest.mark.parametrize("rules", [SAME, FLIPPED], ids=["kept", "flipped"])
@pytest.mark.parametrize("orders", [("RGB", "RGB"), ("BGR", "RGB")], ids=" to ".join)
def test_channels_are_flipped_exactly_where_their_orders_differ(judged, rules, orders):
    one, other = orders
    fact = f"  input: {{source: {{channel_order: {one}}}, target: {{channel_order: {other}}}}}\n"
    failed, _ = judged(fact, rules=rules)
    assert (failed == []) == ((rules is FLIPPED) == (one != other))
    if failed:
        does = "reversed" if rules is FLIPPED else "kept"
        assert said(failed) == [f"0.weight: input channels {does}, stated {one} and {other}"]
        assert failed[0].diagnosis.cause == "channels_reversed"


def folded(mean, std, borders):
    return (
        '  - {from: ["0.weight", "0.bias"], to: ["0.weight", "0.bias"],\n'
        "     ops: [{fold_normalization: {takes: [weight, bias], "
        f"mean: {mean}, std: {std}, borders: {borders}}}}}]}}\n"
        '  - {map: "4.{p:weight|bias}"}\n'
    )


SOURCE_MEAN = (
    "  input: {source: {range: [0, 1], mean: [0.5, 0.4, 0.3], std: [0.1, 0.2, 0.3]}, "
    "target: {range: [0, 1]}}\n"
)


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        (folded([0.5, 0.4, 0.3], [0.1, 0.2, 0.3], "exact"), ""),
        (
            folded([0.3, 0.4, 0.5], [0.1, 0.2, 0.3], "exact"),
            (
                "0.weight: fold normalization (weight bias), mean 0.3, 0.4, 0.5, "
                "std 0.1, 0.2, 0.3, borders exact, stated for the source "
                "range (0.0, 1.0), mean (0.5, 0.4, 0.3), std (0.1, 0.2, 0.3)"
            ),
        ),
        (
            SAME,
            (
                "0.weight: values stated apart (range (0.0, 1.0), mean (0.5, 0.4, 0.3), "
                "std (0.1, 0.2, 0.3); range (0.0, 1.0), mean None, std None), "
                "the plan does not make up for it"
            ),
        ),
    ],
    ids=["folded", "folded backwards", "forgotten"],
)
def test_a_normalisation_that_only_one_side_has_is_folded_as_stated(judged, rules, wrong):
    failed, _ = judged(SOURCE_MEAN, rules=rules)
    assert said(failed) == ([wrong] if wrong else [])


def test_a_fold_that_is_not_stated_and_one_over_padding_are_found(judged):
    rules = folded([0.5, 0.4, 0.3], [0.1, 0.2, 0.3], "exact")
    failed, _ = judged("  input: {mean: [0.5, 0.4, 0.3], std: [0.1, 0.2, 0.3]}\n", rules=rules)
    assert said(failed) == ["0.weight: both take the same values, but the plan computes others"]
    target = net()
    target[0].padding = (1, 1)
    failed, _ = judged("", None, target, rules)
    assert {check.what for check in failed} == {
        "padding (1, 1), a mean was folded with borders: exact"
    }
    assert judged("", None, target, rules.replace("exact", "differ")) == ([], 0)


def test_a_mean_over_no_layer_cannot_be_checked_and_fails(judged):
    bare = nn.Sequential(nn.BatchNorm2d(3)).eval()
    failed, count = judged("  input: {mean: [0, 0, 0]}\n", bare, bare)
    assert len(failed) == count == 3
    assert all("cannot be checked" in check.what for check in failed)


def flattening(pattern):
    sizes = "sizes: {c: 4, h: 3, w: 3}"
    return (
        f'  - {{map: "4.weight", ops: [{{rearrange: "{pattern}", {sizes}}}]}}\n'
        '  - {map: "0.{p:weight|bias}"}\n  - {map: "4.bias"}\n'
    )


@pytest.mark.parametrize(
    ("fact", "rules", "passed", "words"),
    [
        ("c h w", SAME, True, "flattened axes kept, stated c h w in the source, c h w in"),
        ("h w c", flattening("o (h w c) -> o (c h w)"), False, "flattened axes reordered, stated"),
        (
            "{source: h w c, target: c h w}",
            flattening("o (h w c) -> o (c h w)"),
            True,
            "flattened axes reordered as stated h w c in the source",
        ),
        (
            "{source: w h c, target: c h w}",
            flattening("o (h w c) -> o (c h w)"),
            False,
            "flattened axes not reordered as stated w h c",
        ),
        ("{source: h w c, target: c h w}", SAME, False, "flattened axes kept, or the sizes of"),
    ],
)
def test_flattened_axes_are_reordered_exactly_as_stated(judged, fact, rules, passed, words):
    failed, count = judged(f"  flatten: {fact}\n", rules=rules)
    assert (failed == [], count) == (passed, 1)
    if failed:
        assert failed[0].what.startswith(words)
        assert failed[0].diagnosis.cause == "channel_last_flatten"


def test_a_linear_layer_s_order_reaches_a_kernel_and_comes_back(judged):
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3)).eval()
    rules = (
        '  - {map: "4.weight -> 3.weight", ops: '
        '[{rearrange: "o (h w c) -> o c h w", sizes: {h: 3, w: 3}}]}\n'
        '  - {map: "0.{p:weight|bias}"}\n  - {map: "4.bias -> 3.bias"}\n'
    )
    right = "  flatten: {source: h w c, target: c h w}\n"
    assert judged(right, None, conv, rules) == ([], 1)
    assert judged(right, conv, net(), rules, back=True) == ([], 1)
    wrong = "  flatten: {source: c h w, target: c h w}\n"
    assert len(judged(wrong, None, conv, rules)[0]) == 1
    assert len(judged(wrong, conv, net(), rules, back=True)[0]) == 1
    assert said(judged("  flatten: c h w\n", conv, conv)[0]) == [
        "flatten: neither model has a linear layer to flatten for"
    ]


TAKEN = (
    '  - {map: "4.{p:weight|bias}", ops: [{take: {axis: 0, indices: [1, 2, 3, 4, 0]}}]}\n'
    '  - {map: "0.{p:weight|bias}"}\n'
)


@pytest.mark.parametrize("rules", [SAME, TAKEN], ids=["kept", "taken"])
@pytest.mark.parametrize("order", ["imagenet", "{source: imagenet, target: synsets}"])
def test_classes_change_their_order_exactly_where_it_is_stated(judged, rules, order):
    failed, count = judged(f"  labels: {{count: num_classes, order: {order}}}\n", rules=rules)
    assert count == 4
    fits = (rules is TAKEN) == order.startswith("{")
    assert len(failed) == (0 if fits else 2)
    if failed:
        assert failed[0].diagnosis.cause == "rows_permuted"
        assert "changes the order" in failed[0].what if rules is TAKEN else "keeps the order"


def test_an_order_that_only_the_bias_follows_is_found(judged):
    rules = TAKEN.replace("{p:weight|bias}", "bias", 1) + '  - {map: "4.weight"}\n'
    failed, _ = judged("  labels: {order: {source: a, target: b}}\n", rules=rules)
    assert [check.subject for check in failed] == ["4.weight"]


def test_logits_are_counted(judged):
    failed, count = judged("  labels: {count: 1000, order: imagenet}\n")
    assert (len(failed), count) == (2, 4)
    assert failed[0].what == "5 logits in the source, 5 in the target, stated 1000"


def test_heads_are_in_the_one_model_and_their_tensors_go_nowhere(judged):
    dropping = (
        '  - {map: "body.{p:weight|bias}"}\n'
        '  - {drop: "aux1.{r:**}", because: "auxiliary", inverse: {init: zeros, because: "new"}}\n'
    )
    both, one = Named(aux=True), Named(aux=False)
    assert judged("  heads: [aux1]\n", both, one, dropping) == ([], 1)
    assert judged("  heads: [aux1]\n", one, both, dropping, back=True) == ([], 1)
    assert said(judged("  heads: [aux2]\n", both, one, dropping)[0]) == [
        "aux2: the source has no such module"
    ]
    assert said(judged("  heads: [aux1]\n", both, both)[0]) == [
        "aux1: the target has it, too; aux1.weight is not dropped by the plan"
    ]


def test_what_differs_only_in_training_is_stated_and_nothing_else(judged):
    with_dropout = net(3, 5, nn.Dropout(0.3))
    assert judged("  eval_only: [Dropout]\n", with_dropout, net()) == ([], 1)
    weaker = net(3, 5, nn.Dropout(0.2))
    assert judged("  eval_only: [Dropout]\n", with_dropout, weaker) == ([], 1)
    assert said(judged("  eval_only: [Dropout]\n")[0]) == ["Dropout: is alike, stated"]
    failed, _ = judged("  eval_only: []\n", with_dropout, net())
    assert said(failed) == ["Dropout: differs, not stated"]


def test_facts_about_layers_are_diagnosed_and_idle_ones_are_said(plan_of):
    pair = nn.Sequential(nn.BatchNorm2d(3, eps=1e-3)).eval(), nn.Sequential(nn.BatchNorm2d(3))
    pair = pair[0], pair[1].eval()
    rules = '  - {map: "{i}.{p:seg}"}\n'
    plan = plan_of("  batchnorm_eps: 1e-5\n  pooling: {ceil_mode: false}\n", *pair, rules)
    compared = compare_configurations(plan, pair)
    failed = [check for check in compared.checks if not check.passed]
    assert said(failed) == [
        "0: batchnorm_eps of source 0: eps 0.001, the mapping states eps 1e-05",
        "0: eps 1e-05, source 0 has eps 0.001",
    ]
    assert {check.diagnosis.cause for check in failed} == {"batchnorm_eps"}
    assert compared.notes == (
        "the mapping states pooling, neither model has a layer that it is about",
    )


@pytest.mark.parametrize(
    ("source", "target", "cause"),
    [
        (nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2), "ceil_mode"),
        (nn.AvgPool2d(2, padding=1), nn.AvgPool2d(2, padding=1, count_include_pad=False),
         "count_include_pad"),
        (nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((3, 2)), "adaptive_pool_frozen"),
        (nn.Upsample(scale_factor=2, mode="bilinear"),
         nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "resize_mode"),
        (nn.LocalResponseNorm(5, k=2.0), nn.LocalResponseNorm(5), "lrn_k"),
        (nn.ReLU(), nn.ReLU6(), "activation_changed"),
        (nn.Hardtanh(0, 6), nn.Hardtanh(), "activation_changed"),
        (nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 2), "kernel_size"),
        (nn.MaxPool2d(2), nn.MaxPool2d(2, dilation=2), "dilation"),
        (nn.Conv2d(3, 3, 3, dilation=2), nn.Conv2d(3, 3, 3), "dilation"),
        (nn.LocalResponseNorm(5, beta=0.5), nn.LocalResponseNorm(5), "lrn_beta"),
        (nn.ConvTranspose2d(3, 3, 3, 2, output_padding=1), nn.ConvTranspose2d(3, 3, 3, 2), ""),
        (nn.ConvTranspose2d(3, 3, 3, 2), nn.ConvTranspose2d(3, 3, 3, 1), "stride"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), nn.Conv2d(3, 3, 3, padding=1),
         "padding_mode"),
        (nn.GroupNorm(1, 3), nn.GroupNorm(3, 3), ""),
        (nn.LayerNorm(3), nn.LayerNorm(3, eps=1e-3), "norm_eps"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)  # fmt: skip
def test_a_setting_that_differs_is_found_and_named(plan_of, source, target, cause):
    pair = nn.Sequential(source).eval(), nn.Sequential(target).eval()
    rules = '  - {map: "{i}.{p:seg}"}\n'
    for modules, wrong in (((pair[0], pair[0]), 0), (pair, 1)):
        compared = compare_configurations(plan_of("", *modules, rules), modules)
        failed = [check for check in compared.checks if not check.passed]
        assert len(failed) == wrong
        assert compared.notes == ()
        if failed:
            found = failed[0].diagnosis.cause if failed[0].diagnosis else ""
            assert found == cause


def test_what_only_trains_is_no_difference(plan_of):
    pair = (
        nn.Sequential(nn.BatchNorm2d(3, momentum=0.5), nn.Dropout(0.5)).eval(),
        nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.1)).eval(),
    )
    compared = compare_configurations(plan_of("", *pair, '  - {map: "{i}.{p:seg}"}\n'), pair)
    assert all(check.passed for check in compared.checks)
    pair[1][1].train()
    pair[1][0].train()
    compared = compare_configurations(plan_of("", *pair, '  - {map: "{i}.{p:seg}"}\n'), pair)
    causes = [check.diagnosis.cause for check in compared.checks if check.diagnosis]
    assert causes == ["batchnorm_train_mode", "dropout_active"]


def test_a_softmax_on_one_side_is_said(plan_of):
    pair = net(), net(3, 5, nn.Softmax(1))
    compared = compare_configurations(plan_of("", *pair), pair)
    assert compared.notes == (
        "0 softmax layers in the source, 1 in the target: not compared one by one",
    )


def test_a_route_states_of_its_ends_what_its_legs_state(plan_of):
    facts = "  labels: {{count: 5, order: {{source: {}, target: {}}}}}\n  eval_only: [{}]\n"
    first = plan_of(facts.format("a", "b", "Dropout"), net(), net())
    second = plan_of(facts.format("b", "c", "StochasticDepth"), net(), net())
    joined = compose_plans(first, second).facts
    assert joined == {
        "labels": {"count": 5, "source": "a", "target": "c"},
        "eval_only": ("Dropout", "StochasticDepth"),
    }
    silent = plan_of("  padding: zeros\n", net(), net())
    assert compose_plans(first, silent).facts == {"eval_only": ("Dropout",), "padding": "zeros"}
    with pytest.raises(Exception, match="the route's mappings disagree on labels"):
        compose_plans(second, first)
