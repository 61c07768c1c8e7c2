"""What was found out: checks, rungs and their verdict. All values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portkit.evaluation.choices import DataOptions
    from portkit.formats.protocols import Array

RUNGS = (
    "coverage",
    "bits",
    "structure",
    "dense",
    "layers",
    "outputs",
    "pipeline",
    "decisions",
    "accuracy",
)  # cheapest first
NOT_ASKED = ": not asked for"  # how a rung that was left out on request is listed


class Status(StrEnum):
    """How a rung ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    NOT_APPLICABLE = "does not apply"  # there is no such thing to check in this port


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a tensor or layer is wrong: a cause by its short name, and the evidence in words."""

    cause: str  # "transposed", "batchnorm_eps": a member of causes.Cause
    evidence: str  # "it equals the transpose of its source, 1600 of 1600 elements"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many differences lie between powers of ten: `counts[i]` from 10^`decades[i]` on.

    Differences of exactly zero are counted apart.
    """

    decades: tuple[int, ...]
    counts: tuple[int, ...]
    zeros: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One output on the same inputs: the port's, the source's, and the source's in float64."""

    port: "Array"
    source: "Array"
    exact: "Array | None" = None  # None where the source cannot run in float64
    share: float = 0.0  # max|source - exact| / max|exact| over all inputs
    gate: float | None = None  # for two float64 answers: what share of the largest value is let off


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: what was compared, whether it held, and the numbers in words."""

    subject: str
    passed: bool
    what: str
    numbers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    diagnosis: Diagnosis | None = None
    histogram: Histogram | None = None
    evidence: Evidence | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FlippedImage:
    """One image that source and port answer differently."""

    name: str  # its id in the data
    label: str  # the class it belongs to, empty where that is not known
    before: str  # the source's answer
    after: str  # the port's
    margin: float  # how far the source prefers its own answer over the port's, in logits
    is_tie: bool  # a margin that rounding alone can turn
    picture: bytes = b""  # PNG


@dataclass(frozen=True, slots=True)
class RungResult:
    """One rung of the ladder."""

    rung: str
    status: Status
    summary: str
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    flips: tuple[FlippedImage, ...] = ()
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()  # what it is no evidence for

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


@dataclass(frozen=True, slots=True)
class Verification:
    """A port's proof or refutation, relative to the evidence named in it."""

    artifact: str
    source: str
    target: str
    rungs: tuple[RungResult, ...]
    not_checked: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def passed(self) -> bool:
        """Say whether something was compared and nothing failed: nothing proves nothing."""
        compared = any(rung.checks for rung in self.rungs if rung.status is Status.PASSED)
        return compared and not any(rung.status is Status.FAILED for rung in self.rungs)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What differences are let through. A loosened gate needs a reason, which reports print."""

    atol: float | None = None
    rtol: float | None = None
    strict_atol: bool = False
    rho: float = 8.0
    rho_warn: float = 4.0
    because: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is verified, and how strictly."""

    tolerances: Tolerances = field(default_factory=Tolerances)
    quick: bool = False
    rungs: tuple[str, ...] = ()  # () means every rung that has what it needs
    input_size: tuple[int, int] | None = None  # height and width, for models that are not known
    device: str = "cpu"
    data: "DataOptions | None" = None  # labelled or unlabelled images
    preprocess: tuple[str, str] = ("", "")  # source's and target's: python:MODULE:FUNCTION


def rung_of(
    rung: str, checks: list[Check], summary: str, notes: tuple[str, ...] = ()
) -> RungResult:
    """Return a rung's result: passed when something was checked and all of it held."""
    ok = bool(checks) and all(check.passed for check in checks)
    return RungResult(rung, Status.PASSED if ok else Status.FAILED, summary, tuple(checks), notes)
