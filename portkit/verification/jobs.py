"""What is to be verified, and how much of it can be."""

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from portkit.endpoints import Endpoint
from portkit.errors import PortkitError
from portkit.porting import Port
from portkit.progress import Progress
from portkit.verification.results import RUNGS, Options

_RUNNING = ("structure", "outputs")  # these run the models


@dataclass(frozen=True, slots=True)
class Job:
    """One verification: a port, the file it made, and which rungs are asked for."""

    port: Port
    artifact: Path
    options: Options
    progress: Progress

    @property
    def wanted(self) -> tuple[str, ...]:
        return tuple(rung for rung in RUNGS if not self.options.rungs or rung in self.options.rungs)

    @property
    def running(self) -> tuple[str, ...]:
        """The rungs asked for that run both models."""
        return tuple(rung for rung in _RUNNING if rung in self.wanted)


def refuse_options(options: Options) -> None:
    """Raise PortkitError for rungs that do not exist and tolerances that mean nothing."""
    unknown = [rung for rung in options.rungs if rung not in RUNGS]
    if unknown:
        fix = f"use some of: {', '.join(RUNGS)}"
        raise PortkitError.at("", f"no rung is called {unknown[0]!r}", fix)
    tolerances = options.tolerances
    for name in ("atol", "rtol", "rho"):
        value = getattr(tolerances, name)
        if value is not None and not 0 <= value < float("inf"):
            raise PortkitError.at("", f"{name} must be a number from 0 on, found {value}")
    if tolerances.strict_atol and tolerances.atol is None:
        raise PortkitError.at("", "a strict atol needs one", "add --atol")
    gate = Options().tolerances.rho
    if tolerances.rho > gate and not tolerances.because:
        what = f"ρ ≤ {tolerances.rho:g} is looser than {gate:g}"
        raise PortkitError.at("", what, "say why with --because")


def why_not_run(port: Port) -> str:
    """Return why the models of a port cannot be run, or nothing."""
    if not is_installed("torch"):
        return "torch is not installed"
    ends = port.source, port.target
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
