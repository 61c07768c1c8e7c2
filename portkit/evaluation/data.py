"""The images that ship with portkit: a Fashion-MNIST test subset and a few photographs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

FOLDER = Path(__file__).parent / "data"
FASHION_SIZE = 96  # pixels a side that the demo net was trained at
GREY_MEAN, GREY_STD = 0.2860, 0.3530  # of Fashion-MNIST's training images, in [0, 1]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images `[N, H, W]` uint8, their labels `[N]`, their places in the whole set, class names."""

    images: "Array"
    labels: "Array"
    ids: "Array"
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def load_fashion() -> LabelledImages:
    """Return 1,000 test images of Fashion-MNIST, 100 of each class."""
    import numpy as np

    with np.load(FOLDER / "fashion-1000.npz", allow_pickle=False) as found:
        classes = tuple(str(name) for name in found["classes"])
        return LabelledImages(found["images"], found["labels"], found["ids"], classes)


def load_photos() -> tuple["Array", ...]:
    """Return the shipped photographs, uint8 `[H, W, 3]` each, at least 256 pixels a side."""
    import numpy as np
    from PIL import Image

    paths = sorted((FOLDER / "photos").glob("*.jpg"))
    return tuple(np.asarray(Image.open(path).convert("RGB")) for path in paths)
