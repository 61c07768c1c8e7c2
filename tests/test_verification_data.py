"""From pixels to answers: what passes, what fails, and what a slip is called."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from portkit.evaluation.data import load_photos
from portkit.evaluation.preprocessing import fashion_preprocessing, imagenet_preprocessing
from portkit.verification import Status
from portkit.verification.answering import run_batch
from portkit.verification.diagnosis.pixels import CAUSES, explain_pixels
from portkit.verification.pipeline import Pipelines, check_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTOS = load_photos()[:3]
HOW = imagenet_preprocessing(96)
MEAN, STD = (np.array(c, np.float32)[:, None, None] for c in (HOW.mean, HOW.std))


def scaled(image, how=HOW):
    """Return an image before it is normalised."""
    return np.float32(how(image) * STD + MEAN)


def smaller_crop(image, down, right):
    """Crop beside the centre of the resized image, by a hand-written crop."""
    height, width = image.shape[:2]
    longer = int(HOW.resize * max(height, width) / min(height, width))
    size = (HOW.resize, longer) if width <= height else (longer, HOW.resize)
    pixels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    top = round((pixels.shape[0] - 96) / 2) + down
    left = round((pixels.shape[1] - 96) / 2) + right
    planes = pixels[top : top + 96, left : left + 96].transpose(2, 0, 1)
    return (np.float32(planes) / 255 - MEAN) / STD


def resized_by_torchvision(image):
    from torchvision.transforms import functional

    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    small = functional.resize(tensor, [HOW.resize], antialias=False)
    cropped = functional.center_crop(small, [96, 96]).float() / 255
    return ((cropped.numpy() - MEAN) / STD).astype(np.float32)


SLIPS = {
    "P01": ("normalised_twice", lambda i: (HOW(i) - MEAN) / STD),
    "P02": ("not_normalised", scaled),
    "P03": ("std_missing", lambda i: scaled(i) - MEAN),
    "P04": ("range_255", lambda i: HOW(i) * 255),
    "P04, then normalised": ("range_255", lambda i: (scaled(i) * 255 - MEAN) / STD),
    "P04, not normalised": ("range_255", lambda i: scaled(i) * 255),
    "P04, Caffe": ("caffe_style", lambda i: ((scaled(i) - MEAN) * 255)[::-1]),
    "-1 to 1": ("symmetric_range", lambda i: scaled(i) * 2 - 1),
    "P05": ("channels_reversed", lambda i: HOW(i[..., ::-1])),
    "P05, late": ("channels_reversed", lambda i: HOW(i)[::-1]),
    "P06": ("constants_reversed", lambda i: (scaled(i) - MEAN[::-1]) / STD[::-1]),
    "P07": ("crop_shifted", lambda i: np.roll(HOW(i), 1, 2)),
    "P07, a crop": ("crop_shifted", lambda i: smaller_crop(i, 1, 0)),
    "P07, both ways": ("crop_shifted", lambda i: smaller_crop(i, -2, 1)),
    "P09": ("mirrored", lambda i: HOW(i)[..., ::-1]),
    "P09, early": ("mirrored", lambda i: HOW(i[:, ::-1])),
    "P11": ("resize_filter", replace(HOW, filter="nearest")),
    "P11, bicubic": ("resize_filter", replace(HOW, filter="bicubic")),
    "P11, no antialias": ("resize_filter", resized_by_torchvision),
    "P12": ("image_transposed", lambda i: HOW(i).swapaxes(1, 2)),
    "P12, early": ("image_transposed", lambda i: HOW(i.swapaxes(0, 1))),
    "no margin": ("resize_size", replace(HOW, resize=96)),
}


def float32(work):
    return lambda image: np.ascontiguousarray(work(image), np.float32)


@pytest.fixture(scope="module")
def net():
    """A small net of no symmetry, the same in both precisions."""
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.Conv2d(8, 8, 5, 3), nn.ReLU()
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 11))
    return made.eval(), nn.Sequential(*(type(m)(*args(m)) for m in made)).double().eval()


def args(layer):
    """Return what a layer of the net is built with."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return (3,) if isinstance(layer, nn.AdaptiveAvgPool2d) else ()


@pytest.fixture(scope="module")
def lines(net):
    single, double = net
    double.load_state_dict({name: tensor.double() for name, tensor in single.state_dict().items()})

    def source(batch):
        return run_batch(single, batch)

    return Pipelines((HOW, HOW), source, source, lambda batch: run_batch(double, batch))


# Pixels


@pytest.mark.parametrize(("cause", "slip"), SLIPS.values(), ids=SLIPS)
def test_every_slip_is_rejected_and_named(lines, cause, slip):
    result = check_pipeline(PHOTOS, replace(lines, ways=(HOW, float32(slip))))
    assert result.status is Status.FAILED
    pixels = [check for check in result.checks if check.subject.startswith("image")]
    assert [check.passed for check in pixels] == [False] * len(PHOTOS)
    assert {check.diagnosis and check.diagnosis.cause for check in pixels} == {cause}


@pytest.mark.parametrize("cause", ["not_normalised", "channels_reversed", "mirrored"])
def test_a_slip_of_the_source_is_said_to_be_the_sources(lines, cause):
    slip = next(work for name, work in SLIPS.values() if name == cause)
    found = check_pipeline(PHOTOS, replace(lines, ways=(float32(slip), HOW)), HOW)
    assert found.status is Status.FAILED
    assert found.checks[0].diagnosis.cause == cause
    assert found.checks[0].diagnosis.evidence.startswith("in the source's preprocessing, every")


def test_every_cause_of_the_table_is_tried_here():
    assert set(CAUSES) | {"crop_shifted"} == {cause for cause, _ in SLIPS.values()}


def test_the_right_preprocessing_is_no_slip():
    image, right = PHOTOS[0], HOW(PHOTOS[0])
    assert explain_pixels(image, right, right, HOW) is None
    assert explain_pixels(image, right, right + np.float32(1e-7), HOW) is None


def test_what_is_not_known_is_not_guessed():
    image, right = PHOTOS[0], HOW(PHOTOS[0])
    noise = np.random.default_rng(0).normal(0, 0.1, right.shape)
    unknown = (right + noise, scaled(image) ** 1.1, right[:, :50], right * np.nan, right * 0)
    for got in unknown:
        assert explain_pixels(image, right, np.float32(got), HOW) is None


def test_grey_images_have_slips_too():
    how, image = fashion_preprocessing(), np.asarray(Image.fromarray(PHOTOS[0]).convert("L"))
    right = how(image)
    mean, std = np.float32(how.mean[0]), np.float32(how.std[0])
    for cause, got in (
        ("normalised_twice", (right - mean) / std),
        ("not_normalised", right * std + mean),
        ("mirrored", right[..., ::-1]),
        ("image_transposed", right.swapaxes(1, 2)),
        ("resize_filter", replace(how, filter="nearest", resize=96)(image)),
    ):
        assert explain_pixels(image, right, got, how).cause == cause


# The whole pipeline


def test_the_same_preprocessing_and_net_pass(lines):
    result = check_pipeline(PHOTOS, lines)
    assert result.status is Status.PASSED
    assert len(result.checks) == 4
    assert result.notes[0] == f"both sides use the same preprocessing: {HOW}"
    assert result.summary.startswith("3 images: pixels differ by 0 at most, ρ ")


def test_another_order_of_the_same_arithmetic_passes(lines):
    def own(image):
        planes = (HOW(image).astype(np.float64) * STD + MEAN) * 255
        return np.float32((planes - MEAN * 255) / (STD * 255))

    result = check_pipeline(PHOTOS, replace(lines, ways=(HOW, own)))
    assert result.status is Status.PASSED
    assert 0 < result.checks[0].numbers["max_abs"] < 1e-5
    assert result.notes[0] == f"the source's preprocessing: {HOW}"


def test_rounded_constants_do_not_pass(lines):
    near = replace(HOW, mean=(0.48502, 0.45647, 0.40647))  # 123.68, 116.4, 103.65 of 255
    result = check_pipeline(PHOTOS, replace(lines, ways=(HOW, near)))
    assert [check.passed for check in result.checks] == [False] * 4
    assert result.checks[0].diagnosis is None


def inside(lines, work):
    """Return pipelines whose port does more to its batch than the source."""
    port = lambda batch: lines.source(np.ascontiguousarray(work(batch), np.float32))  # noqa: E731
    return replace(lines, port=port)


@pytest.mark.parametrize(
    ("cause", "work"),
    [
        ("normalised_twice", lambda batch: (batch - MEAN) / STD),
        ("channels_reversed", lambda batch: batch[:, ::-1]),
        ("mirrored", lambda batch: batch[..., ::-1]),
        ("image_transposed", lambda batch: batch.swapaxes(2, 3)),
    ],
)
def test_what_a_port_does_inside_is_named_where_pixels_agree(lines, cause, work):
    result = check_pipeline(PHOTOS, inside(lines, work))
    assert [check.passed for check in result.checks] == [True, True, True, False]
    assert result.checks[-1].diagnosis.cause == cause
    assert "its model does part of the preprocessing" in result.checks[-1].diagnosis.evidence


def test_a_port_that_is_wrong_otherwise_fails_without_a_guess(lines):
    result = check_pipeline(PHOTOS, inside(lines, lambda batch: batch * 1.001))
    assert result.status is Status.FAILED
    assert result.checks[-1].diagnosis is None


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda logits: logits[:, :-1], "shape [3, 10], expected [3, 11]"),
        (lambda logits: logits[:1], "shape [1, 11], expected [3, 11]"),
        (lambda logits: logits * np.nan, "33 of 33 values of the port are not finite"),
    ],
)
def test_answers_that_cannot_be_compared_fail(lines, work, words):
    result = check_pipeline(PHOTOS, replace(lines, port=lambda batch: work(lines.source(batch))))
    assert result.status is Status.FAILED
    assert result.checks[-1].what == words


def test_pixels_that_cannot_be_compared_fail(lines):
    smaller = replace(HOW, crop=95)
    result = check_pipeline(PHOTOS, replace(lines, ways=(HOW, smaller)))
    assert result.checks[0].what == "shape [3, 95, 95], expected [3, 96, 96]"
    assert result.status is Status.FAILED
    nan = check_pipeline(PHOTOS, replace(lines, ways=(HOW, lambda image: HOW(image) * np.nan)))
    assert "of the port are not finite" in nan.checks[0].what
    assert nan.status is Status.FAILED


def test_no_images_prove_nothing(lines):
    result = check_pipeline([], lines)
    assert (result.status, result.summary) == (Status.FAILED, "no images: nothing was compared")


def test_a_port_in_a_form_of_its_own_is_fed_in_that_form(lines):
    def adapt(batch):
        return np.ascontiguousarray(batch[:, ::-1])

    turned = inside(lines, lambda batch: batch[:, ::-1])
    own = replace(turned, ways=(HOW, lambda image: HOW(image)[::-1]), adapt=adapt)
    assert check_pipeline(PHOTOS, own).status is Status.PASSED
    twice = replace(
        own, port=lambda batch: turned.port(np.float32((batch - MEAN[::-1]) / STD[::-1]))
    )
    result = check_pipeline(PHOTOS, twice)
    assert [check.passed for check in result.checks] == [True, True, True, False]
    assert result.checks[-1].diagnosis.cause == "normalised_twice"
