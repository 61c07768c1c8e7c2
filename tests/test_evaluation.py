from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from portkit import evaluation
from portkit.endpoints import resolve_source
from portkit.errors import PortkitError
from portkit.evaluation.accuracy import evaluate_module
from portkit.evaluation.data import load_fashion, load_photos, preprocess_fashion
from portkit.evaluation.metrics import Flip, compare_predictions, measure_accuracy
from portkit.models import SpatialMean
from portkit.runners.torch import build_module

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
    net, fashion = build_module(endpoint), load_fashion()
    found = measure_accuracy(
        evaluate_module(net, preprocess_fashion(fashion.images)), fashion.labels
    )
    assert accuracy >= 90
    assert found.right >= 900
    assert 100 * found.low < accuracy < 100 * found.high


def test_preprocessing_scales_normalises_and_resizes_with_half_pixel_centres():
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    scaled = (images / 255 - 0.2860) / 0.3530
    at = np.clip((np.arange(96) + 0.5) * 28 / 96 - 0.5, 0, 27)
    low = np.minimum(at.astype(int), 26)
    weights = np.zeros((96, 28))
    weights[np.arange(96), low] = 1 - (at - low)
    weights[np.arange(96), low + 1] = at - low
    expected = weights @ scaled @ weights.T
    got = preprocess_fashion(images)
    assert got.shape == (2, 1, 96, 96)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-5)


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


def test_the_same_answers_agree():
    labels = np.array([0, 1, 0, 3])
    found = compare_predictions(LOGITS, LOGITS + 1, labels)
    assert (found.flips, found.agreement, found.p_value) == (0, 1.0, 1.0)


def test_a_flip_has_its_margin_in_the_first_models_logits():
    other = LOGITS.copy()
    other[0, 2] = 5
    found = compare_predictions(LOGITS, other, np.array([0, 3, 0, 3]))
    assert found.flipped == (Flip(0, label=0, first=0, second=2, margin=2.0),)
    assert found.agreement == 0.75
    assert (found.only_first_right, found.only_second_right) == (1, 0)
    assert str(found) == ("1 of 4 answers differ, right only before 1, only after 0, McNemar p = 1")


@pytest.mark.parametrize(
    ("before", "after", "p_value"),
    [(0, 0, 1), (0, 5, 2 / 2**5), (1, 7, 2 * (1 + 8) / 2**8), (4, 4, 1)],
)
def test_mcnemar_is_an_exact_two_sided_binomial_test(before, after, p_value):
    labels = np.zeros(40, int)
    one, two = np.tile([1.0, 0.0], (40, 1)), np.tile([1.0, 0.0], (40, 1))
    two[:before] = [0, 1]
    one[20 : 20 + after] = [0, 1]
    found = compare_predictions(one, two, labels)
    assert (found.only_first_right, found.only_second_right) == (before, after)
    assert found.p_value == pytest.approx(p_value)


def test_only_like_shapes_are_compared():
    words = "logits: are [4, 4] and [3, 4], of unlike shapes"
    assert complaint(compare_predictions, LOGITS, LOGITS[:3], np.arange(4)) == words


def test_nan_is_no_answer():
    words = "logits: are NaN for 1 images"
    assert complaint(compare_predictions, np.eye(2), NAN, np.array([0, 1])) == words


# A module's answers


class Counting:
    """A progress that writes down what it is told."""

    def __init__(self):
        self.heard = []

    def start(self, label, total, unit="B"):
        self.heard.append((label, total, unit))

    def advance(self, amount):
        self.heard.append(amount)

    def finish(self):
        self.heard.append("finished")


IMAGES = np.arange(7 * 2 * 3 * 5, dtype=np.float32).reshape(7, 2, 3, 5) / 210


def test_batches_change_nothing_and_progress_counts_images():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(30, 4)).eval()
    progress = Counting()
    logits = evaluate_module(net, IMAGES, batch=3, progress=progress)
    assert logits.shape == (7, 4)
    np.testing.assert_allclose(logits, evaluate_module(net, IMAGES), atol=1e-6)
    assert progress.heard == [("evaluating", 7, "images"), 3, 3, 1, "finished"]


def test_a_score_map_is_averaged():
    torch.manual_seed(0)
    net = nn.Conv2d(2, 4, 2).eval()
    mean = nn.Sequential(net, SpatialMean()).eval()
    assert np.array_equal(evaluate_module(net, IMAGES), evaluate_module(mean, IMAGES))


def test_a_module_in_training_mode_is_refused():
    words = "Dropout: is in training mode\n  fix: call its eval()"
    assert complaint(evaluate_module, nn.Dropout(), IMAGES) == words


def test_no_images_are_no_evaluation():
    assert complaint(evaluate_module, nn.Flatten().eval(), IMAGES[:0]) == (
        "images: are 0, at least 1 is needed"
    )
