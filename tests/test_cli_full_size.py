"""The main job at full size, as a user types it: convert, verify, and back to the last bit."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arch", "head", "words"),
    [
        ("alexnet", "conv-head", ()),
        ("alexnet", "fc-head", ("--quick",)),
        ("vgg11", "fc-head", ("--quick",)),
        ("vgg13_bn", "conv-head", ("--quick",)),
        ("vgg19_bn", "conv-head", ("--quick",)),
    ],
)
def test_torchvision_s_nets_are_ported_and_proved(run, arch, head, words):
    assert run("convert", f"torchvision:{arch}@random", head, "-q").code == 0
    ran = run("verify", "--atol", "1e-5", *words)
    assert ran.code == 0, ran.out + ran.err
    assert "outputs    passed" in ran.out


@pytest.mark.parametrize("arch", ["alexnet", "vgg19_bn"])
def test_what_comes_back_is_what_went_out(run, arch):
    assert (
        run("convert", f"torchvision:{arch}@random", "conv-head", "-o", "there.pth", "-q").code == 0
    )
    assert run("convert", "there.pth", "torchvision", "-o", "back.safetensors", "-q").code == 0
    assert run("convert", "back.safetensors", "conv-head", "-o", "again.pth", "-q").code == 0
    # The two files differ in the provenance they carry, and in nothing else.
    against = ("--against", f"torchvision:{arch}@random", "--rungs", "bits")
    assert run("verify", "again.pth", *against).code == 0
    assert run("verify", "back.safetensors", "--rungs", "bits").code == 0
    assert Path("there.pth").stat().st_size > 200_000_000
