"""Initialisations, each named by what it is.

Batch norm always starts at weight 1 and bias 0, biases at 0.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

Draw = Callable[[Tensor, torch.Generator | None], Tensor]


def _normal(std: float, weight: Tensor, generator: torch.Generator | None) -> Tensor:
    return nn.init.normal_(weight, 0, std, generator=generator)


def _kaiming(
    mode: Literal["fan_in", "fan_out"], weight: Tensor, generator: torch.Generator | None
) -> Tensor:
    return nn.init.kaiming_normal_(
        weight,
        mode=mode,
        nonlinearity="relu",
        generator=generator,
    )


def _xavier(weight: Tensor, generator: torch.Generator | None) -> Tensor:
    return nn.init.xavier_uniform_(weight, generator=generator)


# Name → how convolutions and how linear layers are drawn.
INITIALISATIONS: Mapping[str, tuple[Draw, Draw]] = MappingProxyType(
    {
        # He et al. 2015, fan-in for convolutions; Glorot & Bengio 2010 for linear layers.
        "kaiming_fan_in": (partial(_kaiming, "fan_in"), _xavier),
        "kaiming_fan_out": (partial(_kaiming, "fan_out"), _xavier),
        # Krizhevsky et al. 2012: standard deviation 0.01.
        "alexnet_normal": (partial(_normal, 0.01), partial(_normal, 0.01)),
        # Simonyan & Zisserman 2015, section 3.1: variance 1e-2, so standard deviation 0.1.
        "vgg_normal": (partial(_normal, 0.1), partial(_normal, 0.1)),
        # torchvision's VGG: Kaiming fan-out, and standard deviation 0.01 for linear layers.
        "torchvision_vgg": (partial(_kaiming, "fan_out"), partial(_normal, 0.01)),
    }
)


def initialise(net: nn.Module, scheme: str, seed: int | None = None) -> None:
    """Draw the weights of a net's `features` and `classifier`; raise ValueError for a bad scheme.

    The head's convolutions are drawn as the linear layers they are, `[out, in·k·k]`.
    """
    if scheme not in INITIALISATIONS:
        known = ", ".join(INITIALISATIONS)
        raise ValueError(f"no initialisation is called {scheme!r}, use one of: {known}")
    convolution, linear = INITIALISATIONS[scheme]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for part, draw in (("features", convolution), ("classifier", linear)):
        for layer in net.get_submodule(part).modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                weight = layer.weight if part == "features" else layer.weight.flatten(1)
                draw(weight.detach(), generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
