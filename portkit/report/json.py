"""A verification as plain data, for machines."""

from dataclasses import asdict
from math import isfinite
from typing import Any

from portkit.verification.results import Check, FlippedImage, RungResult, Verification


def verification_as_dict(verification: Verification) -> dict[str, Any]:
    """Return what `--json` prints: the verdict first, then every rung with every check."""
    return {
        "artifact": verification.artifact,
        "source": verification.source,
        "target": verification.target,
        "passed": verification.passed,
        "rungs": [_rung_as_dict(rung) for rung in verification.rungs],
        "not_checked": list(verification.not_checked),
        "environment": dict(verification.environment),
    }


def _rung_as_dict(rung: RungResult) -> dict[str, Any]:
    return {
        "rung": rung.rung,
        "status": rung.status.value,
        "summary": rung.summary,
        "seconds": _number(rung.seconds),
        "checks": [_check_as_dict(check) for check in rung.checks],
        "notes": list(rung.notes),
        "flips": [_flip_as_dict(flip) for flip in rung.flips],
    }


def _check_as_dict(check: Check) -> dict[str, Any]:
    histogram = check.histogram
    return {
        "subject": check.subject,
        "passed": check.passed,
        "what": check.what,
        "numbers": {name: _number(value) for name, value in check.numbers.items()},
        "diagnosis": None if check.diagnosis is None else asdict(check.diagnosis),
        "histogram": None
        if histogram is None
        else {
            "decades": list(histogram.decades),
            "counts": list(histogram.counts),
            "zeros": histogram.zeros,
        },
    }


def _flip_as_dict(flip: FlippedImage) -> dict[str, Any]:
    return {
        "name": flip.name,
        "label": flip.label,
        "before": flip.before,
        "after": flip.after,
        "margin": _number(flip.margin),
        "is_tie": flip.is_tie,
    }


def _number(value: float) -> float | str:
    """Return a number as JSON knows it; JSON has no word for infinity."""
    return value if isfinite(value) else str(value)
