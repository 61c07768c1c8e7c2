"""Two lists of modules compared: what is missing, added, replaced or set otherwise."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from types import MappingProxyType

from torch import nn

from portkit.verification.causes import Cause
from portkit.verification.settings import (
    DROPOUTS,
    Layer,
    causes_of,
    differing,
    family_of,
    settings_of,
)

# What it is where a layer of a family is missing, added, or another one is in its place.
MISSING: Mapping[str, Cause] = MappingProxyType(
    {
        "activation": Cause.ACTIVATION_MISSING,
        "lrn": Cause.LRN_MISSING,
        "adaptive pooling": Cause.ADAPTIVE_POOL_FROZEN,
        "pooling": Cause.POOLING_MISSING,
        "softmax": Cause.SOFTMAX_MISSING,
        "batch norm": Cause.BATCHNORM_MISSING,
        "padding": Cause.PADDING,
        "resizing": Cause.RESIZE_MODE,
    }
)
ADDED: Mapping[str, Cause] = MappingProxyType(
    {
        "activation": Cause.ACTIVATION_ADDED,
        "lrn": Cause.LRN_ADDED,
        "adaptive pooling": Cause.POOLING_ADDED,
        "pooling": Cause.POOLING_ADDED,
        "softmax": Cause.SOFTMAX_APPENDED,
        "batch norm": Cause.BATCHNORM_KEPT,
        "padding": Cause.PADDING,
        "resizing": Cause.RESIZE_MODE,
    }
)
REPLACED: Mapping[str, Cause] = MappingProxyType(
    {
        "activation": Cause.ACTIVATION_CHANGED,
        "adaptive pooling": Cause.ADAPTIVE_POOL_FROZEN,
        "pooling": Cause.POOLING_CHANGED,
        "padding": Cause.PADDING_MODE,
    }
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of the target's modules, and the source's modules with it alone."""

    cause: Cause
    words: str
    layers: tuple[nn.Module, ...]
    is_setting: bool = False  # a number or a flag of a module that both have


def compare_modules(source: Sequence[Layer], target: Sequence[Layer]) -> list[Difference]:
    """Return how the target's modules differ from the source's, in their order."""
    ours, theirs = (_effective(modules) for modules in (source, target))
    active = [name for name, layer in target if _drops(layer)]
    found = []
    if active and not any(_drops(layer) for _, layer in source):
        words = f"{', '.join(active)} drops values: it is in train mode"
        found.append(Difference(Cause.DROPOUT_ACTIVE, words, (), is_setting=True))
    if _swapped(ours, theirs):
        layers = tuple(layer for _, layer in theirs)
        names = ", ".join(type(layer).__name__ for layer in layers)
        return [*found, Difference(cause_of_order(layers), f"the order is {names}", layers)]
    kinds = [[type(layer) for _, layer in modules] for modules in (ours, theirs)]
    for what, a, b, c, d in SequenceMatcher(a=kinds[0], b=kinds[1], autojunk=False).get_opcodes():
        if what == "equal":
            for place, other in zip(range(a, b), theirs[c:d], strict=True):
                found.extend(_settings(ours, place, other))
        else:
            found.extend(_changed(ours, (a, b), theirs[c:d]))
    return found


def cause_of_order(layers: Iterable[nn.Module]) -> Cause:
    """Return what another order of some layers is called."""
    kinds = set(map(family_of, layers))
    return Cause.LRN_POOL_ORDER if {"lrn", "pooling"} <= kinds else Cause.ORDER_CHANGED


def _effective(modules: Sequence[Layer]) -> Sequence[Layer]:
    passing = ("dropout", "reshaping")
    return [(name, layer) for name, layer in modules if family_of(layer) not in passing]


def _drops(layer: nn.Module) -> bool:
    return isinstance(layer, DROPOUTS) and layer.training and layer.p > 0


def _swapped(ours: Sequence[Layer], theirs: Sequence[Layer]) -> bool:
    one, other = ([type(layer).__name__ for _, layer in modules] for modules in (ours, theirs))
    return one != other and sorted(one) == sorted(other)


def _settings(ours: Sequence[Layer], place: int, other: Layer) -> Iterator[Difference]:
    name, theirs = other
    layer = ours[place][1]
    causes = causes_of(layer)
    for setting in differing(settings_of(layer, causes), settings_of(theirs, causes)):
        one, two = getattr(layer, setting), getattr(theirs, setting)
        words = f"{setting} of {name} is {two}, its source's {one}"
        layers = _with(ours, (place, place + 1), (theirs,))
        yield Difference(causes[setting], words, layers, is_setting=True)


def _with(
    ours: Sequence[Layer], places: tuple[int, int], instead: tuple[nn.Module, ...]
) -> tuple[nn.Module, ...]:
    layers = tuple(layer for _, layer in ours)
    return (*layers[: places[0]], *instead, *layers[places[1] :])


def _changed(
    ours: Sequence[Layer], places: tuple[int, int], theirs: Sequence[Layer]
) -> Iterator[Difference]:
    """Yield what a run of modules was replaced by, module by module where the counts agree."""
    lost, new = ours[slice(*places)], list(theirs)
    layers = _with(ours, places, tuple(layer for _, layer in new))
    if len(lost) == len(new) == 1:
        (name, layer), (_, other) = lost[0], new[0]
        cause = REPLACED.get(family_of(layer)) or MISSING.get(family_of(layer))
        if cause:
            words = f"{type(other).__name__} is in the place of {type(layer).__name__} {name}"
            yield Difference(cause, words, layers)
        return
    for name, layer in lost:
        cause = MISSING.get(family_of(layer))
        if cause:
            yield Difference(cause, f"{type(layer).__name__} {name} is missing", layers)
    for name, layer in new:
        cause = ADDED.get(family_of(layer))
        if family_of(layer) == "padding" and any(isinstance(m, nn.MaxPool2d) for _, m in theirs):
            cause = Cause.POOL_PADDED_WITH_ZEROS
        if cause:
            yield Difference(cause, f"{type(layer).__name__} {name} is added", layers)
