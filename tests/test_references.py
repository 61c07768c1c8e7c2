"""References taken apart: a table of what is written and what it means."""

import pytest

from portkit.errors import PortkitError
from portkit.references import is_entry, parse_reference, random_seed


@pytest.mark.parametrize(
    ("text", "scheme", "arch", "arguments", "weights"),
    [
        ("torchvision:vgg16", "torchvision", "vgg16", {}, ""),
        ("torchvision:vgg16@w.pth", "torchvision", "vgg16", {}, "w.pth"),
        ("torchvision:vgg16@random:7", "torchvision", "vgg16", {}, "random:7"),
        (
            "torchvision:vgg16(num_classes=5)@f.pth#state_dict.module.",
            "torchvision",
            "vgg16",
            {"num_classes": 5},
            "f.pth#state_dict.module.",
        ),
        (
            "fc-head:vgg11(width=0.125, batch_norm=True, init=kaiming)",
            "fc-head",
            "vgg11",
            {"width": 0.125, "batch_norm": True, "init": "kaiming"},
            "",
        ),
        ("python:my.models:build", "python", "my.models:build", {}, ""),
        ("python:my.models:build@a@b.pth", "python", "my.models:build", {}, "a@b.pth"),
        ("demo:fashion", "demo", "fashion", {}, ""),
        ("weights.pth", "", "", {}, "weights.pth"),
        ("dir:with/colon.pth", "", "", {}, "dir:with/colon.pth"),
        ("C:\\w.pth", "", "", {}, "C:\\w.pth"),
        ("conv-head", "", "", {}, "conv-head"),
    ],
)
def test_a_reference_is_taken_apart(text, scheme, arch, arguments, weights):
    found = parse_reference(text)
    assert (found.scheme, found.arch, dict(found.arguments), found.weights) == (
        scheme,
        arch,
        arguments,
        weights,
    )
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "an empty reference names nothing"),
        (
            "torchvision:",
            (
                "torchvision:: cannot be read as a reference\n"
                "  fix: write SCHEME:ARCH, SCHEME:ARCH(name=value) or SCHEME:ARCH@WEIGHTS"
            ),
        ),
        (
            "torchvision:vgg16(5)",
            (
                "torchvision:vgg16(5): cannot read the argument '5'\n"
                "  fix: write name=value, each name once"
            ),
        ),
        (
            "torchvision:vgg16(a=1, a=2)",
            (
                "torchvision:vgg16(a=1, a=2): cannot read the argument 'a=2'\n"
                "  fix: write name=value, each name once"
            ),
        ),
    ],
)
def test_a_reference_that_cannot_be_read_says_why(text, what):
    with pytest.raises(PortkitError) as error:
        parse_reference(text)
    assert str(error.value) == what


def test_weights_are_a_seed_an_entry_or_a_file():
    assert [random_seed(w) for w in ("random", "random:7", "random.pth", "")] == [0, 7, None, None]
    assert is_entry("IMAGENET1K_V1")
    assert not is_entry("vgg16.pth")


def test_a_file_may_be_entered_by_prefix():
    assert parse_reference("c.pth#state_dict.").file == ("c.pth", "state_dict.")
    assert parse_reference("c.pth").file == ("c.pth", "")
