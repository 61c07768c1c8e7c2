"""What pairing takes and what it answers."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from portkit.endpoints import Endpoint
from portkit.formats.protocols import Reader
from portkit.ops import Rearrange
from portkit.tensors import Shape

if TYPE_CHECKING:
    import torch
    from torch import nn


class Party(Protocol):
    """One of the two models: what it is called, its tensors, and itself, in eval mode."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def open(self) -> Callable[[], AbstractContextManager[Reader]]: ...

    @property
    def build(self) -> "Callable[[torch.dtype], nn.Module]": ...


@dataclass(frozen=True, slots=True)
class Pairing:
    """What one target tensor is made from, and the evidence for it."""

    source: str
    target: str
    ops: str = ""  # "rearrange: out in -> out in 1 1"
    because: tuple[str, ...] = ()  # of: execution order, owner, shape, name, fingerprint


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A target tensor that could as well be another source's, or holds another one's values."""

    target: str
    candidates: tuple[str, ...]
    decided: str = ""  # by what; nothing where the choice is arbitrary

    def __str__(self) -> str:
        decided = f"decided by {self.decided}" if self.decided else "nothing decides"
        return f"{self.target} could be {' or '.join(self.candidates)}: {decided}"


@dataclass(frozen=True, slots=True)
class Inferred:
    """A mapping that was inferred, as text in the mapping language, and how sure it is."""

    text: str
    pairs: tuple[Pairing, ...]
    ambiguous: tuple[Ambiguity, ...]
    unpaired_source: tuple[str, ...]
    unpaired_target: tuple[str, ...]
    dropped: tuple[str, ...] = ()  # source tensors that the source itself does not use
    notes: tuple[str, ...] = ()  # what a person should know before trusting it

    @property
    def complete(self) -> bool:
        """Say whether every tensor that either model uses has its counterpart."""
        return not self.unpaired_source and not self.unpaired_target


@dataclass(frozen=True, slots=True)
class Use:
    """One tensor at work, once. `axes` name the stored tensor's axes, where they are known."""

    name: str
    role: str  # kernel, mean, spread, scale, shift, table or, of any other function, its slot
    family: str  # conv, linear, norm, …
    shape: Shape
    axes: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        return self.name.rpartition(".")[0]


Tag = tuple[int, ...]  # where in its consumer's input a tensor lies: offsets and operand places
Edge = tuple[int, int, Tag]  # from use, to use; -1 is the model's input, len(uses) its answer


@dataclass(frozen=True, slots=True)
class Flow:
    """One run of a model: its tensors' uses in execution order, and what feeds what."""

    uses: tuple[Use, ...]
    edges: frozenset[Edge]
    shapes: Mapping[str, Shape]  # of every tensor in the state dict
    aliases: Mapping[str, str]  # further names of tied tensors, and the first name of each

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of tensors that the run did not touch."""
        used = {use.name for use in self.uses}
        return tuple(n for n in self.shapes if n not in used and n not in self.aliases)


@dataclass(frozen=True, slots=True)
class Relation:
    """How one tensor becomes another: the rearrangements that fit, the likeliest first."""

    ops: tuple[Rearrange | None, ...]  # None: as it is


@dataclass(frozen=True, slots=True)
class Match:
    """Two uses that correspond, by their numbers, and what else the target's could have been."""

    source: int
    target: int
    others: tuple[int, ...] = ()  # uses of the source that the run tells apart from it by nothing
    decided: str = ""  # what chose among them: fingerprint, name
