"""The user's own preprocessing: what it is given, and what it must give."""

import numpy as np
import pytest
import torch
from torchvision.models import VGG16_Weights

from portkit.errors import PortkitError
from portkit.evaluation.callables import OwnPreprocessing, load_callable
from portkit.evaluation.data import load_photos
from portkit.evaluation.preprocessing import imagenet_preprocessing

PHOTOS = load_photos()


def complaint(work, *words):
    with pytest.raises(PortkitError) as caught:
        work(*words)
    return str(caught.value)


def test_a_function_gets_a_pillow_image_or_else_an_array():
    image = PHOTOS[0][:6, :8]
    torchvisions = OwnPreprocessing("theirs", VGG16_Weights.IMAGENET1K_V1.transforms(), 3)
    assert np.array_equal(torchvisions(image), imagenet_preprocessing()(image))
    arrays = OwnPreprocessing("ours", lambda a: np.float32(a / 255).transpose(2, 0, 1), 3)
    assert arrays(image).shape == (3, 6, 8)


def test_what_a_function_does_to_its_image_stays_with_it():
    image = PHOTOS[0][:6, :8].copy()

    def spoil(array):
        array[...] = 0
        return np.zeros((3, 2, 2), np.float32)

    OwnPreprocessing("spoil", spoil)(image)
    assert np.array_equal(image, PHOTOS[0][:6, :8])


NEEDED = "[3, H, W] is needed\n  fix: return the channels first, without a batch axis"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, "gives a NoneType, an array or tensor [C, H, W] is needed"),
        ([[1.0]], "gives a list, an array or tensor [C, H, W] is needed"),
        (np.zeros((4, 4, 3), np.float32), f"gives float32[4, 4, 3], {NEEDED}"),
        (np.zeros((1, 3, 4, 4), np.float32), f"gives float32[1, 3, 4, 4], {NEEDED}"),
        (np.zeros((3, 0, 4), np.float32), f"gives float32[3, 0, 4], {NEEDED}"),
        (np.zeros((1, 4, 4), np.float32), f"gives float32[1, 4, 4], {NEEDED}"),
        (
            np.zeros((3, 4, 4)),
            (
                "gives float64[3, 4, 4], float32 is needed\n"
                "  fix: convert its result: .astype(numpy.float32)"
            ),
        ),
        (
            torch.zeros(3, 4, 4, dtype=torch.uint8),
            (
                "gives uint8[3, 4, 4], float32 is needed\n"
                "  fix: convert its result: .astype(numpy.float32)"
            ),
        ),
        (
            np.full((3, 2, 2), np.nan, np.float32),
            "gives 12 of 12 values that are not finite",
        ),
    ],
)
def test_what_a_function_must_not_give(made, words):
    function = OwnPreprocessing("python:m:f", lambda _: made, 3)
    assert complaint(function, PHOTOS[0]) == f"python:m:f: {words}"


def test_a_function_that_fails_says_both_ways():
    def fail(image):
        raise KeyError(type(image).__name__)

    assert complaint(OwnPreprocessing("python:m:f", fail), PHOTOS[0]) == (
        "python:m:f: given a Pillow image it raises KeyError: 'Image'; "
        "given an array it raises KeyError: 'ndarray'"
    )


def test_functions_are_imported_from_the_current_folder(folder):
    (folder / "mine_for_pixels.py").write_text(
        "import numpy\nSIZE = 4\n"
        "def shrink(image):\n"
        "    pixels = numpy.asarray(image.resize((SIZE, SIZE)), numpy.float32)\n"
        "    return pixels.transpose(2, 0, 1)\n"
    )
    found = load_callable("python:mine_for_pixels:shrink", 3)
    assert found(PHOTOS[0]).shape == (3, 4, 4)
    assert str(found) == "python:mine_for_pixels:shrink"
    assert complaint(load_callable, "python:mine_for_pixels:SIZE") == (
        "python:mine_for_pixels:SIZE: is a int, a function is needed"
    )
    assert complaint(load_callable, "mine_for_pixels:shrink") == (
        "mine_for_pixels:shrink: names no preprocessing function\n"
        "  fix: write python:MODULE:FUNCTION"
    )
    assert "has no 'shrunk'" in complaint(load_callable, "python:mine_for_pixels:shrunk")
