"""The layers rung: where the models differ, every layer by itself, the first one named first."""

from dataclasses import replace

from portkit.verification.forcing import Forced, Unit, Units
from portkit.verification.judging import FLOOR, STRUCTURE
from portkit.verification.results import Check, Diagnosis, RungResult, rung_of


def check_layers(noise: Forced, found: Forced, gate: float) -> RungResult:
    """Judge the target's float32 layers by ρ: in units of the source's own float32 error there.

    `gate` is the largest ρ that is let through.
    """
    shares = sorted(unit.share for unit in noise.units.values() if unit.share < float("inf"))
    usual = shares[len(shares) // 2] if shares else 0.0
    checks = []
    for unit in found.units.values():
        own = noise.units.get(unit.name)
        rho = unit.share / max(own.share if own else 0.0, usual, FLOOR)
        words = unit.why_not or f"ρ {rho:.2f} by itself, off by {unit.share:.2g} of the largest"
        numbers = {"rho": rho, "share": unit.share, "gate": gate}
        checks.append(_check(unit, words, numbers, passed=bool(rho <= gate)))
    rhos = [check.numbers["rho"] for check in checks]
    summary = f"ρ {max(rhos, default=0.0):.2f} at most, {_counted(found.units)} one by one, float32"
    return rung_of("layers", checks, summary, _notes(found))


def check_layers_exactly(found: Forced, gate: float = STRUCTURE) -> RungResult:
    """Judge the layers without rounding, in float64: name every one that differs by itself."""
    checks = []
    for unit in found.units.values():
        words = unit.why_not or f"off by {unit.share:.2g} of the largest value, by itself"
        numbers = {"share": unit.share, "gate": gate}
        checks.append(_check(unit, words, numbers, passed=bool(unit.share <= gate)))
    failed = [check.subject for check in checks if not check.passed]
    summary = f"{_counted(found.units)} agree one by one" if checks else "no layer is paired"
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        summary = (
            f"first to differ: {failed[0]}{more}; {_counted(found.units)} looked at one by one"
        )
    return rung_of("layers", checks, summary, _notes(found))


def blame_precision(result: RungResult) -> RungResult:
    """Say of layers that differ in float32 only that it is their arithmetic that does it."""
    checks = []
    for check in result.checks:
        evidence = f"it is right in float64, and off by ρ {check.numbers['rho']:.3g} in float32"
        cause = Diagnosis("reduced_precision", f"{evidence}: TF32 or half precision at run time")
        checks.append(check if check.passed else replace(check, diagnosis=cause))
    return replace(result, checks=tuple(checks))


def _notes(found: Forced) -> tuple[str, ...]:
    return tuple(f"{words}: judged within the span around it" for words in found.unmet)


def _counted(found: Units) -> str:
    spans = sum(" → " in name for name in found)
    return f"{len(found) - spans} layers and {spans} spans between them"


def _check(unit: Unit, words: str, numbers: dict[str, float], *, passed: bool) -> Check:
    return Check(unit.name, passed, words, numbers, None if passed else unit.diagnosis)
