"""A verification as plain data, for machines."""

from math import isfinite
from typing import Any

from portkit.verification.results import Check, RungResult, Verification


def verification_as_dict(verification: Verification) -> dict[str, Any]:
    """Return what `--json` prints: the verdict first, then every rung with every check."""
    return {
        "artifact": verification.artifact,
        "source": verification.source,
        "target": verification.target,
        "passed": verification.passed,
        "rungs": [_rung_as_dict(rung) for rung in verification.rungs],
        "not_checked": list(verification.not_checked),
    }


def _rung_as_dict(rung: RungResult) -> dict[str, Any]:
    return {
        "rung": rung.rung,
        "status": rung.status.value,
        "summary": rung.summary,
        "checks": [_check_as_dict(check) for check in rung.checks],
        "notes": list(rung.notes),
    }


def _check_as_dict(check: Check) -> dict[str, Any]:
    numbers = {
        name: value if isfinite(value) else str(value) for name, value in check.numbers.items()
    }
    return {
        "subject": check.subject,
        "passed": check.passed,
        "what": check.what,
        "numbers": numbers,
    }
