"""Faults of batch normalisation and of local response normalisation."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from portkit.verification.faults.entries import Inject
from portkit.verification.faults.places import (
    change_one,
    exchange,
    held,
    leaves,
    put,
    shuffled,
    tensors,
    wide,
    write,
)
from portkit.verification.settings import BATCH_NORMS, CONVOLUTIONS, layers_of

CAFFE_SCALE = 999.98  # what the moving average's factor is near in long-trained Caffe models


def set_eps(net: nn.Module, random: Random) -> str | None:
    """Give one batch norm the epsilon of another framework."""
    for name, norm in shuffled(random, layers_of(net, BATCH_NORMS)):
        norm.eps = 1e-3 if norm.eps != 1e-3 else 1e-5
        return str(name)
    return None


def reset_statistics(net: nn.Module, random: Random) -> str | None:
    """Leave one batch norm's statistics at 0 and 1."""
    for name, norm in shuffled(random, _tracking(net)):
        changed = [
            write(norm.running_mean, torch.zeros_like(norm.running_mean)),
            write(norm.running_var, torch.ones_like(norm.running_var)),
        ]
        if any(changed):
            return str(name)
    return None


def swap_statistics(net: nn.Module, random: Random) -> str | None:
    return _swap(random, _tracking(net), ("running_mean", "running_var"))


def swap_gamma_beta(net: nn.Module, random: Random) -> str | None:
    return _swap(random, layers_of(net, BATCH_NORMS), ("weight", "bias"))


def _swap(random: Random, norms: list[Any], names: tuple[str, str]) -> str | None:
    for name, norm in shuffled(random, norms):
        one, other = (held(norm, part) for part in names)
        if one is not None and other is not None and not torch.equal(one, other):
            exchange(one, other)
            return str(name)
    return None


def in_one_norm(part: str, change: Callable[[Tensor], Tensor]) -> Inject:
    """Return a fault of one tensor of one batch norm."""

    def inject(net: nn.Module, random: Random) -> str | None:
        return change_one(random, tensors(layers_of(net, BATCH_NORMS), part), change)

    return inject


def scale_statistics(net: nn.Module, random: Random) -> str | None:
    """Leave Caffe's scale factor in mean and variance."""
    for name, norm in shuffled(random, _tracking(net)):
        for statistic in (norm.running_mean, norm.running_var):
            write(statistic, wide(statistic) * CAFFE_SCALE)
        return str(name)
    return None


def keep_folded(net: nn.Module, random: Random) -> str | None:
    """Fold a batch norm into its convolution, and keep it as well."""
    for convolution, norm in shuffled(random, folding(net)):
        weight, bias = fold(convolution[1], norm[1])
        changed = write(convolution[1].weight, weight)
        if convolution[1].bias is not None:
            changed = write(convolution[1].bias, bias) or changed
        if changed:
            return f"{convolution[0]} and {norm[0]}"
    return None


def folding(net: nn.Module) -> list[Any]:
    """Return the convolutions that a batch norm follows at once, each with it."""
    row = leaves(net)
    return [
        (one, other)
        for one, other in pairwise(row)
        if isinstance(one[1], CONVOLUTIONS)
        and isinstance(other[1], BATCH_NORMS)
        and other[1].running_var is not None
        and one[1].out_channels == other[1].num_features
    ]


def fold(convolution: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution that does what both do."""
    mean, var = wide(norm.running_mean), wide(norm.running_var)
    gamma = wide(norm.weight) if norm.weight is not None else torch.ones_like(var)
    beta = wide(norm.bias) if norm.bias is not None else torch.zeros_like(mean)
    scale = gamma / torch.sqrt(var + norm.eps)
    bias = torch.zeros_like(mean) if convolution.bias is None else wide(convolution.bias)
    weight = wide(convolution.weight)
    columns = scale.reshape(-1, *(1 for _ in weight.shape[1:]))
    return weight * columns, (bias - mean) * scale + beta


def train(net: nn.Module, random: Random) -> str | None:
    """Leave one batch norm in training mode."""
    for name, norm in shuffled(random, layers_of(net, BATCH_NORMS)):
        for statistic in (norm.running_mean, norm.running_var, norm.num_batches_tracked):
            if statistic is not None:
                statistic.data = statistic.clone()  # it is written to, and may be shared
        norm.training = True
        return str(name)
    return None


def train_unseen(net: nn.Module, random: Random) -> str | None:
    """Normalise by each batch's own statistics, whatever the mode says."""
    for name, norm in shuffled(random, _tracking(net)):
        norm.running_mean = norm.running_var = None
        norm.track_running_stats = False
        return str(name)
    return None


def drop_affine(net: nn.Module, random: Random) -> str | None:
    for name, norm in shuffled(random, layers_of(net, BATCH_NORMS)):
        if norm.weight is not None:
            norm.weight = norm.bias = None
            norm.affine = False
            return str(name)
    return None


def count_batch(net: nn.Module, random: Random) -> str | None:
    """Count one batch more than the source has seen."""
    for name, norm in shuffled(random, _tracking(net)):
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.data = norm.num_batches_tracked + 1
            return f"{name}.num_batches_tracked"
    return None


def _tracking(net: nn.Module) -> list[Any]:
    return [pair for pair in layers_of(net, BATCH_NORMS) if pair[1].running_mean is not None]


def set_lrn(part: str, change: Callable[[Any], Any]) -> Inject:
    """Return a fault of one setting of one local response normalisation."""

    def inject(net: nn.Module, random: Random) -> str | None:
        for name, lrn in shuffled(random, layers_of(net, nn.LocalResponseNorm)):
            setattr(lrn, part, change(getattr(lrn, part)))
            return str(name)
        return None

    return inject


def drop_lrn(net: nn.Module, random: Random) -> str | None:
    for name, _ in shuffled(random, layers_of(net, nn.LocalResponseNorm)):
        return put(net, name, nn.Identity())
    return None


def swap_lrn_and_pool(net: nn.Module, random: Random) -> str | None:
    """Pool before normalising, or after it."""
    kinds = {nn.LocalResponseNorm, nn.MaxPool2d}
    row = leaves(net)
    neighbours = [pair for pair in pairwise(row) if {type(layer) for _, layer in pair} == kinds]
    for (one, first), (other, second) in shuffled(random, neighbours):
        put(net, one, second)
        put(net, other, first)
        return f"{one} ↔ {other}"
    return None
