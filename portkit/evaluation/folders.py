"""Images as they lie in folders and files, decoded one by one when they are asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.errors import PortkitError, Problems
from portkit.evaluation.choices import DataOptions
from portkit.evaluation.decoding import (
    EXTENSIONS,
    as_picture,
    as_pixels,
    decode_image,
    draw_thumbnail,
    is_image,
)
from portkit.evaluation.labels import find_labels, read_classes

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_SHOWN = 3  # names of a list that a complaint gives


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images by place: their ids, labels where those are known, pixels when they are asked for."""

    ids: tuple[str, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]  # names in the order of labels, () where they are not known
    decode: "Callable[[int], Array]" = field(repr=False)  # uint8 [H, W, C]
    words: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def thumbnail(self, index: int) -> bytes:
        """Return an image as a small PNG."""
        return draw_thumbnail(self.decode(index))

    def name_of(self, label: int) -> str:
        """Return a class's name, its number where the name is not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)


def open_data(options: DataOptions, channels: int = 3, outputs: int = 0) -> Dataset:
    """Find images for a model of so many channels and answers (0: not known); raise PortkitError.

    A folder of class folders is labelled by their sorted names, as torchvision's ImageFolder does
    it; a flat one by a list beside it, as ImageNet's validation images are; `.npz` by its `labels`.
    """
    if channels not in (1, 3):
        what = f"the model takes {channels} channels, images have 1 or 3"
        raise PortkitError.at(options.path, what)
    path = Path(options.path).expanduser()
    if options.is_shipped:
        found = _open_shipped(channels)
    elif path.is_dir():
        found = _open_folder(path, channels, outputs)
    elif path.suffix.lower() == ".npz" and path.is_file():
        found = _open_arrays(path, channels)
    elif path.is_file():
        found = Dataset((path.name,), None, (), lambda _: decode_image(path, channels), "one image")
    else:
        fix = "name a folder of images, an image, an .npz, or `shipped`"
        raise PortkitError.at(options.path, "no such file or folder", fix)
    _refuse_foreign(found, options.path, outputs)
    return found


def _open_shipped(channels: int) -> Dataset:
    from portkit.evaluation.data import load_fashion

    found = load_fashion()

    def decode(index: int) -> "Array":
        return _converted(found.images[index], channels)

    ids = tuple(f"fashion-mnist-test/{place:05d}" for place in found.ids.tolist())
    labels = tuple(found.labels.tolist())
    return Dataset(ids, labels, found.classes, decode, "Fashion-MNIST test images, shipped")


def _open_folder(folder: Path, channels: int, outputs: int) -> Dataset:
    images = sorted(p for p in folder.iterdir() if p.is_file() and is_image(p))
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    by_class = {place.name: _images_below(place) for place in folders}
    if images and any(by_class.values()):
        what = f"has images of its own ({images[0].name}) and in folders ({folders[0].name})"
        raise PortkitError.at(folder, what, "keep either all in class folders, or none")
    if images:
        return _open_flat(folder, images, channels, outputs)
    if any(by_class.values()):
        return _open_classes(folder, by_class, channels, outputs)
    what = f"no images here ({', '.join(EXTENSIONS)})"
    raise PortkitError.at(folder, what, "name a folder of images or of class folders")


def _images_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if is_image(p) and p.is_file())


def _decoder(paths: Sequence[Path], channels: int) -> "Callable[[int], Array]":
    def decode(index: int) -> "Array":
        return decode_image(paths[index], channels)

    return decode


def _open_flat(folder: Path, images: list[Path], channels: int, outputs: int) -> Dataset:
    ids = tuple(path.name for path in images)
    decode = _decoder(images, channels)
    found = find_labels(folder, ids)
    why_not = found.why_not if found else ""
    if found and found.guessed and outputs and len(found.classes) != outputs:
        why_not = _unknown_order(len(found.classes), "classes in the list", outputs)
    if found is None or why_not:
        notes = (f"labels are left out: {why_not}",) if why_not else ()
        return Dataset(ids, None, (), decode, "a folder of images without labels", notes)
    labels = tuple(found.by_name[name] for name in ids)
    return Dataset(ids, labels, found.classes, decode, f"a folder of images, {found.words}")


def _open_classes(
    folder: Path, by_class: dict[str, list[Path]], channels: int, outputs: int
) -> Dataset:
    """Label images by their folders: by a list of classes, else by the folders' sorted names."""
    empty = [name for name, paths in by_class.items() if not paths]
    if empty:
        what = f"the class folder {_few(empty)} has no images"
        raise PortkitError.at(folder, what, "remove it, or name the folder of class folders")
    listed = read_classes(folder)
    names = tuple(by_class)
    classes = listed if listed and set(names) <= set(listed) else names
    paths = [path for name in names for path in by_class[name]]
    ids = tuple(path.relative_to(folder).as_posix() for path in paths)
    decode = _decoder(paths, channels)
    words = f"{len(names)} class folders"
    if outputs and len(classes) < outputs:
        why_not = _unknown_order(len(classes), "class folders", outputs)
        return Dataset(ids, None, (), decode, words, (f"labels are left out: {why_not}",))
    if outputs and len(names) > outputs:
        what = f"has {len(names)} class folders, the model has {outputs} answers"
        raise PortkitError.at(folder, what, f"remove {_few(_as_counted(names)[outputs:])}")
    places = {name: place for place, name in enumerate(classes)}
    labels = tuple(places[name] for name in names for _ in by_class[name])
    return Dataset(ids, labels, classes, decode, words, _order_notes(classes, listed))


def _unknown_order(count: int, what: str, outputs: int) -> str:
    return (
        f"{count} {what}, the model has {outputs} answers, which is which is not known "
        "(a classes.txt with all classes in order, one a line, would say it)"
    )


def _as_counted(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in the order of their numbers, as they are where some are no numbers."""
    numbered = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=int)) if numbered else names


def _order_notes(classes: tuple[str, ...], listed: tuple[str, ...]) -> tuple[str, ...]:
    """Say so where folders that are numbered stand in another order than their numbers."""
    if listed or _as_counted(classes) == classes:
        return ()
    shown = ", ".join(classes[:_SHOWN])
    return (f"class folders are sorted as text, as torchvision's ImageFolder does: {shown}, …",)


def _open_arrays(path: Path, channels: int) -> Dataset:
    """Read `images` uint8 `[N, H, W]` or `[N, H, W, C]`, with `labels`, `classes` and `ids`."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except Exception as error:
        raise PortkitError.at(path, f"cannot be read as .npz: {error}") from error
    _refuse_arrays(path, arrays)
    images, labels = arrays["images"], arrays.get("labels")

    def decode(index: int) -> "Array":
        return _converted(images[index], channels)

    ids = arrays.get("ids")
    names = (
        tuple(str(one) for one in ids.tolist())
        if ids is not None
        else tuple(f"{path.name}/{place:06d}" for place in range(len(images)))
    )
    classes = tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else ()
    known = None if labels is None else tuple(map(int, labels))
    return Dataset(names, known, classes, decode, f"{len(images)} images of an .npz")


def _refuse_arrays(path: Path, arrays: "dict[str, Array]") -> None:
    problems = Problems()
    images = arrays.get("images")
    if images is None:
        fix = "store images, uint8 [N, H, W] or [N, H, W, 3], and labels"
        problems.add(path, f"has no images, only {', '.join(arrays) or 'nothing'}", fix)
        raise PortkitError(problems)
    grey = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)
    colour = images.ndim == 4 and images.shape[3] == 3
    if images.dtype.name != "uint8" or not (grey or colour):
        what = f"images are {images.dtype}{list(images.shape)}"
        problems.add(path, what, "store uint8 [N, H, W] or [N, H, W, 3]")
    elif not images.size:
        problems.add(path, f"images are {list(images.shape)}: there are none")
    for name in ("labels", "ids"):
        found = arrays.get(name)
        if found is not None and found.shape != images.shape[:1]:
            problems.add(path, f"{name} are {list(found.shape)}, images {list(images.shape)}")
    classes = arrays.get("classes")
    if classes is not None and classes.ndim != 1:
        what = f"classes are {list(classes.shape)}, a list of names is needed"
        problems.add(path, what, "store one name for each label, in their order")
    labels = arrays.get("labels")
    if labels is not None and labels.dtype.kind not in "iu":
        problems.add(path, f"labels are {labels.dtype}, whole numbers are needed")
    problems.raise_if_any()


def _converted(pixels: "Array", channels: int) -> "Array":
    return as_pixels(as_picture(pixels), channels)


def _refuse_foreign(found: Dataset, path: str, outputs: int) -> None:
    """Raise PortkitError for ids that are not unique and labels the model has no answer for."""
    if len(set(found.ids)) != len(found.ids):
        raise PortkitError.at(path, "has several images under one id", "give each its own")
    if found.labels is None:
        return
    for name, label in zip(found.ids, found.labels, strict=True):
        if label < 0 or (outputs and label >= outputs):
            what = f"{name} is of class {found.name_of(label)} (label {label})"
            if outputs:
                what += f", the model answers 0 to {outputs - 1}"
            raise PortkitError.at(path, what, "use the data that the model was trained for")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
