"""References: `torchvision:vgg16@w.pth` → what it names: a model's headers, and its weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from portkit.errors import PortkitError

Argument = int | float | bool | str
SCHEMES = ("torchvision", "fc-head", "conv-head", "python", "demo")

_REFERENCE = re.compile(
    r"(?P<scheme>[a-z][a-z-]*):(?P<arch>[^@()]+)(?:\((?P<arguments>[^()]*)\))?(?:@(?P<weights>.+))?",
    re.DOTALL,
)
_RANDOM = re.compile(r"random(?::(\d+))?")
_ENTRY = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference as written, taken apart. A bare path has no scheme."""

    scheme: str
    arch: str
    arguments: Mapping[str, Argument] = field(default_factory=lambda: MappingProxyType({}))
    weights: str = ""

    @property
    def model(self) -> str:
        """The model without its weights: `conv-head:vgg16(num_classes=5)`."""
        if not self.scheme:
            return ""
        listed = ", ".join(f"{name}={_written(value)}" for name, value in self.arguments.items())
        name = f"{self.scheme}:{self.arch}" if self.arch else self.scheme
        return name + (f"({listed})" if listed else "")

    @property
    def file(self) -> tuple[str, str]:
        """The path and the prefix of its names, of weights that are a file."""
        path, _, prefix = self.weights.partition("#")
        return path, prefix

    def __str__(self) -> str:
        return "@".join(part for part in (self.model, self.weights) if part)


def parse_reference(text: str) -> Reference:
    """Take a reference apart; raise PortkitError. What is no scheme's is a path."""
    scheme = text.split(":", 1)[0]
    if scheme not in SCHEMES or ":" not in text:
        if not text:
            raise PortkitError.at("", "an empty reference names nothing")
        return Reference("", "", weights=text)
    found = _REFERENCE.fullmatch(text)
    if found is None:
        fix = "write SCHEME:ARCH, SCHEME:ARCH(name=value) or SCHEME:ARCH@WEIGHTS"
        raise PortkitError.at(text, "cannot be read as a reference", fix)
    arguments = _parse_arguments(found["arguments"] or "", text)
    return Reference(scheme, found["arch"].strip(), arguments, found["weights"] or "")


def random_seed(weights: str) -> int | None:
    """Return the seed that `random` or `random:7` asks for; None for other weights."""
    found = _RANDOM.fullmatch(weights)
    return int(found[1] or 0) if found else None


def is_entry(weights: str) -> bool:
    """Say whether weights are a named entry such as `IMAGENET1K_V1`."""
    return _ENTRY.fullmatch(weights) is not None


def _parse_arguments(text: str, whole: str) -> Mapping[str, Argument]:
    arguments: dict[str, Argument] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name.isidentifier() or not value or name in arguments:
            fix = "write name=value, each name once"
            raise PortkitError.at(whole, f"cannot read the argument {part!r}", fix)
        arguments[name] = _parse_value(value)
    return MappingProxyType(arguments)


def _parse_value(text: str) -> Argument:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("\"'")


def _written(value: Argument) -> str:
    return str(value)
