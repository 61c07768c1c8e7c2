"""What a fault is: data with one function, so that a catalogue of them is a table."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from portkit.verification.causes import Cause

if TYPE_CHECKING:
    from torch import nn

    from portkit.formats.protocols import Array

# Change a net; say where, or None where the net has no place for the fault and nothing is changed.
Inject = Callable[["nn.Module", Random], str | None]
Preprocess = Callable[["Array"], "Array"]  # an image [H, W, 3] uint8 to what a model takes

STORED = ("bits", "structure")  # rungs that see wrong tensors
BITS = ("bits",)  # rungs that see what is below rounding, or what no answer depends on
FUNCTION = ("structure", "outputs")
RUN_TIME = ("outputs",)  # arithmetic that float64 does not go through


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a port goes wrong silently, and how to make a correct net go wrong so."""

    id: str  # a letter for its kind and a number, never given to another one
    words: str
    cause: Cause | Literal[""]  # that a diagnosis should name; empty where it has no name
    inject: Inject
    seen_by: tuple[str, ...] = STORED
    also: tuple[Cause, ...] = ()  # causes that are true of it, too
    by_size: bool = False  # shows at some input sizes only

    @property
    def is_stored(self) -> bool:
        """Say whether tensors are wrong, so that a comparison of bits sees it."""
        return "bits" in self.seen_by

    @property
    def causes(self) -> tuple[Cause, ...]:
        return (self.cause, *self.also) if self.cause else self.also


@dataclass(frozen=True, slots=True)
class PixelFault:
    """One way in which an image is prepared wrongly, made of a correct way to prepare it."""

    id: str
    words: str
    cause: Cause
    alter: Callable[[Preprocess], Preprocess]


@dataclass(frozen=True, slots=True)
class Control:
    """A change that is no fault: the port must still pass."""

    id: str
    words: str
    apply: Inject
    rungs: tuple[str, ...] = ("coverage", "bits", "structure", "outputs")
