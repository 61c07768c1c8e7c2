"""Where both models are cut into layers and the spans between them, so that each can be judged."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.planning import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@dataclass(frozen=True, slots=True)
class Cut:
    """Where both models are cut: a layer of the target, and the source's that it stands for.

    It stands for more than one where batch norm is folded: then `enter` is the convolution and
    `leave` the batch norm.
    """

    enter: str
    leave: str
    target: str


def find_cuts(plan: Plan) -> tuple[Cut, ...]:
    """Return the layers whose tensors the plan pairs with those of no other, in the plan's order.

    Tensors that belong to the model itself, and joined or parted layers, give no cut.
    """
    ours: dict[str, dict[str, None]] = {}
    theirs: dict[str, set[str]] = {}
    folded: set[str] = set()
    for step in plan.steps:
        target = step.target.name.rpartition(".")[0]
        for spec in step.sources:
            owner = spec.name.rpartition(".")[0]
            ours.setdefault(target, {})[owner] = None
            theirs.setdefault(owner, set()).add(target)
        if any(type(op).__name__ == "FoldBatchnorm" for op in step.ops):
            folded.add(target)
    return tuple(
        Cut(next(iter(owners)), next(reversed(owners)), target)
        for target, owners in ours.items()
        if target
        and all(owner and theirs[owner] == {target} for owner in owners)
        and (len(owners) == 1 or target in folded)
    )


def layers_between(module: "nn.Module", start: str, end: str) -> "Iterator[tuple[str, nn.Module]]":
    """Yield the leaf modules that stand between two others, as the model lists them."""
    inside = not start
    for name, layer in module.named_modules():
        if end and name == end:
            return
        if inside and name and not any(layer.children()):
            yield name, layer
        inside = inside or name == start
