"""What will happen: a plan, its steps, and what is left behind. All values, no file open."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from portkit.errors import PortkitError
from portkit.ops import Kind, Op, OpError, Rearrange, chain_kind
from portkit.ops.rearranging import Permutation, fuse
from portkit.tensors import TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


@dataclass(frozen=True, slots=True)
class Step:
    """How one target tensor comes about. The ops are bound: every axis and size is a number."""

    sources: tuple[TensorSpec, ...]
    target: TensorSpec
    ops: tuple[Op, ...]
    where: str  # "vgg/torchvision_to_conv-head.yaml:12"
    because: str = ""  # why it is made anew, where it is
    blind: tuple[str, ...] = ()  # wrong variants that would fit just as well

    @property
    def kind(self) -> Kind:
        return chain_kind(self.ops)

    @property
    def permutation(self) -> Permutation | None:
        """The one split and new order of axes that this step amounts to, where it is only that."""
        moves = [op for op in self.ops if isinstance(op, Rearrange)]
        if len(self.sources) != 1 or len(moves) != len(self.ops):
            return None
        whole: Permutation = ((self.sources[0].size,), (0,))
        found: Permutation | None = whole
        for move in moves:
            found = fuse(found, move.permutation()) if found else None
        return found

    @property
    def reinterprets(self) -> bool:
        """Say whether the target has the source's bytes in the source's order."""
        found = self.permutation
        return found is not None and len(found[1]) == 1

    def __str__(self) -> str:
        sources = " + ".join(map(str, self.sources)) or "nothing"
        return f"{sources} → {self.target}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A source tensor left behind on purpose."""

    spec: TensorSpec
    because: str
    where: str


@dataclass(frozen=True, slots=True)
class Tied:
    """A source tensor that must equal source tensor `equals` bit for bit, and is not written."""

    spec: TensorSpec
    equals: str
    because: str
    where: str


@dataclass(frozen=True, slots=True)
class MappingId:
    """Which mapping was used, exactly: its digest is of the file's bytes."""

    name: str
    digest: str
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Every source tensor accounted for, and exactly one producer for every target tensor."""

    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    tied: tuple[Tied, ...]
    route: tuple[str, ...]
    mappings: tuple[MappingId, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[Step, ...]:
        """The steps that make new data."""
        return tuple(step for step in self.steps if step.kind is Kind.MADE)

    @property
    def targets(self) -> Mapping[str, TensorSpec]:
        return {step.target.name: step.target for step in self.steps}


def apply_step(step: Step, arrays: "tuple[Array, ...]") -> "Array":
    """Carry out a step in the plainest way: op after op, on whole arrays.

    Raise PortkitError for values that an op cannot carry over, such as what an unpad would lose.
    """
    try:
        (result,) = reduce(lambda flowing, op: op.apply(flowing), step.ops, arrays)
    except OpError as error:
        raise PortkitError.at(step.where, f"{step.target.name}: {error}") from None
    return result
