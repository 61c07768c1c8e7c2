"""Which usual slip turns the right preprocessing of an image into what was found."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portkit.evaluation.decoding import as_picture
from portkit.evaluation.preprocessing import FILTERS, INTERPOLATED, Preprocessing, crop_centre
from portkit.verification.causes import Cause
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from PIL import Image

    from portkit.formats.protocols import Array

CLOSE = 1e-5  # of the range of values: other arithmetic, the same pixels
_LEVEL = 1.01 / 255  # other resizers round to the neighbouring grey level now and then
_REACH = 4  # pixels that a crop is looked for around its place

Variant = tuple[str, "Array"]


@dataclass(frozen=True, slots=True)
class Case:
    """An image, how it is to be preprocessed, and the right result `[C, H, W]`."""

    image: "Array"  # uint8 [H, W, C]
    how: Preprocessing
    right: "Array"

    @property
    def mean(self) -> "Array":
        return np.array(self.how.mean, np.float32)[:, None, None]

    @property
    def std(self) -> "Array":
        return np.array(self.how.std, np.float32)[:, None, None]

    @property
    def scaled(self) -> "Array":
        """The result before it was normalised, 0 to 1."""
        made: Array = (self.right * self.std + self.mean) / np.float32(self.how.top)
        return made

    def normalise(self, scaled: "Array") -> "Array":
        made: Array = (scaled * np.float32(self.how.top) - self.mean) / self.std
        return made


def explain_pixels(
    image: "Array", wanted: "Array", got: "Array", how: Preprocessing
) -> Diagnosis | None:
    """Return the slip that makes `got` of an image where `wanted` is right; None for no known one.

    Where it is `got` that agrees with `how`, the slip is looked for in `wanted`, and said to be the
    source's.
    """
    if wanted.shape != got.shape or not np.isfinite(wanted).all() or not np.isfinite(got).all():
        return None
    documented = how(image)
    if _alike(got, documented) and not _alike(wanted, documented):
        found = _search(Case(image, how, got), wanted)
        return found and replace(found, evidence=f"in the source's preprocessing, {found.evidence}")
    return _search(Case(image, how, wanted), got)


def _search(case: Case, got: "Array") -> Diagnosis | None:
    for cause, variants in CAUSES.items():
        for words, made in variants(case):
            if not _alike(made, case.right) and _alike(got, made):
                return Diagnosis(cause, f"every pixel is as if {words}")
    return _find_shift(case, got) or _find_resizer(case, got)


def _alike(one: "Array", other: "Array", share: float = CLOSE) -> bool:
    """Say whether all values agree to a share of their range."""
    if one.shape != other.shape:
        return False
    scale = float(np.ptp(other)) or float(np.abs(other).max())
    return bool(np.abs(one - other).max() <= share * scale)


def _twice(case: Case) -> Iterator[Variant]:
    yield "mean and standard deviation were applied twice", (case.right - case.mean) / case.std


def _not_normalised(case: Case) -> Iterator[Variant]:
    yield "mean and standard deviation were not applied", case.scaled


def _no_std(case: Case) -> Iterator[Variant]:
    yield "nothing was divided by the standard deviation", case.right * case.std


def _wide_range(case: Case) -> Iterator[Variant]:
    yield "values went from 0 to 255, not normalised", case.scaled * 255
    yield "values went from 0 to 255 before they were normalised", case.normalise(case.scaled * 255)
    yield "normalised values were multiplied by 255", case.right * 255
    yield "values from 0 to 255 lost the mean of values from 0 to 1", case.scaled * 255 - case.mean


def _caffe(case: Case) -> Iterator[Variant]:
    centred = (case.scaled * np.float32(case.how.top) - case.mean) * (255 / case.how.top)
    yield "Caffe's way: channels reversed, 0 to 255, mean only", centred[::-1]
    yield "Caffe's way without reversed channels: 0 to 255, mean only", centred


def _symmetric(case: Case) -> Iterator[Variant]:
    yield "values were scaled to -1 to 1", case.scaled * 2 - 1


def _reversed_channels(case: Case) -> Iterator[Variant]:
    yield "the image's channels were reversed (RGB ↔ BGR)", case.normalise(case.scaled[::-1])
    yield "channels were reversed after normalising (RGB ↔ BGR)", case.right[::-1]


def _reversed_constants(case: Case) -> Iterator[Variant]:
    scaled = case.scaled * np.float32(case.how.top)
    yield (
        "mean and standard deviation were in the order of reversed channels",
        (scaled - case.mean[::-1]) / case.std[::-1],
    )


def _mirrored(case: Case) -> Iterator[Variant]:
    yield "the image was mirrored", case.right[..., ::-1]
    yield "the image was mirrored before it was cropped", case.how(case.image[:, ::-1])
    yield "the image was upside down", case.right[:, ::-1]
    yield "the image was upside down before it was cropped", case.how(case.image[::-1])


def _transposed(case: Case) -> Iterator[Variant]:
    if case.right.shape[1] == case.right.shape[2]:
        yield "rows and columns were exchanged", case.right.swapaxes(1, 2)
    turned = case.how(case.image.swapaxes(0, 1))
    yield "rows and columns were exchanged before the image was resized", turned


def _other_filter(case: Case) -> Iterator[Variant]:
    how = case.how
    resize = how.crop if how.filter == INTERPOLATED else how.resize
    for name in FILTERS:
        if name != how.filter:
            made = replace(how, filter=name, resize=resize)(case.image)
            yield f"the image was resized with the filter {name}", made


def _other_size(case: Case) -> Iterator[Variant]:
    how = case.how
    if how.filter == INTERPOLATED:
        return
    yield (
        f"the shorter side was resized to {how.crop} px",
        replace(how, resize=how.crop)(case.image),
    )
    for side in (how.crop, how.resize):
        squashed = crop_centre(_resize(case, (side, side)), how.crop)
        words = f"the image was resized to {side}×{side} px whatever its shape"
        yield words, replace(how, resize=how.crop)(np.asarray(squashed))


def _resize(case: Case, size: tuple[int, int]) -> "Image.Image":
    from PIL import Image

    picture = as_picture(case.image).convert("L" if case.how.channels == "L" else "RGB")
    return picture.resize(size, Image.Resampling[case.how.filter.upper()])


CAUSES: Mapping[str, Callable[[Case], Iterator[Variant]]] = MappingProxyType(
    {
        Cause.NORMALISED_TWICE: _twice,
        Cause.NOT_NORMALISED: _not_normalised,
        Cause.STD_MISSING: _no_std,
        Cause.RANGE_255: _wide_range,
        Cause.CAFFE_STYLE: _caffe,
        Cause.SYMMETRIC_RANGE: _symmetric,
        Cause.CHANNELS_REVERSED: _reversed_channels,
        Cause.CONSTANTS_REVERSED: _reversed_constants,
        Cause.MIRRORED: _mirrored,
        Cause.IMAGE_TRANSPOSED: _transposed,
        Cause.RESIZE_FILTER: _other_filter,
        Cause.RESIZE_SIZE: _other_size,
    }
)


def _find_shift(case: Case, got: "Array") -> Diagnosis | None:
    """Compare what both hold where one is shifted against the other by a few pixels."""
    reach = range(-_REACH, _REACH + 1)
    shifts = sorted(((y, x) for y in reach for x in reach), key=lambda s: abs(s[0]) + abs(s[1]))
    if min(got.shape[1:]) <= 2 * _REACH:
        return None
    for down, right in shifts[1:]:
        ours, theirs = _overlap(got, down, right), _overlap(case.right, -down, -right)
        if _alike(ours, theirs) and not _alike(ours, _overlap(case.right, down, right)):
            words = f"the crop is {_pixels(down, 'up', 'down')}{_pixels(right, 'left', 'right')}"
            return Diagnosis(Cause.CROP_SHIFTED, f"{words.rstrip(', ')} of its place")
    return None


def _overlap(planes: "Array", down: int, right: int) -> "Array":
    height, width = planes.shape[1:]
    rows = slice(max(0, down), height + min(0, down))
    return planes[:, rows, max(0, right) : width + min(0, right)]


def _pixels(count: int, forward: str, back: str) -> str:
    return f"{abs(count)} px {forward if count > 0 else back}, " if count else ""


def _find_resizer(case: Case, got: "Array") -> Diagnosis | None:
    """Compare with other libraries' resizing, to the nearest grey level."""
    share = _LEVEL * case.how.top / min(case.how.std) / float(np.ptp(case.right) or 1)
    if case.how.filter == INTERPOLATED or _alike(got, case.right, share):
        return None
    for mode in ("bilinear", "bicubic"):
        for antialias in (False, True):
            if _alike(got, _resized_by_torch(case, mode, antialias=antialias), share):
                words = f"{mode}, {'antialiased' if antialias else 'not antialiased'}"
                evidence = f"every pixel is as if the image was resized {words}, to a grey level"
                return Diagnosis(Cause.RESIZE_FILTER, evidence)
    return None


def _resized_by_torch(case: Case, mode: str, *, antialias: bool) -> "Array":
    import torch
    from torch.nn import functional

    how = case.how
    height, width = case.image.shape[:2]
    longer = int(how.resize * max(height, width) / min(height, width))
    size = (longer, how.resize) if width <= height else (how.resize, longer)
    planes = np.ascontiguousarray(case.image.transpose(2, 0, 1), np.float32)
    given = torch.from_numpy(planes)[None]
    made = functional.interpolate(given, size=size, mode=mode, antialias=antialias)
    pixels = made[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    cropped = np.asarray(crop_centre(as_picture(pixels), how.crop))
    return replace(how, resize=how.crop)(cropped)
