"""Inputs of the source in the target's form, where a mapping states that they take other ones.

A port may take its channels in another order, other ranges, or images that are not normalised, with
weights to match: then both compute the same function of the same pixels, not of the same numbers.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Adapt = Callable[["Array"], "Array"]  # of a batch, [N, C, H, W]

_FULL = (0.0, 1.0)  # the range of values before mean and std where nothing is said


def adapt_inputs(facts: Mapping[str, Any]) -> Adapt | None:
    """Return what makes the target's inputs of the source's, float64; None where they are alike.

    With p the pixels from 0 to 1, each side takes `(low + p·(high - low) - mean) / std`.
    """
    stated = facts.get("input")
    if not stated or stated["source"] == stated["target"]:
        return None
    ours, theirs = stated["source"], stated["target"]

    def adapt(images: "Array") -> "Array":
        return _to_values(_to_pixels(images.astype(np.float64), ours), theirs, ours)

    return adapt


def _to_pixels(planes: "Array", stated: Mapping[str, Any]) -> "Array":
    """Undo a side's normalisation; channels keep their order."""
    low, high = stated.get("range", _FULL)
    values: Array = planes * _column(stated, "std", 1.0) + _column(stated, "mean", 0.0)
    pixels: Array = (values - low) / (high - low)
    return pixels


def _to_values(pixels: "Array", stated: Mapping[str, Any], before: Mapping[str, Any]) -> "Array":
    orders = [side.get("channel_order", "RGB") for side in (before, stated)]
    if set(orders) == {"RGB", "BGR"}:
        pixels = pixels[:, ::-1]
    low, high = stated.get("range", _FULL)
    scaled = low + pixels * (high - low)
    values: Array = (scaled - _column(stated, "mean", 0.0)) / _column(stated, "std", 1.0)
    return values


def _column(stated: Mapping[str, Any], key: str, default: float) -> "Array":
    """Return a side's constants, one a channel, to go with `[N, C, H, W]`."""
    return np.array(stated.get(key, (default,)), np.float64)[None, :, None, None]
