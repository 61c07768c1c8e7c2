"""Both models' answers to many images: in order, in batches, each image decoded once."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import manual_seed, nn

from portkit.errors import PortkitError
from portkit.evaluation.choices import DataOptions
from portkit.evaluation.data import load_photos
from portkit.evaluation.folders import open_data
from portkit.evaluation.preprocessing import imagenet_preprocessing
from portkit.evaluation.sampling import draw
from portkit.models import SpatialMean
from portkit.verification.answering import answer_both, answer_images, run_batch, see_images

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTOS = load_photos()[:3]
HOW = imagenet_preprocessing(96)


def halved(image):
    return HOW(image) / 2


def uncropped(image):
    return np.float32(image.transpose(2, 0, 1))


@pytest.fixture(scope="module")
def net():
    manual_seed(3)
    layers = nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(72, 11)).eval()


@pytest.fixture
def data(tmp_path):
    for number in range(37):
        photo = PHOTOS[number % 3][number : number + 120, number : number + 100 + number]
        Image.fromarray(photo).save(tmp_path / f"{number:02d}.png")
    return open_data(DataOptions(str(tmp_path)))


class Counted:
    """A way or a dataset's decoder that counts."""

    def __init__(self, work):
        self.work, self.calls = work, 0

    def __call__(self, given):
        self.calls += 1
        return self.work(given)


def test_both_models_answer_each_image_decoded_once(net, data):
    decode, way = Counted(data.decode), Counted(HOW)
    order = tuple(reversed(range(37)))
    counted = replace(data, decode=decode)
    source, port = answer_both((net, net), counted, order, (way, way))
    assert (source.shape, decode.calls, way.calls) == ((37, 11), 37, 37)
    assert np.array_equal(source, port)
    for place in (0, 33, 36):
        alone = answer_images(net, data, [order[place]], HOW)
        np.testing.assert_allclose(source[place : place + 1], alone, atol=1e-5)


def test_either_side_has_its_own_way(net, data):
    source, port = answer_both((net, net), data, range(5), (HOW, halved))
    assert np.array_equal(source, answer_images(net, data, range(5), HOW))
    assert np.array_equal(port, answer_images(net, data, range(5), halved))
    assert not np.array_equal(source, port)


def test_a_score_map_is_averaged_over_its_places():
    manual_seed(0)
    net = nn.Conv2d(3, 4, 2).eval()
    mean = nn.Sequential(net, SpatialMean()).eval()
    images = np.arange(7 * 3 * 4 * 5, dtype=np.float32).reshape(7, 3, 4, 5) / 420
    np.testing.assert_allclose(run_batch(net, images), run_batch(mean, images), rtol=1e-6)


def test_what_is_known_of_the_images_is_in_their_order(data):
    labelled = replace(data, labels=tuple(range(37)), classes=tuple(f"c{n}" for n in range(37)))
    sample = draw(labelled.ids, None, DataOptions("x", 5, 1))
    seen = see_images(labelled, sample)
    assert seen.ids == tuple(data.ids[i] for i in sample.indices)
    assert seen.labels == sample.indices
    assert seen.name_of(seen.labels[2]) == f"c{sample.indices[2]}"
    assert seen.picture(1) == data.thumbnail(sample.indices[1])
    assert (seen.digest, seen.notes) == (sample.digest, ())
    assert seen.words.startswith("5 of 37 images, drawn without labels with seed 1; a folder")


def refusal(work, *words):
    with pytest.raises(PortkitError) as caught:
        work(*words)
    return str(caught.value)


def test_models_that_give_no_logits_are_refused(net, data):
    images = np.zeros((2, 3, 96, 96), np.float32)
    assert run_batch(nn.Conv2d(3, 4, 3).eval(), images).shape == (2, 4)
    assert refusal(run_batch, nn.Dropout(), images).startswith("Dropout: is in training mode")
    assert refusal(run_batch, nn.Flatten(0).eval(), images) == (
        "Flatten: answers [55296] to 2 images, [images, classes] is needed"
    )
    assert "Conv2d: cannot answer [2, 3, 96, 96]: " in refusal(
        run_batch, nn.Conv2d(4, 4, 3).eval(), images
    )
    assert refusal(answer_images, net, data, [], HOW) == "images: are 0, at least 1 is needed"
    assert "gives images of several shapes: [3, 120, 100] and [3, 120, 101]" in refusal(
        answer_images, net, data, [0, 1], uncropped
    )
