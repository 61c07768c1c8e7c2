"""What models are fed: photographs, noise of two kinds, a constant, an impulse; several sizes.

A fault may show only at another size (ceil mode), only at a batch above one (a reshape that mixes
them), only on coloured photographs (swapped channels) or only the second time (dropout).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portkit.endpoints import Endpoint
from portkit.evaluation.data import load_fashion, load_photos
from portkit.planning import Plan

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_DEFAULT_SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision uses them
_SEED = 20_260


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model takes: channels, and the sizes that both ends of a port agree on."""

    channels: int
    sizes: tuple[tuple[int, int], ...]  # height and width; the training size first
    vector: int = 0  # features, where the model takes `[N, features]` instead


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch `[N, C, H, W]` float32, and what it is."""

    name: str
    images: "Array"

    @property
    def shown(self) -> str:
        count = self.images.shape[0]
        return f"{self.name}, batch {count}, {'×'.join(map(str, self.images.shape[2:]))}"


def choose_sizes(plan: Plan, source: Endpoint, asked: tuple[int, int] | None) -> tuple[Any, str]:
    """Return three sizes (even, odd, H≠W) where the port allows them, and what is left out."""
    if asked is not None:
        return (asked,), f"sizes other than {asked[0]}×{asked[1]} px"
    valid = plan.facts.get("valid_sizes")
    if valid:
        (h0, h1), (w0, w1) = valid["h"], valid["w"]
        even = min(h0 + h0 % 2, h1), min(w0 + w0 % 2, w1)
        middle = min((h0 + h1) // 2 | 1, h1), min((w0 + w1) // 2 | 1, w1)
        sizes = (even, middle, (h1, min(w0 + 2, w1)))
        return tuple(dict.fromkeys(sizes)), f"images beyond {h0}–{h1} × {w0}–{w1} px"
    size = training_size(source)
    if source.scheme == "python" or source.manifest is None:
        return ((size, size),), f"sizes other than {size}×{size} px (the mapping states none)"
    return (
        (size, size),
        (size + 15, size + 15),
        (size + 31, size + 2),
    ), f"images beyond {size + 31} px"


def training_size(source: Endpoint) -> int:
    """Return the height and width that a model was made for, in pixels."""
    pooled = source.parameters.get("pooled")
    if pooled is None:
        return _DEFAULT_SIZE
    return 32 * pooled + (32 if source.reference.arch == "alexnet" else 0)


def make_batches(inputs: Inputs, *, quick: bool) -> tuple[Batch, ...]:
    """Return the battery: 8 real and 5 made-up inputs in batches of 8, 3 and 1; quick: three."""
    random = np.random.default_rng(_SEED)
    if inputs.vector:
        made = random.standard_normal((8, inputs.vector), np.float32)
        return (Batch("noise", made), Batch("noise", made[:3] * 2), Batch("zeros", made[:1] * 0))
    first, *others = inputs.sizes
    if quick:
        images = [*real_images(inputs.channels, first)[:2], noise(random, inputs.channels, first)]
        return (Batch("photographs and noise", np.stack(images)),)
    odd = others[0] if others else first
    last = others[-1] if others else first
    channels = inputs.channels
    mixed = [noise(random, channels, odd), pink(random, channels, odd), impulse(channels, odd)]
    return (
        Batch("photographs", real_images(channels, first)),
        Batch("noise, 1/f noise, impulse", np.stack(mixed)),
        Batch("1/f noise", pink(random, channels, last)[None]),
        Batch("constant", np.full((1, channels, *first), 0.5, np.float32)),
    )


def real_images(channels: int, size: tuple[int, int]) -> "Array":
    """Return 8 real images `[8, C, H, W]`, normalised: photographs, or Fashion-MNIST in grey."""
    if channels == 1:
        fashion = load_fashion().images[::125]
        grey = [(_resized(image, size) / 255 - 0.286) / 0.353 for image in fashion]
        return np.stack(grey)[:, None].astype(np.float32)
    made = [_normalised(_resized(crop, size)) for crop in _crops(load_photos())]
    planes = [np.stack([image[:, :, c % 3] for c in range(channels)]) for image in made]
    stacked: Array = np.stack(planes).astype(np.float32)
    return stacked


def _crops(photos: "tuple[Array, ...]") -> "list[Array]":
    """Return two different square crops of every photograph."""
    crops = []
    for photo in photos:
        side = min(photo.shape[:2])
        part = side * 3 // 4
        crops += [photo[:side, :side], photo[-part:, -part:]]
    return crops[:8]


def _resized(image: "Array", size: tuple[int, int]) -> "Array":
    from PIL import Image

    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def _normalised(image: "Array") -> "Array":
    scaled: Array = (image / 255 - np.array(_MEAN)) / np.array(_STD)
    return scaled


def noise(random: np.random.Generator, channels: int, size: tuple[int, int]) -> "Array":
    """Return white noise N(0, 1), `[C, H, W]`."""
    return random.standard_normal((channels, *size), np.float32)


def pink(random: np.random.Generator, channels: int, size: tuple[int, int]) -> "Array":
    """Return noise whose amplitude falls as 1/f, as in photographs (Field 1987), `[C, H, W]`."""
    spectrum = np.fft.rfft2(random.standard_normal((channels, *size)))
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    image = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1 / max(size)), s=size)
    scaled: Array = (image / image.std()).astype(np.float32)
    return scaled


def impulse(channels: int, size: tuple[int, int]) -> "Array":
    """Return one bright pixel off the centre, a different value in each channel, `[C, H, W]`."""
    image = np.zeros((channels, *size), np.float32)
    image[:, size[0] // 3, size[1] // 2] = 10 * (1 + np.arange(channels))
    return image
