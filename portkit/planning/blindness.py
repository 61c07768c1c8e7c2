"""Where shapes prove nothing: steps whose wrong variant would fit just as well."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from portkit.ops import Rearrange
from portkit.planning.steps import Step

_NAMED = 3  # siblings named in a mark; the rest is counted


def mark_blind(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps with their marks: square axes, equal-shaped siblings, flatten orders."""
    steps = tuple(steps)
    alike: dict[tuple[object, object], list[str]] = {}
    for step in steps:
        alike.setdefault((step.target.shape, step.target.dtype), []).append(step.target.name)
    return tuple(
        replace(step, blind=tuple(_marks(step, alike[step.target.shape, step.target.dtype])))
        if step.sources
        else step
        for step in steps
    )


def _marks(step: Step, alike: list[str]) -> Iterator[str]:
    axes = [length for length in step.target.shape if length > 1]
    equal = sorted({length for length in axes if axes.count(length) > 1})
    if equal:
        yield f"square: {', '.join(f'{length}={length}' for length in equal)}"
    if len(alike) > 1:
        names = [name for name in alike[: _NAMED + 1] if name != step.target.name][:_NAMED]
        more = len(alike) - 1 - len(names)
        yield f"siblings: {', '.join(names)}{f' and {more} more' if more else ''}"
    if any(isinstance(op, Rearrange) and _orders_axes(op) for op in step.ops):
        yield "flatten order"


def _orders_axes(op: Rearrange) -> bool:
    """Say whether axes are merged or split that could have been so in another order."""
    sizes = dict(op.sizes)
    return any(sum(sizes[a] != 1 for a in group) > 1 for group in (*op.left, *op.right))
