"""Image files as uint8 arrays, decoded the way torchvision's ImageFolder does it.

Pillow decodes and converts to RGB (or grey): palettes are looked up, alpha is dropped, 16-bit
values become 8-bit ones as Pillow has it. A camera's orientation tag (EXIF) is not applied, as
ImageFolder does not apply it either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from portkit.errors import PortkitError

if TYPE_CHECKING:
    from PIL import Image

    from portkit.formats.protocols import Array

EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
)
_MODES = {1: "L", 3: "RGB"}


def is_image(path: Path) -> bool:
    """Say whether a file is an image by its name; hidden files are none."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def decode_image(path: Path, channels: int = 3) -> "Array":
    """Return a file's image, uint8 `[H, W, C]`; raise PortkitError naming a file that is none."""
    from PIL import Image

    with _complaining(path), path.open("rb") as file, Image.open(file) as image:
        return as_pixels(image, channels)


def as_pixels(image: "Image.Image", channels: int = 3) -> "Array":
    """Return a Pillow image as uint8 `[H, W, C]`, converted to RGB for 3 channels, grey for 1."""
    import numpy as np

    with catch_warnings():
        simplefilter("ignore")  # Pillow warns of palettes whose transparency is dropped
        made = np.array(image.convert(_MODES[channels]), np.uint8)
    return made if made.ndim == 3 else made[:, :, None]


def as_picture(pixels: "Array") -> "Image.Image":
    """Return uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]` as a Pillow image."""
    import numpy as np
    from PIL import Image

    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(flat))


def draw_thumbnail(pixels: "Array", side: int = 96) -> bytes:
    """Return an image as PNG, at most `side` pixels wide and high."""
    picture = as_picture(pixels)
    picture.thumbnail((side, side))
    buffer = BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


@contextmanager
def _complaining(path: Path) -> Iterator[None]:
    """Turn whatever Pillow raises for a broken file into a PortkitError that names it."""
    try:
        with catch_warnings():
            simplefilter("ignore")  # of sizes up to twice the limit, and of odd metadata
            yield
    except Exception as error:
        words = (str(error) or type(error).__name__).splitlines()[0]
        fix = "remove it or mend it, then run again"
        raise PortkitError.at(path, f"cannot be read as an image: {words}", fix) from error
