"""What was found out: checks, rungs and their verdict. All values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

NOT_ASKED = ": not asked for"  # how a rung that was left out on request is listed


class Status(StrEnum):
    """How a rung ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: what was compared, whether it held, and the numbers in words."""

    subject: str
    passed: bool
    what: str
    numbers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class RungResult:
    """One rung of the ladder."""

    rung: str
    status: Status
    summary: str
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()

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
    rungs: tuple[str, ...] = ()  # () means every rung there is
    input_size: tuple[int, int] | None = None  # height and width, for models that are not known


def rung_of(
    rung: str, checks: list[Check], summary: str, notes: tuple[str, ...] = ()
) -> RungResult:
    """Return a rung's result: passed when something was checked and all of it held."""
    ok = bool(checks) and all(check.passed for check in checks)
    return RungResult(rung, Status.PASSED if ok else Status.FAILED, summary, tuple(checks), notes)
