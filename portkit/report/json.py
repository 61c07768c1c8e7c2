"""A verification as plain data, for machines."""

from dataclasses import asdict
from math import isfinite
from typing import Any

from portkit.verification.results import Check, Verification


def verification_as_dict(verification: Verification) -> dict[str, Any]:
    """Return what `--json` prints: the verdict first, then every rung with every check."""
    rungs = [
        {**asdict(rung), "checks": [_check_as_dict(check) for check in rung.checks]}
        for rung in verification.rungs
    ]
    return {
        "artifact": verification.artifact,
        "source": verification.source,
        "target": verification.target,
        "passed": verification.passed,
        "rungs": rungs,
        "not_checked": list(verification.not_checked),
    }


def _check_as_dict(check: Check) -> dict[str, Any]:
    numbers = {
        name: value if isfinite(value) else str(value) for name, value in check.numbers.items()
    }
    return {**asdict(check), "numbers": numbers}
