"""`portkit verify`: what it takes, what it says, what its exit code means."""

from pathlib import Path

import numpy as np
import pytest

from portkit.cli import verify

SMALL = "(num_classes=7, in_channels=2, width=0.0625, hidden=24, pooled=3)"
SOURCE = f"fc-head:vgg11{SMALL}@random"
NAME = "vgg11-conv-head.safetensors"
BITS = ("--rungs", "coverage,bits")


@pytest.fixture
def port(run):
    """Convert a small net in the current folder."""
    assert run("convert", SOURCE, "conv-head", "-q").code == 0
    return Path(NAME)


def test_without_a_target_every_ported_file_is_proved(run, port):
    ran = run("verify", *BITS)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == f"found {port}"
    assert lines[-1] == "verified: coverage and bits only"
    assert "22 tensors, 175,820 bytes, are what the plan makes of the source" in ran.out


def test_with_nothing_to_prove_nothing_is_found_out(run):
    ran = run("verify")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"error: {Path.cwd()}: no ported file in this folder or below\n"
        "  fix: name a TARGET, or `portkit convert SRC DST` first\n"
    )


def test_one_flipped_bit_is_a_no_and_its_tensor_is_named(run, port):
    data = bytearray(port.read_bytes())
    data[-2] ^= 1
    port.write_bytes(data)
    ran = run("verify", port, *BITS)
    assert ran.code == 1
    assert "FAIL classifier.6.bias: 1 of 7 elements differ, first at [6]" in ran.out
    assert ran.out.splitlines()[-1] == "NOT verified"
    found = run("verify", port, *BITS, "--json")
    assert (found.code, found.json["passed"]) == (1, False)


def test_several_targets_are_summed_up_and_a_no_outweighs_the_unknown(run, port):
    good = Path("good.safetensors")
    good.write_bytes(port.read_bytes())
    data = bytearray(port.read_bytes())
    data[-2] ^= 1
    port.write_bytes(data)
    ran = run("verify", good, port, "gone.safetensors", *BITS)
    assert (ran.code, ran.err) == (1, "error: gone.safetensors: no such file\n")
    assert ran.out.endswith(
        "file                         verdict\n"
        "good.safetensors             passed\n"
        f"{NAME}  FAILED\n"
        "gone.safetensors             not found out\n"
    )


def test_a_file_without_provenance_needs_its_source_named(run):
    np.savez("w.npz", w=np.zeros(3, np.float32))
    assert run("verify", "w.npz") == (
        2,
        "",
        "error: w.npz: says nothing of where it came from\n  fix: name its source with --against\n",
    )


def test_another_source_can_be_named(run, port):
    assert run("verify", port, "--against", SOURCE, *BITS).code == 0
    ran = run("verify", port, "--against", f"{SOURCE}:1", *BITS)
    assert ran.code == 1
    assert "NOT verified" in ran.out


def test_convert_verifies_at_once_when_asked(run):
    ran = run("convert", "fc-head:alexnet" + SMALL + "@random", "conv-head", "--verify", "--json")
    assert ran.code == 0, ran.err
    assert [rung["rung"] for rung in ran.json["verification"]["rungs"]] == [
        "coverage",
        "bits",
        "structure",
        "dense",
        "layers",
        "outputs",
        "pipeline",
    ]


# --- What a way to verify has no use for -------------------------------------------------------

TYPED = {
    "--against": ["x"],
    "--mapping": ["m.yaml"],
    "--save-mapping": ["n.yaml"],
    "--self-test": [],
    "--quick": [],
    "--rungs": ["bits"],
    "--input-size": ["32"],
    "--device": ["cpu"],
    "--save-outputs": ["p.npz"],
    "--data": ["shipped"],
    "--subset": ["5"],
    "--data-seed": ["0"],
    "--preprocess": ["python:m:f"],
    "--preprocess-source": ["python:m:f"],
    "--preprocess-target": ["python:m:f"],
}
TESTED = (
    "--against",
    "--mapping",
    "--save-mapping",
    "--self-test",
    "--input-size",
    "--device",
)
USELESS = {
    "--from": list(TYPED),
    "--self-test": [option for option in TYPED if option not in TESTED],
}
MODES = {"--from": ["--from", "o.npz"], "--self-test": ["--self-test", "a.safetensors"]}


def test_every_option_has_a_use_in_some_way_to_verify():
    options = {parameter.name for parameter in verify.command.params} - {"targets"}
    assert options == frozenset().union(*verify.USES.values())
    assert verify.USES["--from"] | verify.USES["--self-test"] < options


@pytest.mark.parametrize(
    ("mode", "option"), [(mode, option) for mode in USELESS for option in USELESS[mode]]
)
def test_an_option_without_a_use_is_refused(run, mode, option):
    ran = run("verify", *MODES[mode], option, *TYPED[option])
    assert ran == (2, "", f"error: {option}: has no use with {mode}\n")


@pytest.mark.parametrize("mode", USELESS)
def test_all_options_without_a_use_are_named(run, folder, mode):
    words = [word for option in USELESS[mode] for word in (option, *TYPED[option])]
    ran = run("verify", *MODES[mode], *words)
    lines = [f"error: {option}: has no use with {mode}" for option in USELESS[mode]]
    assert (ran.code, ran.out, sorted(ran.err.splitlines())) == (2, "", sorted(lines))
    assert list(folder.iterdir()) == []


def test_saved_outputs_are_judged_without_a_target(run):
    ran = run("verify", "a.safetensors", "b", "--from", "o.npz")
    said = "error: a.safetensors: has no use with --from\nerror: b: has no use with --from\n"
    assert ran == (2, "", said)


def test_outputs_that_were_asked_for_and_are_lacking_are_no_yes(run, port):
    ran = run("verify", port, *BITS, "--save-outputs", "o.npz")
    assert ran.code == 2
    assert ran.err == (
        "error: o.npz: no outputs were compared, so there are none to save\n"
        "  fix: see why in the report\n"
    )
    assert not Path("o.npz").exists()
    data = bytearray(port.read_bytes())
    data[-2] ^= 1
    port.write_bytes(data)
    assert run("verify", port, *BITS, "--save-outputs", "o.npz").code == 1
