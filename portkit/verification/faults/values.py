"""Faults of single values, of their precision and of their scale."""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor, nn

from portkit.verification.faults.entries import Inject
from portkit.verification.faults.places import (
    WEIGHTED,
    change_all,
    change_one,
    floats,
    input_channels,
    kernels,
    last_layer,
    tensors,
)
from portkit.verification.settings import layers_of

_FP16_LEAST, _FP16_MOST = 1e-7, 1e4  # what half-precision exporters clamp weights to


def through(dtype: torch.dtype) -> Inject:
    """Return a fault that rounds all tensors to a narrower dtype."""
    return _in_all(lambda tensor: tensor.to(torch.float32).to(dtype))


def round_to_bits(bits: int) -> Inject:
    """Return a fault that keeps a few bits of every mantissa."""
    return _in_all(lambda tensor: keep_bits(tensor, bits))


def keep_bits(values: Tensor, bits: int) -> Tensor:
    """Round the mantissas of float32 to nearest, to a few explicit bits."""
    dropped = 23 - bits
    pattern = values.to(torch.float32).contiguous().view(torch.int32)
    rounded = (pattern + (1 << (dropped - 1))) & ~((1 << dropped) - 1)
    return rounded.view(torch.float32)


def print_digits(digits: int) -> Inject:
    """Return a fault that writes all tensors as decimal text of a few digits."""

    def printed(tensor: Tensor) -> Tensor:
        wide = tensor.to(torch.float64)
        sizes = wide.abs().masked_fill(wide == 0, 1.0)
        places = digits - 1 - torch.floor(torch.log10(sizes))
        up = torch.pow(10.0, places.clamp(min=0))
        down = torch.pow(10.0, (-places).clamp(min=0))
        return torch.round(wide * up / down) / up * down

    return _in_all(printed)


def quantise(net: nn.Module, _random: Random) -> str | None:
    """Round every weight to 8 bits, one scale a tensor, and back."""

    def quantised(weight: Tensor) -> Tensor:
        scale = weight.abs().max().to(torch.float32) / 127
        return torch.round(weight / scale) * scale if float(scale) else weight

    return change_all(tensors(layers_of(net, WEIGHTED), "weight"), quantised)


def turn_bit(*bits: int) -> Inject:
    """Return a fault that turns one of some bits of one weight."""

    def inject(net: nn.Module, random: Random) -> str | None:
        bit = random.choice(bits)

        def turned(weight: Tensor) -> Tensor:
            made = weight.to(torch.float32).contiguous().clone()
            flat = made.view(torch.int32).reshape(-1)
            at = _nonzero(random, made)
            flat[at] ^= -(2**31) if bit == 31 else 1 << bit
            return made

        return change_one(random, tensors(layers_of(net, WEIGHTED), "weight"), turned)

    return inject


def scale_one(factor: float) -> Inject:
    """Return a fault that multiplies one weight of the first layer."""

    def inject(net: nn.Module, random: Random) -> str | None:
        def scaled(weight: Tensor) -> Tensor:
            made = weight.clone().contiguous()
            made.view(-1)[_nonzero(random, made)] *= factor
            return made

        return change_one(random, tensors(layers_of(net, WEIGHTED)[:1], "weight"), scaled)

    return inject


def scale_weight(factor: float) -> Inject:
    """Return a fault that multiplies one weight tensor."""

    def inject(net: nn.Module, random: Random) -> str | None:
        places = tensors(layers_of(net, WEIGHTED), "weight")
        return change_one(random, places, lambda weight: weight * factor)

    return inject


def lose_number(net: nn.Module, random: Random) -> str | None:
    """Put NaN in the place of one value of the last layer."""

    def lost(tensor: Tensor) -> Tensor:
        made = tensor.clone().contiguous()
        made.view(-1)[random.randrange(made.numel())] = float("nan")
        return made

    return change_one(random, tensors(last_layer(net), "weight", "bias"), lost)


def clamp_as_half(net: nn.Module, _random: Random) -> str | None:
    """Clamp what is tiny or huge, as exporters to half precision do."""

    def clamped(tensor: Tensor) -> Tensor:
        sizes = tensor.abs().clamp(_FP16_LEAST, _FP16_MOST)
        return torch.where(tensor == 0, tensor, sizes * tensor.sign())

    return change_all(tensors(layers_of(net, WEIGHTED), "weight", "bias"), clamped)


def clip(net: nn.Module, random: Random) -> str | None:
    """Clip a weight at one and a half of its standard deviations."""

    def clipped(weight: Tensor) -> Tensor:
        most = 1.5 * float(weight.to(torch.float32).std())
        return weight.clamp(-most, most)

    return change_one(random, tensors(layers_of(net, WEIGHTED), "weight"), clipped)


def flush_denormals(net: nn.Module, _random: Random) -> str | None:
    least = torch.finfo(torch.float32).tiny
    return change_all(floats(net), lambda tensor: tensor.masked_fill(tensor.abs() < least, 0.0))


def centre_channels(net: nn.Module, _random: Random) -> str | None:
    """Subtract the mean of each input channel's kernels from the first weight."""
    first = layers_of(net, WEIGHTED)[:1] if input_channels(net) else []
    return change_all(
        tensors(first, "weight"), lambda weight: weight - weight.mean((0, 2, 3), keepdim=True)
    )


def drop_gains(net: nn.Module, random: Random) -> str | None:
    """Leave out the gains of weight normalisation: every filter has length 1."""

    def normed(weight: Tensor) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return weight / lengths.clamp(min=1e-12).reshape(-1, *(1 for _ in weight.shape[1:]))

    return change_one(random, kernels(net), normed)


def negate(net: nn.Module, random: Random) -> str | None:
    """Turn the sign of one weight tensor."""
    return change_one(random, tensors(layers_of(net, WEIGHTED), "weight"), torch.neg)


def _in_all(change: Callable[[Tensor], Tensor]) -> Inject:
    def inject(net: nn.Module, _random: Random) -> str | None:
        return change_all(floats(net), change)

    return inject


def _nonzero(random: Random, tensor: Tensor) -> int:
    """Return a random place whose value is not zero, if there is any."""
    flat = tensor.reshape(-1)
    for _ in range(64):
        at = random.randrange(len(flat))
        if float(flat[at]):
            break
    return at
