"""The coverage and bits rungs on files that were tampered with: each fault is found and named."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import formats
from portkit.conversion import OutputOptions, convert_port
from portkit.counterparts import port_of
from portkit.errors import PortkitError
from portkit.porting import make_port
from portkit.progress import SILENT
from portkit.tensors import DType, Extent, TensorSpec
from portkit.verification import Options, Status, Verification, verify_port
from portkit.verification.bits import check_bits
from portkit.verification.rereading import CHUNK, reopen, same_bytes

SIZES = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"
SOURCE = f"fc-head:vgg11_bn{SIZES}@random"
READING = Options(rungs=("coverage", "bits"))


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    path = tmp_path_factory.mktemp("ported") / "net.safetensors"
    convert_port(make_port(SOURCE, "conv-head"), path)
    return path


@pytest.fixture
def artifact(ported, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(ported.read_bytes())
    return path


def edit(path, change):
    """Give `change` the file's tensors by name; write back what it leaves in them."""
    with reopen(path) as reader:
        places = {name: reader.fetch(name) for name in reader.specs}
        specs = dict(reader.specs)
    raw = bytearray(path.read_bytes())
    arrays = {
        name: np.frombuffer(raw, specs[name].dtype.carrier, specs[name].size, place.offset).reshape(
            specs[name].shape
        )
        for name, place in places.items()
    }
    change(arrays)
    path.write_bytes(raw)


def rewrite_header(path, change):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def swap(one, other):
    def change(arrays):
        kept = arrays[one].copy()
        arrays[one][...], arrays[other][...] = arrays[other], kept

    return change


def put(name, made):
    def change(arrays):
        arrays[name][...] = made(arrays[name].copy()).reshape(arrays[name].shape)

    return change


def flip_bit(name, place, bit):
    def change(arrays):
        arrays[name].reshape(-1).view("u4")[place] ^= np.uint32(1 << bit)

    return change


FC = "classifier.0.weight"  # [24, 32, 3, 3]
SQUARE = "classifier.3.weight"  # [24, 24, 1, 1]
CONV = "features.4.weight"  # [8, 4, 3, 3]

FAULTS = {
    "one bit": (flip_bit(FC, 700, 3), FC, "one_bit",
                "bit 3 of classifier.0.weight is turned at [2, 13, 2, 1]"),
    "a sign": (flip_bit("features.0.bias", 1, 31), "features.0.bias", "one_bit",
               "bit 31 of features.0.bias is turned at [1]"),
    "a swap": (swap("features.22.weight", "features.25.weight"), "features.22.weight",
               "sibling_swapped",
               "equals source features.25.weight, 9,216 of 9,216 elements"),
    "a swap of biases": (swap("classifier.0.bias", "classifier.3.bias"), "classifier.3.bias",
                         "sibling_swapped", "equals source classifier.2.bias, 24 of 24 elements"),
    "a transposed square": (put(SQUARE, lambda w: w.swapaxes(0, 1)), SQUARE, "transposed",
                            "equals the transpose of its source, 576 of 576 elements"),
    "channel-last rows": (put(FC, lambda w: w.reshape(24, 3, 3, 32).transpose(0, 3, 1, 2)), FC,
                          "channel_last_flatten",
                          "read as if it had been flattened channel-last (h w c)"),
    "channel-last flattening": (put(FC, lambda w: w.transpose(0, 2, 3, 1)), FC,
                                "channel_last_flatten", "flattened channel-last (h w c)"),
    "no bias": (put("classifier.3.bias", np.zeros_like), "classifier.3.bias", "zeros",
                "is all zeros, 24 of 24 elements"),
    "a reset mean": (put("features.1.running_mean", np.zeros_like), "features.1.running_mean",
                     "batchnorm_stats_initial", "is all zeros"),
    "a reset variance": (put("features.1.running_var", np.ones_like), "features.1.running_var",
                         "batchnorm_stats_initial", "is all ones"),
    "a reset gamma": (put("features.1.weight", np.ones_like), "features.1.weight",
                      "batchnorm_gamma_one", "is all ones"),
    "a scaled variance": (put("features.1.running_var", lambda v: v * np.float32(999.98)),
                          "features.1.running_var", "batchnorm_stats_scaled", "times 999.98"),
    "an unbiased variance": (put("features.1.running_var", lambda v: v * np.float32(1600 / 1599)),
                             "features.1.running_var", "batchnorm_unbiased_var", "n = 1,600"),
    "mean and variance swapped": (swap("features.5.running_mean", "features.5.running_var"),
                                  "features.5.running_var", "batchnorm_mean_var_swapped",
                                  "equals source features.5.running_mean"),
    "gamma and beta swapped": (swap("features.5.weight", "features.5.bias"), "features.5.weight",
                               "batchnorm_gamma_beta_swapped", "equals source features.5.bias"),
    "kernels turned": (put(CONV, lambda w: w[..., ::-1, ::-1]), CONV, "kernel_rotated",
                       "its kernels turned by 180°"),
    "kernels transposed": (put(CONV, lambda w: w.swapaxes(2, 3)), CONV, "kernel_transposed",
                           "its kernels' height and width swapped"),
    "BGR": (put("features.0.weight", lambda w: w[:, ::-1]), "features.0.weight",
            "channels_reversed", "its input channels reversed (RGB ↔ BGR)"),
    "classes shifted": (put("classifier.6.bias", lambda b: np.roll(b, 1)), "classifier.6.bias",
                        "shifted", "shifted by 1 along axis 0"),
    "towers swapped": (put(CONV, lambda w: np.roll(w, 4, 0)), CONV, "halves_swapped",
                       "the halves of axis 0 swapped"),
    "half precision": (put(CONV, lambda w: w.astype(np.float16).astype(np.float32)), CONV,
                       "half", "rounded to half precision"),
    "bfloat16": (put(CONV, lambda w: (w.view("u4") & 0xFFFF0000).view("f4")), CONV,
                 "bfloat16", "cut to bfloat16"),
    "a scale": (put(CONV, lambda w: w * np.float32(0.5)), CONV, "scaled",
                "is its source times 0.5, 288 of 288 elements"),
    "a text dump": (put(CONV, lambda w: np.round(w, 4)), CONV, "few_digits",
                    "written with 4 decimals"),
    "another count": (put("features.1.num_batches_tracked", lambda n: n + 1),
                      "features.1.num_batches_tracked", "one_element",
                      "features.1.num_batches_tracked is 91 at [], its source 90"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tampered_tensor_is_named_with_its_cause(artifact, fault):
    change, tensor, cause, said = FAULTS[fault]
    edit(artifact, change)
    found = verify_port(port_of(artifact), artifact, Options(rungs=("bits",)))
    assert not found.passed
    failed = {check.subject: check for check in found.rungs[-1].failed}
    assert " elements differ, first at [" in failed[tensor].what
    assert failed[tensor].diagnosis.cause == cause
    assert said in failed[tensor].diagnosis.evidence
    assert all(name == tensor or "swap" in fault for name in failed)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_bit_turned_anywhere_in_the_values_is_found_in_its_tensor(ported, data):
    port = port_of(ported)
    with reopen(ported) as reader:
        places = {name: reader.fetch(name) for name in reader.specs}
    name = data.draw(st.sampled_from(sorted(places)))
    place = places[name]
    offset = place.offset + data.draw(st.integers(0, place.nbytes - 1))
    raw = bytearray(ported.read_bytes())
    raw[offset] ^= 1 << data.draw(st.integers(0, 7))
    broken = ported.with_name("broken.safetensors")
    broken.write_bytes(raw)
    found = verify_port(port, broken, Options(rungs=("bits",)))
    assert [check.subject for check in found.rungs[0].failed] == [name]


def test_an_untouched_file_passes_both_rungs(artifact):
    found = verify_port(port_of(artifact), artifact, READING)
    assert [(rung.rung, rung.status) for rung in found.rungs] == [
        ("coverage", Status.PASSED),
        ("bits", Status.PASSED),
    ]
    assert found.rungs[1].summary == (
        "62 tensors, 178,780 bytes, are what the plan makes of the source"
    )
    assert found.not_checked == (
        "structure, dense, layers, outputs, pipeline, decisions, accuracy: not asked for",
        "decisions and accuracy: no images were given (--data)",
    )


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_other_formats_are_re_read_by_their_one_reader(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    convert_port(make_port(SOURCE, "conv-head"), path)
    found = verify_port(port_of(path), path, Options(rungs=("bits",)))
    assert found.passed
    assert "re-read by portkit's own reader: this format has no second one" in found.rungs[0].notes


def test_shards_are_re_read_independently(tmp_path):
    port = make_port(SOURCE, "conv-head")
    convert_port(port, tmp_path / "net.safetensors", OutputOptions(shard_bytes=40_000))
    index = tmp_path / "net.safetensors.index.json"
    found = verify_port(port, index, Options(rungs=("bits",)))
    assert found.passed
    assert len(list(tmp_path.glob("net-*.safetensors"))) > 2
    shard = next(iter(sorted(tmp_path.glob("net-*.safetensors"))))
    edit(shard, flip_bit("features.0.weight", 0, 0))
    found = verify_port(port, index, Options(rungs=("bits",)))
    assert [check.subject for check in found.rungs[0].failed] == ["features.0.weight"]


def test_a_file_source_is_compared_as_bytes(artifact, tmp_path):
    back = tmp_path / "back.safetensors"
    port = make_port(str(artifact), "fc-head")
    convert_port(port, back)
    assert verify_port(port, back, READING).passed
    edit(artifact, flip_bit(FC, 0, 30))
    found = verify_port(port, back, READING)
    assert [check.subject for check in found.rungs[-1].failed] == ["classifier.2.weight"]


def test_nan_payloads_and_negative_zeros_count(tmp_path):
    port = _tiny_port(tmp_path, np.array([0.0, np.nan, 1.0], np.float32))
    assert verify_port(port, tmp_path / "out.npz", Options(rungs=("bits",))).passed
    for place, bits in ((0, 0x80000000), (1, 0x7FC00001)):
        values = np.array([0.0, np.nan, 1.0], np.float32)
        values.view("u4")[place] = bits
        np.savez(tmp_path / "out.npz", b=values)
        found = verify_port(port, tmp_path / "out.npz", Options(rungs=("bits",)))
        assert (
            found.rungs[0].failed[0].what.startswith(f"1 of 3 elements differ, first at [{place}]")
        )


def _tiny_port(folder, values):
    np.savez(folder / "in.npz", a=values)
    (folder / "m.yaml").write_text(
        "portkit: 1\nfrom: x\nto: y\nfor: [net]\nrules:\n  - map: a -> b\n"
    )
    port = make_port(str(folder / "in.npz"), "y", folder / "m.yaml")
    convert_port(port, folder / "out.npz", OutputOptions(force=True))
    return port


def test_a_tie_that_does_not_hold_fails(tmp_path):
    np.savez(tmp_path / "in.npz", a=np.arange(3.0), c=np.arange(3.0))
    (tmp_path / "m.yaml").write_text(
        "portkit: 1\nfrom: x\nto: y\nfor: [net]\nrules:\n  - map: a -> b\n"
        '  - {tie: "c -> a", because: one tensor}\n'
    )
    port = make_port(str(tmp_path / "in.npz"), "y", tmp_path / "m.yaml")
    convert_port(port, tmp_path / "out.npz")
    found = verify_port(port, tmp_path / "out.npz", READING)
    assert found.passed
    assert found.rungs[1].summary.endswith("; 1 ties")
    np.savez(tmp_path / "in.npz", a=np.arange(3.0), c=-np.arange(3.0))
    found = verify_port(port, tmp_path / "out.npz", READING)
    assert [(c.subject, c.what) for c in found.rungs[1].failed] == [
        ("c", "is tied to, but does not equal a bit for bit")
    ]


def test_a_missing_tensor_fails_in_either_rung(artifact):
    port = port_of(artifact)
    rewrite_header(artifact, lambda header: header.pop("classifier.6.bias"))
    for rung in ("coverage", "bits"):
        found = verify_port(port, artifact, Options(rungs=(rung,)))
        assert [(c.subject, c.what) for c in found.rungs[0].failed] == [
            ("classifier.6.bias", "F32[7] is missing from the file")
        ]


def test_coverage_holds_the_header_against_the_plan(artifact):
    port = port_of(artifact)

    def change(header):
        header["extra"] = header["features.0.bias"]
        header["classifier.6.weight"]["shape"] = [24, 7, 1, 1]
        header["features.1.bias"]["dtype"] = "I32"

    rewrite_header(artifact, change)
    found = verify_port(port, artifact, Options())
    assert found.rungs[0].status is Status.FAILED
    assert {check.subject: check.what for check in found.rungs[0].failed} == {
        "features.1.bias": "I32[4] in the file, the plan says F32[4]",
        "classifier.6.weight": "F32[24, 7, 1, 1] in the file, the plan says F32[7, 24, 1, 1]",
        "extra": "F32[4] is in the file, not in the plan",
    }
    assert found.not_checked[0] == (
        "bits, structure, dense, outputs, pipeline: an earlier rung failed"
    )


def test_coverage_does_the_planner_s_accounting_again(artifact):
    port = port_of(artifact)
    lost = replace(port.plan, steps=port.plan.steps[1:])
    found = verify_port(replace(port, plan=lost), artifact, Options(rungs=("coverage",)))
    first = port.plan.steps[0].target
    assert {(check.subject, check.what) for check in found.rungs[0].failed} == {
        (first.name, f"source tensor {first.form} goes nowhere"),
        (first.name, f"{first.form} is in the file, not in the plan"),
        (first.name, f"{first.form} of the target model stays at its initial value"),
    }
    twice = replace(port.plan, steps=(*port.plan.steps, port.plan.steps[0]))
    found = verify_port(replace(port, plan=twice), artifact, Options(rungs=("coverage",)))
    assert [check.what for check in found.rungs[0].failed] == ["the plan makes it twice"]


def test_verifying_nothing_is_no_success(artifact):
    port = port_of(artifact)
    nothing = replace(port.plan, steps=())
    with reopen(artifact) as reader:
        result = check_bits(nothing, reader, reader, SILENT)
    assert result.status is Status.FAILED
    assert not Verification("a", "b", "c", ()).passed


def test_runs_of_bytes_are_compared_to_the_last(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    size = 2 * CHUNK + 5
    one.write_bytes(bytes(size))
    extents = Extent(one, 0, size), Extent(other, 3, size)
    other.write_bytes(b"abc" + bytes(size))
    assert same_bytes(*extents)
    for place in (0, CHUNK - 1, CHUNK, size - 1):
        raw = bytearray(b"abc" + bytes(size))
        raw[3 + place] = 1
        other.write_bytes(raw)
        assert not same_bytes(*extents)
    assert not same_bytes(extents[0], replace(extents[1], nbytes=size - 1))


def test_specs_read_twice_agree(artifact):
    with reopen(artifact) as plain, formats.open_reader(artifact) as ours:
        assert dict(plain.specs) == dict(ours.specs)
        assert plain.metadata == dict(ours.metadata)
        assert all(plain.fetch(name) == ours.fetch(name) for name in plain.specs)
        first = plain.specs["features.0.weight"]
    assert first == TensorSpec("features.0.weight", (4, 3, 3, 3), DType.F32)


@pytest.mark.parametrize("suffix", ["npz", "pth"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_zip_that_was_damaged_is_refused_on_either_side(tmp_path, suffix, side):
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("source", "target"))
    convert_port(make_port(SOURCE, "fc-head"), first)
    convert_port(make_port(str(first), "conv-head"), second)
    assert verify_port(port_of(second), second, READING).passed
    damaged = first if side == "source" else second
    with formats.open_reader(damaged) as reader:
        place = reader.fetch("features.4.weight").offset
    raw = bytearray(damaged.read_bytes())
    raw[place + 5] ^= 4
    damaged.write_bytes(raw)
    with pytest.raises(PortkitError) as caught:
        verify_port(port_of(second), second, READING)
    assert f"{damaged}: features.4.weight: its CRC-32 is wrong" in str(caught.value)
