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


def preprocess_fashion(images: "Array") -> "Array":
    """Turn uint8 `[N, 28, 28]` into float32 `[N, 1, 96, 96]`, as in training.

    Values are scaled to [0, 1], normalised by the training set's mean and standard deviation, and
    resized bilinearly (half-pixel centres).
    """
    import numpy as np
    import torch
    from torch.nn import functional

    scaled = (np.asarray(images, np.float32) / 255 - GREY_MEAN) / GREY_STD
    small = torch.from_numpy(np.ascontiguousarray(scaled, np.float32))[:, None]
    resized = functional.interpolate(small, size=(FASHION_SIZE,) * 2, mode="bilinear")
    made: Array = resized.numpy()
    return made


def load_photos() -> tuple["Array", ...]:
    """Return the shipped photographs, uint8 `[H, W, 3]` each, at least 256 pixels a side."""
    import numpy as np
    from PIL import Image

    paths = sorted((FOLDER / "photos").glob("*.jpg"))
    return tuple(np.asarray(Image.open(path).convert("RGB")) for path in paths)
