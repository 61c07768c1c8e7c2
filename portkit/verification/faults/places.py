"""Where faults go: a net's layers and tensors, how to change one, how to put another in its place.

Tensors are never written to: a parameter is given other data, so that nets that share memory with
the changed one stay as they were, and whoever holds the parameter sees the change.
"""

from collections.abc import Callable, Iterable, Iterator
from math import isqrt, prod
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from portkit.verification.settings import CONVOLUTIONS, Layer, layers_of

Place = tuple[str, Tensor]  # a tensor under its name
Work = Callable[[Tensor], Tensor]

WEIGHTED = (*CONVOLUTIONS, nn.Linear)


class Applied(nn.Module):
    """A function of one tensor in the place of a layer."""

    def __init__(self, work: Work, words: str) -> None:
        super().__init__()
        self.work, self.words = work, words

    def forward(self, values: Tensor) -> Tensor:
        return self.work(values)

    def extra_repr(self) -> str:
        return self.words


def leaves(net: nn.Module) -> list[Layer]:
    return [(name, layer) for name, layer in net.named_modules() if not any(layer.children())]


def held(layer: nn.Module, name: str) -> Tensor | None:
    """Return a layer's own parameter or buffer, not one that it computes."""
    found = {
        **dict(layer.named_parameters(recurse=False)),
        **dict(layer.named_buffers(recurse=False)),
    }
    tensor = found.get(name)
    return tensor if tensor is not None and tensor.is_floating_point() else None


def tensors(chosen: Iterable[Layer], *names: str) -> list[Place]:
    """Return the named tensors that some layers hold."""
    found = [(f"{name}.{part}", held(layer, part)) for name, layer in chosen for part in names]
    return [(name, tensor) for name, tensor in found if tensor is not None]


def floats(net: nn.Module) -> list[Place]:
    """Return every tensor of floats that is stored with a net."""
    state = net.state_dict(keep_vars=True)
    return [(name, tensor) for name, tensor in state.items() if tensor.is_floating_point()]


def kernels(net: nn.Module) -> list[Place]:
    """Return the weights of convolutions that look at more than one place."""
    wide = [pair for pair in layers_of(net, CONVOLUTIONS) if prod(pair[1].kernel_size) > 1]
    return tensors(wide, "weight")


def fully_connected(net: nn.Module) -> list[Any]:
    """Return the linear layers; in a net without any, its last convolutions without padding."""
    found = layers_of(net, nn.Linear)
    if found:
        return found
    convolutions = layers_of(net, nn.Conv2d)
    while convolutions and _is_dense(convolutions[-1][1]):
        found.insert(0, convolutions.pop())
    return found if convolutions else []


def _is_dense(layer: nn.Conv2d) -> bool:
    return layer.padding == (0, 0) and layer.stride == (1, 1)


def last_layer(net: nn.Module) -> list[Layer]:
    return layers_of(net, WEIGHTED)[-1:]


def input_channels(net: nn.Module) -> int:
    """Return how many channels the images have that a net takes; 0 where it takes none."""
    first = next(iter(layers_of(net, WEIGHTED)), None)
    return first[1].in_channels if first and isinstance(first[1], nn.Conv2d) else 0


def flattened(net: nn.Module) -> tuple[str, Tensor, tuple[int, int, int]] | None:
    """Return the weight that takes a whole feature map, and the map's channels, height, width."""
    channels = 0
    dense = {name for name, _ in fully_connected(net)}
    for name, layer in layers_of(net, (nn.Conv2d, nn.Linear)):
        weight = held(layer, "weight")
        if isinstance(layer, nn.Conv2d):
            rows, columns = layer.kernel_size
            if (
                name in dense
                and rows * columns > 1
                and layer.in_channels > 1
                and weight is not None
            ):
                return name, weight, (layer.in_channels, rows, columns)
            channels = layer.out_channels
        elif channels > 1 and weight is not None and layer.in_features % channels == 0:
            side = isqrt(layer.in_features // channels)
            if side > 1 and side * side * channels == layer.in_features:
                return name, weight, (channels, side, side)
    return None


def write(tensor: Tensor, values: Tensor) -> bool:
    """Give a tensor other data, what differs rounded to float32; say whether anything differs."""
    old = tensor.detach()
    made = torch.where(values == old, old, values.to(torch.float32).to(old.dtype)).contiguous()
    if torch.equal(made, old):
        return False
    tensor.data = made
    return True


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor's values in float64, so that a fault is the same in every precision."""
    return tensor.detach().to(torch.float64)


def shuffled(random: Random, places: Iterable[Any]) -> list[Any]:
    found = list(places)
    random.shuffle(found)
    return found


def change_one(
    random: Random, places: Iterable[Place], change: Callable[[Tensor], Tensor | None]
) -> str | None:
    """Change one tensor: the first, in random order, where the change makes a difference."""
    for name, tensor in shuffled(random, places):
        made = change(wide(tensor))
        if made is not None and write(tensor, made):
            return str(name)
    return None


def change_all(places: Iterable[Place], change: Callable[[Tensor], Tensor | None]) -> str | None:
    """Change every tensor where the change makes a difference, and name the first."""
    changed = []
    for name, tensor in places:
        made = change(wide(tensor))
        if made is not None and write(tensor, made):
            changed.append(name)
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]}{more}" if changed else None


def swap(random: Random, places: list[Place]) -> str | None:
    """Exchange two tensors of one shape that differ."""
    for one, other in shuffled(random, pairs(places)):
        if not torch.equal(one[1], other[1]):
            exchange(one[1], other[1])
            return f"{one[0]} ↔ {other[0]}"
    return None


def pairs(places: list[Place]) -> Iterator[tuple[Place, Place]]:
    """Yield every two tensors of one shape."""
    for i, one in enumerate(places):
        for other in places[i + 1 :]:
            if one[1].shape == other[1].shape:
                yield one, other


def exchange(one: Tensor, other: Tensor) -> None:
    one.data, other.data = other.data, one.data


def draw(random: Random, shape: Iterable[int]) -> Tensor:
    """Draw values of N(0, 1) in float32."""
    generator = torch.Generator().manual_seed(random.randrange(2**31))
    return torch.randn(*shape, generator=generator)


def put(net: nn.Module, name: str, layer: nn.Module) -> str:
    """Put another layer under a name."""
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, layer.eval())
    return name


def answer_by(layer: nn.Module, forward: Callable[..., Any]) -> None:
    """Let a layer answer by a function; its class, settings and tensors stay."""
    layer.__dict__["forward"] = forward


def follow(layer: nn.Module, work: Callable[[Any], Any]) -> None:
    """Do something with what a layer answers."""
    forward = layer.forward
    answer_by(layer, lambda *given, **named: work(forward(*given, **named)))


def precede(layer: nn.Module, work: Work) -> None:
    """Do something with what a layer is given."""
    forward = layer.forward
    answer_by(layer, lambda values, *rest, **named: forward(work(values), *rest, **named))


def on_tensors(work: Work) -> Callable[[Any], Any]:
    """Apply a function to every tensor of an answer."""

    def apply(made: Any) -> Any:
        if isinstance(made, Tensor):
            return work(made)
        if isinstance(made, dict):
            return {key: apply(part) for key, part in made.items()}
        return type(made)(map(apply, made)) if type(made) in (list, tuple) else made

    return apply
