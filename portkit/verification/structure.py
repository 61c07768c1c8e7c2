"""The structure rung: the same function, as both models show in float64 on the same inputs.

A model that casts to float32 on its way rounds even then: no port of it can be as close.
"""

from typing import TYPE_CHECKING

import torch

from portkit.verification.battery import Batch
from portkit.verification.comparing import pair_outputs
from portkit.verification.judging import STRUCTURE, WITHOUT_EXACT, judge
from portkit.verification.results import (
    Check,
    Evidence,
    RungResult,
    Status,
    Tolerances,
    rung_of,
)
from portkit.verification.running import Pair, RunError, refuse_constant

if TYPE_CHECKING:
    from portkit.verification.running import Answers


def check_structure(
    pair: Pair, batches: tuple[Batch, ...], tolerances: Tolerances, gate: float = STRUCTURE
) -> RungResult:
    """Compare both models in float64; `gate` is a share of the largest reference value."""
    if pair.inexact:
        return RungResult("structure", Status.NOT_CHECKED, pair.inexact)
    checks: list[Check] = []
    answers = []
    for batch in batches:
        exact = pair.source.answer(batch, torch.float64)
        try:
            found = pair.target.answer(batch, torch.float64)
        except RunError as error:
            checks.append(Check("target", passed=False, what=f"cannot run {error}"))
            continue
        answers.append((batch.shown, (found, exact)))
    rounding = _rounding(pair)
    gate = max(gate, WITHOUT_EXACT) if rounding else gate
    for where, sides in answers:
        checks += _judge(where, sides, tolerances, gate)
    refuse_constant([pair.source.answer(batch, torch.float64) for batch in batches], "the source")
    return rung_of("structure", checks, _sum_up(checks, batches), rounding)


def _rounding(pair: Pair) -> tuple[str, ...]:
    """Say which model rounds on its way, if one does."""
    models = {"source": pair.source, "port": pair.target}
    return tuple(
        f"the {who} rounds to less than float64 on its way ({model.casts}): gate 1e-5 of the "
        f"largest value here, ρ in the outputs rung"
        for who, model in models.items()
        if model.casts
    )


def _judge(
    where: str, sides: "tuple[Answers, Answers]", tolerances: Tolerances, gate: float
) -> list[Check]:
    checks = []
    for paired in pair_outputs(where, sides):
        if not paired.values:
            checks.append(paired.refusal)
            continue
        port, source = paired.values
        checks.append(judge(paired.subject, Evidence(port, source, gate=gate), tolerances))
    return checks


def _sum_up(checks: list[Check], batches: tuple[Batch, ...]) -> str:
    shares = [
        check.numbers["max_abs"] / (check.numbers["scale"] or 1.0)
        for check in checks
        if "max_abs" in check.numbers
    ]
    inputs = sum(len(batch.images) for batch in batches)
    worst = f"max |port - source| {max(shares):.1g} of the largest value" if shares else "nothing"
    return f"{worst}, float64, {inputs} inputs"
