"""The ops that compute a second time: the same formula in float64, carried out by other means.

IEEE 754 leaves addition, multiplication, division and square roots no choice of bits, so that even
what is computed is compared bit for bit. Python's own floats, accumulations and powers of two stand
against the conversion's array arithmetic.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from portkit.ops import Add, FoldBatchnorm, FoldNormalization, Mean, OpError, Scale, Sum

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

    Arrays = tuple[Array, ...]


def _sum(op: Sum, arrays: "Arrays") -> "Arrays":
    return tuple(_narrowed(_added_up(array, int(op.axis)), array) for array in arrays)


def _mean(op: Mean, arrays: "Arrays") -> "Arrays":
    axis = int(op.axis)
    return tuple(_narrowed(_added_up(a, axis) / float(a.shape[axis]), a) for a in arrays)


def _added_up(array: "Array", axis: int) -> "Array":
    return np.asarray(np.add.accumulate(array, axis, np.float64).take(-1, axis))


def _narrowed(exact: "Array", like: "Array") -> "Array":
    with np.errstate(over="ignore"):
        return np.asarray(exact, like.dtype)


def _scale(op: Scale, arrays: "Arrays") -> "Arrays":
    """Multiply by a factor's significand, then by its power of two, which rounds nothing."""
    return tuple(_per_entry(op, array, _times) for array in arrays)


def _times(exact: "Array", factor: float) -> "Array":
    significand, exponent = math.frexp(factor)
    return np.asarray(np.ldexp(exact * significand, exponent))


def _add(op: Add, arrays: "Arrays") -> "Arrays":
    return tuple(_per_entry(op, array, lambda exact, term: exact - -term) for array in arrays)


def _per_entry(
    op: Scale | Add, array: "Array", change: "Callable[[Array, float], Array]"
) -> "Array":
    numbers = op.by if isinstance(op.by, tuple) else (op.by,)
    axis = 0 if op.axis is None else int(op.axis) + 1
    entries = np.split(array[np.newaxis], len(numbers), axis)
    changed = [change(e.astype(np.float64), n) for e, n in zip(entries, numbers, strict=True)]
    return _narrowed(np.concatenate(changed, axis)[0], array)


def _fold_batchnorm(op: FoldBatchnorm, arrays: "Arrays") -> "Arrays":
    """Fold channel by channel, with Python's own floats."""
    given = dict(zip(op.takes, arrays, strict=True))
    channels = np.moveaxis(given["weight"], op.axis, 0)
    weight, bias = np.empty(channels.shape), np.empty(len(channels))
    for i, kernel in enumerate(channels):
        here = {role: float(given[role][i]) for role in op.takes if role != "weight"}
        spread = here["var"] + op.eps
        if not spread > 0:
            raise OpError(f"{op}: var + eps is {spread:g} in channel {i}")
        factor = here.get("gamma", 1.0) / math.sqrt(spread)
        weight[i] = np.multiply(kernel, factor, dtype=np.float64)
        bias[i] = (here.get("bias", 0.0) - here["mean"]) * factor + here.get("beta", 0.0)
    like = given["weight"]
    return _narrowed(np.moveaxis(weight, 0, op.axis), like), _narrowed(bias, like)


def _fold_normalization(op: FoldNormalization, arrays: "Arrays") -> "Arrays":
    """Fold output channel by output channel, element by element, with Python's own floats."""
    given = dict(zip(op.takes, arrays, strict=True))
    like = given["weight"]
    biases = given["bias"].tolist() if "bias" in given else [0.0] * len(like)
    weight, bias = np.empty(like.shape), np.empty(len(like))
    for i, kernel in enumerate(like):
        shift = 0.0
        for channel, (mean, std) in enumerate(zip(op.mean, op.std, strict=True)):
            weights = [value / std for value in kernel[channel].ravel().tolist()]
            weight[i, channel] = np.reshape(weights, kernel[channel].shape)
            for value in weights:
                shift += value * mean
        bias[i] = biases[i] - shift
    return _narrowed(weight, like), _narrowed(bias, like)


COMPUTED: Mapping[type, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        Sum: _sum,
        Mean: _mean,
        Scale: _scale,
        Add: _add,
        FoldBatchnorm: _fold_batchnorm,
        FoldNormalization: _fold_normalization,
    }
)
