"""Judging numbers: one formula for every comparison of outputs, printed with its arithmetic.

ρ = max|port - R| / max(max|source₃₂ - R|, 4·2⁻²⁴·max|R|), with R the source in float64 on the same
inputs: how many times the source's own rounding error a port is away from the truth. Correct ports
measure up to about 3, the weakest fault of a whole model some hundreds. A model with few outputs
has a lucky draw among its errors now and then, so the source's error is at least the share of the
largest value that it is over all inputs together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from portkit.verification.results import Check, Evidence, Histogram, Tolerances

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

FLOOR = 4 * 2.0**-24  # of the largest reference value: float32 cannot be asked for more
STRUCTURE = 1e-12  # of the largest reference value, in float64
FOLDED = 2e-6  # the same where weights were computed and rounded, as in 13 folded batch norms
WITHOUT_EXACT = 1e-5  # of the largest value, where the source cannot run in float64
NOISES = 8  # times the source's float32 error: an atol below that is about rounding


def judge(subject: str, evidence: Evidence, tolerances: Tolerances) -> Check:
    """Compare one output as its precision asks for, and keep what was compared."""
    if evidence.gate is None:
        found = judge_output(subject, evidence, tolerances)
    else:
        port, source = evidence.port, evidence.source
        found = judge_structure(subject, port, source, tolerances, evidence.gate)
    return replace(found, evidence=evidence, histogram=count_decades(evidence))


def count_decades(evidence: Evidence) -> Histogram | None:
    """Count |port - source| by powers of ten, of what can be subtracted and is finite."""
    port, source = evidence.port, evidence.source
    if port.shape != source.shape or not port.size or port.dtype.kind not in "fiu":
        return None
    difference = np.abs(port.astype(np.float64) - source.astype(np.float64))
    sizes = difference[np.isfinite(difference) & (difference > 0)]
    zeros = int(np.count_nonzero(difference == 0))
    powers = np.floor(np.log10(sizes)).astype(int)
    decades, counts = np.unique(powers, return_counts=True)
    return Histogram(tuple(map(int, decades)), tuple(map(int, counts)), zeros)


def refuse_form(subject: str, got: "Array", want: "Array") -> Check | None:
    """Return a failed check where arrays cannot be compared at all; nothing broadcasts."""
    what = ""
    if got.shape != want.shape:
        what = f"shape {list(got.shape)}, expected {list(want.shape)}"
    elif got.size == 0:
        what = "nothing to compare: the output is empty"
    elif got.dtype.kind != want.dtype.kind:
        what = f"dtype {got.dtype}, expected {want.dtype}"
    else:
        for name, array in (("the source", want), ("the port", got)):
            wrong = int(np.count_nonzero(~np.isfinite(array)))
            if wrong and not what:
                what = f"{wrong} of {array.size} values of {name} are not finite"
    return Check(subject, passed=False, what=what) if what else None


def judge_structure(
    subject: str,
    got: "Array",
    exact: "Array",
    tolerances: Tolerances,
    share: float = STRUCTURE,
) -> Check:
    """Compare two float64 results: a share of the largest reference value, and what is asked for.

    A given tolerance must be met, too. It replaces the gate only where a reason is given.
    """
    refused = refuse_form(subject, got, exact)
    if refused:
        return refused
    difference = np.abs(got.astype(np.float64) - exact)
    scale = float(np.abs(exact).max())
    own = np.full(exact.shape, share * scale)
    gate, words = own, f"gate {share * scale:.2g}"
    if _asks(tolerances):
        asked = _allowed(exact, tolerances)
        gate = asked if tolerances.because else np.minimum(own, asked)
        words += f" and {_asked(tolerances)}" if not tolerances.because else ""
        if tolerances.because:
            words = f"{_asked(tolerances)}, because: {tolerances.because}"
    wrong = int(np.count_nonzero(~(difference <= gate)))
    worst = float(difference.max())
    what = f"max |port - source| {worst:.2g} in float64, {words}"
    if wrong:
        what = f"{wrong} of {difference.size} values differ, {what}{_worst(difference)}"
    return Check(subject, wrong == 0, what, {"max_abs": worst, "scale": scale})


def judge_output(subject: str, evidence: Evidence, tolerances: Tolerances) -> Check:
    """Compare a float32 output by its distance from the truth, in units of the source's own."""
    for array in (evidence.source, evidence.exact):
        refused = None if array is None else refuse_form(subject, evidence.port, array)
        if refused:
            return refused
    if evidence.port.dtype != evidence.source.dtype:
        what = f"dtype {evidence.port.dtype}, expected {evidence.source.dtype}"
        return Check(subject, passed=False, what=what)
    numbers = measure(evidence)
    ok, words = _judge_noise(evidence, numbers, tolerances)
    if _asks(tolerances):
        ok, words = _judge_asked(evidence, numbers, tolerances, (ok, words))
    if not ok:
        difference = np.abs(evidence.port.astype(np.float64) - evidence.source)
        words += _worst(difference)
    return Check(subject, ok, words, numbers)


def _judge_noise(
    evidence: Evidence, numbers: Mapping[str, float], tolerances: Tolerances
) -> tuple[bool, str]:
    """Judge by ρ or, where there is no float64 source, by a share of the largest value."""
    if evidence.exact is None:
        gate = WITHOUT_EXACT * numbers["scale"]
        ok = bool(numbers["max_abs"] <= gate)
        return ok, f"max |port - source| {numbers['max_abs']:.2g}, gate {gate:.2g} (no float64)"
    rho = numbers["rho"]
    ok = bool(rho <= tolerances.rho)
    words = f"ρ {rho:.2f}, gate {tolerances.rho:g}"
    if ok and rho > tolerances.rho_warn:
        words += f", above {tolerances.rho_warn:g}: unusual for a correct port"
    if ok and tolerances.because and not _asks(tolerances):
        words += f", because: {tolerances.because}"
    if not ok:
        words += f"; max |port - source| {numbers['max_abs']:.2g}, noise {numbers['noise']:.2g}"
    return ok, words


def _judge_asked(
    evidence: Evidence,
    numbers: Mapping[str, float],
    tolerances: Tolerances,
    by_noise: tuple[bool, str],
) -> tuple[bool, str]:
    """Hold |port - source| ≤ atol + rtol·|source|, or say that rounding alone exceeds it."""
    fits, words = by_noise
    source = evidence.source.astype(np.float64)
    difference = np.abs(evidence.port.astype(np.float64) - source)
    wrong = int(np.count_nonzero(~(difference <= _allowed(source, tolerances))))
    asked = _asked(tolerances)
    if wrong == 0 and fits:
        return True, f"max |port - source| {numbers['max_abs']:.2g}, {asked}; {words}"
    if wrong == 0:
        if tolerances.because:
            return True, f"{asked} holds, {words}; because: {tolerances.because}"
        return False, f"{asked} holds, but {words}; a looser gate needs a reason (--because)"
    noise = numbers["noise"]
    within = (tolerances.atol or 0.0) < NOISES * noise
    if fits and within and not tolerances.strict_atol:
        return True, f"{_about_noise(asked, tolerances, noise)}; judged by ρ = {numbers['rho']:.2f}"
    needed = float(np.max(difference - (tolerances.rtol or 0.0) * np.abs(source)))
    what = f"{wrong} of {difference.size} values exceed {asked}, atol {needed:.2g} would pass"
    return False, f"{what}; {words}"


def _about_noise(asked: str, tolerances: Tolerances, noise: float) -> str:
    if (tolerances.atol or 0.0) < noise:
        return f"{asked} is below this model's float32 noise ({noise:.2g})"
    return f"{asked} is within {NOISES} times this model's float32 noise ({noise:.2g})"


def measure(evidence: Evidence) -> dict[str, float]:
    """Return ρ and the figures that are reported but never gate."""
    port, source = (array.astype(np.float64) for array in (evidence.port, evidence.source))
    exact = source if evidence.exact is None else evidence.exact
    scale = float(np.abs(exact).max())
    noise = float(np.abs(source - exact).max())
    unit = max(noise, max(FLOOR, evidence.share) * scale, float(np.finfo(np.float32).tiny))
    error = float(np.abs(port - exact).max())
    rest = float(np.square(port - exact).sum())
    power = float(np.square(exact).sum())
    norms = float(np.linalg.norm(port) * np.linalg.norm(exact))
    numbers = {} if evidence.exact is None else {"rho": error / unit}
    return {
        **numbers,
        "max_abs": float(np.abs(port - source).max()),
        "noise": noise,
        "scale": scale,
        "cosine": float(np.vdot(port, exact)) / norms if norms else 1.0,
        "snr_db": float(10 * np.log10(power / rest)) if rest and power else float("inf"),
        "ulp_at_largest": error / float(np.spacing(np.float32(scale))) if scale else 0.0,
    }


def noise_share(pairs: "Iterable[tuple[Array, Array]]") -> float:
    """Return max|source - exact| / max|exact| over the source's answers in either precision."""
    noise = scale = 0.0
    for source, exact in pairs:
        if source.shape == exact.shape and np.isfinite(source).all() and np.isfinite(exact).all():
            noise = max(noise, float(np.abs(source.astype(np.float64) - exact).max(initial=0.0)))
            scale = max(scale, float(np.abs(exact).max(initial=0.0)))
    return noise / scale if scale else 0.0


def _asks(tolerances: Tolerances) -> bool:
    return tolerances.atol is not None or tolerances.rtol is not None


def _allowed(reference: "Array", tolerances: Tolerances) -> "Array":
    """Return the largest difference let through, element by element."""
    allowed: Array = (tolerances.atol or 0.0) + (tolerances.rtol or 0.0) * np.abs(reference)
    return allowed


def _asked(tolerances: Tolerances) -> str:
    given = [("atol", tolerances.atol), ("rtol", tolerances.rtol)]
    return ", ".join(f"{name} {_plain(value)}" for name, value in given if value is not None)


def _plain(value: float) -> str:
    """Write 1e-05 as people type it: 1e-5."""
    return f"{value:g}".replace("e-0", "e-")


def _worst(difference: "Array") -> str:
    at = np.unravel_index(int(difference.argmax()), difference.shape)
    return f"; worst at {list(map(int, at))}"
