"""Where two models first differ: the paired layers, in the order in which the source runs them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from portkit.planning import Plan
from portkit.runners.torch import Seen, recorded, run_module
from portkit.verification.judging import STRUCTURE
from portkit.verification.results import Check
from portkit.verification.running import Pair

if TYPE_CHECKING:
    from torch import nn

    from portkit.formats.protocols import Array

Owners = tuple[str, str]  # a source's and a target's module whose tensors the plan pairs


def owning_modules(plan: Plan) -> tuple[Owners, ...]:
    """Return the modules whose tensors the plan pairs one to one, in the source's order."""
    pairs = [
        (step.sources[0].name.rpartition(".")[0], step.target.name.rpartition(".")[0])
        for step in plan.steps
        if len(step.sources) == 1
    ]
    return tuple(pair for pair in dict.fromkeys(pairs) if all(pair))


def first_difference(pair: Pair, images: "Array", plan: Plan) -> Iterator[Check]:
    """Name the first layer of the target that answers differently, or is given something else."""
    source, target = (model.module(torch.float64) for model in (pair.source, pair.target))
    owners = [
        (one, other)
        for one, other in owning_modules(plan)
        if _has(source, one) and _has(target, other)
    ]
    with (
        recorded(source, [one for one, _ in owners]) as before,
        recorded(target, [other for _, other in owners]) as after,
    ):
        for module in (source, target):
            with suppress(Exception, SystemExit):  # as far as it runs, it is on record
                run_module(module, images)
    previous: Owners | None = None
    for one, other in sorted(owners, key=lambda pair: _turn(pair[0], before)):
        if one not in before or other not in after:
            continue
        found = _compare(before[one], after[other])
        if found == "input":
            yield Check(other, passed=False, what=_between(source, target, previous, (one, other)))
        elif found:
            yield Check(other, passed=False, what=f"the first layer to differ: {found}")
        if found:
            return
        previous = (one, other)


def _turn(name: str, before: dict[str, Seen]) -> int:
    return list(before).index(name) if name in before else len(before)


def _compare(want: Seen, got: Seen) -> str:
    """Return `input` where a layer was given something else, else how its answer differs."""
    if _share(want.given, got.given) > STRUCTURE:
        return "input"
    share = _share(want.answered, got.answered)
    return f"its input agrees, its answer is off by {share:.2g} of the largest value" * (
        share > STRUCTURE
    )


def _share(want: "Array", got: "Array") -> float:
    """Return max|want - got| as a share of max|want|; infinity where they cannot be compared."""
    import numpy as np

    if want.size != got.size:
        return float("inf")
    scale = float(np.abs(want).max(initial=0.0))
    worst = float(np.abs(want.reshape(-1) - got.reshape(-1)).max(initial=0.0))
    share = worst / scale if scale else worst
    return share if share == share else float("inf")  # noqa: PLR0124 (NaN)


def _has(module: "nn.Module", name: str) -> bool:
    return any(name == found for found, _ in module.named_modules())


def _between(source: "nn.Module", target: "nn.Module", before: Owners | None, here: Owners) -> str:
    """Say what stands between the last layer that agrees and the first whose input does not."""
    after = f"after {before[1]}" if before else "before it"
    ours, theirs = (
        " ".join(_layers_between(module, before[i] if before else None, here[i])) or "nothing"
        for i, module in enumerate((source, target))
    )
    return f"its input differs: {after} the source has {ours}, the target {theirs}"


def _layers_between(module: "nn.Module", start: str | None, end: str) -> Iterator[str]:
    inside = start is None
    for name, layer in module.named_modules():
        if name == end:
            return
        if inside and not any(layer.children()):
            yield f"{name} {layer}"
        inside = inside or name == start
