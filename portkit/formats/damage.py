"""Files whose bytes are not those that were written, told by the checksums that zips carry."""

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

from portkit.errors import Problems
from portkit.formats.protocols import Reader
from portkit.formats.zips import DAMAGED, REPAIR, Archive, Entry, open_archive
from portkit.tensors import Extent


def refuse_damage(reader: Reader, names: Iterable[str]) -> None:
    """Compare the checksums of what holds these tensors; raise PortkitError with all that differ.

    Only .npz and torch's zips carry any. What is packed is checked whenever it is unpacked.
    """
    if not _is_zip(reader.path):
        return
    with open_archive(reader.path) as archive:
        problems = Problems()
        for name, entry in _entries_of(reader, names, archive).items():
            if not archive.is_intact(entry):
                problems.add(f"{reader.path}: {name}", DAMAGED, REPAIR)
        problems.raise_if_any()


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _entries_of(reader: Reader, names: Iterable[str], archive: Archive) -> dict[str, Entry]:
    """Return the entries that hold tensors as they are, each under the first tensor in it."""
    entries = archive.entries.values()
    starts = sorted(((archive.start_of(entry), entry) for entry in entries), key=itemgetter(0))
    found: dict[int, tuple[str, Entry]] = {}
    for name in names:
        place = reader.fetch(name)
        if isinstance(place, Extent) and place.path == archive.path:
            start, entry = starts[bisect_right(starts, place.offset, key=itemgetter(0)) - 1]
            found.setdefault(start, (name, entry))
    return dict(found.values())
