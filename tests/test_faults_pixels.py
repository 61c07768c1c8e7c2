"""Faults of preprocessing: each changes an image, and is rejected and named from pixels on."""

import numpy as np
import pytest

from portkit.evaluation.data import load_photos
from portkit.evaluation.preprocessing import Preprocessing
from portkit.verification import Status
from portkit.verification.faults import PIXEL_FAULTS
from portkit.verification.pipeline import Pipelines, check_pipeline

HOW = Preprocessing(crop=64, resize=72)
MATRIX = np.random.default_rng(0).standard_normal((3 * 64 * 64, 5)).astype(np.float32) / 64


def narrow(batch):
    return batch.reshape(len(batch), -1) @ MATRIX


def exact(batch):
    return batch.reshape(len(batch), -1).astype(np.float64) @ MATRIX


@pytest.mark.parametrize("fault", PIXEL_FAULTS, ids=lambda fault: fault.id)
def test_a_pixel_fault_is_rejected_and_named(fault):
    ways = HOW, fault.alter(HOW)
    photos = load_photos()[:2]
    found = check_pipeline(photos, Pipelines(ways, narrow, narrow, exact), HOW)
    assert found.status is Status.FAILED
    named = {check.diagnosis.cause for check in found.failed if check.diagnosis}
    assert named == {fault.cause}


@pytest.mark.parametrize("fault", PIXEL_FAULTS, ids=lambda fault: fault.id)
def test_a_pixel_fault_can_be_made_of_any_way_to_prepare(fault):
    def prepare(image):
        return HOW(image)

    photo = load_photos()[0]
    right, wrong = prepare(photo), fault.alter(prepare)(photo)
    assert wrong.shape == right.shape
    assert wrong.dtype == np.float32
    assert not np.array_equal(wrong, right)


def test_the_right_way_passes():
    found = check_pipeline(load_photos()[:2], Pipelines((HOW, HOW), narrow, narrow, exact), HOW)
    assert found.status is Status.PASSED
