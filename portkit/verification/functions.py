"""The structure and outputs rungs: both models compute the same, exactly and as deployed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from portkit.errors import PortkitError
from portkit.planning import Plan
from portkit.progress import Progress
from portkit.runners.torch import recorded, run_module
from portkit.verification.battery import Batch, Inputs
from portkit.verification.judging import Evidence, judge_output, judge_structure
from portkit.verification.results import Check, RungResult, Tolerances, rung_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Named = dict[str, "Array"]
Build = Callable[[torch.dtype], nn.Module]


@dataclass(frozen=True, slots=True)
class Pair:
    """How to build both models; each is built when it is needed and let go again."""

    source: Build
    target: Build
    plan: Plan


@dataclass(frozen=True, slots=True)
class Reference:
    """The source's answers to the battery, in float64 and in float32."""

    exact: tuple[Named, ...]
    rounded: tuple[Named, ...]


def inputs_of(pair: Pair, sizes: tuple[tuple[int, int], ...]) -> Inputs | str:
    """Return what the source takes, from its first layer, or why that cannot be told."""
    for layer in pair.source(torch.float32).modules():
        if isinstance(layer, nn.Conv2d):
            return Inputs(layer.in_channels, sizes)
        if isinstance(layer, nn.Linear):
            return Inputs(0, sizes, layer.in_features)
    return "its first layer is neither Conv2d nor Linear: its inputs cannot be guessed"


def forwards(batches: tuple[Batch, ...], running: list[str]) -> int:
    """Return how many images will be run in all."""
    images = sum(len(batch.images) for batch in batches)
    repeated = 2 * len(batches[min(1, len(batches) - 1)].images) + 1
    total = 2 * images
    total += sum(min(2, len(batch.images)) for batch in batches) * ("structure" in running)
    return total + (images + repeated) * ("outputs" in running)


def run_source(pair: Pair, batches: tuple[Batch, ...], progress: Progress) -> Reference:
    """Run the source once on every batch in either precision."""
    exact = _run_all(pair.source(torch.float64), batches, progress)
    return Reference(exact, _run_all(pair.source(torch.float32), batches, progress))


def _run_all(
    module: nn.Module, batches: tuple[Batch, ...], progress: Progress
) -> tuple[Named, ...]:
    made = []
    for batch in batches:
        made.append(run_module(module, batch.images))
        progress.advance(len(batch.images))
    return tuple(made)


def check_structure(
    pair: Pair, batches: tuple[Batch, ...], reference: Reference, judged: "Judged"
) -> RungResult:
    """Compare both models in float64 on two inputs, one of them not square."""
    target = pair.target(torch.float64)
    checks: list[Check] = []
    last = len(batches) - 1
    for i in sorted({0, last if batches[last].images.any() else 0, max(0, last - 1)}):
        few = Batch(batches[i].name, batches[i].images[:2])
        exact = {name: value[:2] for name, value in reference.exact[i].items()}
        found = run_module(target, few.images)
        judged.progress.advance(len(few.images))
        checks += [
            judge_structure(subject, values[0], values[1], judged.tolerances)
            if values
            else Check(subject, passed=False, what=why)
            for subject, values, why in _paired(few, (found, exact))
        ]
    if not all(check.passed for check in checks):
        checks += _first_difference(pair, target, batches[0].images[:1])
    worst = max((c.numbers.get("max_abs", 0.0) for c in checks), default=0.0)
    summary = f"max |port - source| {worst:.2g} in float64 on {len(checks)} inputs"
    return rung_of("structure", checks, summary)


@dataclass(frozen=True, slots=True)
class Judged:
    """By what tolerances, and whom to tell how far it is."""

    tolerances: Tolerances
    progress: Progress


def check_outputs(
    pair: Pair, batches: tuple[Batch, ...], reference: Reference, judged: Judged
) -> RungResult:
    """Compare float32 answers as deployed: every batch, once more, in another order, one by one."""
    target = pair.target(torch.float32)
    found = _run_all(target, batches, judged.progress)
    checks: list[Check] = []
    for i, batch in enumerate(batches):
        checks += _judge(batch, found[i], i, reference, judged.tolerances)
    checks += _check_repeats(target, batches, reference, judged)
    rhos = [check.numbers["rho"] for check in checks if "rho" in check.numbers]
    images = sum(len(batch.images) for batch in batches)
    sizes = dict.fromkeys("×".join(map(str, batch.images.shape[2:])) for batch in batches)
    worst = f"ρ {max(rhos):.2f}" if rhos else "nothing comparable"
    summary = f"{worst} at most, {images} inputs of {', '.join(sizes)} px"
    reported = max(
        (c for c in checks if "rho" in c.numbers), key=lambda c: c.numbers["rho"], default=None
    )
    notes = [_describe(reported)] if reported else []
    notes += [check.what for check in checks if "below this model's float32 noise" in check.what][
        :1
    ]
    averaged = _averaged(found[0], reference.exact[0])
    if averaged:
        notes.append(f"score maps {averaged} were averaged over their places")
    return rung_of("outputs", checks, summary, tuple(notes))


def _describe(check: Check) -> str:
    numbers = check.numbers
    return (
        f"worst on {check.subject}: max |port - source| {numbers['max_abs']:.2g}, float32 noise of "
        f"the source {numbers['noise']:.2g}, largest value {numbers['scale']:.3g}, "
        f"cosine {numbers['cosine']:.6f}, SNR {numbers['snr_db']:.0f} dB, "
        f"{numbers['ulp_at_largest']:.0f} ULP at the largest value"
    )


def _check_repeats(
    target: nn.Module,
    batches: tuple[Batch, ...],
    reference: Reference,
    judged: Judged,
) -> list[Check]:
    """Run one batch again, permuted, and one image alone: all must be as near the truth."""
    place = 1 if len(batches) > 1 else 0
    batch = batches[place]
    count = len(batch.images)
    order = np.roll(np.arange(count), 1)
    trials = {
        "run again": (batch.images, np.arange(count)),
        "in another order": (batch.images[order], order),
        "alone": (batch.images[:1], np.arange(1)),
    }
    checks = []
    for words, (images, rows) in trials.items():
        again = run_module(target, images)
        judged.progress.advance(len(images))
        part = Batch(f"{batch.name}, {words}", images)
        narrowed = Reference(
            ({n: v[rows] for n, v in reference.exact[place].items()},),
            ({n: v[rows] for n, v in reference.rounded[place].items()},),
        )
        checks += _judge(part, again, 0, narrowed, judged.tolerances)
    return checks


def _judge(
    batch: Batch, found: Named, place: int, reference: Reference, tolerances: Tolerances
) -> list[Check]:
    exact, rounded = reference.exact[place], reference.rounded[place]
    checks = []
    for subject, values, why in _paired(batch, (found, rounded, exact)):
        if values is None:
            checks.append(Check(subject, passed=False, what=why))
        else:
            checks.append(judge_output(subject, Evidence(*values), tolerances))
    return checks


def _paired(
    batch: Batch, sides: tuple[Named, ...]
) -> "list[tuple[str, tuple[Array, ...] | None, str]]":
    """Pair outputs by name; a name on one side only is a failure, never left out."""
    names = list(dict.fromkeys(name for side in sides for name in side))
    if not names:
        return [(batch.shown, None, "no output to compare")]
    rows: list[tuple[str, tuple[Array, ...] | None, str]] = []
    for name in names:
        subject = batch.shown if len(names) == 1 else f"{batch.shown}: {name}"
        lacking = [i for i, side in enumerate(sides) if name not in side]
        if lacking:
            who = "the port" if 0 in lacking else "the source"
            rows.append((subject, None, f"{who} has no output {name!r}"))
        else:
            port, *others = (side[name] for side in sides)
            rows.append((subject, tuple(_as_logits(port, others)), ""))
    return rows


def _as_logits(port: "Array", others: "list[Array]") -> "list[Array]":
    """Average a score map where the other side has logits."""
    if port.ndim == 4 and all(other.ndim == 2 for other in others):
        return [port.mean(axis=(2, 3)), *others]
    if port.ndim == 2 and all(other.ndim == 4 for other in others):
        return [port, *(other.mean(axis=(2, 3)) for other in others)]
    return [port, *others]


def _averaged(found: Named, exact: Named) -> str:
    for name, value in found.items():
        if name in exact and {value.ndim, exact[name].ndim} == {2, 4}:
            shape = value.shape if value.ndim == 4 else exact[name].shape
            return str(list(shape))
    return ""


def _first_difference(pair: Pair, target: nn.Module, images: "Array") -> list[Check]:
    """Run both in float64 on one image and name the first layers that answer differently."""
    source = pair.source(torch.float64)
    owners = _owning_pairs(pair.plan)
    ours = [one for one, _ in owners]
    theirs = [other for _, other in owners]
    with recorded(source, ours) as before, recorded(target, theirs) as after:
        try:
            run_module(source, images)
            run_module(target, images)
        except (RuntimeError, ValueError, PortkitError) as error:
            return [Check("forward", passed=False, what=str(error).splitlines()[0])]
    for one, other in owners:
        if one not in before or other not in after or before[one].size != after[other].size:
            continue
        want, got = before[one].reshape(-1), after[other].reshape(-1)
        scale = float(np.abs(want).max())
        worst = float(np.abs(want - got).max())
        if not worst <= 1e-12 * max(scale, 1e-300):
            what = f"first layer to differ (from source {one}): by {worst:.2g} of {scale:.2g}"
            return [Check(other, passed=False, what=what)]
    return []


def _owning_pairs(plan: Plan) -> list[tuple[str, str]]:
    """Return the modules that own paired tensors, in the order of the source's file."""
    pairs = [
        (step.sources[0].name.rpartition(".")[0], step.target.name.rpartition(".")[0])
        for step in plan.steps
        if step.sources and "." in step.sources[0].name and "." in step.target.name
    ]
    return list(dict.fromkeys(pairs))
