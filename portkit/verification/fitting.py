"""The source's tensor beside the target's, in one form, and how far the two are apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

_ALIKE = 1e-4  # of the largest value: two tensors in one form, whatever the arithmetic


@dataclass(frozen=True, slots=True)
class Fitted:
    """Two tensors in one form; `passed_on` is the source's, shaped as the target expects it."""

    wanted: Tensor
    got: Tensor
    passed_on: Tensor


def fit(reference: Tensor, seen: Tensor) -> Fitted | None:
    """Return the source's tensor in the form of the target's; None where no form fits.

    A head may be given `[N, C·h·w]` or `[N, C, h, w]`, and a model may keep channels last or
    flatten in another order than the source, with weights to match: the form that agrees best.
    Where one side averages over places before its head and the other after it, `[N, C]` is
    compared with the mean of `[N, C, h, w]`: a linear head commutes with the mean.
    """
    made = reference.to(dtype=seen.dtype, device=seen.device)
    if made.numel() != seen.numel():
        return _averaged(made, seen)
    plain = made.reshape(seen.shape)
    gate = _ALIKE * largest(plain)
    if made.ndim < 3 or farthest(plain, seen) <= gate:
        return Fitted(plain, seen, plain)
    moved = (made.movedim(1, -1).reshape(seen.shape), made.movedim(-1, 1).reshape(seen.shape))
    best = next((other for other in moved if farthest(other, seen) <= gate), plain)
    return Fitted(best, seen, best)


def farthest(one: Tensor, other: Tensor) -> float:
    """Return max|one - other|, exact for floats that are close; NaN where there is one."""
    if not one.numel():
        return 0.0
    if one.is_complex():
        return float((one - other).abs().max())
    if not one.is_floating_point() or one.dtype is not other.dtype:
        one, other = one.double(), other.double()
    return float((one - other).abs_().max())


def largest(tensor: Tensor) -> float:
    if not tensor.numel():
        return 0.0
    if tensor.is_complex():
        return float(tensor.abs().max())
    low, high = torch.aminmax(tensor.byte() if tensor.dtype is torch.bool else tensor)
    return float(torch.maximum(-low.double(), high.double()))


def _averaged(made: Tensor, seen: Tensor) -> Fitted | None:
    channels = seen.shape[:2]
    if min(made.ndim, seen.ndim) < 2 or made.shape[:2] != channels:
        return None
    if channels.numel() not in (made.numel(), seen.numel()) or not seen.is_floating_point():
        return None
    wanted, got = (tensor.reshape(*channels, -1).mean(dim=2) for tensor in (made, seen))
    places = [1] * (seen.ndim - 2)
    return Fitted(wanted, got, wanted.reshape(*channels, *places).expand_as(seen))
