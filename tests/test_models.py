import math
import re

import numpy as np
import pytest
import torch
import torchvision
from scipy import stats
from torch import nn

from portkit import models
from portkit.errors import PortkitError, Problem
from portkit.models import CONFIGURATIONS, SpatialMean, build

SMALL = {"num_classes": 5, "in_channels": 2, "width": 3 / 64, "hidden": 11, "pooled": 3}
EIGHT_VGGS = [f"vgg{n}{norm}" for n in (11, 13, 16, 19) for norm in ("", "_bn")]
TWELVE_VGGS = [
    f"{name}{norm}"
    for name in ("vgg11", "vgg11_lrn", "vgg13", "vgg16c", "vgg16", "vgg19")
    for norm in ("", "_bn")
]
COUNTS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}


def on_meta(scheme, arch, **arguments):
    with torch.device("meta"):
        return build(scheme, arch, **arguments)


def parameter_count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def randomise(net, seed=0):
    """Give every parameter and buffer values of its own; keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            fan_in = math.prod(tensor.shape[1:])
            spread = math.sqrt(24 / fan_in) * (noise - 0.5)
            tensor.copy_(0.5 + noise if name.endswith("running_var") or fan_in == 1 else spread)
    return net


def images(height, width, channels=2, count=3):
    shape = (count, channels, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


# The nets of the papers


@pytest.mark.parametrize("arch", ["alexnet", *EIGHT_VGGS])
def test_parameters_are_as_many_as_torchvisions_with_either_head(arch):
    theirs = on_meta("torchvision", arch)
    assert parameter_count(theirs) == COUNTS.get(arch, parameter_count(theirs))
    for scheme in ("fc-head", "conv-head"):
        assert parameter_count(on_meta(scheme, arch)) == parameter_count(theirs)


@pytest.mark.parametrize("arch", ["alexnet", *EIGHT_VGGS])
def test_features_are_called_and_shaped_as_torchvisions(arch):
    theirs, ours = (
        {name: tensor.shape for name, tensor in on_meta(scheme, arch).features.state_dict().items()}
        for scheme in ("torchvision", "fc-head")
    )
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("arch", ["alexnet", *TWELVE_VGGS])
@pytest.mark.parametrize(
    ("scheme", "kind", "places"),
    [("fc-head", nn.Linear, [2, 5, 8]), ("conv-head", nn.Conv2d, [0, 3, 6])],
)
def test_the_heads_layers_have_fixed_places_and_dropout_follows_activation(
    arch, scheme, kind, places
):
    head = on_meta(scheme, arch, **SMALL).classifier
    assert [i for i, layer in enumerate(head) if isinstance(layer, kind)] == places
    tail = "ReLU Dropout"
    names = " ".join(type(layer).__name__ for layer in head)
    assert names.endswith(f"{kind.__name__} {tail} {kind.__name__} {tail} {kind.__name__}")


# Rows of table 1: weight layers, kernel sizes by block, millions of parameters (table 2)
TABLE = {
    "A": ("vgg11", 11, "3 | 3 | 3,3 | 3,3 | 3,3", 133),
    "A-LRN": ("vgg11_lrn", 11, "3,LRN | 3 | 3,3 | 3,3 | 3,3", 133),
    "B": ("vgg13", 13, "3,3 | 3,3 | 3,3 | 3,3 | 3,3", 133),
    "C": ("vgg16c", 16, "3,3 | 3,3 | 3,3,1 | 3,3,1 | 3,3,1", 134),
    "D": ("vgg16", 16, "3,3 | 3,3 | 3,3,3 | 3,3,3 | 3,3,3", 138),
    "E": ("vgg19", 19, "3,3 | 3,3 | 3,3,3,3 | 3,3,3,3 | 3,3,3,3", 144),
}


def blocks_of(features):
    """Write a built net's features as the paper's table does, channels of each block beside it."""
    blocks, channels = [[]], []
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size[0] == 2 * layer.padding[0] + 1
            blocks[-1].append(str(layer.kernel_size[0]))
            width = layer.out_channels
        elif isinstance(layer, nn.LocalResponseNorm):
            blocks[-1].append("LRN")
        elif isinstance(layer, nn.MaxPool2d):
            channels.append(width)
            blocks.append([])
    return " | ".join(",".join(block) for block in blocks[:-1]), channels


def test_every_configuration_of_the_paper_is_in_the_table():
    assert set(TABLE) == set(CONFIGURATIONS)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_built_nets_are_the_papers_table(row):
    arch, weight_layers, blocks, millions = row
    net = on_meta("fc-head", arch)
    assert blocks_of(net.features) == (blocks, [64, 128, 256, 512, 512])
    weighty = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(weighty) == weight_layers
    assert round(parameter_count(net) / 1e6) == millions


def test_the_lrn_of_a_lrn_is_krizhevskys_formula():
    layer = next(m for m in models.vgg11_lrn(**SMALL).modules() if "Response" in type(m).__name__)
    x = images(4, 5, channels=7).numpy()
    squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    sums = sum(squares[:, i : i + 7] for i in range(5))  # n = 5 neighbouring channels
    expected = x / (2 + 1e-4 * sums) ** 0.75
    np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), expected, rtol=1e-12)


# The same function with either head


def small_torchvision(arch, ours):
    """Torchvision's own forward and feature builder at our small sizes, our weights copied in."""
    if arch == "alexnet":
        with torch.device("meta"):
            net = torchvision.models.AlexNet()
        net.features = nn.Sequential(*ours.features)
        order = (4, 2, 3, 7, 5, 6, 8)  # dropout before the linear layers
    else:
        configuration = torchvision.models.vgg.cfgs[{"11": "A", "13": "B"}[arch[3:5]]]
        small = [c if c == "M" else c * 3 // 64 for c in configuration]
        features = torchvision.models.vgg.make_layers(small, batch_norm=arch.endswith("_bn"))
        first = features[0]
        features[0] = nn.Conv2d(2, first.out_channels, 3, padding=1)
        features.double().load_state_dict(ours.features.state_dict())
        with torch.device("meta"):
            net = torchvision.models.VGG(nn.Identity(), init_weights=False)
        net.features = features
        order = (2, 3, 4, 5, 6, 7, 8)
    net.avgpool = nn.AdaptiveAvgPool2d(3)
    net.classifier = nn.Sequential(*(ours.classifier[i] for i in order))
    return net.eval()


def conv_from_fc(arch, fc):
    """Copy an fc-head net's weights into a conv-head net by hand."""
    conv = build("conv-head", arch, **SMALL).double()
    conv.features.load_state_dict(fc.features.state_dict())
    for target, source in ((0, 2), (3, 5), (6, 8)):
        layer, linear = conv.classifier[target], fc.classifier[source]
        layer.weight.data = linear.weight.detach().reshape(layer.weight.shape)
        layer.bias.data = linear.bias.detach()
    return conv


@pytest.mark.parametrize("arch", ["alexnet", "vgg11", "vgg11_bn", "vgg13_bn"])
def test_both_heads_and_torchvision_agree(arch):
    fc = randomise(build("fc-head", arch, **SMALL).double())
    low = 127 if arch == "alexnet" else 96
    x = images(low + 7, low + 20)  # the last map is 3×3, of an input that is not square
    nets = fc, conv_from_fc(arch, fc), small_torchvision(arch, fc)
    with torch.inference_mode():
        logits, scores, theirs = (net(x) for net in nets)
    assert logits.shape == (3, 5)
    assert scores.shape == (3, 5, 1, 1)
    assert logits.std() > 1e-3
    scale = logits.abs().max()
    assert (SpatialMean()(scores) - logits).abs().max() <= 1e-12 * scale
    assert (theirs - logits).abs().max() <= 1e-12 * scale


@pytest.mark.parametrize("arch", ["alexnet", "vgg11_lrn", "vgg16c_bn"])
def test_the_score_map_is_the_head_at_every_window(arch):
    fc = randomise(build("fc-head", arch, **SMALL).double())
    conv = conv_from_fc(arch, fc)
    x = images(195, 168)
    with torch.inference_mode():
        features, scores = fc.features(x), conv(x)
        height, width = features.shape[2] - 2, features.shape[3] - 2
        assert scores.shape == (3, 5, height, width)
        assert height > width > 1
        for row in range(height):
            for column in range(width):
                window = fc.classifier(features[:, :, row : row + 3, column : column + 3])
                assert torch.allclose(scores[:, :, row, column], window, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("arch", "size", "places"),
    [
        ("vgg16", (224, 224), (1, 1)),
        ("vgg16", (255, 224), (1, 1)),
        ("vgg16", (256, 384), (2, 6)),
        ("vgg19_bn", (512, 500), (10, 9)),
        ("alexnet", (223, 254), (1, 1)),
        ("alexnet", (255, 320), (2, 4)),
    ],
)
def test_map_sizes(arch, size, places):
    net = on_meta("conv-head", arch, width=1 / 64, hidden=2)
    scores = net(torch.empty(1, 3, *size, device="meta"))
    assert scores.shape == (1, 1000, *places)


@pytest.mark.parametrize(
    ("scheme", "arch", "least"),
    [
        ("conv-head", "vgg16", 224),
        ("conv-head", "alexnet", 223),
        ("fc-head", "vgg16", 32),
        ("fc-head", "alexnet", 63),
    ],
)
def test_images_must_be_large_enough(scheme, arch, least):
    net = on_meta(scheme, arch, width=1 / 64, hidden=2)
    net(torch.empty(1, 3, least, least, device="meta"))
    words = f"images of {least}×{least - 1}, the net needs at least {least}×{least}"
    with pytest.raises(ValueError, match=re.escape(words)):
        net(torch.empty(1, 3, least, least - 1, device="meta"))


# Initialisation

# The standard deviation of features.6 at width 1/4, and how linear layers are drawn.
DRAWN = {
    "kaiming_fan_in": (math.sqrt(2 / (2 * 16 * 9)), "xavier"),
    "kaiming_fan_out": (math.sqrt(2 / (4 * 16 * 9)), "xavier"),
    "alexnet_normal": (0.01, 0.01),
    "vgg_normal": (math.sqrt(1e-2), math.sqrt(1e-2)),
    "torchvision_vgg": (math.sqrt(2 / (4 * 16 * 9)), 0.01),
}


def test_every_initialisation_is_tested():
    assert set(DRAWN) == set(models.INITIALISATIONS)


@pytest.mark.parametrize("init", DRAWN)
@pytest.mark.parametrize("head", ["fc", "conv"])
def test_weights_follow_the_stated_distribution(init, head):
    net = models.vgg11(head=head, init=init, width=1 / 4, hidden=96, pooled=2, seed=1)
    conv_std, linear = DRAWN[init]
    conv = net.features[6].weight  # [64, 32, 3, 3]
    hidden = net.classifier[2 if head == "fc" else 0].weight.flatten(1)  # [96, 512]
    assert (conv.shape, hidden.shape) == ((64, 32, 3, 3), (96, 512))
    assert follows(conv, stats.norm(0, conv_std))
    if linear == "xavier":
        bound = math.sqrt(6 / (96 + 512))
        assert follows(hidden, stats.uniform(-bound, 2 * bound))
        assert hidden.abs().max() <= bound
    else:
        assert follows(hidden, stats.norm(0, linear))


def follows(tensor, distribution):
    """Kolmogorov and Smirnov's test on values that the seed fixes; tell 10 % off in scale."""
    values = tensor.detach().flatten().numpy()
    assert stats.kstest(values * 1.1, distribution.cdf).pvalue < 1e-3
    return stats.kstest(values, distribution.cdf).pvalue > 1e-3


def test_biases_start_at_zero_and_batch_norm_at_the_identity():
    for name, tensor in models.vgg11_bn(**SMALL).state_dict().items():
        if tensor.ndim == 1:
            ones = name.endswith(("running_var", "weight"))
            assert torch.equal(tensor, torch.full_like(tensor, float(ones))), name


@pytest.mark.parametrize("build_net", [models.alexnet, models.vgg13_bn])
def test_a_seed_makes_one_net_whichever_the_head(build_net):
    one, two, other = (build_net(head="fc", seed=seed, **SMALL).state_dict() for seed in (4, 4, 5))
    conv = build_net(head="conv", seed=4, **SMALL).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])
    for mine, theirs in zip(one.values(), conv.values(), strict=True):
        assert torch.equal(mine.flatten(), theirs.flatten())


def test_a_seed_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    models.vgg11(seed=4, **SMALL)
    drawn_by_construction = torch.get_rng_state()
    torch.set_rng_state(before)
    models.vgg11(seed=5, **SMALL)
    assert torch.equal(torch.get_rng_state(), drawn_by_construction)


# The registry


def test_built_nets_are_in_eval_mode():
    assert not any(module.training for module in build("conv-head", "vgg11_bn", **SMALL).modules())


def test_torchvision_takes_other_channels_for_files_that_have_them():
    net = on_meta("torchvision", "vgg11_bn", in_channels=1, num_classes=7)
    assert net.features[0].weight.shape == (64, 1, 3, 3)
    assert net.features[0].padding == (1, 1)
    assert net.classifier[6].weight.shape == (7, 4096)


ARCHS = (
    "alexnet, vgg11, vgg11_bn, vgg11_lrn, vgg11_lrn_bn, vgg13, vgg13_bn, vgg16c, vgg16c_bn, vgg16, "
    "vgg16_bn, vgg19, vgg19_bn"
)
OPTIONS = "num_classes, in_channels, width, hidden, pooled, dropout, init, seed"
STARTS = "kaiming_fan_in, kaiming_fan_out, alexnet_normal, vgg_normal, torchvision_vgg"
WRONG = {
    ("fc_head", "vgg16", ""): (
        "no scheme 'fc_head'",
        "use one of: fc-head, conv-head, torchvision",
    ),
    ("fc-head", "vgg15", ""): ("no such net", f"use one of: {ARCHS}"),
    ("conv-head", "vgg16", "classes"): (
        "takes no argument 'classes'",
        f"use some of: {OPTIONS}",
    ),
    ("torchvision", "vgg16", "width"): (
        "takes no argument 'width'",
        "use some of: num_classes, in_channels",
    ),
    ("torchvision", "vgg15", ""): ("torchvision has no such net", ""),
    ("fc-head", "alexnet", "init"): (
        f"no initialisation is called 'he', use one of: {STARTS}",
        "",
    ),
}


@pytest.mark.parametrize(("scheme", "arch", "argument"), WRONG)
def test_wrong_words_get_the_right_ones(scheme, arch, argument):
    what, fix = WRONG[scheme, arch, argument]
    with torch.device("meta"), pytest.raises(PortkitError) as caught:
        build(scheme, arch, **({argument: "he"} if argument else {}))
    assert str(caught.value) == str(Problem(f"{scheme}:{arch}", what, fix))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"configuration": "F"},
            "no configuration 'F', use one of: A, A-LRN, B, C, D, E",
        ),
        ({"head": "dense", **SMALL}, "head must be 'fc' or 'conv', found 'dense'"),
    ],
)
def test_a_class_refuses_what_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        models.VGG(**options)
