"""A module's answers to many images, in batches."""

from typing import TYPE_CHECKING

from portkit.errors import PortkitError
from portkit.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import nn

    from portkit.formats.protocols import Array


def evaluate_module(
    module: "nn.Module", images: "Array", *, batch: int = 100, progress: Progress = SILENT
) -> "Array":
    """Return logits `[N, classes]` for float images `[N, C, H, W]`; a score map is averaged.

    Raise PortkitError for a module in training mode, whose dropout would make chance answers, and
    where there are no images.
    """
    import torch

    if module.training:
        raise PortkitError.at(type(module).__name__, "is in training mode", "call its eval()")
    if not len(images):
        raise PortkitError.at("images", "are 0, at least 1 is needed")
    answers = []
    progress.start("evaluating", len(images), "images")
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            some = torch.from_numpy(images[start : start + batch])
            scores = module(some)
            answers.append(scores.mean(dim=(-2, -1)) if scores.ndim == 4 else scores)
            progress.advance(len(some))
    progress.finish()
    logits: Array = torch.cat(answers).numpy()
    return logits
