"""Faults of weights in the wrong order, in the wrong place or left out."""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor, nn

from portkit.verification.faults.entries import Inject
from portkit.verification.faults.places import (
    WEIGHTED,
    change_all,
    change_one,
    draw,
    exchange,
    flattened,
    floats,
    fully_connected,
    held,
    input_channels,
    kernels,
    last_layer,
    pairs,
    shuffled,
    swap,
    tensors,
    write,
)
from portkit.verification.reordering import owner_of
from portkit.verification.settings import CONVOLUTIONS, Layer, layers_of


def swap_weights(net: nn.Module, random: Random) -> str | None:
    return swap(random, tensors(layers_of(net, CONVOLUTIONS), "weight"))


def swap_biases(net: nn.Module, random: Random) -> str | None:
    return swap(random, tensors(layers_of(net, WEIGHTED), "bias"))


def swap_layers(net: nn.Module, random: Random) -> str | None:
    """Exchange all tensors of two layers of one shape."""
    weights = tensors(layers_of(net, WEIGHTED), "weight")
    for one, other in shuffled(random, pairs(weights)):
        names = [owner_of(name) for name, _ in (one, other)]
        biases = [held(net.get_submodule(name), "bias") for name in names]
        if torch.equal(one[1], other[1]):
            continue
        exchange(one[1], other[1])
        if biases[0] is not None and biases[1] is not None:
            exchange(biases[0], biases[1])
        return " ↔ ".join(names)
    return None


def transpose_square(net: nn.Module, random: Random) -> str | None:
    """Exchange inputs and outputs of a layer that has as many of one as of the other."""
    places = tensors(fully_connected(net), "weight")
    square = [place for place in places if place[1].shape[0] == place[1].shape[1]]
    return change_one(random, square, lambda weight: weight.transpose(0, 1))


def flatten_as(order: str) -> Inject:
    """Return a fault that flattens the feature map in another order of `c`, `h` and `w`."""

    def inject(net: nn.Module, _random: Random) -> str | None:
        found = flattened(net)
        if found is None:
            return None
        name, weight, form = found
        sizes = dict(zip("chw", form, strict=True))
        read = weight.detach().reshape(len(weight), *(sizes[axis] for axis in order))
        axes = [1 + order.index(axis) for axis in "chw"]
        made = read.permute(0, *axes).reshape(weight.shape)
        return f"{name}.weight" if write(weight, made) else None

    return inject


def in_all_kernels(change: Callable[[Tensor], Tensor]) -> Inject:
    """Return a fault of every kernel with a height and a width that may change places."""

    def inject(net: nn.Module, _random: Random) -> str | None:
        square = [
            (name, weight)
            for name, weight in kernels(net)
            if weight.ndim == 4 and weight.shape[2] == weight.shape[3]
        ]
        return change_all(square, change)

    return inject


def reverse_channels(net: nn.Module, _random: Random) -> str | None:
    channels = input_channels(net)
    first = layers_of(net, WEIGHTED)[:1] if channels > 1 else []
    return change_all(tensors(first, "weight"), lambda weight: weight.flip(1))


def swap_towers(net: nn.Module, random: Random) -> str | None:
    """Exchange the halves of a convolution's outputs; of one with groups where there is any."""
    convolutions = layers_of(net, CONVOLUTIONS)
    grouped = [pair for pair in convolutions if pair[1].groups == 2]
    even = [pair for pair in convolutions if pair[1].out_channels % 2 == 0]
    places = tensors(grouped or even, "weight")
    return change_one(random, places, lambda weight: weight.roll(len(weight) // 2, 0))


def leave_initial(net: nn.Module, random: Random) -> str | None:
    """Leave a weight as it was initialised."""

    def drawn(weight: Tensor) -> Tensor:
        fan_in = weight[0].numel()
        return draw(random, weight.shape).div(fan_in**0.5)

    return change_one(random, tensors(layers_of(net, WEIGHTED), "weight"), drawn)


def zero_one_bias(net: nn.Module, random: Random) -> str | None:
    places = tensors(layers_of(net, CONVOLUTIONS), "bias")
    return change_one(random, places, torch.zeros_like)


def zero_dense_biases(net: nn.Module, _random: Random) -> str | None:
    return change_all(tensors(fully_connected(net), "bias"), torch.zeros_like)


def zero_last_bias(net: nn.Module, _random: Random) -> str | None:
    return change_all(tensors(last_layer(net), "bias"), torch.zeros_like)


def shift_classes(net: nn.Module, _random: Random) -> str | None:
    places = tensors(last_layer(net), "weight", "bias")
    return change_all(places, lambda rows: rows.roll(1, 0))


def swap_classes(net: nn.Module, random: Random) -> str | None:
    def two_swapped(count: int) -> list[int]:
        order = list(range(count))
        one, other = random.sample(order, 2)
        order[one], order[other] = other, one
        return order

    return _permute_rows(last_layer(net), two_swapped)


def reorder_classes(net: nn.Module, random: Random) -> str | None:
    return _permute_rows(last_layer(net), lambda count: random.sample(range(count), count))


def swap_filters(net: nn.Module, random: Random) -> str | None:
    """Exchange two filters of one convolution."""

    def swapped(weight: Tensor) -> Tensor | None:
        if len(weight) < 2:
            return None
        order = list(range(len(weight)))
        one, other = random.sample(order, 2)
        order[one], order[other] = other, one
        return weight[order]

    return change_one(random, kernels(net), swapped)


def _permute_rows(chosen: list[Layer], order_of: Callable[[int], list[int]]) -> str | None:
    """Put the rows of a layer's tensors into one other order."""
    places = tensors(chosen, "weight", "bias")
    count = len(places[0][1]) if places else 0
    if count < 2:
        return None
    order = order_of(count)
    return change_all(places, lambda rows: rows[order])


def misread_memory(net: nn.Module, random: Random) -> str | None:
    """Read the bytes of a kernel that lay as (h, w, in, out) as if they lay as (out, in, h, w)."""

    def misread(weight: Tensor) -> Tensor:
        axes = (*range(2, weight.ndim), 1, 0)
        return weight.permute(axes).reshape(weight.shape)

    return change_one(random, kernels(net), misread)


def misread_matrix(net: nn.Module, random: Random) -> str | None:
    """Read the bytes of a matrix that lay column by column as if they lay row by row."""
    return change_one(
        random,
        tensors(fully_connected(net), "weight"),
        lambda weight: weight.transpose(0, 1).reshape(weight.shape),
    )


def take_another_checkpoint(net: nn.Module, random: Random) -> str | None:
    """Move every tensor a little, as an epoch more of training does."""

    def trained(tensor: Tensor) -> Tensor:
        step = 0.02 * float(tensor.abs().mean()) or 1e-3
        return tensor + step * draw(random, tensor.shape)

    return change_all([place for place in floats(net) if place[1].ndim > 0], trained)


def shift_rows(net: nn.Module, random: Random) -> str | None:
    """Shift a hidden layer's outputs by one."""
    hidden = layers_of(net, WEIGHTED)[:-1]
    return change_one(random, tensors(hidden, "weight"), lambda weight: weight.roll(1, 0))
