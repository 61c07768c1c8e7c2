"""Variants of layers: the same layer with one thing done wrong, each named for its cause."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from portkit.verification.causes import Cause
from portkit.verification.diagnosis.candidates import Candidate, altered, run_layer
from portkit.verification.diagnosis.roundings import REDUCED
from portkit.verification.diagnosis.signals import round_tensor
from portkit.verification.settings import FAMILIES

Chain = tuple[nn.Module, ...]
Variant = tuple[Cause, str, Chain]  # cause, words, the layers to put in the place of one

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-4, 2e-5, 1e-2, 0.0)
_OTHERS: tuple[tuple[str, Callable[[], nn.Module]], ...] = (
    ("ReLU", nn.ReLU),
    ("LeakyReLU(0.01)", lambda: nn.LeakyReLU(0.01)),
    ("LeakyReLU(0.1)", lambda: nn.LeakyReLU(0.1)),
    ("LeakyReLU(0.2)", lambda: nn.LeakyReLU(0.2)),
    ("ReLU6", nn.ReLU6),
    ("ELU", nn.ELU),
    ("SELU", nn.SELU),
    ("GELU", nn.GELU),
    ("GELU(tanh)", lambda: nn.GELU("tanh")),
    ("SiLU", nn.SiLU),
    ("Tanh", nn.Tanh),
    ("Sigmoid", nn.Sigmoid),
    ("Softplus", nn.Softplus),
)
_MODES = ("reflect", "replicate", "circular", "zeros")


def layer_variants(layer: nn.Module, given: Tensor) -> Iterator[Candidate]:
    """Yield what a layer with parameters answers when one thing is done wrong."""
    if isinstance(layer, _BatchNorm):
        for cause, words, (twin,) in norm_variants(layer):
            yield Candidate(cause, words, partial(run_layer, twin, given))
        words = "it is applied twice: folded and kept"
        yield Candidate(
            Cause.BATCHNORM_KEPT, words, lambda: run_layer(layer, run_layer(layer, given))
        )
    if getattr(layer, "bias", None) is not None:
        bare = altered(layer, {"bias": None})
        yield Candidate(
            Cause.MISSING_BIAS, "it works without its bias", lambda: run_layer(bare, given)
        )
    if isinstance(layer, _ConvNd):
        yield from _convolutions(layer, given)
    yield from _reduced(layer, given)
    yield Candidate(
        Cause.CHANNELS_REVERSED,
        "the channels it is given are reversed",
        lambda: run_layer(layer, given.flip(1)),
    )


def norm_variants(layer: _BatchNorm) -> Iterator[Variant]:
    """Yield what is done wrong with batch norms."""
    mean, var = layer.running_mean, layer.running_var
    for eps in EPSILONS:
        if eps != layer.eps:
            words = f"its eps is {eps:g}, its source's {layer.eps:g}"
            yield Cause.BATCHNORM_EPS, words, (altered(layer, {"eps": eps}),)
    words = "it is in train mode: it normalises with the batch's own statistics"
    yield Cause.BATCHNORM_TRAIN_MODE, words, (altered(layer, {"training": True}),)
    changes: list[tuple[Cause, str, dict[str, Any]]] = []
    if mean is not None and var is not None:
        initial = {"running_mean": torch.zeros_like(mean), "running_var": torch.ones_like(var)}
        words = "its running statistics are still the initial 0 and 1"
        changes.append((Cause.BATCHNORM_STATS_INITIAL, words, initial))
        swapped = {"running_mean": var, "running_var": mean}
        changes.append(
            (Cause.BATCHNORM_MEAN_VAR_SWAPPED, "its mean and variance are swapped", swapped)
        )
        for factor in (999.98, 1 / 999.98, 1000.0, 1e-3):
            words = f"its running statistics are times {factor:.5g}"
            scaled = {"running_mean": mean * factor, "running_var": var * factor}
            changes.append((Cause.BATCHNORM_STATS_SCALED, words, scaled))
    if layer.affine:
        ones = {"weight": torch.ones_like(layer.weight)}
        changes.append((Cause.BATCHNORM_GAMMA_ONE, "its gamma is all ones", ones))
        crossed = {"weight": layer.bias, "bias": layer.weight}
        changes.append((Cause.BATCHNORM_GAMMA_BETA_SWAPPED, "gamma and beta are swapped", crossed))
    for cause, words, change in changes:
        yield cause, words, (altered(layer, change),)


def _convolutions(layer: _ConvNd, given: Tensor) -> Iterator[Candidate]:
    for mode in _MODES:
        if mode != layer.padding_mode:
            twin = altered(layer, {"padding_mode": mode})
            words = f"its padding mode is {mode!r}, its source's {layer.padding_mode!r}"
            yield Candidate(Cause.PADDING_MODE, words, partial(run_layer, twin, given))
    if isinstance(layer.padding, str) or len(layer.padding) != 2:
        return
    bare = altered(layer, {"padding": (0, 0)})
    (top, left) = layer.padding
    for before in ((left - 1, left, top - 1, top), (left, left - 1, top, top - 1)):
        if min(before) >= 0:
            words = f"its padding is {before} (left, right, top, bottom), its source's even"
            padded = _padded(bare, before)
            yield Candidate(Cause.PADDING_ASYMMETRIC, words, partial(padded, given))
    for more in ((left - 1, left + 1, top - 1, top + 1), (left + 1, left - 1, top + 1, top - 1)):
        if min(more) >= 0:
            words = f"its padding is {more} (left, right, top, bottom), its source's even"
            padded = _padded(bare, more)
            yield Candidate(Cause.PADDING_ASYMMETRIC, words, partial(padded, given))


def _padded(bare: nn.Module, sizes: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda given: run_layer(bare, functional.pad(given, sizes))


def _reduced(layer: nn.Module, given: Tensor) -> Iterator[Candidate]:
    """Yield the layer at work on operands that were rounded."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        return
    for kind, rounded in REDUCED.items():
        twin = altered(layer, {"weight": round_tensor(weight, rounded)})
        low = round_tensor(given, rounded)
        words = f"it works with operands rounded to {kind}"
        yield Candidate(Cause.REDUCED_PRECISION, words, partial(run_layer, twin, low))
        words = f"it works with a weight rounded to {kind}"
        yield Candidate(Cause.REDUCED_PRECISION, words, partial(run_layer, twin, given))


def span_variants(layer: nn.Module) -> Iterator[Variant]:
    """Yield what is done wrong with layers that have no counterpart of their own in a plan."""
    called = type(layer).__name__
    if isinstance(layer, FAMILIES["activation"]):
        yield Cause.ACTIVATION_MISSING, f"its {called} is missing", ()
        for name, make in _OTHERS:
            yield Cause.ACTIVATION_CHANGED, f"{name} is in the place of its {called}", (make(),)
    elif isinstance(layer, nn.LocalResponseNorm):
        yield from _responses(layer)
    elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        yield from _poolings(layer)
    elif isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        yield Cause.ADAPTIVE_POOL_FROZEN, "its adaptive pooling is missing", ()
    elif isinstance(layer, _BatchNorm):
        yield from norm_variants(layer)
        yield Cause.BATCHNORM_KEPT, "its batch norm is applied twice", (layer, layer)
    elif isinstance(layer, nn.Softmax | nn.LogSoftmax):
        yield Cause.SOFTMAX_MISSING, f"its {called} is missing", ()


def _responses(layer: nn.LocalResponseNorm) -> Iterator[Variant]:
    """Yield local response norms as other libraries mean their numbers."""
    yield Cause.LRN_MISSING, "its local response norm is missing", ()
    size, alpha, k = layer.size, layer.alpha, layer.k
    changes: tuple[tuple[Cause, dict[str, Any]], ...] = (
        (Cause.LRN_ALPHA, {"alpha": alpha * size}),
        (Cause.LRN_ALPHA, {"alpha": alpha / size}),
        *((Cause.LRN_K, {"k": value}) for value in (1.0, 2.0, 0.0) if value != k),
        *((Cause.LRN_SIZE, {"size": n}) for n in _sizes(size)),
        *((Cause.LRN_BETA, {"beta": beta}) for beta in (0.5, 0.75, 1.0) if beta != layer.beta),
    )
    for cause, change in changes:
        ((name, value),) = change.items()
        words = f"its local response norm's {name} is {value:g}, not {getattr(layer, name):g}"
        yield cause, words, (altered(layer, change),)


def _sizes(size: int) -> tuple[int, ...]:
    """Return what a size becomes where it is read as a radius, or a radius as a size."""
    return tuple(n for n in (2 * size + 1, 2 * size - 1, size // 2) if n > 0)


def _poolings(layer: nn.MaxPool2d | nn.AvgPool2d) -> Iterator[Variant]:
    flipped = altered(layer, {"ceil_mode": not layer.ceil_mode})
    words = f"its pooling's ceil_mode is {not layer.ceil_mode}, not {layer.ceil_mode}"
    yield Cause.CEIL_MODE, words, (flipped,)
    bare = altered(layer, {"padding": 0})
    sizes = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
    if isinstance(layer, nn.AvgPool2d):
        counted = not layer.count_include_pad
        twin = altered(layer, {"count_include_pad": counted})
        yield Cause.COUNT_INCLUDE_PAD, f"its pooling's count_include_pad is {counted}", (twin,)
        return
    if any(sizes):
        pad = nn.ZeroPad2d((sizes[1], sizes[1], sizes[0], sizes[0]))
        yield Cause.POOL_PADDED_WITH_ZEROS, "its max pooling is padded with zeros", (pad, bare)
    mean = nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
    yield Cause.POOLING_CHANGED, "average pooling is in the place of its max pooling", (mean,)
