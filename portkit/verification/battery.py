"""What models are fed: photographs, noise of two kinds, a constant, an impulse; several sizes.

A fault may show only at another size (ceil mode), only at a batch above one (a reshape that mixes
them), only on coloured photographs (swapped channels) or only the second time (dropout).
"""

from collections.abc import Iterable, Iterator, Mapping
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
    extreme: bool = False  # far outside what a model is made for: no measure of its rounding
    own: bool = False  # as the model that is run takes it: not to be adapted to it

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
    certain: int = 3  # how many of them a source must take; others are left out where it does not


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
        if valid:
            return Sizes((asked,), f"images of other sizes than {asked[0]}×{asked[1]} px")
        return _around(asked, certain=1)
    if valid:
        return Sizes(_within((low, high), (left, right)), f"images outside {shown}")
    size = training_size(source)
    promised = source.scheme != "python" and source.manifest is not None
    return _around((size, size), certain=3 if promised else 1)


def _around(size: Size, *, certain: int) -> Sizes:
    """Return a size, one that is odd and not square, and one at the end of a stride of 32."""
    height, width = size
    tried = (size, (height + 1, width + 15), (height + 31, width))
    return Sizes(tried, f"images outside {height}–{height + 31} × {width}–{width + 15} px", certain)


def sizes_near(size: Size) -> tuple[Size, ...]:
    """Return sizes that are not square, for nets that are particular: odd, multiples of 32."""
    height, width = (side + -side % 32 for side in size)
    return (size[0] + 1, size[1] + 3), (height, width + 32), (height + 32, width)


def larger_size(sizes: Sizes) -> Size:
    """Return a size whose score map is larger than one place for nets of stride 32 and less.

    One below a multiple of 32, where it can be: then every stride of 2 meets an odd map, and what
    is done about the rest shows.
    """
    height = max(size[0] for size in sizes.tried)
    width = max(size[1] for size in sizes.tried)
    return height + 32 + -(height + 1) % 32, width + 64 + -(width + 1) % 32


def _within(heights: Size, widths: Size) -> tuple[Size, ...]:
    """Return an even size, an odd one near the lower limits, one at the upper limit."""
    even = tuple(min(low + low % 2, high) for low, high in (heights, widths))
    odd = heights[0] | 1, (widths[0] + widths[1]) // 2 | 1
    capped = min(odd[0], heights[1]), min(odd[1], widths[1])
    return tuple(dict.fromkeys([(even[0], even[1]), capped, (heights[1], even[1])]))


def guess_inputs(module: "nn.Module", sizes: tuple[Size, ...]) -> Inputs | None:
    """Return what a model takes: the first layer's input with which it runs; None if none tells.

    Layers come in the order in which they were made, which need not be the one they are called in:
    each kind of input is tried, on a module that costs nothing to run where it has no values.
    """
    kinds = list(dict.fromkeys(_kinds_of_input(module, sizes)))
    if len(kinds) < 2:
        return next(iter(kinds), None)
    return next((inputs for inputs in kinds if _runs(module, inputs)), kinds[0])


def _kinds_of_input(module: "nn.Module", sizes: tuple[Size, ...]) -> Iterator[Inputs]:
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            yield Inputs(layer.in_channels, sizes)
        elif isinstance(layer, nn.Linear):
            yield Inputs(0, sizes, layer.in_features)


def _runs(module: "nn.Module", inputs: Inputs) -> bool:
    import torch

    from portkit.runners.torch import as_input

    shape = (inputs.features,) if inputs.features else (inputs.channels, *inputs.sizes[0])
    try:
        with torch.inference_mode():
            module(as_input(module, np.zeros((1, *shape), np.float32)))
    except Exception:  # whatever a user's own model may raise
        return False
    return True


def training_size(source: Endpoint) -> int:
    """Return the height and width that a model was made for, in pixels."""
    pooled = source.parameters.get("pooled")
    for family, (stride, offset) in _STRIDES.items():
        if pooled is not None and source.reference.arch.startswith(family):
            return stride * pooled + offset
    return _DEFAULT_SIZE


def make_batches(inputs: Inputs, *, quick: bool) -> tuple[Batch, ...]:
    """Return the battery, what both models answer in float64 first, the real images last.

    In all 9 real inputs and 8 made up, in batches of 1, 2, 3 and 8; `quick` makes do with 5. A
    thousandfold input reaches what trained weights seldom do: clamps, ReLU6, saturation; a faint
    one the constants that keep divisions from zero.
    """
    random = np.random.default_rng(_SEED)
    if inputs.features:
        made = random.standard_normal((12, inputs.features), np.float32)
        return (
            Batch("noise × 1000", made[:1] * 1000, extreme=True),
            Batch("noise", made[1:3]),
            Batch("wide noise", made[3:6] * 10),
            Batch("noise of 6", made[6:]),
        )
    sizes = (*inputs.sizes, inputs.sizes[-1], inputs.sizes[-1])[:3]
    first, odd, last = sizes
    channels = inputs.channels
    real = real_images(channels, first)
    few = np.stack([real[0], noise(random, channels, first)])
    called = "photograph" if channels != 1 else "Fashion-MNIST"
    if quick:
        mixed = [pink(random, channels, odd), impulse(channels, odd)]
        far = pink(random, channels, odd)[None] * 1000
        return (
            Batch("1/f noise × 1000", far, extreme=True),
            Batch("1/f noise and impulse", np.stack(mixed)),
            Batch(f"{called} and noise", few),
        )
    grey = np.full((channels, *odd), 0.5, np.float32)
    mixed = [noise(random, channels, odd), impulse(channels, odd), grey]
    faint = noise(random, channels, odd) / 1000
    return (
        Batch(f"{called} × 1000", real[1:2] * 1000, extreme=True),
        Batch("1/f noise", pink(random, channels, last)[None]),
        Batch(f"{called} and noise", few),
        Batch("noise ÷ 1000 and zeros", np.stack([faint, 0 * faint]), extreme=True),
        Batch("noise, impulse, constant", np.stack(mixed)),
        Batch(f"{called}s" if channels != 1 else called, real),
    )


def sample(inputs: Inputs) -> "Array":
    """Return two inputs of noise, of the first size."""
    random = np.random.default_rng(_SEED)
    if inputs.features:
        return random.standard_normal((2, inputs.features), np.float32)
    return np.stack([noise(random, inputs.channels, inputs.sizes[0]) for _ in range(2)])


def make_trials(batches: tuple[Batch, ...], *, quick: bool) -> tuple[Trial, ...]:
    """Return what the port is tried with: every batch, one again, turned round, one input alone."""
    trials = [Trial(batch, batch) for batch in batches]
    batch = batches[-2]
    turned = tuple(reversed(range(len(batch.images))))
    rows = {"in reverse order": turned}
    if not quick:
        rows = {"again": tuple(sorted(turned)), **rows, "alone": (0,)}
    for words, order in rows.items():
        given = Batch(f"{batch.name} {words}", batch.images[list(order)])
        trials.append(Trial(given, batch, order))
    return tuple(trials)


def count_forwards(
    batches: tuple[Batch, ...], sizes: Sizes, running: tuple[str, ...], *, quick: bool
) -> int:
    """Return how many inputs are run through a model, each of the source's once in a precision."""
    exact = exact_batches(batches)
    few, every, traced = _count(exact), _count(batches), len(exact[-1].images)
    tried = _count(trial.given for trial in make_trials(batches, quick=quick))
    known = few + traced + 2 * (len(sizes.tried) - sizes.certain)
    structure = few if "structure" in running else 0
    dense = 0
    if "dense" in running and batches[0].size:  # both models on a larger image
        dense = 2 + (0 if structure else traced)
    layers = 2 * traced if "layers" in running else 0
    outputs = (every - few) + every + tried if "outputs" in running else 0
    return known + structure + dense + layers + outputs


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch.images) for batch in batches)


def exact_batches(batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Return the batches that both models answer in float64: few inputs, yet not one at a time."""
    several = next(i for i, batch in enumerate(batches) if len(batch.images) > 1)
    return batches[: several + 1]


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
