"""Which images are drawn: seeded, in proportion to the classes, in whatever order they are listed.

Every image has a place in line that its id and the seed decide, so the same images are drawn on
every machine, and listing them in another order changes nothing.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from portkit.evaluation.choices import DataOptions


@dataclass(frozen=True, slots=True)
class Sample:
    """The places of the images that were drawn, and what a report says about them."""

    indices: tuple[int, ...]
    digest: str  # of their ids, in order
    words: str
    notes: tuple[str, ...] = ()


def choose(
    ids: Sequence[str], labels: Sequence[Hashable] | None, subset: int, seed: int
) -> tuple[int, ...]:
    """Return the places of `subset` images, classes mixed; of all where it is 0 or exceeds them.

    Every class has its proportional share, rounded down or up by the method of largest remainders.
    """
    strata = labels if labels is not None else (0,) * len(ids)
    line = sorted(range(len(ids)), key=lambda i: _place(seed, ids[i]))
    if not 0 < subset < len(ids):
        return tuple(line)
    left = dict(_shares(Counter(strata), subset, seed))
    chosen = []
    for i in line:
        if left[strata[i]]:
            left[strata[i]] -= 1
            chosen.append(i)
    return tuple(chosen)


def _shares(
    counts: Mapping[Hashable, int], subset: int, seed: int
) -> Iterable[tuple[Hashable, int]]:
    """Yield how many of each class are drawn."""
    total = sum(counts.values())
    spare = subset - sum(subset * count // total for count in counts.values())
    by_remainder = sorted(
        counts, key=lambda c: (-(subset * counts[c] % total), _place(seed, f"class {c}"))
    )
    raised = set(by_remainder[:spare])
    return ((c, subset * count // total + (c in raised)) for c, count in counts.items())


def _place(seed: int, name: str) -> bytes:
    from blake3 import blake3

    return blake3(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest(length=16)


def digest(ids: Iterable[str]) -> str:
    """Return the BLAKE3 digest of ids in order: of each its length and its bytes."""
    from blake3 import blake3

    hasher = blake3()
    for name in ids:
        raw = name.encode("utf-8", "surrogateescape")
        hasher.update(len(raw).to_bytes(8, "little") + raw)
    return hasher.hexdigest()


def draw(ids: Sequence[str], labels: Sequence[Hashable] | None, options: DataOptions) -> Sample:
    """Draw what the options ask for; all images, and a note, where they ask for more."""
    indices = choose(ids, labels, options.subset, options.seed)
    notes: tuple[str, ...] = ()
    if options.subset > len(ids):
        notes = (f"asked for {options.subset} images, there are {len(ids)}: all were taken",)
    words = f"all {len(ids)} images"
    if len(indices) < len(ids):
        how = "in proportion to their classes" if labels is not None else "without labels"
        words = f"{len(indices)} of {len(ids)} images, drawn {how} with seed {options.seed}"
    return Sample(indices, digest(ids[i] for i in indices), words, notes)
