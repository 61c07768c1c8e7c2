"""Looking at tensors that are elsewhere: as arrays, or under names without their prefix."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.tensors import Extent, Specs, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_NESTINGS = ("state_dict", "model_state_dict", "model", "model_state", "net", "module", "ema")


def as_array(value: "Extent | Array", spec: TensorSpec) -> "Array":
    """Return a tensor's values, `[*shape]` in its carrier dtype; extents are mapped, not read."""
    import numpy as np

    if not isinstance(value, Extent):
        return value
    if spec.nbytes == 0:
        return np.empty(spec.shape, spec.dtype.carrier)
    try:
        mapped = np.memmap(value.path, np.uint8, "r", value.offset, (value.nbytes,))
    except (OSError, ValueError) as error:
        raise PortkitError.at(value.path, f"cannot be read: {error}") from error
    flat: Array = np.frombuffer(mapped, spec.dtype.carrier)
    return flat.reshape(spec.shape)


@dataclass(frozen=True, slots=True)
class PrefixReader:
    """A reader's tensors whose names start with a prefix, without it."""

    inner: Reader
    prefix: str
    specs: Specs

    @property
    def path(self) -> Path:
        return self.inner.path

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.inner.metadata

    @property
    def ignored(self) -> tuple[str, ...]:
        outside = (name for name in self.inner.specs if not name.startswith(self.prefix))
        return (*outside, *self.inner.ignored)

    def fetch(self, name: str) -> "Extent | Array":
        return self.inner.fetch(self.prefix + name)


def select(reader: Reader, prefix: str) -> Reader:
    """Return the tensors under a prefix; raise PortkitError where there is none."""
    specs = strip_prefix(reader.specs, prefix)
    if not specs:
        known = ", ".join(map(repr, prefixes(reader.specs))) or "none"
        raise PortkitError.at(
            reader.path, f"no tensor's name starts with {prefix!r}", f"known: {known}"
        )
    return PrefixReader(reader, prefix, specs)


def strip_prefix(specs: Specs, prefix: str) -> Specs:
    """Return the specs whose names start with a prefix, without it."""
    return MappingProxyType(
        {
            name.removeprefix(prefix): TensorSpec(name.removeprefix(prefix), spec.shape, spec.dtype)
            for name, spec in specs.items()
            if name.startswith(prefix) and len(name) > len(prefix)
        }
    )


def prefixes(specs: Specs) -> tuple[str, ...]:
    """Return the nestings and prefixes worth offering, longest first: `state_dict.module.`."""
    found: dict[str, int] = {}
    for name in specs:
        parts = name.split(".")
        for depth in range(1, min(4, len(parts))):
            prefix = ".".join(parts[:depth]) + "."
            found[prefix] = found.get(prefix, 0) + 1
    usual = [p for p in found if all(part in _NESTINGS for part in p[:-1].split("."))]
    whole = [p for p, count in found.items() if count == len(specs)]
    return tuple(sorted({*usual, *whole}, key=lambda p: (-len(p), p)))
