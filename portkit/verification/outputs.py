"""The outputs rung: both models as deployed, in float32, on the whole battery of inputs."""

from collections.abc import Iterator

import torch

from portkit.verification.battery import Batch, Trial
from portkit.verification.comparing import is_averaged, pair_outputs
from portkit.verification.judging import judge, noise_share
from portkit.verification.results import Check, Evidence, RungResult, Tolerances, rung_of
from portkit.verification.running import Answers, Pair, RunError, refuse_constant


def check_outputs(pair: Pair, trials: tuple[Trial, ...], tolerances: Tolerances) -> RungResult:
    """Compare every batch, some of them again, in another order and one image alone."""
    batches = tuple({id(trial.of): trial.of for trial in trials}.values())
    for batch in batches:
        pair.source.answer(batch, torch.float32)
    refuse_constant([pair.source.answer(batch, torch.float32) for batch in batches], "the source")
    shares = {} if pair.inexact else _noise_shares(pair, batches)
    checks = [check for trial in trials for check in _judge(pair, trial, shares, tolerances)]
    return rung_of("outputs", checks, _sum_up(checks, trials), tuple(_notes(pair, checks, batches)))


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
    rounded = _rows(pair.source.answer(trial.of, torch.float32), trial)
    exact = None if pair.inexact else _rows(pair.source.answer(trial.of, torch.float64), trial)
    sides = (found, rounded) if exact is None else (found, rounded, exact)
    for paired in pair_outputs(trial.given.shown, sides):
        if paired.values:
            port, source, *rest = paired.values
            share = shares.get(paired.name, 0.0)
            evidence = Evidence(port, source, rest[0] if rest else None, share)
            yield judge(paired.subject, evidence, tolerances)
        else:
            yield paired.refusal


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
