"""Prove a port, rung by rung, or say exactly where it fails."""

from portkit.verification.ladder import verify_job, verify_port
from portkit.verification.results import (
    RUNGS,
    Check,
    Options,
    RungResult,
    Status,
    Tolerances,
    Verification,
)

__all__ = [
    "RUNGS",
    "Check",
    "Options",
    "RungResult",
    "Status",
    "Tolerances",
    "Verification",
    "verify_job",
    "verify_port",
]
