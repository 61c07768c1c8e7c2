"""What is to be verified, and how much of it can be."""

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from portkit.endpoints import Endpoint
from portkit.errors import Problems
from portkit.planning import Plan
from portkit.progress import SILENT, Progress
from portkit.verification.results import RUNGS, Options
from portkit.verification.sides import Side

RUNNING = RUNGS[2:]  # these run the models
_QUICK = ("coverage", "bits", "structure", "outputs")
_WITH_DATA = ("decisions", "accuracy")


@dataclass(frozen=True, slots=True)
class Job:
    """One verification: two sides, the plan between them, and which rungs are asked for."""

    plan: Plan
    source: Side
    target: Side
    options: Options
    progress: Progress = SILENT
    notes: tuple[str, ...] = ()  # what was found out before, such as an inferred pairing

    @property
    def wanted(self) -> tuple[str, ...]:
        options = self.options
        chosen = options.rungs or (_QUICK if options.quick else RUNGS)
        return tuple(rung for rung in RUNGS if rung in chosen)

    @property
    def running(self) -> tuple[str, ...]:
        """The rungs asked for that run both models and have what they need."""
        return tuple(
            rung
            for rung in self.wanted
            if rung in RUNNING and (self.options.data is not None or rung not in _WITH_DATA)
        )


def refuse_options(options: Options) -> None:
    """Raise PortkitError for rungs that do not exist and tolerances that mean nothing."""
    problems = Problems()
    for rung in options.rungs:
        if rung not in RUNGS:
            fix = f"use some of: {', '.join(RUNGS)}"
            problems.add("--rungs", f"no rung is called {rung!r}", fix)
        if rung in _WITH_DATA and options.data is None:
            problems.add("--rungs", f"{rung} needs images", "name some with --data DIR|FILE")
    tolerances = options.tolerances
    for where, value in (
        ("--atol", tolerances.atol),
        ("--rtol", tolerances.rtol),
        ("rho", tolerances.rho),
    ):
        if value is not None and not 0 <= value < float("inf"):
            problems.add(where, f"must be a number from 0 on, found {value}")
    if tolerances.strict_atol and tolerances.atol is None:
        problems.add("--strict-atol", "has no use without --atol")
    gate = Options().tolerances.rho
    if gate < tolerances.rho < float("inf") and not tolerances.because:
        what = f"{tolerances.rho:g} is looser than {gate:g}"
        problems.add("rho", what, "say why with --because")
    problems.raise_if_any()


def why_not_run(*ends: Endpoint) -> str:
    """Return why the models of a port cannot be run, or nothing."""
    if not is_installed("torch"):
        return "torch is not installed"
    for endpoint in ends:
        if not _is_model(endpoint):
            return f"no model is known for the tensors of {endpoint.scheme!r}"
    if "torchvision" in {end.scheme for end in ends} and not is_installed("torchvision"):
        return "torchvision is not installed"
    return ""


def is_installed(package: str) -> bool:
    """Say whether a package can be imported, without importing it."""
    with suppress(ModuleNotFoundError, ValueError):
        return find_spec(package) is not None
    return False


def _is_model(endpoint: Endpoint) -> bool:
    return endpoint.scheme == "python" or bool(endpoint.manifest and endpoint.manifest.arguments)
