"""The structure rung: the same function, as both models show in float64 on the same inputs."""

import torch

from portkit.verification.battery import Batch
from portkit.verification.comparing import pair_outputs
from portkit.verification.judging import STRUCTURE, judge_structure
from portkit.verification.results import Check, RungResult, Status, Tolerances, rung_of
from portkit.verification.running import Pair, RunError, refuse_constant


def check_structure(
    pair: Pair, batches: tuple[Batch, ...], tolerances: Tolerances, gate: float = STRUCTURE
) -> RungResult:
    """Compare both models in float64; `gate` is a share of the largest reference value."""
    if pair.inexact:
        return RungResult("structure", Status.NOT_CHECKED, pair.inexact)
    checks: list[Check] = []
    for batch in batches:
        exact = pair.source.answer(batch, torch.float64)
        try:
            found = pair.target.answer(batch, torch.float64)
        except RunError as error:
            checks.append(Check("target", passed=False, what=f"cannot run {error}"))
            continue
        checks += [
            judge_structure(paired.subject, *paired.values, tolerances, gate)
            if paired.values
            else paired.refusal
            for paired in pair_outputs(batch.shown, (found, exact))
        ]
    refuse_constant([pair.source.answer(batch, torch.float64) for batch in batches], "the source")
    return rung_of("structure", checks, _sum_up(checks, batches))


def _sum_up(checks: list[Check], batches: tuple[Batch, ...]) -> str:
    shares = [
        check.numbers["max_abs"] / (check.numbers["scale"] or 1.0)
        for check in checks
        if "max_abs" in check.numbers
    ]
    inputs = sum(len(batch.images) for batch in batches)
    worst = f"max |port - source| {max(shares):.1g} of the largest value" if shares else "nothing"
    return f"{worst}, float64, {inputs} inputs"
