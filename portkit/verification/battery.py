"""What models are fed: photographs, noise of two kinds, a constant, an impulse; several sizes.

A fault may show only at another size (ceil mode), only at a batch above one (a reshape that mixes
them), only on coloured photographs (swapped channels) or only the second time (dropout).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portkit.endpoints import Endpoint
from portkit.errors import PortkitError
from portkit.evaluation.data import load_fashion, load_photos
from portkit.planning import Plan

if TYPE_CHECKING:
    from torch import nn

    from portkit.formats.protocols import Array

Size = tuple[int, int]  # height and width in pixels

_DEFAULT_SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision uses them
_GREY_MEAN, _GREY_STD = 0.2860, 0.3530  # Fashion-MNIST's
_SEED = 20_260
# Pixels that a net needs for a pooled map of p×p: stride·p + offset.
_STRIDES: Mapping[str, tuple[int, int]] = MappingProxyType({"alexnet": (32, 32), "vgg": (32, 0)})


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model takes: channels, and the sizes that both ends of a port agree on."""

    channels: int
    sizes: tuple[Size, ...]  # the training size first
    features: int = 0  # where the model takes `[N, features]` instead of images


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, `[N, C, H, W]` or `[N, features]` float32, and what it is."""

    name: str
    images: "Array"

    @property
    def digest(self) -> str:
        """What the batch is and what it is for, so that no two are taken for each other.

        The same images for another purpose, such as being run again, are another batch.
        """
        from blake3 import blake3

        return f"{self.shown} {blake3(self.images.tobytes()).hexdigest()}"

    @property
    def size(self) -> str:
        return "×".join(map(str, self.images.shape[2:]))

    @property
    def shown(self) -> str:
        count = len(self.images)
        return f"{self.name}, {f'batch of {count}' if count > 1 else '1 input'}" + (
            f", {self.size}" if self.size else ""
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A batch for the port, whose answers must be those to some rows of a batch of the source."""

    given: Batch
    of: Batch
    rows: tuple[int, ...] = ()  # () means all of them, in order


@dataclass(frozen=True, slots=True)
class Sizes:
    """Which input sizes are tried, and what that leaves out."""

    tried: tuple[Size, ...]
    left_out: str


def choose_sizes(plan: Plan, source: Endpoint, asked: Size | None) -> Sizes:
    """Return three sizes (even, odd, H≠W) where the port allows them, up to its limits.

    A mapping that states no valid sizes between two known models claims all of them. Raise
    PortkitError where a size is asked for that the mapping makes no claim about.
    """
    valid = plan.facts.get("valid_sizes")
    (low, high), (left, right) = (valid["h"], valid["w"]) if valid else ((0, 0), (0, 0))
    shown = f"{low}–{high}" + ("" if (low, high) == (left, right) else f" × {left}–{right}") + " px"
    if asked is not None:
        if valid and not (low <= asked[0] <= high and left <= asked[1] <= right):
            what = f"the mapping makes a claim for {shown} only"
            raise PortkitError.at(f"{asked[0]}×{asked[1]}", what)
        return Sizes((asked,), f"images of other sizes than {asked[0]}×{asked[1]} px")
    if valid:
        return Sizes(_within((low, high), (left, right)), f"images outside {shown}")
    size = training_size(source)
    if source.scheme == "python" or source.manifest is None:
        return Sizes(((size, size),), f"images of other sizes than {size}×{size} px")
    tried = ((size, size), (size + 1, size + 15), (size + 31, size))
    return Sizes(tried, f"images outside {size}–{size + 31} px")


def _within(heights: Size, widths: Size) -> tuple[Size, ...]:
    """Return an even size, an odd one near the lower limits, one at the upper limit."""
    even = tuple(min(low + low % 2, high) for low, high in (heights, widths))
    odd = heights[0] | 1, (widths[0] + widths[1]) // 2 | 1
    capped = min(odd[0], heights[1]), min(odd[1], widths[1])
    return tuple(dict.fromkeys([(even[0], even[1]), capped, (heights[1], even[1])]))


def guess_inputs(module: "nn.Module", sizes: tuple[Size, ...]) -> Inputs | None:
    """Return what a model takes, as its first layer with a kernel tells; None where none does."""
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return Inputs(layer.in_channels, sizes)
        if isinstance(layer, nn.Linear):
            return Inputs(0, sizes, layer.in_features)
    return None


def training_size(source: Endpoint) -> int:
    """Return the height and width that a model was made for, in pixels."""
    pooled = source.parameters.get("pooled")
    for family, (stride, offset) in _STRIDES.items():
        if pooled is not None and source.reference.arch.startswith(family):
            return stride * pooled + offset
    return _DEFAULT_SIZE


def make_batches(inputs: Inputs, *, quick: bool) -> tuple[Batch, ...]:
    """Return the battery, the small batches of made-up inputs first, the real images last.

    In all 8 real inputs and 6 made up, in batches of 1, 2, 3 and 8; `quick` makes do with 4.
    """
    random = np.random.default_rng(_SEED)
    if inputs.features:
        made = random.standard_normal((12, inputs.features), np.float32)
        wide = Batch("wide noise", made[:3] * 10)
        return (Batch("noise", made[3:4]), wide, Batch("noise", made[4:]))
    sizes = (*inputs.sizes, inputs.sizes[-1], inputs.sizes[-1])[:3]
    first, odd, last = sizes
    channels = inputs.channels
    mixed = [noise(random, channels, odd), pink(random, channels, odd), impulse(channels, odd)]
    real = real_images(channels, first)
    if quick:
        few = np.stack([real[0], noise(random, channels, first)])
        return (
            Batch("1/f noise and impulse", np.stack(mixed[1:])),
            Batch("photograph and noise", few),
        )
    plain = [noise(random, channels, first), np.full((channels, *first), 0.5, np.float32)]
    return (
        Batch("1/f noise", pink(random, channels, last)[None]),
        Batch("noise and constant", np.stack(plain)),
        Batch("noise, 1/f noise, impulse", np.stack(mixed)),
        Batch("photographs" if channels != 1 else "Fashion-MNIST", real),
    )


def make_trials(batches: tuple[Batch, ...], *, quick: bool) -> tuple[Trial, ...]:
    """Return what the port is tried with: every batch, one again, turned round, one input alone."""
    trials = [Trial(batch, batch) for batch in batches]
    place = -2 if len(batches) > 1 else 0
    batch = batches[place]
    turned = tuple(reversed(range(len(batch.images))))
    rows = {"in reverse order": turned}
    if not quick:
        rows = {"again": tuple(sorted(turned)), **rows, "alone": (0,)}
    for words, order in rows.items():
        given = Batch(f"{batch.name} {words}", batch.images[list(order)])
        trials.append(Trial(given, batch, order))
    return tuple(trials)


def count_forwards(
    batches: tuple[Batch, ...], trials: tuple[Trial, ...], running: tuple[str, ...]
) -> int:
    """Return how many inputs are run through a model, each of the source's once in a precision."""
    few, every = (_count(chosen) for chosen in (exact_batches(batches), batches))
    tried = _count(trial.given for trial in trials)
    structure = 2 * few if "structure" in running else 0
    outputs = 2 * every + tried - (few if structure else 0) if "outputs" in running else 0
    return structure + outputs


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch.images) for batch in batches)


def exact_batches(batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Return the batches that both models answer in float64: few inputs, yet not one at a time."""
    return batches[:1] if len(batches[0].images) > 1 else batches[:2]


def real_images(channels: int, size: Size) -> "Array":
    """Return 8 real images `[8, C, H, W]`, normalised: photographs, or Fashion-MNIST in grey."""
    if channels == 1:
        clothes = load_fashion().images[::125]
        grey = [(_resized(image, size) / 255 - _GREY_MEAN) / _GREY_STD for image in clothes]
        return np.stack(grey)[:, None].astype(np.float32)
    made = [_normalised(_resized(crop, size)) for crop in _crops(load_photos())]
    planes = [np.stack([image[:, :, c % 3] for c in range(channels)]) for image in made]
    stacked: Array = np.stack(planes).astype(np.float32)
    return stacked


def _crops(photos: "tuple[Array, ...]") -> "list[Array]":
    """Return 8 crops, two different squares of every photograph."""
    crops = []
    for photo in photos:
        side = min(photo.shape[:2])
        part = side * 3 // 4
        crops += [photo[:side, :side], photo[-part:, -part:]]
    return crops[:8]


def _resized(image: "Array", size: Size) -> "Array":
    from PIL import Image

    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def _normalised(image: "Array") -> "Array":
    scaled: Array = (image / 255 - np.array(_MEAN)) / np.array(_STD)
    return scaled


def noise(random: np.random.Generator, channels: int, size: Size) -> "Array":
    """Return white noise N(0, 1), `[C, H, W]`."""
    return random.standard_normal((channels, *size), np.float32)


def pink(random: np.random.Generator, channels: int, size: Size) -> "Array":
    """Return noise whose amplitude falls as 1/f, as in photographs (Field 1987), `[C, H, W]`."""
    spectrum = np.fft.rfft2(random.standard_normal((channels, *size)))
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    image = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1 / max(size)), s=size)
    scaled: Array = (image / image.std()).astype(np.float32)
    return scaled


def impulse(channels: int, size: Size) -> "Array":
    """Return one bright pixel off the centre, a different value in each channel, `[C, H, W]`."""
    image = np.zeros((channels, *size), np.float32)
    image[:, size[0] // 3, size[1] // 2] = 10 * (1 + np.arange(channels))
    return image
