"""Models built from endpoints: right weights, right dtype, eval mode; answers by name."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import portkit
from portkit.conversion import convert_port
from portkit.endpoints import Endpoint, FileWeights, open_weights, resolve_source
from portkit.errors import PortkitError
from portkit.formats import as_array
from portkit.porting import make_port
from portkit.runners.casts import CastWatch
from portkit.runners.torch import build_module, load_module, run_module
from portkit.runners.tracing import recorded, watched

SIZES = "(in_channels=2, num_classes=7, width=0.0625, hidden=24, pooled=3)"
SOURCE = f"fc-head:vgg11_bn{SIZES}@random"


def test_a_module_has_the_file_s_values_in_eval_mode():
    source = resolve_source(SOURCE)
    module = build_module(source)
    assert not any(layer.training for layer in module.modules())
    with open_weights(source) as reader:
        for name, tensor in module.state_dict().items():
            want = as_array(reader.fetch(name), reader.specs[name])
            np.testing.assert_array_equal(tensor.numpy(), want)
            assert tensor.dtype is (torch.int64 if want.dtype.kind == "i" else torch.float32)


def test_a_module_in_float64_has_the_same_values():
    module = build_module(resolve_source(SOURCE), torch.float64)
    narrow = build_module(resolve_source(SOURCE))
    for one, other in zip(module.parameters(), narrow.parameters(), strict=True):
        assert one.dtype is torch.float64
        assert torch.equal(one.float(), other)
    found = run_module(module, np.ones((1, 2, 96, 96), np.float32))
    assert found["output"].dtype == np.float64


def test_a_loaded_model_answers_as_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convert_port(make_port(SOURCE, "conv-head"), tmp_path / "net.safetensors")
    images = np.random.default_rng(0).normal(size=(2, 2, 96, 100)).astype(np.float32)
    before = run_module(build_module(resolve_source(SOURCE)), images)["output"]
    after = run_module(portkit.load("net.safetensors"), images)["output"]
    assert after.shape == (2, 7, 1, 1)
    np.testing.assert_allclose(after[:, :, 0, 0], before, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "step"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7), ("float64", 2.0**-52)]
)
def test_weights_of_other_widths_are_run_in_the_one_asked_for(tmp_path, dtype, step):
    from safetensors.torch import save_file

    state = build_module(resolve_source(SOURCE)).state_dict()
    width = getattr(torch, dtype)
    cast = {name: t.to(width) if t.is_floating_point() else t for name, t in state.items()}
    save_file(cast, tmp_path / "w.safetensors")
    module = build_module(resolve_source(f"fc-head:vgg11_bn@{tmp_path / 'w.safetensors'}"))
    weight = module.get_parameter("features.0.weight")
    assert weight.dtype is torch.float32
    torch.testing.assert_close(weight, state["features.0.weight"], rtol=step, atol=0)


def test_misfits_are_all_named(tmp_path):
    source = resolve_source("fc-head:vgg11" + SIZES + "@random")
    with open_weights(source) as reader:
        arrays = {name: as_array(reader.fetch(name), spec) for name, spec in reader.specs.items()}
    arrays["strange"] = np.zeros(3, np.float32)
    arrays["classifier.8.bias"] = np.zeros(8, np.float32)
    del arrays["features.0.bias"]
    path = tmp_path / "w.npz"
    np.savez(path, **arrays)
    broken = Endpoint(source.reference, source.manifest, FileWeights(path))
    with pytest.raises(PortkitError) as caught:
        build_module(broken)
    assert str(caught.value) == (
        f"{path}: {source} needs features.0.bias [4], found none\n"
        f"{path}: {source} needs classifier.8.bias [7], found classifier.8.bias F32[8]\n"
        f"{path}: {source} has no place for strange F32[3]"
    )


def test_files_without_batch_counters_load():
    source = resolve_source(SOURCE)

    class Older:
        path = "old"

        def __init__(self, reader):
            self.fetch = reader.fetch
            specs = reader.specs.items()
            self.specs = {name: s for name, s in specs if "num_batches_tracked" not in name}

    with open_weights(source) as reader:
        module = load_module(source, Older(reader), torch.float32)
    assert module.state_dict()["features.1.num_batches_tracked"].item() == 0


def test_a_scheme_without_a_model_cannot_be_run():
    source = resolve_source(SOURCE)
    with pytest.raises(PortkitError) as caught:
        build_module(Endpoint(source.reference, None, source.weights))
    assert str(caught.value) == f"{source}: no model is known that has these tensors"


Pair = namedtuple("Pair", "left right")  # noqa: PYI024


@dataclass
class Answer:
    scores: torch.Tensor
    state: None = None


class Giving(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, values):
        return self.make(values)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, [x, x]), ["0", "1.0", "1.1"]),
        (lambda x: OrderedDict(out=x, aux=x), ["out", "aux"]),
        (lambda x: Pair(x, x), ["left", "right"]),
        (Answer, ["scores"]),
        (lambda x: {"a": Answer(x), "loss": 0.5}, ["a.scores", "loss"]),
    ],
)
def test_outputs_have_names(make, names):
    assert list(run_module(Giving(make), np.ones((2, 3), np.float32))) == names


def test_what_is_no_tensor_is_refused():
    with pytest.raises(PortkitError) as caught:
        run_module(Giving(lambda _: {"words": "seven"}), np.ones((2, 3), np.float32))
    assert str(caught.value) == "words: a str holds no tensor to compare"


def test_submodules_are_recorded_before_they_are_overwritten():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    values = np.array([[1.0, -2.0]], np.float32)
    with recorded(net, ["0", "1"]) as seen:
        answer = run_module(net, values)["output"]
    np.testing.assert_array_equal(seen["0", 0].given, values)
    np.testing.assert_array_equal(seen["1", 0].given, seen["0", 0].answered)
    np.testing.assert_array_equal(seen["1", 0].answered, answer)
    assert (seen["0", 0].answered < 0).any() or (answer == seen["0", 0].answered.numpy()).all()


def test_calls_are_counted_and_come_in_the_order_in_which_they_begin():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Tanh())
    twice = nn.Sequential(net, net)
    with recorded(twice, ["0", "0.0", "0.1"]) as seen:
        run_module(twice, np.ones((1, 2), np.float32))
    assert list(seen) == [
        ("0", 0), ("0.0", 0), ("0.1", 0), ("0", 1), ("0.0", 1), ("0.1", 1),
    ]  # fmt: skip
    assert not np.array_equal(seen["0", 0].given, seen["0", 1].given)


def test_what_a_layer_is_given_and_passes_on_can_be_replaced():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    met = []

    def before(key, tensor):
        met.append((key, tensor.clone()))
        return tensor * 0 if key[0] == "0" else None

    def after(key, tensor):
        return tensor + 5 if key[0] == "0" else None

    with watched(net, ["0", "1"], before, after):
        run_module(net, np.ones((1, 2), np.float32))
    assert [key for key, _ in met] == [("0", 0), ("1", 0)]
    np.testing.assert_allclose(met[1][1], net[0].bias.detach()[None] + 5)
    plain = run_module(net, np.ones((1, 2), np.float32))["output"]
    np.testing.assert_allclose(plain, net(torch.ones(1, 2)).detach())


class Rounding(nn.Linear):
    def forward(self, values):
        return super().forward(values.float().to(values.dtype))


@pytest.mark.parametrize(("layer", "casts"), [(Rounding(2, 2), True), (nn.Linear(2, 2), False)])
def test_a_model_that_rounds_on_its_way_is_noticed(layer, casts):
    with torch.inference_mode(), CastWatch() as watch:
        layer.double()(torch.ones(3, 2, dtype=torch.float64))
    assert bool(watch.found) is casts
