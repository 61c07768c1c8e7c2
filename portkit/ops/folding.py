"""Folding an affine layer into the convolution or linear layer beside it.

Everything is computed in float64, in the order of the formulas below, and rounded once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from portkit.ops.base import Frame, Kind, OpError
from portkit.ops.computing import refuse_uncomputable, round_once
from portkit.tensors import Shape

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

ROLES = ("weight", "bias", "gamma", "beta", "mean", "var")
BORDERS = ("exact", "differ")


@dataclass(frozen=True, slots=True)
class FoldBatchnorm:
    """Fold a batch norm into the layer before it; gives a weight and a bias.

    factor = gamma / sqrt(var + eps), weight' = weight · factor, bias' = (bias - mean) · factor +
    beta. `takes` says what the rule's sources are, in their order: weight, mean and var always;
    a gamma that is left out is 1, a bias or beta 0. Output channels are axis 0, unless `axis` says
    otherwise, as for transposed convolutions. Written

        from: [conv.weight, conv.bias, bn.weight, bn.bias, bn.running_mean, bn.running_var]
        to: [conv.weight, conv.bias]
        ops:
          - fold_batchnorm: {takes: [weight, bias, gamma, beta, mean, var], eps: 1e-5}
    """

    takes: tuple[str, ...]
    eps: float
    axis: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.COMPUTED

    def __str__(self) -> str:
        on = f" on axis {self.axis}" if self.axis else ""
        return f"fold batch norm ({' '.join(self.takes)}), eps {self.eps:g}{on}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[FoldBatchnorm, Frame]":
        del symbols
        shapes = _by_role(self.takes, frame, "fold_batchnorm")
        weight = shapes["weight"]
        if not 0 <= self.axis < len(weight):
            raise OpError(f"{self}: {list(weight)} has no such axis")
        _refuse_lengths(shapes, weight[self.axis], str(self))
        return self, _weight_and_bias(frame, weight, weight[self.axis])

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        del axes
        return ()

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        given = dict(zip(self.takes, arrays, strict=True))
        wide = {role: array.astype("f8") for role, array in given.items()}
        spread = wide["var"] + self.eps
        if not (spread > 0).all():
            raise OpError(f"{self}: var + eps is not positive everywhere")
        root = np.sqrt(spread)
        factor = wide.get("gamma", np.float64(1)) / root
        column = [-1 if axis == self.axis else 1 for axis in range(given["weight"].ndim)]
        weight = wide["weight"] * factor.reshape(column)
        zero = np.float64(0)
        bias = (wide.get("bias", zero) - wide["mean"]) * factor + wide.get("beta", zero)
        return round_once(weight, given["weight"]), round_once(bias, given["weight"])

    def inverse(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class FoldNormalization:
    """Fold (x - mean) / std of the input into the first layer, `[out, in, …]`; weight and bias.

    weight' = weight / std, bias' = bias - the sum of weight' · mean, channel by channel in order.
    A layer that pads with zeros pads the mean colour before, and black after: with a mean its
    border then differs. `borders: exact` claims that the layer does not pad, which `verify` checks;
    `borders: differ` accepts it. Without a mean both are alike and nothing has to be said. Written

        from: [conv.weight, conv.bias]
        to: [conv.weight, conv.bias]
        ops:
          - fold_normalization:
              {takes: [weight, bias], mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.2], borders: exact}
    """

    takes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    borders: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.COMPUTED

    def __str__(self) -> str:
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        borders = f", borders {self.borders}" if self.borders else ""
        return f"fold normalization ({' '.join(self.takes)}), mean {mean}, std {std}{borders}"

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[FoldNormalization, Frame]":
        del symbols
        shapes = _by_role(self.takes, frame, "fold_normalization")
        weight = shapes["weight"]
        if len(weight) < 2 or weight[1] != len(self.mean):
            what = f"fold_normalization has {len(self.mean)} channels, found {list(weight)}"
            raise OpError(f"{what}: [out, in, …] is needed")
        _refuse_lengths(shapes, weight[0], "fold_normalization")
        return self, _weight_and_bias(frame, weight, weight[0])

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        del axes
        return ()

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        given = dict(zip(self.takes, arrays, strict=True))
        like = given["weight"]
        weight = like.astype("f8") / np.reshape(self.std, [1, -1, *[1] * (like.ndim - 2)])
        shift = np.zeros(like.shape[0])
        for channel, mean in enumerate(self.mean):
            for place in np.ndindex(like.shape[2:]):
                shift += weight[(slice(None), channel, *place)] * mean
        bias = given["bias"].astype("f8") if "bias" in given else np.zeros(like.shape[0])
        return round_once(weight, like), round_once(bias - shift, like)

    def inverse(self) -> None:
        return None


def parse_fold_batchnorm(argument: Mapping[str, Any]) -> FoldBatchnorm:
    """Read a batch norm fold; raise OpError for sources that do not make one."""
    takes = _parse_takes(argument["takes"], ROLES, ("weight", "mean", "var"))
    eps, axis = argument["eps"], argument.get("axis", 0)
    if not eps >= 0:
        raise OpError(f"eps must not be negative, found {eps:g}")
    if not isinstance(axis, int):
        raise OpError(f"axis is the number of the output channels' axis, found {axis!r}")
    return FoldBatchnorm(takes, eps, axis)


def parse_fold_normalization(argument: Mapping[str, Any]) -> FoldNormalization:
    """Read an input normalisation fold; raise OpError where the border is not spoken of."""
    takes = _parse_takes(argument["takes"], ("weight", "bias"), ("weight",))
    mean, std, borders = argument["mean"], argument["std"], argument.get("borders", "")
    if len(mean) != len(std) or not mean:
        raise OpError(f"mean has {len(mean)} channels, std {len(std)}")
    if not all(value > 0 for value in std):
        raise OpError(f"std must be positive, found {list(std)}")
    if borders not in ("", *BORDERS):
        raise OpError(f"borders is one of {', '.join(BORDERS)}, found {borders!r}")
    if any(mean) and not borders:
        raise OpError(
            "a layer that pads zeros has other borders once a mean is folded into it: "
            "say `borders: exact` (it does not pad) or `borders: differ`"
        )
    return FoldNormalization(takes, mean, std, borders)


def _parse_takes(
    takes: Iterable[Any], known: tuple[str, ...], needed: tuple[str, ...]
) -> tuple[str, ...]:
    roles = tuple(map(str, takes))
    strange = [role for role in roles if role not in known]
    if strange:
        raise OpError(f"takes has no {strange[0]!r}, use some of: {', '.join(known)}")
    if len(set(roles)) != len(roles):
        raise OpError(f"takes names a tensor twice: {' '.join(roles)}")
    lacking = [role for role in needed if role not in roles]
    if lacking:
        raise OpError(f"takes needs {' and '.join(lacking)}, found {' '.join(roles)}")
    return roles


def _by_role(takes: tuple[str, ...], frame: Frame, op: str) -> dict[str, Shape]:
    refuse_uncomputable(frame, op)
    if len(frame.shapes) != len(takes):
        raise OpError(f"{op} takes {' '.join(takes)}, found {len(frame.shapes)} tensors")
    return dict(zip(takes, frame.shapes, strict=True))


def _refuse_lengths(shapes: Mapping[str, Shape], channels: int, op: str) -> None:
    for role, shape in shapes.items():
        if role != "weight" and shape != (channels,):
            raise OpError(f"{op}: {role} should be [{channels}], found {list(shape)}")


def _weight_and_bias(frame: Frame, weight: Shape, channels: int) -> Frame:
    return replace(frame, shapes=(weight, (channels,)), dtypes=frame.dtypes[:1] * 2, axes=())
