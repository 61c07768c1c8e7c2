"""Lists of labels beside a folder of images: ImageNet's own, Caffe's, Kaggle's, any CSV."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import PortkitError

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"  # which class each number of TRUTH means
SYNSETS = ("LOC_synset_mapping.txt", "synset_words.txt", "classes.txt")
_LISTS = ("val.txt", "LOC_val_solution.csv", "labels.csv")
_FILE_COLUMNS = ("imageid", "image", "file", "filename", "path", "id", "name")
_LABEL_COLUMNS = ("predictionstring", "label", "class", "target", "category", "synset")


@dataclass(frozen=True, slots=True)
class Labels:
    """The label of every image by its name, and the names of the classes where those are known."""

    by_name: Mapping[str, int]
    classes: tuple[str, ...]
    words: str
    why_not: str = ""  # why a list that was found says nothing
    guessed: bool = False  # the classes are only those that the list happens to name


def find_labels(folder: Path, names: Sequence[str]) -> Labels | None:
    """Return the labels that a list in the folder or its parent gives to images by name.

    None where there is no list. Raise PortkitError for one that cannot be read or lacks an image.
    """
    path = _find(folder)
    if path is None:
        return None
    if path.name == TRUTH:
        return _read_truth(path, names)
    rows = _read_csv(path) if path.suffix == ".csv" else _read_pairs(path)
    listed = read_classes(folder)
    by_name, classes = _numbered(path, rows, listed)
    known = {Path(name).stem: label for name, label in by_name.items()}
    lacking = [name for name in names if Path(name).stem not in known]
    if lacking:
        what = f"has no label for {lacking[0]} ({len(lacking)} of {len(names)} images)"
        raise PortkitError.at(path, what, "complete it, or move it away to do without labels")
    labels = {name: known[Path(name).stem] for name in names}
    guessed = bool(classes) and not listed
    return Labels(labels, classes, f"labels from {path.name}", guessed=guessed)


def read_classes(folder: Path) -> tuple[str, ...]:
    """Return the classes in order, the first word of each line of a list beside the images."""
    for name in SYNSETS:
        for place in (folder, folder.parent):
            if (place / name).is_file():
                lines = _read_text(place / name).splitlines()
                return tuple(line.split()[0] for line in lines if line.strip())
    return ()


def _find(folder: Path) -> Path | None:
    for place in (folder, folder.parent):
        for name in (*_LISTS, TRUTH):
            if (place / name).is_file():
                return place / name
    tables = sorted(folder.glob("*.csv"))
    return tables[0] if len(tables) == 1 else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PortkitError.at(path, f"cannot be read as text: {error}") from error


def _read_pairs(path: Path) -> dict[str, str]:
    """Read `NAME LABEL` lines, as Caffe's val.txt has them."""
    rows: dict[str, str] = {}
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        parts = line.rsplit(maxsplit=1)
        if line.strip():
            if len(parts) != 2:
                raise PortkitError.at(f"{path}:{number}", "has no label", "write NAME LABEL")
            _add(rows, parts[0], parts[1], f"{path}:{number}")
    return rows


def _read_csv(path: Path) -> dict[str, str]:
    """Read a table with a column of file names and one of labels; Kaggle's have boxes as well."""
    reader = csv.reader(_read_text(path).splitlines())
    head = [column.strip().lower() for column in next(reader, [])]
    at = [
        next((head.index(name) for name in names if name in head), None)
        for names in (_FILE_COLUMNS, _LABEL_COLUMNS)
    ]
    if at[0] is None or at[1] is None:
        what = f"has the columns {', '.join(head) or 'none'}: which hold names and labels?"
        raise PortkitError.at(path, what, "call them image and label")
    rows: dict[str, str] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if row and len(row) <= max(at[0], at[1]):
            raise PortkitError.at(where, f"has {len(row)} columns, the head has {len(head)}")
        if row:
            words = row[at[1]].split() if head[at[1]] == "predictionstring" else [row[at[1]]]
            _add(rows, row[at[0]], words[0] if words else "", where)
    return rows


def _add(rows: dict[str, str], name: str, label: str, where: str) -> None:
    label = label.strip()
    if not label:
        raise PortkitError.at(where, f"gives {name} no label")
    if rows.setdefault(name.strip(), label) != label:
        raise PortkitError.at(where, f"gives {name} the label {label}, before {rows[name.strip()]}")


def _numbered(
    path: Path, rows: Mapping[str, str], classes: tuple[str, ...]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Turn labels into numbers: they are numbers, or names in the order of the classes, sorted."""
    if all(label.isdigit() for label in rows.values()):
        return {name: int(label) for name, label in rows.items()}, classes
    classes = classes or tuple(sorted(set(rows.values())))
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = next((label for label in rows.values() if label not in numbers), None)
    if unknown is not None:
        what = f"has the label {unknown!r}, which is not among the {len(classes)} classes"
        raise PortkitError.at(path, what)
    return {name: numbers[label] for name, label in rows.items()}, classes


def _read_truth(path: Path, names: Sequence[str]) -> Labels:
    """Read ImageNet's own list: line n has the number of image n, which META turns into a class."""
    numbers = _read_text(path).split()
    meta = next((p / META for p in (path.parent, path.parent.parent) if (p / META).is_file()), None)
    if meta is None:
        why_not = f"{path.name} numbers classes in an order of its own, {META} is needed beside it"
        return Labels({}, (), "", why_not)
    order, classes = _read_meta(meta)
    labels = {}
    for name in names:
        place = Path(name).stem.rpartition("_")[2]
        if not place.isdigit() or not 1 <= int(place) <= len(numbers):
            what = f"has {len(numbers)} lines, none of them for {name}"
            raise PortkitError.at(path, what, "keep the names ILSVRC2012_val_NUMBER.JPEG")
        found = order.get(numbers[int(place) - 1])
        if found is None:
            what = f"class {numbers[int(place) - 1]} is not in {meta.name}"
            raise PortkitError.at(f"{path}:{place.lstrip('0')}", what)
        labels[name] = found
    return Labels(labels, classes, f"labels from {path.name} and {meta.name}")


def _read_meta(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return where each of ImageNet's own numbers stands among the classes sorted by WordNet id."""
    from scipy.io import loadmat

    try:
        found = loadmat(str(path), squeeze_me=True)["synsets"]
        leaves = [row for row in found if int(row["num_children"]) == 0]
        wordnet = {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in leaves}
    except Exception as error:
        raise PortkitError.at(path, f"is no ImageNet devkit's {META}: {error}") from error
    classes = tuple(sorted(wordnet.values()))
    places = {name: number for number, name in enumerate(classes)}
    return {number: places[name] for number, name in wordnet.items()}, classes
