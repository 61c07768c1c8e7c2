"""Mappings that compute, from YAML to bits: planned from headers, carried out, done again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from portkit.conversion import OutputOptions, convert_port
from portkit.endpoints import open_weights
from portkit.errors import PortkitError
from portkit.mapping import invert
from portkit.mapping.library import shipped_mapping
from portkit.ops import Kind
from portkit.porting import make_port
from portkit.progress import SILENT
from portkit.verification.bits import check_bits
from portkit.verification.cuts import find_cuts
from portkit.verification.rereading import reopen
from portkit.verification.results import Status

HEAD = "portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n"
FOLD = """\
  - from: ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    to: ["0.weight", "0.bias"]
    ops: [{fold_batchnorm: {takes: [weight, gamma, beta, mean, var], eps: 1e-5}}]
  - {drop: "1.num_batches_tracked", because: "a folded norm has no training"}
"""
GRAY = """\
  - map: "0.weight"
    axes: "out in h w"
    ops: [{sum: in}, {rearrange: "out h w -> out 1 h w"}, {scale: {by: 0.25}}, {add: {by: 1}}]
"""
GROUPS = '  - {map: "0.weight", ops: [{block_diagonal: 3}, {pad: {0: [0, 1]}}]}\n'


@pytest.fixture
def net(folder):
    """A convolution and a batch norm, as they lie in `w.safetensors`."""
    del folder
    torch.manual_seed(2)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)).eval()
    for tensor in (layers[1].weight.data, layers[1].bias.data, layers[1].running_mean):
        tensor.normal_()
    layers[1].running_var.uniform_(0.01, 3)
    save_file({n: t.numpy() for n, t in layers.state_dict().items()}, "w.safetensors")
    return layers


def port_through(rules, names=()):
    if names:
        kept = {name: load_file("w.safetensors")[name] for name in names}
        save_file(kept, "w.safetensors")
    Path("m.yaml").write_text(HEAD + rules)
    return make_port("w.safetensors", "ours", "m.yaml")


def compared(port, path):
    with open_weights(port.source) as source, reopen(path) as written:
        return check_bits(port.plan, source, written, SILENT)


def test_a_folded_batch_norm_is_planned_carried_out_and_done_again(net):
    port = port_through(FOLD)
    assert [(step.target.form, step.kind, step.where) for step in port.plan.steps] == [
        ("F32[6, 3, 3, 3]", Kind.COMPUTED, "m.yaml:6"),
        ("F32[6]", Kind.COMPUTED, "m.yaml:6"),
    ]
    (cut,) = find_cuts(port.plan)
    assert (cut.enter, cut.leave, cut.target) == ("0", "1", "0")
    convert_port(port, Path("k.safetensors"))
    assert compared(port, Path("k.safetensors")).status is Status.PASSED
    folded = nn.Conv2d(3, 6, 3).double()
    tensors = load_file("k.safetensors")
    folded.load_state_dict({n[2:]: torch.from_numpy(a).double() for n, a in tensors.items()})
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        want = net.double()(images)
        assert float((folded(images) - want).abs().max()) < 5e-7 * float(want.abs().max())


def test_a_fold_with_another_epsilon_or_one_bit_off_fails(net):
    del net
    convert_port(port_through(FOLD.replace("1e-5", "1e-3")), Path("k.safetensors"))
    port = port_through(FOLD)
    assert len(compared(port, Path("k.safetensors")).failed) == 2
    convert_port(port, Path("k.safetensors"), OutputOptions(force=True))
    tensors = load_file("k.safetensors")
    tensors["0.weight"].view(np.uint32)[0, 0, 0, 0] ^= 1
    save_file(tensors, "k.safetensors")
    (found,) = compared(port, Path("k.safetensors")).failed
    assert found.subject == "0.weight"
    assert found.what.startswith("1 of 162 elements differ, first at [0, 0, 0, 0]")


def test_a_chain_of_arithmetic_and_one_of_blocks_are_done_again(net):
    weight = net[0].weight.detach().numpy()
    port = port_through(GRAY, ["0.weight"])
    assert port.plan.steps[0].kind is Kind.LOSSY
    convert_port(port, Path("gray.safetensors"))
    assert compared(port, Path("gray.safetensors")).status is Status.PASSED
    gray = load_file("gray.safetensors")["0.weight"]
    want = weight.astype(np.float64).sum(1, keepdims=True) / 4 + 1
    assert np.allclose(gray, want, rtol=1e-6, atol=0)
    port = port_through(GROUPS)
    convert_port(port, Path("k.safetensors"))
    assert compared(port, Path("k.safetensors")).status is Status.PASSED
    assert load_file("k.safetensors")["0.weight"].shape == (7, 9, 3, 3)
    back = make_port("k.safetensors", "theirs", "m.yaml")
    convert_port(back, Path("b.safetensors"))
    assert np.array_equal(load_file("b.safetensors")["0.weight"], weight)
    assert compared(back, Path("b.safetensors")).status is Status.PASSED


def test_a_dense_weight_that_is_no_blocks_is_refused_and_leaves_no_file(net):
    del net
    convert_port(port_through(GROUPS, ["0.weight"]), Path("k.safetensors"))
    tensors = load_file("k.safetensors")
    tensors["0.weight"][0, 8] = 1
    save_file(tensors, "dense.safetensors")
    back = make_port("dense.safetensors", "theirs", "m.yaml")
    with pytest.raises(PortkitError) as error:
        convert_port(back, Path("b.safetensors"))
    assert str(error.value) == (
        "m.yaml:6: 0.weight: diagonal blocks of 3 would lose 9 values beside them that are not zero"
    )
    assert not Path("b.safetensors").exists()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            FOLD.replace(', "1.running_var"]', "]", 1),
            (
                "m.yaml:6: 0.weight: fold_batchnorm takes weight gamma beta mean var, "
                "found 4 tensors\n"
                "m.yaml: no rule takes 1.running_var F32[6]\n"
                "  fix: closest rule takes '1.running_mean' (m.yaml:6)"
            ),
        ),
        (
            FOLD.replace('["0.weight", "0.bias"]', '"0.weight"'),
            "m.yaml:6: 0.weight: the ops make 2 tensors, the rule names 1",
        ),
        (
            FOLD.replace("takes: [weight, gamma", "takes: [gamma, weight"),
            (
                "m.yaml:6: 0.weight: fold batch norm (gamma weight beta mean var), eps 1e-05: "
                "gamma should be [6], found [6, 3, 3, 3]"
            ),
        ),
    ],
    ids=["a source too few", "a target too few", "sources in another order"],
)
def test_a_fold_that_does_not_fit_says_where(net, rules, said):
    del net
    with pytest.raises(PortkitError) as error:
        port_through(rules)
    assert said in str(error.value)


def test_the_shipped_fold_moves_every_layer_up():
    plan = make_port("torchvision:vgg16_bn@random", "fc-head:vgg16", "vgg/bn-folded").plan
    cuts = [(cut.enter, cut.leave, cut.target) for cut in find_cuts(plan)]
    assert cuts[:3] == [
        ("features.0", "features.1", "features.0"),
        ("features.3", "features.4", "features.2"),
        ("features.7", "features.8", "features.5"),
    ]
    assert cuts[12:] == [
        ("features.40", "features.41", "features.28"),
        *((f"classifier.{i}",) * 2 + (f"classifier.{i + 2}",) for i in (0, 3, 6)),
    ]
    assert len(plan.dropped) == 13
    with pytest.raises(PortkitError, match="cannot be inverted: statistics and scale are one"):
        invert(shipped_mapping("vgg/bn-folded"))
