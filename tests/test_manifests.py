import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from portkit import manifests
from portkit.errors import PortkitError
from portkit.manifests import (
    archs,
    arguments_for,
    check_specs,
    load_manifest,
    match_manifest,
    nearest,
    recognise,
    schemes,
)
from portkit.manifests.factory import FactoryReader, build_factory, factory_specs
from portkit.tensors import DType, TensorSpec

ALL = [(scheme, arch) for scheme in schemes() for arch in archs(scheme)]
SMALL = {"num_classes": 7, "in_channels": 2, "width": 5 / 64, "hidden": 23, "pooled": 3}


def arguments(scheme):
    """Sizes unlike the defaults, as far as a scheme has them."""
    return SMALL if scheme != "torchvision" else {"num_classes": 7, "in_channels": 2}


def changed(specs, **changes):
    """Return specs with some replaced (or, with None, left out); `__` stands for a dot."""
    named = {name.replace("__", "."): change for name, change in changes.items()}
    changed = {**specs, **{name: spec for name, spec in named.items() if spec is not None}}
    return {name: spec for name, spec in changed.items() if named.get(name, spec) is not None}


def complaint(work, *words):
    with pytest.raises(PortkitError) as caught:
        work(*words)
    return str(caught.value)


# The files


def test_the_files_are_what_the_installed_torchvision_and_our_models_say():
    path = Path(manifests.__file__).parents[2] / "tools" / "make_manifests.py"
    spec = importlib.util.spec_from_file_location("make_manifests", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    texts = tool.all_texts()
    assert {path: path.read_text() for path in texts} == texts
    assert len(texts) - 1 == len(ALL) == 9 + 2 * 13  # and the index


def test_a_manifest_is_the_models_state_dict_at_any_sizes():
    import torch

    from portkit.models import build

    with torch.device("meta"):
        net = build("conv-head", "vgg13_bn", **SMALL)
    found = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    specs = load_manifest("conv-head", "vgg13_bn", SMALL).specs
    assert list(found.items()) == [(name, spec.shape) for name, spec in specs.items()]
    assert specs["features.1.num_batches_tracked"].dtype is DType.I64


def test_the_vgg16_that_everyone_knows():
    manifest = load_manifest("torchvision", "vgg16", {})
    assert len(manifest.specs) == 32
    assert sum(spec.size for spec in manifest.specs.values()) == 138_357_544
    assert str(manifest.specs["classifier.0.weight"]) == "classifier.0.weight F32[4096, 25088]"
    assert manifest.default_weights == "IMAGENET1K_V1"
    assert dict(manifest.weights) == {
        "IMAGENET1K_V1": "vgg16-397923af.pth",
        "IMAGENET1K_FEATURES": "vgg16_features-amdegroot-88682ab5.pth",
    }


# Loading


@pytest.mark.parametrize(
    ("scheme", "arch", "given", "words"),
    [
        (
            "conv_head",
            "vgg16",
            {},
            (
                "conv_head:vgg16: no scheme 'conv_head'\n"
                "  fix: use one of: conv-head, fc-head, torchvision"
            ),
        ),
        (
            "torchvision",
            "vgg16bn",
            {},
            (
                "torchvision:vgg16bn: torchvision has no 'vgg16bn' that portkit knows\n"
                "  fix: did you mean torchvision:vgg16_bn?"
            ),
        ),
        (
            "torchvision",
            "resnet50",
            {},
            (
                "torchvision:resnet50: torchvision has no 'resnet50' that portkit knows\n"
                "  fix: use one of: alexnet, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, "
                "vgg19, vgg19_bn"
            ),
        ),
        (
            "fc-head",
            "alexnet",
            {"classes": 5, "width": "wide", "hidden": 0, "pooled": True},
            (
                "fc-head:alexnet: takes no argument 'classes'\n"
                "  fix: use some of: num_classes, in_channels, width, hidden, pooled\n"
                "fc-head:alexnet: width must be a positive number, found 'wide'\n"
                "fc-head:alexnet: hidden must be a whole number of at least 1, found 0\n"
                "fc-head:alexnet: pooled must be a whole number of at least 1, found True"
            ),
        ),
        (
            "torchvision",
            "vgg16",
            {"width": 0.5},
            (
                "torchvision:vgg16: takes no argument 'width'\n"
                "  fix: use some of: num_classes, in_channels"
            ),
        ),
    ],
    ids=["scheme", "near", "far", "everything at once", "fixed"],
)
def test_loading_says_what_there_is(scheme, arch, given, words):
    assert complaint(load_manifest, scheme, arch, given) == words


@pytest.mark.parametrize(("width", "base"), [(1, 64), (1 / 8, 8), (0.3, 19), (0.001, 1)])
def test_width_is_a_factor_on_64_channels(width, base):
    assert load_manifest("fc-head", "vgg11", {"width": width}).parameters["base"] == base


@pytest.mark.parametrize(("scheme", "arch"), ALL)
def test_arguments_lead_back_to_the_same_manifest(scheme, arch):
    manifest = load_manifest(scheme, arch, arguments(scheme))
    assert load_manifest(scheme, arch, arguments_for(scheme, manifest)) == manifest
    assert arguments_for(scheme, load_manifest(scheme, arch, {})) == {}


def test_a_small_net_has_no_counterpart_in_torchvision():
    small = load_manifest("fc-head", "vgg11", {"hidden": 23})
    words = "torchvision:vgg11: has hidden=4096, the source has hidden=23"
    assert complaint(arguments_for, "torchvision", small) == words


# Matching


@pytest.mark.parametrize(("scheme", "arch"), ALL)
def test_every_model_is_recognised_as_itself_only(scheme, arch):
    manifest = load_manifest(scheme, arch, arguments(scheme))
    assert recognise(manifest.specs) == (manifest,)
    assert match_manifest(scheme, arch, manifest.specs) == manifest


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16, DType.F64, DType.F8_E4M3])
def test_any_float_fits(dtype):
    manifest = load_manifest("torchvision", "vgg11", {})
    cast = {n: TensorSpec(n, spec.shape, dtype) for n, spec in manifest.specs.items()}
    assert recognise(cast) == (manifest,)


def test_files_older_than_num_batches_tracked_fit():
    manifest = load_manifest("torchvision", "vgg11_bn", {"num_classes": 5})
    old = {n: spec for n, spec in manifest.specs.items() if "num_batches" not in n}
    assert len(old) == len(manifest.specs) - 8
    assert recognise(old) == (manifest,)


def test_the_order_of_a_files_tensors_does_not_matter():
    manifest = load_manifest("conv-head", "alexnet", SMALL)
    assert recognise(dict(reversed(manifest.specs.items()))) == (manifest,)


def test_every_misfit_is_listed_at_once():
    specs = load_manifest("torchvision", "alexnet", {}).specs
    broken = changed(
        specs,
        features__3__weight=TensorSpec("features.3.weight", (64, 192, 5, 5), DType.F32),
        features__6__bias=None,
        classifier__1__bias=TensorSpec("classifier.1.bias", (4096,), DType.I32),
        extra=TensorSpec("extra", (2, 3), DType.F16),
    )
    assert complaint(match_manifest, "torchvision", "alexnet", broken) == (
        "torchvision:alexnet: the file lacks features.6.bias F32[384]\n"
        "torchvision:alexnet: the model does not know extra F16[2, 3]\n"
        "torchvision:alexnet: the file has features.3.weight F32[64, 192, 5, 5], "
        "the model F32[192, 64, 5, 5]\n"
        "torchvision:alexnet: the file has classifier.1.bias I32[4096], the model F32[4096]"
    )


def test_long_lists_stop_at_twenty():
    manifest = load_manifest("torchvision", "vgg16", {})
    lines = complaint(check_specs, {}, manifest, "empty.pth").splitlines()
    assert len(lines) == 21
    assert lines[-1] == "empty.pth: and 12 more that the file lacks"


def test_a_size_that_fits_nowhere_is_a_misfit_of_that_tensor_alone():
    specs = load_manifest("fc-head", "vgg11", SMALL).specs
    wrong = TensorSpec("classifier.2.weight", (23, 361), DType.F32)  # 360 would be 8·5·3·3
    words = complaint(
        match_manifest, "fc-head", "vgg11", changed(specs, classifier__2__weight=wrong)
    )
    assert words.startswith("fc-head:vgg11: the file has classifier.2.weight F32[23, 361], ")
    assert "\n" not in words


def test_the_nearest_models_come_with_what_keeps_them_from_fitting():
    specs = load_manifest("torchvision", "vgg16", {}).specs
    headless = {n: spec for n, spec in specs.items() if not n.startswith("classifier.6")}
    assert recognise(headless) == ()
    found = nearest(headless)
    assert found[0] == ("torchvision:vgg16", "2 of 32 missing, first classifier.6.weight")
    assert found[1][0] == "conv-head:vgg16"
    assert len(found) == 3


# Factories of the user's own

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (4, 5)).half()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout()
        self.register_buffer("unsaved", torch.zeros(4), persistent=False)

def build():
    torch.manual_seed(3)
    return Net()

def loads_weights():
    net = nn.Linear(2, 3)
    net.load_state_dict({"weight": torch.ones(3, 2), "bias": torch.zeros(3)})
    return net

def needs_values():
    net = nn.Linear(int(torch.tensor(2).item()), 3)
    return net

def fails():
    raise ValueError("no file 'w.pth'")

def makes_a_dict():
    return {}

def quantises():
    net = nn.Module()
    net.register_buffer("q", torch.zeros(2, dtype=torch.complex128))
    return net
"""


@pytest.fixture
def nets(folder):
    """A module of factories in the current folder; yields its name."""
    name = f"nets_{folder.name}".replace("-", "_")
    (folder / f"{name}.py").write_text(NETS)
    yield name
    sys.modules.pop(name, None)


def test_a_factorys_headers_are_its_state_dict_without_building_it(nets):
    assert [str(spec) for spec in factory_specs(f"{nets}:build").values()] == [
        "conv.weight F16[3, 2, 4, 5]",
        "conv.bias F16[3]",
        "norm.weight F32[3]",
        "norm.bias F32[3]",
        "norm.running_mean F32[3]",
        "norm.running_var F32[3]",
        "norm.num_batches_tracked I64[]",
    ]


def test_a_built_net_is_in_eval_mode(nets):
    net = build_factory(f"{nets}:build")
    assert not net.training
    assert not net.drop.training


def test_a_reader_gives_the_factorys_own_weights_bit_for_bit(nets):
    reader = FactoryReader(f"{nets}:build")
    assert reader.specs == factory_specs(f"{nets}:build")
    state = build_factory(f"{nets}:build").state_dict()
    for name, tensor in state.items():
        got = reader.fetch(name)
        assert got.shape == tuple(tensor.shape)
        assert got.dtype == np.dtype(reader.specs[name].dtype.carrier)
        assert got.tobytes() == tensor.numpy().tobytes()


def test_a_factory_that_loads_weights_warns_of_nothing(nets):
    assert list(factory_specs(f"{nets}:loads_weights")) == ["weight", "bias"]


def test_a_factory_that_needs_values_is_built_for_real(nets):
    assert factory_specs(f"{nets}:needs_values")["weight"].shape == (3, 2)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("fails", "the factory failed: ValueError: no file 'w.pth'"),
        ("makes_a_dict", "the factory made a dict, not a torch.nn.Module"),
        ("quantises", "q: dtype complex128 cannot be moved"),
        (
            "built",
            (
                "'{nets}' has no 'built'\n  fix: it has: torch, nn, Net, build, loads_weights, "
                "needs_values, fails, makes_a_dict, quantises"
            ),
        ),
    ],
)
def test_factories_that_do_not_work_say_why(nets, factory, words):
    reference = f"{nets}:{factory}"
    assert complaint(factory_specs, reference) == f"python:{reference}: {words.format(nets=nets)}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net", "names no module and factory\n  fix: write python:PACKAGE.MODULE:FACTORY"),
        (
            "no_such_nets:build",
            "importing 'no_such_nets' failed: ModuleNotFoundError: No module named 'no_such_nets'",
        ),
    ],
)
def test_modules_that_are_not_there(text, words):
    assert complaint(factory_specs, text) == f"python:{text}: {words}"


def test_a_module_that_breaks_while_importing_says_how(folder):
    (folder / "broken_nets.py").write_text("1 / 0\n")
    words = "importing 'broken_nets' failed: ZeroDivisionError: division by zero"
    assert complaint(factory_specs, "broken_nets:build") == f"python:broken_nets:build: {words}"
