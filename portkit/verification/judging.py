"""Judging numbers: one formula for every comparison of outputs, printed with its arithmetic.

ρ = max|port - R| / max(max|source₃₂ - R|, 4·2⁻²⁴·max|R|), with R the source in float64 on the same
inputs: how many times the source's own rounding error a port is away from the truth. Correct ports
measure up to about 3, the weakest fault of a whole model some hundreds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from portkit.verification.results import Check, Tolerances

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

FLOOR = 4 * 2.0**-24  # of the largest reference value: float32 cannot be asked for more
STRUCTURE = 1e-12  # of the largest reference value, in float64


@dataclass(frozen=True, slots=True)
class Evidence:
    """One output on the same inputs: the port's, the source's, and the source's in float64."""

    port: "Array"
    source: "Array"
    exact: "Array"


def refuse_form(subject: str, got: "Array", want: "Array") -> Check | None:
    """Return a failed check where arrays cannot be compared at all; nothing broadcasts."""
    if got.shape != want.shape:
        return Check(
            subject, passed=False, what=f"shape {list(got.shape)}, expected {list(want.shape)}"
        )
    if got.size == 0:
        return Check(subject, passed=False, what="nothing to compare: the output is empty")
    if got.dtype.kind != want.dtype.kind:
        return Check(subject, passed=False, what=f"dtype {got.dtype}, expected {want.dtype}")
    for name, array in (("the port", got), ("the source", want)):
        wrong = int(np.count_nonzero(~np.isfinite(array)))
        if wrong:
            what = f"{wrong} of {array.size} values of {name} are not finite"
            return Check(subject, passed=False, what=what)
    return None


def judge_structure(subject: str, got: "Array", exact: "Array", tolerances: Tolerances) -> Check:
    """Compare two float64 results: 1e-12 of the largest reference value, and `atol` where given."""
    refused = refuse_form(subject, got, exact)
    if refused:
        return refused
    difference = np.abs(got - exact)
    worst, scale = float(difference.max()), float(np.abs(exact).max())
    gate = STRUCTURE * max(scale, np.finfo(np.float64).tiny)
    if tolerances.atol is not None:
        gate = min(gate, tolerances.atol)
    ok = bool(worst <= gate)
    what = f"max |port - source| {worst:.2g} in float64, gate {gate:.2g}{_where(difference, ok=ok)}"
    return Check(subject, ok, what, {"max_abs": worst, "gate": gate, "scale": scale})


def judge_output(subject: str, evidence: Evidence, tolerances: Tolerances) -> Check:
    """Compare a float32 output by its distance from the truth, in units of the source's own."""
    for array in (evidence.source, evidence.exact):
        refused = refuse_form(subject, evidence.port, array)
        if refused:
            return refused
    numbers = measure(evidence)
    by_rho = bool(numbers["rho"] <= tolerances.rho)
    if tolerances.atol is None and tolerances.rtol is None:
        what = f"ρ {numbers['rho']:.2f} (gate {tolerances.rho:g})"
        if tolerances.rho_warn < numbers["rho"] <= tolerances.rho:
            what += f", above {tolerances.rho_warn:g}: look at it"
        passed = by_rho
    else:
        passed, what = _judge_tolerance(evidence, numbers, tolerances, by_rho=by_rho)
    difference = np.abs(evidence.port.astype(np.float64) - evidence.source)
    return Check(subject, passed, what + _where(difference, ok=passed), numbers)


def _judge_tolerance(
    evidence: Evidence, numbers: dict[str, float], tolerances: Tolerances, *, by_rho: bool
) -> tuple[bool, str]:
    """Hold |port - source| ≤ atol + rtol·|source|, or say that rounding alone exceeds it."""
    source = evidence.source.astype(np.float64)
    atol = tolerances.atol or 0.0
    rtol = tolerances.rtol or 0.0
    difference = np.abs(evidence.port.astype(np.float64) - source)
    excess = difference - (atol + rtol * np.abs(source))
    wrong = int(np.count_nonzero(~(excess <= 0)))
    needed = float(np.max(difference - rtol * np.abs(source)))
    asked = f"atol {atol:g}" + (f", rtol {rtol:g}" if rtol else "")
    if wrong == 0:
        return (
            True,
            f"max |port - source| {numbers['max_abs']:.2g}, {asked}, ρ {numbers['rho']:.2f}",
        )
    noise = numbers["noise"]
    if not tolerances.strict_atol and by_rho and atol < 8 * noise:
        what = f"{asked} is below this model's float32 noise ({noise:.2g})"
        return True, f"{what}; judged by ρ = {numbers['rho']:.2f}"
    what = f"{wrong} of {difference.size} values exceed {asked}"
    return False, f"{what}; atol {needed:.2g} would pass; ρ {numbers['rho']:.2f}"


def measure(evidence: Evidence) -> dict[str, float]:
    """Return ρ and the figures that are reported but never gate."""
    port, source = (array.astype(np.float64) for array in (evidence.port, evidence.source))
    exact = evidence.exact
    scale = float(np.abs(exact).max())
    noise = float(np.abs(source - exact).max())
    unit = max(noise, FLOOR * scale, float(np.finfo(np.float32).tiny))
    error = float(np.abs(port - exact).max())
    power = float(np.square(exact).sum())
    rest = float(np.square(port - exact).sum())
    norms = float(np.linalg.norm(port) * np.linalg.norm(exact))
    return {
        "rho": error / unit,
        "max_abs": float(np.abs(port - source).max()),
        "noise": noise,
        "scale": scale,
        "cosine": float(np.vdot(port, exact)) / norms if norms else 1.0,
        "snr_db": float(10 * np.log10(power / rest)) if rest and power else float("inf"),
        "ulp_at_largest": error / float(np.spacing(np.float32(scale))) if scale else 0.0,
    }


def _where(difference: "Array", *, ok: bool) -> str:
    if ok:
        return ""
    at = np.unravel_index(int(difference.argmax()), difference.shape)
    return f"; worst at {list(map(int, at))}"
