"""What a tensor's values are, in whatever order: alike for a tensor and all its rearrangements."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.pairing.relating import rearranged
from portkit.pairing.values import Relation

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Fingerprint = tuple[int, int, int]  # elements, and two sums over scrambled bits modulo 2⁶⁴
_CHUNK = 1 << 20  # elements scrambled at once
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)


def take_fingerprints(reader: Reader) -> Mapping[str, Fingerprint]:
    """Return the fingerprint of every tensor that has one: of one value, it would mean nothing."""
    found = {name: _fingerprint(reader, name) for name in reader.specs}
    return {name: taken for name, taken in found.items() if taken is not None}


def _fingerprint(reader: Reader, name: str) -> Fingerprint | None:
    import numpy as np

    spec = reader.specs[name]
    size = spec.dtype.itemsize
    flat = np.ascontiguousarray(as_array(reader.fetch(name), spec)).reshape(-1)
    bits = flat.view(f"<u{size}")
    if bits.size < 2 or bool((bits == bits[0]).all()):
        return None
    sums = [0, 0]
    for start in range(0, bits.size, _CHUNK):
        chunk = bits[start : start + _CHUNK].astype(np.uint64)
        for place, multiplier in enumerate(_MULTIPLIERS):
            mixed = (chunk + np.uint64(place + 1)) * np.uint64(multiplier)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(multiplier)
            mixed ^= mixed >> np.uint64(32)
            sums[place] = (sums[place] + int(mixed.sum(dtype=np.uint64))) % (1 << 64)
    return bits.size, sums[0], sums[1]


def exact_op(source: "Array", target: "Array", relation: Relation) -> int | None:
    """Return which of the rearrangements makes the bits of both the same, None where none does."""
    if source.dtype != target.dtype:
        return None
    wanted = target.tobytes()
    fits = (rearranged(source, op).tobytes() == wanted for op in relation.ops)
    return next((place for place, same in enumerate(fits) if same), None)
