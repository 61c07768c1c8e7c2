"""Changes that are no faults: another way to compute the same, and what eval mode leaves unused."""

from collections.abc import Callable
from random import Random
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn

from portkit.verification.faults.entries import FUNCTION, Control, Inject
from portkit.verification.faults.norms import fold, folding
from portkit.verification.faults.places import (
    answer_by,
    input_channels,
    on_tensors,
    put,
)
from portkit.verification.settings import BATCH_NORMS, layers_of


def keep_channels_last(net: nn.Module, _random: Random) -> str | None:
    """Keep kernels and images with their channels last in memory."""
    if not input_channels(net):
        return None
    forward = net.forward

    def last(values: Tensor, *rest: Any) -> Any:
        return forward(values.contiguous(memory_format=torch.channels_last), *rest)

    for _, layer in layers_of(net, nn.Conv2d):
        kept = layer.weight.detach()
        layer.weight.data = kept.contiguous(memory_format=torch.channels_last)
    answer_by(net, last)
    return "all convolutions"


def _without_onednn(forward: Callable[[Tensor], Any], values: Tensor) -> Any:
    with catch_warnings():
        simplefilter("ignore")  # of TF32, which is not asked for
        with torch.backends.mkldnn.flags(enabled=False):
            return forward(values)


def _on_two_threads(forward: Callable[[Tensor], Any], values: Tensor) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        return forward(values)
    finally:
        torch.set_num_threads(before)


def _one_at_a_time(forward: Callable[[Tensor], Any], values: Tensor) -> Any:
    made = [forward(one[None]) for one in values]
    return _joined(made)


def _joined(made: list[Any]) -> Any:
    """Put answers to one input each together, whatever holds their tensors."""
    first = made[0]
    if isinstance(first, Tensor):
        return torch.cat(made)
    if isinstance(first, dict):
        return {key: _joined([one[key] for one in made]) for key in first}
    return type(first)(_joined([one[i] for one in made]) for i in range(len(first)))


def _otherwise(way: Callable[[Callable[[Tensor], Any], Tensor], Any]) -> Inject:
    """Return a control that runs the whole net in another way."""

    def apply(net: nn.Module, _random: Random) -> str | None:
        forward = net.forward
        answer_by(net, lambda values: way(forward, values))
        return "the whole net"

    return apply


def change_momentum(net: nn.Module, _random: Random) -> str | None:
    found = layers_of(net, BATCH_NORMS)
    for _, norm in found:
        norm.momentum = 0.01 if norm.momentum != 0.01 else 0.1
    return "all batch norms" if found else None


def change_dropout(net: nn.Module, _random: Random) -> str | None:
    found = layers_of(net, nn.Dropout)
    for _, dropout in found:
        dropout.p = 0.25 if dropout.p != 0.25 else 0.75
    return "all dropouts" if found else None


def fold_exactly(net: nn.Module, _random: Random) -> str | None:
    """Fold batch norms into their convolutions, in the precision that the net is in."""
    found = folding(net)
    for (_, convolution), (name, norm) in found:
        weight, bias = fold(convolution, norm)
        dtype = convolution.weight.dtype
        convolution.weight.data = weight.to(dtype)
        convolution.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        put(net, name, nn.Identity())
    return "all batch norms" if found else None


def answer_contiguously(net: nn.Module, _random: Random) -> str | None:
    """Answer with tensors of their own memory, as in training."""
    forward = net.forward
    answer_by(net, lambda values: on_tensors(torch.clone)(forward(values)))
    return "output"


CONTROLS: tuple[Control, ...] = (
    Control("C01", "channels last in memory", keep_channels_last),
    Control("C02", "without oneDNN", _otherwise(_without_onednn)),
    Control("C03", "another number of threads", _otherwise(_on_two_threads)),
    Control("C04", "images one at a time", _otherwise(_one_at_a_time)),
    Control("C05", "another momentum", change_momentum),
    Control("C06", "another dropout rate in eval mode", change_dropout),
    Control("C07", "answers copied", answer_contiguously),
    Control("C08", "batch norms folded, as declared", fold_exactly, FUNCTION),
)
