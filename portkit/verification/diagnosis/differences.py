"""Two lists of modules compared: what is missing, added, replaced or set otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from portkit.verification.diagnosis.variants import ACTIVATIONS

Modules = Sequence[tuple[str, nn.Module]]

FAMILIES: Mapping[str, tuple[type[nn.Module], ...]] = MappingProxyType(
    {
        "activation": ACTIVATIONS,
        "lrn": (nn.LocalResponseNorm,),
        "adaptive": (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        "pool": (nn.MaxPool2d, nn.AvgPool2d),
        "softmax": (nn.Softmax, nn.LogSoftmax),
        "batchnorm": (_BatchNorm,),
        "dropout": (_DropoutNd,),
        "pad": (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d),
        "resize": (nn.Upsample,),
        "reshape": (nn.Identity, nn.Flatten, nn.Unflatten),
    }
)
MISSING: Mapping[str, str] = MappingProxyType(
    {
        "activation": "activation_missing",
        "lrn": "lrn_missing",
        "adaptive": "adaptive_pool_frozen",
        "pool": "pooling_missing",
        "softmax": "softmax_missing",
        "batchnorm": "batchnorm_missing",
        "pad": "padding",
        "resize": "resize_mode",
    }
)
ADDED: Mapping[str, str] = MappingProxyType(
    {
        "activation": "activation_added",
        "lrn": "lrn_added",
        "adaptive": "pooling_added",
        "pool": "pooling_added",
        "softmax": "softmax_appended",
        "batchnorm": "batchnorm_kept",
        "pad": "padding",
        "resize": "resize_mode",
    }
)
REPLACED: Mapping[str, str] = MappingProxyType(
    {
        "activation": "activation_changed",
        "adaptive": "adaptive_pool_frozen",
        "pool": "pooling_changed",
        "pad": "padding_mode",
    }
)
# What settings mean; those of a family come before those of any.
SETTINGS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("pool", "kernel_size"): "kernel_size",
        ("pool", "stride"): "stride",
        ("pool", "padding"): "padding",
        ("pool", "dilation"): "dilation",
        ("pool", "ceil_mode"): "ceil_mode",
        ("pool", "count_include_pad"): "count_include_pad",
        ("pool", "divisor_override"): "count_include_pad",
        ("lrn", "alpha"): "lrn_alpha",
        ("lrn", "k"): "lrn_k",
        ("lrn", "size"): "lrn_size",
        ("lrn", "beta"): "lrn_beta",
        ("adaptive", "output_size"): "adaptive_pool_frozen",
        ("activation", "negative_slope"): "activation_changed",
        ("activation", "alpha"): "activation_changed",
        ("activation", "approximate"): "activation_changed",
        ("activation", "beta"): "activation_changed",
        ("batchnorm", "eps"): "batchnorm_eps",
        ("batchnorm", "training"): "batchnorm_train_mode",
        ("dropout", "training"): "dropout_active",
        ("softmax", "dim"): "softmax_axis",
        ("resize", "mode"): "resize_mode",
        ("resize", "align_corners"): "resize_mode",
        ("pad", "padding"): "padding",
        ("pad", "value"): "padding",
    }
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of the target's modules, and the source's modules with it alone."""

    cause: str
    words: str
    layers: tuple[nn.Module, ...]
    is_setting: bool = False  # a number or a flag of a module that both have


def family_of(layer: nn.Module) -> str:
    """Return what kind of layer a module is; its class where it is of no usual kind."""
    for family, kinds in FAMILIES.items():
        if isinstance(layer, kinds):
            return family
    return type(layer).__name__


def compare_modules(source: Modules, target: Modules) -> list[Difference]:
    """Return how the target's modules differ from the source's, in their order."""
    ours, theirs = (_effective(modules) for modules in (source, target))
    active = [name for name, layer in target if _drops(layer)]
    found = []
    if active and not any(_drops(layer) for _, layer in source):
        words = f"{', '.join(active)} drops values: it is in train mode"
        found.append(Difference("dropout_active", words, (), is_setting=True))
    if _swapped(ours, theirs):
        layers = tuple(layer for _, layer in theirs)
        names = ", ".join(type(layer).__name__ for layer in layers)
        cause = "lrn_pool_order" if {"lrn", "pool"} <= set(map(family_of, layers)) else "order"
        return [*found, Difference(cause, f"the order is {names}", layers)]
    kinds = [[type(layer) for _, layer in modules] for modules in (ours, theirs)]
    for what, a, b, c, d in SequenceMatcher(a=kinds[0], b=kinds[1], autojunk=False).get_opcodes():
        if what == "equal":
            for place, other in zip(range(a, b), theirs[c:d], strict=True):
                found.extend(_settings(ours, place, other))
        else:
            found.extend(_changed(ours, (a, b), theirs[c:d]))
    return found


def _effective(modules: Modules) -> Modules:
    passing = ("dropout", "reshape")
    return [(name, layer) for name, layer in modules if family_of(layer) not in passing]


def _drops(layer: nn.Module) -> bool:
    return isinstance(layer, _DropoutNd) and layer.training and layer.p > 0


def _swapped(ours: Modules, theirs: Modules) -> bool:
    one, other = ([type(layer).__name__ for _, layer in modules] for modules in (ours, theirs))
    return one != other and sorted(one) == sorted(other)


def _settings(ours: Modules, place: int, other: tuple[str, nn.Module]) -> Iterator[Difference]:
    name, theirs = other
    layer = ours[place][1]
    family = family_of(layer)
    for (kind, setting), cause in SETTINGS.items():
        if kind != family or not hasattr(layer, setting) or not hasattr(theirs, setting):
            continue
        one, two = getattr(layer, setting), getattr(theirs, setting)
        if _plain(one) != _plain(two):
            words = f"{setting} of {name} is {two}, its source's {one}"
            layers = _with(ours, (place, place + 1), (theirs,))
            yield Difference(cause, words, layers, is_setting=True)


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _with(
    ours: Modules, places: tuple[int, int], instead: tuple[nn.Module, ...]
) -> tuple[nn.Module, ...]:
    layers = tuple(layer for _, layer in ours)
    return (*layers[: places[0]], *instead, *layers[places[1] :])


def _changed(ours: Modules, places: tuple[int, int], theirs: Modules) -> Iterator[Difference]:
    """Yield what a run of modules was replaced by, module by module where the counts agree."""
    lost, new = ours[slice(*places)], list(theirs)
    layers = _with(ours, places, tuple(layer for _, layer in new))
    if len(lost) == len(new) == 1:
        (name, layer), (_, other) = lost[0], new[0]
        cause = REPLACED.get(family_of(layer)) or MISSING.get(family_of(layer), "")
        if cause:
            words = f"{type(other).__name__} is in the place of {type(layer).__name__} {name}"
            yield Difference(cause, words, layers)
        return
    for name, layer in lost:
        cause = MISSING.get(family_of(layer), "")
        if cause:
            yield Difference(cause, f"{type(layer).__name__} {name} is missing", layers)
    for name, layer in new:
        cause = ADDED.get(family_of(layer), "")
        if family_of(layer) == "pad" and any(isinstance(m, nn.MaxPool2d) for _, m in theirs):
            cause = "pool_padded_with_zeros"
        if cause:
            yield Difference(cause, f"{type(layer).__name__} {name} is added", layers)
