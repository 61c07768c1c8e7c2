"""Verifications made by hand, which the tests of all reports share."""

from io import BytesIO
from math import inf
from types import SimpleNamespace

import pytest
from PIL import Image

from portkit.errors import PortkitError, Problem
from portkit.verification.results import (
    Check,
    Diagnosis,
    FlippedImage,
    Histogram,
    RungResult,
    Status,
    Verification,
)

HOSTILE = """x<script>alert(1)</script>'"&]]>|`*_%,:\n::error::y\x1b[31m\x00\ud800\u202e"""


def picture(red, green, blue):
    """Return a PNG of a gradient."""
    image = Image.new("RGB", (32, 32))
    image.putdata([(red + x, green + y, blue) for y in range(32) for x in range(32)])
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def layer(name, rho, *, passed=True, diagnosis=None):
    words = f"ρ {rho:.2f} by itself, off by {rho * 1e-7:.2g} of the largest"
    return Check(name, passed, words, {"rho": rho, "share": rho * 1e-7, "gate": 8.0}, diagnosis)


NAMES = [f"features.{at}" for at in range(0, 29, 2)] + [f"classifier.{at}" for at in (0, 3, 6)]
RHOS = (0.8, 1.1, 0.9, 1.4, 1.0, 2.1, 1.3, 0.7, 1.6, 1.2, 0.9, 1.1, 1.8, 1.0, 0.6, 1.9, 2.4, 1.5)
EPS = Diagnosis("batchnorm_eps", "with eps 0.001 instead of 1e-05 the layer agrees to 3e-16")
TURNED = Diagnosis("transposed", "it equals the transpose of its source, 16,777,216 elements")
FLIPS = (
    FlippedImage(
        "test-0017",
        "ankle boot",
        "ankle boot",
        "sneaker",
        1.25,
        is_tie=False,
        picture=picture(180, 40, 90),
    ),
    FlippedImage("test-0230", "", "shirt", "coat", 3e-6, is_tie=True),
)
ENVIRONMENT = {"device": "CPU, 2 threads", "TF32": "off", "cuDNN autotuning": "off"}
PASSED = Verification(
    "net.safetensors",
    "torchvision:vgg16@random:0",
    "conv-head:vgg16",
    (
        RungResult(
            "coverage",
            Status.PASSED,
            "32 of 32 tensors, 40 facts of the configuration",
            (Check("features.0.weight", passed=True, what="is taken once"),),
            seconds=0.01,
        ),
        RungResult(
            "bits",
            Status.PASSED,
            "32 tensors, 553,430,112 bytes, are what the plan makes of the source",
            (Check("features.0.weight", passed=True, what="F32[64, 3, 3, 3], bit for bit"),),
            ("shapes prove nothing for 4 of 32 tensors: wrong ones would fit",),
            seconds=2.34,
        ),
        RungResult("dense", Status.NOT_APPLICABLE, "no score map: the head takes one size"),
        RungResult(
            "layers",
            Status.PASSED,
            "ρ 2.40 at most, 16 layers and 2 spans between them one by one, float32",
            tuple(map(layer, NAMES, RHOS)),
            seconds=11.0,
        ),
        RungResult(
            "decisions",
            Status.PASSED,
            "999 of 1,000 images are answered alike, the other is a tie",
            (Check("top-1", passed=True, what="999 of 1,000"),),
            flips=FLIPS[1:],
            seconds=31.5,
        ),
    ),
    ("accuracy: no labels were given",),
    ENVIRONMENT,
)
FAILED = Verification(
    "broken.safetensors",
    "fc-head:net@w.pth",
    "conv-head:net(num_classes=7)",
    (
        RungResult(
            "bits",
            Status.FAILED,
            "2 of 32 tensors differ",
            (
                Check("conv.weight", passed=True, what="bit for bit"),
                Check(
                    "classifier.3.weight",
                    passed=False,
                    what="16,773,120 of 16,777,216 differ, first at (0, 1)",
                    numbers={"max_abs": 0.4},
                    diagnosis=TURNED,
                    histogram=Histogram(
                        (-6, -5, -4, -3, -2, -1),
                        (12, 90, 1_300, 51_300, 9_120_000, 7_600_000),
                        4096,
                    ),
                ),
                Check(
                    "classifier.6.bias", passed=False, what="7 of 7 differ", numbers={"snr_db": inf}
                ),
            ),
            seconds=1.5,
        ),
        RungResult(
            "layers",
            Status.FAILED,
            "first to differ: bn1; 16 layers and 2 spans between them looked at one by one",
            (
                *map(layer, NAMES[:6], RHOS),
                layer("bn1", 2.4e3, passed=False, diagnosis=EPS),
                layer("bn1 → features.12", 0.0),
                *map(layer, NAMES[6:-2], RHOS),
                layer("classifier.3", 2.9e6, passed=False, diagnosis=TURNED),
                layer("classifier.6 (calls)", inf, passed=False),
            ),
            seconds=3.0,
        ),
        RungResult(
            "decisions",
            Status.FAILED,
            "2 of 1,000 images are answered differently",
            (Check("top-1", passed=False, what="1 flip is no tie"),),
            ("ρ of 2.9e+06 is usual for another structure or other weights",),
            flips=FLIPS,
        ),
    ),
    ("outputs: an earlier rung failed",),
    ENVIRONMENT,
)
PARTLY = Verification(
    "partly.safetensors",
    "a",
    "b",
    (*PASSED.rungs[:2], RungResult("structure", Status.NOT_CHECKED, "torch is not installed")),
)
NOTHING = Verification("nothing.safetensors", "a", "b", ())
HURT = Verification(
    HOSTILE,
    HOSTILE,
    HOSTILE,
    (
        RungResult(
            "layers",
            Status.FAILED,
            HOSTILE,
            (
                Check(
                    HOSTILE,
                    passed=False,
                    what=HOSTILE,
                    numbers={"rho": float("nan"), "gate": 8.0},
                    diagnosis=Diagnosis(HOSTILE, HOSTILE),
                    histogram=Histogram((-2,), (3,), 0),
                ),
            ),
            (HOSTILE,),
            (
                FlippedImage(
                    HOSTILE, HOSTILE, HOSTILE, HOSTILE, inf, is_tie=False, picture=b"no PNG"
                ),
            ),
        ),
    ),
    (HOSTILE,),
    {HOSTILE: HOSTILE},
)
ERROR = PortkitError(
    [
        Problem("w.npz", "says nothing of where it came from", "name its source with --against"),
        Problem("", "no such model"),
    ]
)


@pytest.fixture
def examples():
    """What reports are made of, by name: a proof, a refutation, hostile names, an error."""
    return SimpleNamespace(
        passed=PASSED,
        failed=FAILED,
        partly=PARTLY,
        nothing=NOTHING,
        hurt=HURT,
        hostile=HOSTILE,
        error=ERROR,
        all_hurt={
            HOSTILE: HURT,
            f"1{HOSTILE}": PortkitError.at(HOSTILE, HOSTILE, HOSTILE),
            f"2{HOSTILE}": Verification(HOSTILE, HOSTILE, HOSTILE, ()),
            f"3{HOSTILE}": Verification(
                HOSTILE,
                HOSTILE,
                HOSTILE,
                (
                    RungResult(HOSTILE, Status.NOT_CHECKED, HOSTILE),
                    RungResult(HOSTILE, Status.FAILED, HOSTILE),
                ),
            ),
        },
        all={
            "net.safetensors": PASSED,
            "broken.safetensors": FAILED,
            "partly.safetensors": PARTLY,
            "nothing.safetensors": NOTHING,
            HOSTILE: HURT,
            "w.npz": ERROR,
        },
    )
