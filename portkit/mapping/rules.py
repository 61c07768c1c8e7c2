"""What the user wrote: a mapping and its rules, each with the line it stands on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portkit.mapping.shapes import ShapeRule
from portkit.names import Capture, Captures, Pattern
from portkit.ops import Fill, Kind, Op, chain_kind


@dataclass(frozen=True, slots=True)
class Made:
    """How a tensor is made that nothing gives, and why."""

    fill: Fill
    because: str


@dataclass(frozen=True, slots=True)
class Undo:
    """What inverting a rule that loses something does: make the tensor, or refuse with a reason."""

    fill: Fill | None
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Source tensors named like `takes` become target tensors named like `gives`."""

    takes: tuple[Pattern, ...]
    gives: tuple[Pattern, ...]
    at: str
    ops: tuple[Op, ...] = ()
    limits: Mapping[str, tuple[Capture, ...]] | None = None
    shape: ShapeRule | None = None
    axes: tuple[str, ...] = ()
    shared: bool = False
    if_missing: Made | None = None
    undo: Undo | None = None

    @property
    def kind(self) -> Kind:
        return chain_kind(self.ops)

    def allows(self, captures: Captures) -> bool:
        """Say whether `where:` lets these captures through."""
        return all(captures[name] in allowed for name, allowed in (self.limits or {}).items())


@dataclass(frozen=True, slots=True)
class Drop:
    """Source tensors that are left behind on purpose."""

    takes: Pattern
    because: str
    at: str
    undo: Undo | None = None


@dataclass(frozen=True, slots=True)
class Init:
    """Target tensors that are made anew on purpose."""

    gives: Pattern
    made: Made
    at: str


@dataclass(frozen=True, slots=True)
class Tie:
    """Source tensors that repeat another one, bit for bit, and are not written again."""

    takes: Pattern
    equals: Pattern
    because: str
    at: str


@dataclass(frozen=True, slots=True)
class PortMap:
    """One mapping file, as written. `source` and `target` are `scheme` or `scheme:arch`."""

    name: str  # "vgg/torchvision_to_conv-head", or the path as given
    path: Path
    digest: str
    source: str
    target: str
    archs: tuple[str, ...]
    rules: tuple[Rule, ...]
    drops: tuple[Drop, ...]
    inits: tuple[Init, ...]
    ties: tuple[Tie, ...]
    facts: Mapping[str, Any]
    inverted: bool = False

    def covers(self, arch: str) -> bool:
        """Say whether this mapping is meant for an architecture."""
        return not self.archs or arch in self.archs
