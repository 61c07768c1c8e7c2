"""Faults that no tensor shows, wrong mappings, and the correct ports that must pass."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from portkit.conversion import convert_port
from portkit.porting import make_port
from portkit.runners import torch as runner
from portkit.verification import Options, Status, Tolerances, running, verify_port

SIZES = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"
QUICK = Options(quick=True)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def mutate(monkeypatch):
    """Change every module that is built for the target of a port."""
    build = runner.empty_module

    def mutate_target(change):
        def changed(endpoint):
            module = build(endpoint)
            if endpoint.scheme == "conv-head":
                return change(module) or module
            return module

        monkeypatch.setattr(runner, "empty_module", changed)

    return mutate_target


class Stubborn(nn.Dropout):
    """Dropout that never leaves training mode."""

    def train(self, *_):
        return super().train()


class Hidden(nn.Module):
    """Dropout as a function call, always on."""

    def forward(self, values):
        return nn.functional.dropout(values, 0.1, training=True)


class Scaled(nn.Module):
    def forward(self, values):
        return values * 0.5


class Mixing(nn.Module):
    """Mixes batch and features, as a wrong reshape does; a batch of one stays as it is."""

    def forward(self, values):
        return values.reshape(-1, len(values)).t().reshape(values.shape)


class Rolled(nn.Module):
    def forward(self, scores):
        return scores.roll(1, 1)


class Wrapped(nn.Module):
    """A net whose answer goes through one more function."""

    def __init__(self, net, after):
        super().__init__()
        self.features, self.classifier, self.after = net.features, net.classifier, after

    def forward(self, images):
        return self.after(self.classifier(self.features(images)))


def place(name, made):
    def change(module):
        parent, _, leaf = name.rpartition(".")
        old = module.get_submodule(name)
        setattr(module.get_submodule(parent), leaf, made(old) if callable(made) else made)

    return change


def setting(name, **values):
    def change(module):
        for key, value in values.items():
            setattr(module.get_submodule(name), key, value)

    return change


def swap_modules(one, other):
    def change(module):
        first, second = module.get_submodule(one), module.get_submodule(other)
        place(one, lambda _: second)(module)
        place(other, lambda _: first)(module)

    return change


def pool(**settings):
    return lambda _: nn.MaxPool2d(3, 2, **settings)


CONFIGURED = {
    "batch norm epsilon": (
        "vgg11_bn", setting("features.1", eps=1e-3), "features.1",
        "eps 0.001, source features.1 has eps 1e-05",
    ),
    "LRN alpha": (
        "vgg11_lrn", setting("features.2", alpha=5e-4 * 5), "features.2",
        ("LocalResponseNorm(size 5, alpha 0.0025, beta 0.75, k 2.0), source features.2 is "
        "LocalResponseNorm(size 5, alpha 0.0005, beta 0.75, k 2.0)"),
    ),
    "LRN k": ("vgg11_lrn", setting("features.2", k=1.0), "features.2", "beta 0.75, k 1.0)"),
    "LRN size": ("vgg11_lrn", setting("features.2", size=11), "features.2", "size 11"),
    "ceil mode": (
        "alexnet", place("features.2", pool(ceil_mode=True)), "features.2",
        "pooling of target features.2: ceil_mode True, the mapping states ceil_mode False",
    ),
    "leaky": (
        "alexnet", place("features.4", lambda _: nn.LeakyReLU(0.01)), "features.4",
        "LeakyReLU(negative_slope 0.01), source features.4 is ReLU(as its class has it)",
    ),
    "ReLU6": ("alexnet", place("features.4", lambda _: nn.ReLU6()), "features.4", "ReLU6("),
    "padding": (
        "vgg11", setting("features.3", padding_mode="reflect"), "features.3",
        "padding_mode reflect, source features.3 has padding_mode zeros",
    ),
    "stride": ("alexnet", setting("features.0", stride=(2, 2)), "features.0", "stride 2, source"),
    "average pooling": (
        "vgg11", place("features.2", lambda _: nn.AvgPool2d(2, 2)), "features.2", "AvgPool2d(",
    ),
    "dropout in training mode": (
        "vgg11", place("classifier.2", lambda _: Stubborn(0.5)), "classifier.2",
        "target layer in training mode",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", CONFIGURED)
def test_a_setting_that_differs_is_named(ports, mutate, fault):
    arch, change, layer, said = CONFIGURED[fault]
    mutate(change)
    found = verify_port(*ports(arch), QUICK)
    assert [rung.rung for rung in found.rungs] == ["coverage", "layers"]
    failed = {check.subject: check.what for check in found.rungs[0].failed}
    assert layer in failed
    assert any(said in check.what for check in found.rungs[0].failed), failed


FUNCTIONS = {
    "LRN dropped": (
        "vgg11_lrn", place("features.2", lambda _: nn.Identity()), "features.0 → features.4",
        "lrn_missing",
    ),
    "ReLU dropped": (
        "alexnet", place("features.7", lambda _: nn.Identity()), "features.6 → features.8",
        "activation_missing",
    ),
    "order of layers": (
        "vgg11_lrn", swap_modules("features.2", "features.3"), "features.0 → features.4",
        "lrn_pool_order",
    ),
    "dropout kept as a scale": (
        "alexnet", place("classifier.2", lambda _: Scaled()), "classifier.0 → classifier.3",
        "dropout_scale",
    ),
    "dropout as a function": (
        "alexnet", place("classifier.2", lambda _: Hidden()), "classifier.0 → classifier.3",
        "dropout_active",
    ),
    "batch mixed": (
        "vgg11", place("classifier.2", lambda _: Mixing()), "classifier.0 → classifier.3",
        "batch_mixed",
    ),
    "softmax": (
        "vgg11", lambda net: Wrapped(net, nn.Softmax(1)), "classifier.6 → output",
        "softmax_appended",
    ),
    "classes rolled": (
        "vgg11", lambda net: Wrapped(net, Rolled()), "classifier.6 → output", "shifted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FUNCTIONS)
def test_another_function_fails_and_its_first_difference_is_named(ports, mutate, fault):
    arch, change, span, cause = FUNCTIONS[fault]
    mutate(change)
    found = verify_port(*ports(arch), QUICK)
    assert [(rung.rung, rung.status) for rung in found.rungs][2:] == [
        ("structure", Status.FAILED), ("layers", Status.FAILED),
    ]  # fmt: skip
    named = {check.subject: check.diagnosis.cause for check in found.rungs[3].failed}
    assert named == {span: cause}
    assert not found.passed


ALONE = {
    "batch norm epsilon": ("vgg11_bn", setting("features.1", eps=1e-3)),
    "dropout as a function": ("alexnet", place("classifier.2", lambda _: Hidden())),
    "ReLU6": ("alexnet", place("features.1", lambda _: nn.ReLU6())),
    "LRN": ("vgg11_lrn", setting("features.2", k=1.0)),
    "ceil mode": ("vgg11", place("features.2", lambda _: nn.MaxPool2d(2, 2, ceil_mode=True))),
    "softmax": ("vgg11", lambda net: Wrapped(net, nn.Softmax(1))),
    "batch mixed": ("vgg11", place("classifier.2", lambda _: Mixing())),
}


@pytest.mark.parametrize("fault", ALONE)
def test_the_outputs_rung_alone_sees_them_too(ports, mutate, fault):
    arch, change = ALONE[fault]
    mutate(change)
    found = verify_port(*ports(arch), Options(rungs=("outputs",)))
    assert [rung.status for rung in found.rungs] == [Status.FAILED]


def test_weights_rounded_at_run_time_fail(ports, monkeypatch):
    """A port that computes in half precision, such as with TF32, is not within rounding."""
    answer = running.run_module

    def rounded(module, images):
        if _is_target(module):
            images = images.astype(np.float16).astype(np.float32)
        return answer(module, images)

    monkeypatch.setattr(running, "run_module", rounded)
    found = verify_port(*ports("vgg11"), Options(rungs=("outputs",)))
    worst = max(check.numbers["rho"] for check in found.rungs[0].checks)
    assert found.rungs[0].status is Status.FAILED
    assert worst > 50
    assert found.rungs[0].notes[1] == (
        f"ρ of {worst:.2g} is usual for weights or arithmetic in half precision, TF32, another "
        "batch norm epsilon"
    )


def _is_target(module):
    narrow = next(module.parameters()).dtype is torch.float32
    return narrow and not any(isinstance(layer, nn.Linear) for layer in module.modules())


def _without_onednn(answer, net, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TF32, which is not asked for
        with torch.backends.mkldnn.flags(enabled=False):
            return answer(net, images)


def _on_two_threads(answer, net, images):
    torch.set_num_threads(2)
    try:
        return answer(net, images)
    finally:
        torch.set_num_threads(1)


def _stacked(answers):
    return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}


CONTROLS = {
    "nothing changed": lambda answer, net, x: answer(net, x),
    "oneDNN off": _without_onednn,
    "channels last": lambda answer, net, x: answer(net.to(memory_format=torch.channels_last), x),
    "one at a time": lambda answer, net, x: _stacked([answer(net, one[None]) for one in x]),
    "two threads": _on_two_threads,
}


@pytest.mark.parametrize("arch", ["alexnet", "vgg11_bn"])
@pytest.mark.parametrize("control", CONTROLS)
def test_correct_ports_pass(ports, monkeypatch, control, arch):
    answer = running.run_module

    def controlled(module, images):
        way = CONTROLS[control if _is_target(module) else "nothing changed"]
        return way(answer, module, images)

    monkeypatch.setattr(running, "run_module", controlled)
    found = verify_port(*ports(arch), Options(rungs=("structure", "outputs")))
    assert found.passed, [rung.failed for rung in found.rungs]
    assert max(check.numbers["rho"] for check in found.rungs[1].checks) < 4


def test_atol_is_about_the_port(ports):
    port, path = ports("vgg11")
    asked = Options(quick=True, tolerances=Tolerances(atol=1e-7))
    found = verify_port(port, path, asked)
    assert found.passed
    assert "is below this model's float32 noise" in found.rungs[3].notes[1]
    strict = replace(asked, tolerances=Tolerances(atol=1e-7, strict_atol=True))
    found = verify_port(port, path, strict)
    assert [rung.status for rung in found.rungs][-1] is Status.FAILED


# --- mappings that are wrong --------------------------------------------------------------------

HEADER = "portkit: 1\nfrom: fc-head\nto: conv-head\nfor: [vgg11]\ntables:\n"
RULES = """\
  linear: {2: 0, 5: 3, 8: 6}
  conv: {0: 0, 3: 3, 6: 6, 8: 8, 11: 11, SWAPPED, 18: 18}
rules:
  - map: "features.{i:conv}.{p:weight|bias} -> features.{conv[i]}.{p}"
  - map: "classifier.2.weight -> classifier.0.weight"
    ops: [{rearrange: "out (ORDER) -> out c h w", sizes: {h: pooled, w: pooled}}]
  - map: "classifier.5.weight -> classifier.3.weight"
    ops: [{rearrange: "MIDDLE 1 1"}]
  - map: "classifier.8.weight -> classifier.6.weight"
    ops: [{rearrange: "out in -> out in 1 1"}]
  - map: "classifier.{i:linear}.bias -> classifier.{linear[i]}.bias"
"""
RIGHT = {"ORDER": "c h w", "MIDDLE": "out in -> out in", "SWAPPED": "13: 13, 16: 16"}
WRONG = {
    "nothing": ({}, ""),
    "flatten order": ({"ORDER": "h w c"}, "classifier.0"),
    "a transposed square": ({"MIDDLE": "out in -> in out"}, "classifier.3"),
    "siblings": ({"SWAPPED": "13: 16, 16: 13"}, "features.16"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_mapping_agrees_with_itself_but_computes_something_else(tmp_path, fault):
    change, layer = WRONG[fault]
    text = HEADER + RULES
    for word, written in {**RIGHT, **change}.items():
        text = text.replace(word, written)
    (tmp_path / "m.yaml").write_text(text)
    port = make_port(f"fc-head:vgg11{SIZES}@random", "conv-head", tmp_path / "m.yaml")
    convert_port(port, tmp_path / "net.safetensors")
    found = verify_port(port, tmp_path / "net.safetensors", QUICK)
    bits = next(rung for rung in found.rungs if rung.rung == "bits")
    assert bits.status is Status.PASSED
    assert found.passed == (not layer)
    if layer:
        assert found.rungs[-1].rung == "layers"
        assert layer in {check.subject for check in found.rungs[-1].failed}
