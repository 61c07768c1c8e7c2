"""From an image's pixels to a model's input, as the model's documentation has it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.errors import PortkitError
from portkit.evaluation.data import FASHION_SIZE, GREY_MEAN, GREY_STD
from portkit.evaluation.decoding import as_picture

if TYPE_CHECKING:
    from PIL import Image

    from portkit.endpoints import Endpoint
    from portkit.formats.protocols import Array

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision uses them
_FEATURES = "IMAGENET1K_FEATURES"  # torchvision's entry with constants of its own
_FEATURES_MEAN, _FEATURES_STD = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3
_MOST_PIXELS = 100_000_000  # of a resized image: a strip would become endlessly long

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's, antialiased
INTERPOLATED = "interpolated"  # bilinear between normalised values, not antialiased, not cropped


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, scale, normalise: a function of uint8 `[H, W, C]`.

    It gives float32 `[C, H, W]`. Mean and standard deviation are in units of `top`, the value that
    white has before they are applied, one of each a channel in the order of `channels`.
    """

    crop: int
    resize: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    filter: str = "bilinear"  # one of FILTERS, or INTERPOLATED
    channels: str = "RGB"  # "RGB", "BGR" or "L" for grey
    top: float = 1.0  # 1.0 or 255.0
    layout: str = "CHW"  # "CHW", or "CWH" with rows and columns exchanged

    def __call__(self, image: "Array") -> "Array":
        import numpy as np

        if image.ndim not in (2, 3) or image.dtype != np.uint8 or not image.size:
            what = f"is {image.dtype}{list(image.shape)}, uint8 [H, W, C] is needed"
            raise PortkitError.at("image", what)
        picture = as_picture(image).convert("L" if self.channels == "L" else "RGB")
        if self.filter == INTERPOLATED:
            made = _interpolated(self.normalise(_planes(picture)), self.crop)
        else:
            made = self.normalise(_planes(crop_centre(resize_picture(picture, self), self.crop)))
        return np.ascontiguousarray(made.swapaxes(1, 2) if self.layout == "CWH" else made)

    def normalise(self, planes: "Array") -> "Array":
        """Scale and normalise RGB or grey `[C, H, W]` values of 0 to 255, as float32."""
        import numpy as np

        mean, std = (np.array(c, np.float32)[:, None, None] for c in (self.mean, self.std))
        ordered = planes[::-1] if self.channels == "BGR" else planes
        scaled = ordered.astype(np.float32) / np.float32(255)
        if self.top != 1:
            scaled = scaled * np.float32(self.top)
        made: Array = (scaled - mean) / std
        return made

    def __str__(self) -> str:
        if self.filter == INTERPOLATED:
            size = f"interpolated to {self.crop} px"
        else:
            size = f"shorter side {self.resize} px ({self.filter}), centre {self.crop} px"
        mean, std = (", ".join(f"{c:.4g}" for c in row) for row in (self.mean, self.std))
        return f"{size}, {self.channels} 0–{self.top:g}, mean {mean}, std {std}"


def resize_picture(picture: "Image.Image", how: Preprocessing) -> "Image.Image":
    """Resize the shorter side, the longer in proportion and rounded down, as torchvision does."""
    from PIL import Image

    short, long = sorted(picture.size)
    longer = int(how.resize * long / short)
    if how.resize * longer > _MOST_PIXELS:
        what = f"is {picture.height}×{picture.width} px, too long a strip to resize and crop"
        raise PortkitError.at("image", what, "remove it from the data")
    size = (how.resize, longer) if picture.width <= picture.height else (longer, how.resize)
    return picture.resize(size, Image.Resampling[how.filter.upper()])


def crop_centre(picture: "Image.Image", side: int) -> "Image.Image":
    """Crop a square, its corner rounded half to even as torchvision does; pad with black."""
    if min(picture.size) < side:
        picture = _padded(picture, side)
    top = round((picture.height - side) / 2)
    left = round((picture.width - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def _padded(picture: "Image.Image", side: int) -> "Image.Image":
    from PIL import Image

    width, height = (max(side, length) for length in picture.size)
    canvas = Image.new(picture.mode, (width, height))
    canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return canvas


def _planes(picture: "Image.Image") -> "Array":
    """Return a picture's values `[C, H, W]`."""
    import numpy as np

    values = np.array(picture)
    return values.transpose(2, 0, 1) if values.ndim == 3 else values[None]


def _interpolated(planes: "Array", side: int) -> "Array":
    import torch
    from torch.nn import functional

    given = torch.from_numpy(planes.copy())[None]
    made: Array = functional.interpolate(given, size=(side, side), mode="bilinear")[0].numpy()
    return made


def imagenet_preprocessing(size: int = 224) -> Preprocessing:
    """Return torchvision's evaluation preset for a crop of this size."""
    return Preprocessing(size, round(size * 256 / 224))


def fashion_preprocessing(size: int = FASHION_SIZE) -> Preprocessing:
    """Return what the demo net was trained with: grey, normalised, then interpolated."""
    return Preprocessing(size, size, (GREY_MEAN,), (GREY_STD,), INTERPOLATED, "L")


def documented(endpoint: "Endpoint", size: int = 224, channels: int = 0) -> Preprocessing:
    """Return what a model's documentation asks for at its training size; raise PortkitError.

    `channels` are those of its images, where they are known: its tensors may not tell.

    Colour models take torchvision's preset, grey ones the demo net's. Weights that torchvision
    publishes with constants of their own keep those, ported ones too.
    """
    from dataclasses import replace

    channels = channels or count_channels(endpoint)
    if channels == 1:
        return fashion_preprocessing(size)
    if channels == 3:
        found = imagenet_preprocessing(size)
        if _FEATURES in _origin(endpoint):
            return replace(found, mean=_FEATURES_MEAN, std=_FEATURES_STD)
        return found
    takes = f"takes {channels} channels" if channels else "takes no images"
    what = f"{takes}: preprocessing is documented for 1 and 3"
    raise PortkitError.at(str(endpoint), what, "name your own: --preprocess python:MODULE:FUNCTION")


def count_channels(endpoint: "Endpoint") -> int:
    """Return how many channels a model's images have; 0 where it has no convolution."""
    known = endpoint.parameters.get("in_channels")
    if known:
        return known
    kernels = (spec.shape for spec in (endpoint.specs or {}).values() if len(spec.shape) == 4)
    return next((shape[1] for shape in kernels), 0)


def _origin(endpoint: "Endpoint") -> str:
    """Return what weights were called, here and before they were ported."""
    before = endpoint.provenance
    earlier = (before.source, *before.before) if before else ()
    return " ".join((endpoint.reference.weights, *earlier))
