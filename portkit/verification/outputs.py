"""The outputs rung: both models as deployed, in float32, on the whole battery of inputs."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from portkit.verification.battery import Batch, Trial
from portkit.verification.comparing import is_averaged, pair_outputs
from portkit.verification.judging import judge, noise_share
from portkit.verification.results import Check, Evidence, RungResult, Tolerances, rung_of
from portkit.verification.running import Answers, Pair, RunError, refuse_constant

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


def check_outputs(pair: Pair, trials: tuple[Trial, ...], tolerances: Tolerances) -> RungResult:
    """Compare every batch, some of them again, in another order and one image alone."""
    batches = tuple({id(trial.of): trial.of for trial in trials}.values())
    for batch in batches:
        pair.source.answer(batch, torch.float32)
    refuse_constant([pair.source.answer(batch, torch.float32) for batch in batches], "the source")
    shares = {} if pair.inexact else _noise_shares(pair, batches)
    checks = [check for trial in trials for check in _judge(pair, trial, shares, tolerances)]
    lost, of = _count_lost(pair, batches)
    if 2 * lost >= of:
        what = f"answers {lost} of {of} inputs with NaN or infinity: little is left to compare"
        checks.append(Check("the source", passed=False, what=what))
    return rung_of("outputs", checks, _sum_up(checks, trials), tuple(_notes(pair, checks, batches)))


def _count_lost(pair: Pair, batches: tuple[Batch, ...]) -> tuple[int, int]:
    """Return for how many inputs the source answers no numbers, and of how many."""
    lost = 0
    for batch in batches:
        dtypes = (torch.float32,) if pair.inexact else (torch.float32, torch.float64)
        answers = [pair.source.answer(batch, dtype) for dtype in dtypes]
        kept = _which_are_finite(answers, len(batch.images))
        lost += int(np.count_nonzero(~kept))
    return lost, sum(len(batch.images) for batch in batches)


def _noise_shares(pair: Pair, batches: tuple[Batch, ...]) -> dict[str, float]:
    """Return the source's float32 error over all batches, by output."""
    answers = [
        (pair.source.answer(batch, torch.float32), pair.source.answer(batch, torch.float64))
        for batch in batches
        if not batch.extreme
    ]
    names = dict.fromkeys(name for rounded, _ in answers for name in rounded)
    return {
        name: noise_share((r[name], e[name]) for r, e in answers if name in r and name in e)
        for name in names
    }


def _judge(
    pair: Pair, trial: Trial, shares: dict[str, float], tolerances: Tolerances
) -> Iterator[Check]:
    try:
        found = pair.target.answer(trial.given, torch.float32)
    except RunError as error:
        yield Check("target", passed=False, what=f"cannot run {error}")
        return
    dtypes = (torch.float32,) if pair.inexact else (torch.float32, torch.float64)
    known = [_rows(pair.source.answer(trial.of, dtype), trial) for dtype in dtypes]
    checks = list(_compare(trial.given, (found, *known), shares, tolerances))
    if trial.rows and not all(check.passed for check in checks):
        own = [pair.source.answer(trial.given, dtype) for dtype in dtypes]
        by_itself = _compare(trial.given, (own[0], *known), shares, tolerances)
        if not all(check.passed for check in by_itself):  # it answers a batch, not its inputs
            checks = list(_compare(trial.given, (found, *own), shares, tolerances))
    yield from checks


def _compare(
    given: Batch, sides: tuple[Answers, ...], shares: dict[str, float], tolerances: Tolerances
) -> Iterator[Check]:
    """Compare the port's answers with the source's, where those are numbers."""
    kept = _which_are_finite(sides[1:], len(given.images))
    if not kept.any():
        return
    for paired in pair_outputs(given.shown, _finite(sides, kept)):
        if paired.values:
            port, source, *rest = paired.values
            share = shares.get(paired.name, 0.0)
            evidence = Evidence(port, source, rest[0] if rest else None, share)
            yield judge(paired.subject, evidence, tolerances)
        else:
            yield paired.refusal


def _which_are_finite(answers: Iterable[Answers], count: int) -> "Array":
    """Say for which of so many inputs all that was answered is finite, `[N]` bool."""
    kept = np.ones(count, bool)
    for value in (value for one in answers for value in one.values()):
        if value.ndim and len(value) == count and value.dtype.kind == "f":
            kept &= np.isfinite(value).reshape(count, -1).all(axis=1)
    return kept


def _finite(sides: tuple[Answers, ...], kept: "Array") -> tuple[Answers, ...]:
    """Return the answers to the inputs that are kept."""
    if kept.all():
        return sides
    count = len(kept)
    return tuple(
        {
            name: value[kept] if value.ndim and len(value) == count else value
            for name, value in side.items()
        }
        for side in sides
    )


def _rows(answers: Answers, trial: Trial) -> Answers:
    """Return the answers to the trial's images, taken from those to the batch they come from."""
    if not trial.rows:
        return answers
    return {
        name: value[list(trial.rows)]
        if value.ndim and len(value) == len(trial.of.images)
        else value
        for name, value in answers.items()
    }


def _sum_up(checks: list[Check], trials: tuple[Trial, ...]) -> str:
    rhos = [check.numbers["rho"] for check in checks if "rho" in check.numbers]
    differences = [check.numbers["max_abs"] for check in checks if "max_abs" in check.numbers]
    worst = "nothing comparable"
    if rhos:
        worst = f"ρ {max(rhos):.2f} at most"
    elif differences:
        worst = f"max |port - source| {max(differences):.2g}"
    sizes = dict.fromkeys(trial.given.size for trial in trials if trial.given.size)
    counts = sorted({len(trial.given.images) for trial in trials})
    inputs = sum(len(trial.given.images) for trial in trials)
    pixels = f", {', '.join(sizes)} px" if sizes else ""
    return f"{worst}, float32, {inputs} inputs in batches of {_listed(counts)}{pixels}"


def _listed(counts: list[int]) -> str:
    *most, last = map(str, counts)
    return f"{', '.join(most)} and {last}" if most else last


def _notes(pair: Pair, checks: list[Check], batches: tuple[Batch, ...]) -> Iterator[str]:
    if pair.inexact:
        yield f"{pair.inexact}: judged by 1e-5 of the largest value instead of ρ"
    judged = [check for check in checks if "max_abs" in check.numbers]
    worst = max(judged, key=lambda check: check.numbers.get("rho", 0.0), default=None)
    if worst is not None:
        yield _describe(worst)
        if not worst.passed and worst.numbers.get("rho", 0.0) > Tolerances().rho:
            yield _suggest(worst.numbers["rho"])
        yield from _remarks(judged)
    lost, of = _count_lost(pair, batches)
    if lost:
        yield f"{lost} of {of} inputs are left out: the source answers NaN or infinity to them"
    averaged = _averaged(pair, batches[0])
    if averaged:
        yield averaged


def _remarks(judged: list[Check]) -> Iterator[str]:
    """Repeat what passing checks remark: a tolerance below rounding, an unusual ρ, a reason."""
    worst_first = sorted(judged, key=lambda check: -check.numbers.get("rho", 0.0))
    passed = [check for check in worst_first if check.passed]
    for words in ("judged by", "unusual", "because:"):
        found = next((check for check in passed if words in check.what), None)
        if found is not None:
            yield found.what if words == "judged by" else f"{found.subject}: {found.what}"
            return


def _suggest(rho: float) -> str:
    """Say what such a ρ usually comes from, as measured on catalogued faults."""
    usual = next(words for most, words in _USUAL if rho <= most)
    return f"ρ of {rho:.2g} is usual for {usual}"


_USUAL = (
    (5e3, "weights or arithmetic in half precision, TF32, another batch norm epsilon"),
    (5e4, "bfloat16, 8-bit weights, a missing bias"),
    (float("inf"), "another structure or other weights"),
)


def _describe(check: Check) -> str:
    numbers = check.numbers
    snr = "∞" if numbers["snr_db"] == float("inf") else f"{numbers['snr_db']:.0f} dB"
    return (
        f"worst on {check.subject}: max |port - source| {numbers['max_abs']:.2g}, the source's "
        f"float32 noise {numbers['noise']:.2g}, largest value {numbers['scale']:.3g}, "
        f"cosine {numbers['cosine']:.6f}, SNR {snr}, "
        f"{numbers['ulp_at_largest']:.1f} ULP of the largest value"
    )


def _averaged(pair: Pair, batch: Batch) -> str:
    """Say which score maps were averaged, if any."""
    try:
        found = pair.target.answer(batch, torch.float32)
    except RunError:
        return ""
    source = pair.source.answer(batch, torch.float32)
    for name, value in found.items():
        if name in source and is_averaged(value, source[name]):
            who, shape = ("port", value) if value.ndim == 4 else ("source", source[name])
            return f"the {who}'s score maps, {list(shape.shape)}, were averaged over their places"
    return ""
