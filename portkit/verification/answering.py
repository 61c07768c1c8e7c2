"""What both models answer to many images: each decoded once, a batch in memory, logits kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portkit.errors import PortkitError
from portkit.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import nn

    from portkit.evaluation.callables import Way
    from portkit.evaluation.folders import Dataset
    from portkit.evaluation.sampling import Sample
    from portkit.formats.protocols import Array

_BATCH = 32  # images that are in memory at a time, at most


@dataclass(frozen=True, slots=True)
class Seen:
    """The images that both models answered, in the order of their logits."""

    ids: tuple[str, ...]
    classes: tuple[str, ...] = ()  # names in the order of the logits, () where not known
    labels: tuple[int, ...] | None = None
    digest: str = ""  # of the ids
    words: str = ""  # which images these are, for the report
    notes: tuple[str, ...] = ()
    thumbnail: Callable[[int], bytes] | None = field(default=None, repr=False)  # PNG by place

    def name_of(self, label: int) -> str:
        """Return a class's name, its number where the name is not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def picture(self, place: int) -> bytes:
        """Return a small PNG of an image, nothing where there is none."""
        return self.thumbnail(place) if self.thumbnail else b""


def see_images(dataset: "Dataset", sample: "Sample") -> Seen:
    """Return what is known of the images that were drawn."""
    chosen = sample.indices
    labels = None if dataset.labels is None else tuple(dataset.labels[i] for i in chosen)
    return Seen(
        tuple(dataset.ids[i] for i in chosen),
        dataset.classes,
        labels,
        sample.digest,
        f"{sample.words}; {dataset.words}",
        (*dataset.notes, *sample.notes),
        lambda place: dataset.thumbnail(chosen[place]),
    )


def answer_images(
    module: "nn.Module",
    dataset: "Dataset",
    indices: Sequence[int],
    how: "Way",
    progress: Progress = SILENT,
) -> "Array":
    """Return a module's logits `[n, classes]`, where its weights are and in their precision."""
    return _answer((module,), dataset, indices, (how,), progress)[0]


def answer_both(
    modules: "tuple[nn.Module, nn.Module]",
    dataset: "Dataset",
    indices: Sequence[int],
    ways: "tuple[Way, Way]",
    progress: Progress = SILENT,
) -> "tuple[Array, Array]":
    """Return the logits of source and port `[n, classes]`, each image decoded once for both."""
    first, second = _answer(modules, dataset, indices, ways, progress)
    return first, second


def _answer(
    modules: "tuple[nn.Module, ...]",
    dataset: "Dataset",
    indices: Sequence[int],
    ways: "tuple[Way, ...]",
    progress: Progress,
) -> "tuple[Array, ...]":
    import numpy as np

    if not len(indices):
        raise PortkitError.at("images", "are 0, at least 1 is needed")
    answers: tuple[list[Array], ...] = tuple([] for _ in modules)
    progress.start("answering", len(indices), "images")
    for start in range(0, len(indices), _BATCH):
        some = indices[start : start + _BATCH]
        for kept, module, batch in zip(
            answers, modules, _batches(dataset, some, ways), strict=True
        ):
            kept.append(run_batch(module, batch))
        progress.advance(len(some))
    progress.finish()
    return tuple(np.concatenate(kept) for kept in answers)


def _batches(
    dataset: "Dataset", indices: Sequence[int], ways: "tuple[Way, ...]"
) -> "Iterator[Array]":
    """Yield a batch for each way; the same way is gone once."""
    pixels = [dataset.decode(index) for index in indices]
    made: dict[int, Array] = {}
    for way in ways:
        same = next((n for n, other in enumerate(ways) if other == way and n in made), None)
        place = len(made)
        made[place] = made[same] if same is not None else stack([way(one) for one in pixels], way)
        yield made[place]


def stack(images: "list[Array]", way: "Way") -> "Array":
    """Return preprocessed images as one batch; raise PortkitError where their shapes differ."""
    import numpy as np

    shapes = list(dict.fromkeys(one.shape for one in images))
    if len(shapes) > 1:
        shown = " and ".join(str(list(shape)) for shape in shapes[:2])
        raise PortkitError.at(str(way), f"gives images of several shapes: {shown}", "crop them")
    return np.stack(images)


def run_batch(module: "nn.Module", batch: "Array") -> "Array":
    """Return a module's logits `[n, classes]`; a score map is averaged over its places.

    Raise PortkitError for a module in training mode, and for one without such an output.
    """
    from portkit.runners.torch import run_module

    where = type(module).__name__
    if module.training:
        raise PortkitError.at(where, "is in training mode", "call its eval()")
    try:
        outputs = run_module(module, batch)
    except PortkitError:
        raise
    except Exception as error:  # whatever a user's own code may raise
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise PortkitError.at(where, f"cannot answer {list(batch.shape)}: {words}") from error
    if len(outputs) != 1:
        known = ", ".join(outputs) or "none"
        raise PortkitError.at(where, f"has the outputs {known}: one, of logits, is needed")
    (scores,) = outputs.values()
    scores = scores.mean(axis=(2, 3)) if scores.ndim == 4 else scores
    if scores.ndim != 2 or len(scores) != len(batch):
        what = f"answers {list(scores.shape)} to {len(batch)} images, [images, classes] is needed"
        raise PortkitError.at(where, what)
    return scores
