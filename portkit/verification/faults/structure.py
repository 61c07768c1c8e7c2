"""Faults of layers that compute something else: padding, pooling, activations, order, groups."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from portkit.verification.faults.entries import Inject
from portkit.verification.faults.places import (
    WEIGHTED,
    Applied,
    Work,
    follow,
    leaves,
    precede,
    put,
    shuffled,
)
from portkit.verification.settings import ACTIVATIONS, layers_of


def replace_one(kinds: tuple[type[nn.Module], ...], made: Callable[[Any], Any]) -> Inject:
    """Return a fault that puts another layer in the place of one of some kinds.

    `made` returns None for a layer that the fault cannot be told from.
    """

    def inject(net: nn.Module, random: Random) -> str | None:
        for name, layer in shuffled(random, layers_of(net, kinds)):
            other = made(layer)
            if other is not None:
                return put(net, name, other)
        return None

    return inject


def change_settings(kind: type[nn.Module], changed: Callable[[Any], dict[str, Any]]) -> Inject:
    """Return a fault of one layer's settings; an empty dict is returned where it does not apply."""

    def inject(net: nn.Module, random: Random) -> str | None:
        for name, layer in shuffled(random, layers_of(net, kind)):
            settings = changed(layer)
            for key, value in settings.items():
                setattr(layer, key, value)
            if settings:
                return str(name)
        return None

    return inject


def work_after(kinds: tuple[type[nn.Module], ...], work: Work, words: str) -> Inject:
    """Return a fault that does something more after one of the layers without tensors."""

    def made(layer: nn.Module) -> nn.Module:
        return nn.Sequential(layer, Applied(work, words))

    return replace_one(kinds, made)


def toggle_ceil(pool: nn.MaxPool2d) -> dict[str, Any]:
    odd = pool.kernel_size if isinstance(pool.kernel_size, int) else pool.kernel_size[0]
    return {"ceil_mode": not pool.ceil_mode} if odd > 1 and pair(pool.stride) != (1, 1) else {}


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (int(value), int(value))


def pad_as_tensorflow(net: nn.Module, random: Random) -> str | None:
    """Pad one convolution of a stride above 1 as TF's SAME does: less before than after."""
    for name, layer in shuffled(random, layers_of(net, nn.Conv2d)):
        if layer.stride == (1, 1) or layer.padding in ((0, 0), "valid", "same"):
            continue
        kernel, stride = layer.kernel_size, layer.stride
        layer.padding = (0, 0)
        precede(layer, partial(_pad_same, kernel=kernel, stride=stride))
        return str(name)
    return None


def _pad_same(images: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    pads: list[int] = []
    for axis in (1, 0):
        size = images.shape[2 + axis]
        total = (ceil(size / stride[axis]) - 1) * stride[axis] + kernel[axis] - size
        total = max(total, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(images, pads)


def pad_otherwise(layer: nn.Conv2d) -> dict[str, Any]:
    padded = not isinstance(layer.padding, str) and max(layer.padding) > 0
    return {"padding_mode": "replicate"} if padded and layer.padding_mode == "zeros" else {}


def pad_and_crop(net: nn.Module, random: Random) -> str | None:
    """Pad one convolution by one pixel more, and crop what is too much: all moves by a pixel."""
    for name, layer in shuffled(random, layers_of(net, nn.Conv2d)):
        if layer.stride != (1, 1) or isinstance(layer.padding, str) or max(layer.padding) == 0:
            continue
        layer.padding = tuple(side + 1 for side in layer.padding)
        follow(layer, lambda made: made[..., :-2, :-2])
        return str(name)
    return None


def lose_dilation(layer: nn.Conv2d) -> dict[str, Any]:
    """Change a dilation while the size of the answer stays."""
    if layer.kernel_size != (3, 3) or isinstance(layer.padding, str):
        return {}
    if layer.dilation == (1, 1) and layer.padding == (1, 1):
        return {"dilation": (2, 2), "padding": (2, 2)}
    if layer.dilation == layer.padding != (1, 1):
        return {"dilation": (1, 1), "padding": (1, 1)}
    return {}


def interleave_groups(net: nn.Module, random: Random) -> str | None:
    """Give a convolution's groups every second channel instead of half of them."""
    grouped = [
        named for named in layers_of(net, nn.Conv2d) if 1 < named[1].groups < named[1].in_channels
    ]
    for name, layer in shuffled(random, grouped):
        precede(layer, partial(shuffle_channels, groups=layer.groups))
        return str(name)
    return None


def shuffle_channels(images: Tensor, groups: int) -> Tensor:
    """Put every `groups`-th channel side by side (ShuffleNet, Zhang et al. 2018, backwards)."""
    if images.shape[1] % groups:
        return images.flip(1)
    count, channels, *places = images.shape
    parted = images.reshape(count, channels // groups, groups, *places)
    return parted.transpose(1, 2).reshape(images.shape)


def move_stride(net: nn.Module, random: Random) -> str | None:
    """Halve a convolution's stride and double that of the pooling after it."""
    found: list[tuple[Any, Any]] = []
    last: Any = None
    for name, layer in leaves(net):
        if isinstance(layer, nn.Conv2d):
            last = (name, layer) if min(layer.stride) > 1 else None
        elif last and isinstance(layer, nn.MaxPool2d):
            found.append((last, (name, layer)))
            last = None
    for (one, convolution), (other, pool) in shuffled(random, found):
        convolution.stride = tuple(step // 2 for step in convolution.stride)
        pool.stride = tuple(step * 2 for step in pair(pool.stride))
        return f"{one} and {other}"
    return None


def pool_wider(pool: nn.MaxPool2d) -> nn.Module | None:
    """Pool over one place more in each direction, the size of the answer about the same."""
    kernel, stride = pair(pool.kernel_size), pair(pool.stride)
    if kernel != stride or pool.padding not in (0, (0, 0)):
        smaller = tuple(side - 1 for side in kernel)
        return nn.MaxPool2d(smaller, stride) if min(smaller) > 1 else None
    return nn.MaxPool2d(tuple(side + 1 for side in kernel), stride, 1)


def average_instead(pool: nn.MaxPool2d) -> nn.Module:
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def pool_padded_with_zeros(net: nn.Module, random: Random) -> str | None:
    """Pad a max pool with zeros, where what it is given may be negative."""
    row = leaves(net)
    found = [
        (name, layer)
        for (_, before), (name, layer) in pairwise(row)
        if isinstance(layer, nn.MaxPool2d)
        and pair(layer.padding) != (0, 0)
        and not isinstance(before, nn.ReLU | nn.ReLU6)
    ]
    for name, pool in shuffled(random, found):
        rows, columns = pair(pool.padding)
        padded = nn.ZeroPad2d((columns, columns, rows, rows))
        inner = nn.MaxPool2d(pool.kernel_size, pool.stride, 0, pool.dilation, False, pool.ceil_mode)  # noqa: FBT003
        return put(net, name, nn.Sequential(padded, inner))
    return None


def count_padding(pool: nn.AvgPool2d) -> dict[str, Any]:
    padded = pair(pool.padding) != (0, 0)
    return {"count_include_pad": not pool.count_include_pad} if padded else {}


def freeze_adaptive(pool: nn.AdaptiveAvgPool2d) -> nn.Module | None:
    """Put what an adaptive pooling does at the training size in its place: nothing."""
    return nn.Identity() if pool.output_size not in (1, (1, 1)) else None


def take_maximum(pool: nn.AdaptiveAvgPool2d) -> nn.Module:
    return nn.AdaptiveMaxPool2d(pool.output_size)


def drop_kept_as_scale(dropout: nn.Dropout) -> nn.Module | None:
    kept = 1 - dropout.p
    return Applied(lambda values: values * kept, f"× {kept:g}") if dropout.p else None


def drop_as_function(dropout: nn.Dropout) -> nn.Module | None:
    """Drop by a function call that knows of no mode."""
    share = dropout.p or 0.1
    return Applied(lambda x: functional.dropout(x, share, training=True), f"dropout {share:g}")


def leave_dropping(dropout: nn.Dropout) -> dict[str, Any]:
    return {"training": True} if dropout.p else {}


def add_bias_twice(net: nn.Module, random: Random) -> str | None:
    biased = [named for named in layers_of(net, WEIGHTED) if named[1].bias is not None]
    for name, layer in shuffled(random, biased):
        follow(layer, partial(_add_bias, layer))
        return str(name)
    return None


def _add_bias(layer: Any, made: Tensor) -> Tensor:
    columns = layer.bias.reshape(-1, *(1 for _ in layer.weight.shape[2:]))
    return made + columns  # type: ignore[no-any-return]


def work_on_aliases(net: nn.Module, random: Random) -> str | None:
    """Let a block's first activation work in place, on what the block adds in the end."""
    found = []
    for name, block in net.named_modules():
        first = next(iter(block.named_children()), None)
        if first and name and not isinstance(block, nn.Sequential):
            found += [f"{name}.{first[0]}"] if _is_pure(first[1]) else []
    for name in shuffled(random, found):
        vars(net.get_submodule(name))["inplace"] = True
        return str(name)
    return None


def _is_pure(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU) and not layer.inplace


def approximate_gelu(layer: nn.GELU) -> dict[str, Any]:
    return {"approximate": "none" if layer.approximate == "tanh" else "tanh"}


def mix_batch(values: Tensor) -> Tensor:
    """Mix images and features, as a wrong reshape does; a batch of one stays as it is."""
    return values.reshape(-1, len(values)).t().reshape(values.shape)


PASSIVE = (*ACTIVATIONS, nn.Dropout, nn.Flatten, nn.MaxPool2d)
