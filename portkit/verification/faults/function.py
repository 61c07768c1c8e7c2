"""Faults of a whole net: what is done to its images, to its answers and to its arithmetic."""

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from portkit.evaluation.data import GREY_MEAN, GREY_STD
from portkit.evaluation.preprocessing import MEAN, STD
from portkit.verification.faults.entries import Inject
from portkit.verification.faults.places import (
    answer_by,
    follow,
    input_channels,
    leaves,
    on_tensors,
    precede,
    shuffled,
)
from portkit.verification.faults.values import keep_bits
from portkit.verification.settings import layers_of

_TRIED = (32, 64, 96, 128, 224)  # sizes that a net may take


def answers(work: Callable[[Tensor], Tensor]) -> Inject:
    """Return a fault that does something to the net's answers."""

    def inject(net: nn.Module, _random: Random) -> str | None:
        follow(net, on_tensors(work))
        return "output"

    return inject


def images(work: Callable[[Tensor], Tensor], least: int = 1) -> Inject:
    """Return a fault that does something to images of at least some channels."""

    def inject(net: nn.Module, _random: Random) -> str | None:
        if input_channels(net) < least:
            return None
        precede(net, work)
        return "input"

    return inject


def normalise(values: Tensor) -> Tensor:
    known = ((GREY_MEAN,), (GREY_STD,)) if values.shape[1] == 1 else (MEAN, STD)
    mean, std = (_per_channel(values, constants) for constants in known)
    return (values - mean) / std


def _per_channel(values: Tensor, constants: tuple[float, ...]) -> Tensor:
    chosen = [constants[i % len(constants)] for i in range(values.shape[1])]
    return torch.tensor(chosen, dtype=values.dtype, device=values.device).reshape(-1, 1, 1)


def overflow(values: Tensor) -> Tensor:
    """Return the values as they are, and NaN where an exponential of them overflows."""
    return values + 0 * values.exp()


def blow_up(values: Tensor) -> Tensor:
    """Enlarge images and shrink them again."""
    large = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
    return functional.avg_pool2d(large, 2)


def softmax(values: Tensor) -> Tensor:
    return values.softmax(1) if values.ndim > 1 else values


def log_softmax(values: Tensor) -> Tensor:
    return values.log_softmax(1) if values.ndim > 1 else values


def append_relu(net: nn.Module, random: Random) -> str | None:
    """Lose the sign of logits, where a net answers with such."""
    positive = isinstance(leaves(net)[-1][1], nn.Softmax | nn.ReLU | nn.Sigmoid)
    return None if positive else answers(torch.relu)(net, random)


def keep_one(values: Tensor) -> Tensor:
    """Answer with one column, which broadcasts against all of them."""
    return values[:, :1] if values.ndim > 1 else values[:1]


def softmax_twice(net: nn.Module, random: Random) -> str | None:
    """Take the softmax of probabilities."""
    for name, layer in shuffled(random, layers_of(net, nn.Softmax)):
        follow(layer, softmax)
        return str(name)
    return None


def resize_otherwise(net: nn.Module, random: Random) -> str | None:
    """Align corners where the source does not, or take the nearest pixel."""
    for name, layer in shuffled(random, layers_of(net, nn.Upsample)):
        if layer.mode in ("bilinear", "bicubic"):
            layer.align_corners = not layer.align_corners
        else:
            layer.mode, layer.align_corners = "bilinear", False
        return str(name)
    return None


def lose_output(net: nn.Module, _random: Random) -> str | None:
    """Leave out the last of several outputs."""
    return _on_outputs(net, lambda keys: keys[:-1])


def swap_outputs(net: nn.Module, _random: Random) -> str | None:
    """Give the last of several outputs first."""
    return _on_outputs(net, lambda keys: keys[::-1])


def _on_outputs(net: nn.Module, chosen: Callable[[list[Any]], list[Any]]) -> str | None:
    """Choose among a net's outputs, known by their place or their name."""
    if not _has_several(_answer_form(net)):
        return None

    def choose(made: Any) -> Any:
        if isinstance(made, dict):
            names = list(made)
            kept = chosen(names)
            return {name: made[old] for name, old in zip(names, kept, strict=False)}
        return type(made)(made[i] for i in chosen(list(range(len(made)))))

    follow(net, choose)
    return "outputs"


def add_output(net: nn.Module, _random: Random) -> str | None:
    """Answer with something more."""

    def more(made: Any) -> Any:
        if isinstance(made, dict):
            return {**made, "more": next(iter(made.values()))}
        if type(made) in (list, tuple):
            return type(made)((*made, made[0]))
        return {"output": made, "more": made}

    follow(net, more)
    return "outputs"


def _has_several(made: Any) -> bool:
    return type(made) in (list, tuple, dict) and len(made) > 1


def _answer_form(net: nn.Module) -> Any:
    """Return what a net answers with, its tensors without values; None where it cannot be told."""
    shares = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    empty = deepcopy(net, {key: _empty(tensor) for key, tensor in shares.items()})
    channels = input_channels(net)
    first = next(iter(layers_of(net, nn.Linear)), None)
    forms = [(2, channels, size, size) for size in _TRIED] if channels else []
    if not channels and first:
        forms = [(2, first[1].in_features)]  # type: ignore[list-item]
    like = next(iter(empty.parameters()), None)
    for form in forms if like is not None else ():
        try:
            with torch.inference_mode(), torch.device("meta"):
                return empty(torch.empty(form, dtype=like.dtype))  # type: ignore[union-attr]
        except Exception:  # noqa: S112 (a size that the net does not take)
            continue
    return None


def _empty(tensor: Tensor) -> Tensor:
    made = torch.empty_like(tensor, device="meta")
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def round_operands(bits: int) -> Inject:
    """Return a fault that rounds what one layer multiplies in float32, as TF32 does."""

    def inject(net: nn.Module, random: Random) -> str | None:
        for name, layer in shuffled(random, layers_of(net, (nn.Conv2d, nn.Linear))):
            answer_by(layer, _rounding(layer, bits))
            return str(name)
        return None

    return inject


def _rounding(layer: Any, bits: int) -> Callable[[Tensor], Tensor]:
    exact = layer.forward

    def forward(values: Tensor) -> Tensor:
        if values.dtype is not torch.float32:
            made: Tensor = exact(values)
        elif isinstance(layer, nn.Linear):
            operands = keep_bits(values, bits), keep_bits(layer.weight, bits)
            made = functional.linear(*operands, layer.bias)
        else:
            operands = keep_bits(values, bits), keep_bits(layer.weight, bits)
            made = layer._conv_forward(*operands, layer.bias)  # noqa: SLF001
        return made

    return forward


def run_narrow(net: nn.Module, _random: Random) -> str | None:
    """Let torch compute in bfloat16 where it thinks that it may."""
    forward = net.forward

    def narrow(values: Tensor, *rest: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=values.dtype is torch.float32):
            made = forward(values, *rest)
        return on_tensors(lambda tensor: tensor.to(values.dtype))(made)

    answer_by(net, narrow)
    return "the whole net"


def round_images(values: Tensor) -> Tensor:
    """Pass images through half precision, where they are float32."""
    return values.half().float() if values.dtype is torch.float32 else values
