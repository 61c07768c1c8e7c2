from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from portkit import evaluation
from portkit.endpoints import resolve_source
from portkit.errors import PortkitError
from portkit.evaluation.choices import DataOptions
from portkit.evaluation.data import load_fashion, load_photos
from portkit.evaluation.folders import open_data
from portkit.evaluation.metrics import mcnemar, measure_accuracy
from portkit.evaluation.preprocessing import fashion_preprocessing
from portkit.runners.torch import build_module
from portkit.verification.answering import answer_images

DATA = Path(evaluation.__file__).parent / "data"


def complaint(work, *words):
    with pytest.raises(PortkitError) as caught:
        work(*words)
    return str(caught.value)


# What ships


def test_fashion_is_a_hundred_test_images_of_each_class():
    fashion = load_fashion()
    assert len(fashion) == 1000
    assert fashion.images.shape == (1000, 28, 28)
    assert fashion.images.dtype == np.uint8
    assert np.bincount(fashion.labels).tolist() == [100] * 10
    assert (np.diff(fashion.ids) > 0).all()
    assert 0 <= fashion.ids[0] < fashion.ids[-1] < 10_000
    assert fashion.classes[0] == "T-shirt/top"
    assert len(set(fashion.classes)) == 10


def test_eight_crops_of_256_pixels_can_be_cut_from_the_photographs():
    photos = load_photos()
    assert len(photos) == 4
    for photo in photos:
        assert photo.dtype == np.uint8
        assert photo.shape[2] == 3
        assert min(photo.shape[:2]) >= 256
        assert np.abs(photo[..., 0].astype(int) - photo[..., 2]).mean() > 2  # in colour


def test_what_ships_is_small_and_has_its_licences_beside_it():
    sizes = {p.name: p.stat().st_size for p in DATA.rglob("*") if p.is_file()}
    assert sizes["fashion-vgg11.safetensors"] < 3e6
    assert sizes["fashion-1000.npz"] < 1e6
    assert sum(size for name, size in sizes.items() if name.endswith(".jpg")) < 1e6
    assert "Zalando" in (DATA / "LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")
    licences = (DATA / "photos" / "LICENSES.txt").read_text(encoding="utf-8")
    for photo in (DATA / "photos").glob("*.jpg"):
        assert photo.name in licences


def test_the_demo_net_says_what_it_is_and_is_as_good_as_it_says():
    endpoint = resolve_source("demo:fashion")
    with safe_open(DATA / "fashion-vgg11.safetensors", "numpy") as file:
        metadata = file.metadata()
    model, accuracy = metadata["model"], float(metadata["test_accuracy"])
    assert endpoint.reference.model == model
    images = open_data(DataOptions("shipped"), channels=1)
    net, places = build_module(endpoint), range(len(images))
    logits = answer_images(net, images, places, fashion_preprocessing())
    found = measure_accuracy(logits, np.array(images.labels))
    assert accuracy >= 90
    assert found.right >= 900
    assert 100 * found.low < accuracy < 100 * found.high


# Accuracy


LOGITS = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 0, 0], [1, 1, 0, 2]], np.float32)


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        ([0, 3, 0, 3], [4, 4, 4, 4]),
        ([1, 2, 1, 0], [0, 4, 4, 4]),  # of equals the lower class comes first
        ([3, 0, 3, 2], [0, 0, 0, 4]),
        ([0, 0, 1, 1], [1, 2, 3, 4]),
    ],
)
def test_the_first_k_answers(labels, right):
    found = [measure_accuracy(LOGITS, np.array(labels), k).right for k in (1, 2, 3, 4)]
    assert found == right


def two_classes(right, total):
    """Logits and labels of which this many are right."""
    logits = np.tile(np.array([1.0, 0.0]), (total, 1))
    return logits, (np.arange(total) >= right).astype(np.uint8)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (0, 20, 0, 1 - 0.025 ** (1 / 20)),  # the bounds of Clopper and Pearson in closed form
        (20, 20, 0.025 ** (1 / 20), 1),
        (1, 1, 0.025, 1),
        (81, 263, 0.2527, 0.3676),  # Newcombe 1998, table I
        (15, 148, 0.0578, 0.1617),
    ],
)
def test_the_interval_is_clopper_and_pearsons(right, total, low, high):
    found = measure_accuracy(*two_classes(right, total))
    assert (found.right, found.total, found.share) == (right, total, right / total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_accuracy_in_words():
    words = "top-1 90.30% (88.30% to 92.06%), 903 of 1000 images"
    assert str(measure_accuracy(*two_classes(903, 1000))) == words


NAN = np.array([[1, np.nan], [0, 1]])


@pytest.mark.parametrize(
    ("logits", "labels", "k", "words"),
    [
        (LOGITS[:0], [], 1, "logits: are of 0 images, at least 1 is needed"),
        (
            LOGITS,
            [0, 1],
            1,
            "logits: are [4, 4], labels [2]; [images, classes] and [images] are needed",
        ),
        (LOGITS, [0, 1, 2, 4], 1, "labels: reach from 0 to 4, the logits have 4 classes"),
        (LOGITS, [0, 1, 2, 3], 5, "logits: have 4 classes, asked for top-5"),
        (NAN, [0, 1], 1, "logits: are NaN for 1 images"),
    ],
)
def test_what_cannot_be_measured(logits, labels, k, words):
    assert complaint(measure_accuracy, logits, np.array(labels, int), k) == words


# Two models on the same images


@pytest.mark.parametrize(
    ("before", "after", "p_value"),
    [(0, 0, 1), (0, 5, 2 / 2**5), (1, 7, 2 * (1 + 8) / 2**8), (4, 4, 1)],
)
def test_mcnemar_is_an_exact_two_sided_binomial_test(before, after, p_value):
    assert mcnemar(before, after) == pytest.approx(p_value)
