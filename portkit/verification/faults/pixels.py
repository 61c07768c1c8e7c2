"""Faults of how an image is prepared, made of a correct way to prepare it.

A way to prepare takes `[H, W, 3]` uint8 and returns what the model takes, `[3, h, w]` normalised.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from portkit.evaluation.preprocessing import MEAN, STD, Preprocessing
from portkit.verification.causes import Cause
from portkit.verification.faults.entries import PixelFault, Preprocess

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_MEAN = np.array(MEAN, np.float32).reshape(-1, 1, 1)
_STD = np.array(STD, np.float32).reshape(-1, 1, 1)


def _normalised(values: "Array") -> "Array":
    made: Array = (values - _MEAN) / _STD
    return made


def _raw(values: "Array") -> "Array":
    """Return the values in [0, 1] that were normalised."""
    made: Array = values * _STD + _MEAN
    return made


def _unscaled(values: "Array") -> "Array":
    made: Array = values * _STD
    return made


def _wide(values: "Array") -> "Array":
    return _normalised(_raw(values) * np.float32(255))


def _reversed(values: "Array") -> "Array":
    return _normalised(_raw(values)[::-1].copy())


def _constants_reversed(values: "Array") -> "Array":
    made: Array = (_raw(values) - _MEAN[::-1]) / _STD[::-1]
    return made


def _coarse(image: "Array") -> "Array":
    """Take every second pixel: a resize to half the size without antialiasing."""
    return np.ascontiguousarray(image[::2, ::2])


def _on_values(name: str, words: str, cause: Cause, work: "Preprocess") -> PixelFault:
    return PixelFault(name, words, cause, lambda prepare: lambda image: work(prepare(image)))


def _on_image(name: str, words: str, cause: Cause, work: "Preprocess") -> PixelFault:
    return PixelFault(name, words, cause, lambda prepare: lambda image: prepare(work(image)))


def _unfiltered(prepare: Preprocess) -> Preprocess:
    """Resize to the nearest pixel, where the filter is known; else at half the resolution."""
    if isinstance(prepare, Preprocessing):
        return replace(prepare, filter="nearest" if prepare.filter != "nearest" else "bilinear")
    return lambda image: prepare(_coarse(image))


def _turned(image: "Array") -> "Array":
    return np.ascontiguousarray(image.swapaxes(0, 1))


PIXEL_FAULTS: tuple[PixelFault, ...] = (
    _on_values("P01", "normalised twice", Cause.NORMALISED_TWICE, _normalised),
    _on_values("P02", "not normalised", Cause.NOT_NORMALISED, _raw),
    _on_values("P03", "mean subtracted, not divided by std", Cause.STD_MISSING, _unscaled),
    _on_values("P04", "pixels of 0 to 255 instead of 0 to 1", Cause.RANGE_255, _wide),
    _on_values("P05", "blue before red", Cause.CHANNELS_REVERSED, _reversed),
    _on_values(
        "P06", "mean and std in the other order", Cause.CONSTANTS_REVERSED, _constants_reversed
    ),
    _on_values(
        "P07", "crop shifted by a pixel", Cause.CROP_SHIFTED, lambda values: np.roll(values, 1, -1)
    ),
    _on_values("P09", "mirrored", Cause.MIRRORED, lambda values: values[..., ::-1].copy()),
    PixelFault("P11", "resized without antialiasing", Cause.RESIZE_FILTER, _unfiltered),
    _on_image("P12", "height and width transposed", Cause.IMAGE_TRANSPOSED, _turned),
)
