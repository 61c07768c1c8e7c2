"""What is done to whole activations and images by mistake: functions of what should have come."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from portkit.evaluation.preprocessing import MEAN, STD
from portkit.verification.causes import Cause
from portkit.verification.diagnosis.candidates import Candidate, Outcome
from portkit.verification.diagnosis.moves import KERNELS
from portkit.verification.diagnosis.roundings import REDUCED
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Signal = Callable[[Tensor], Tensor]

DROPPED = (0.5, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.7, 0.75, 0.8, 0.9)  # usual shares


def _swapped(tensor: Tensor) -> Tensor:
    if tensor.shape[1] % 2:
        raise ValueError("an odd number of channels has no halves")
    return tensor.roll(tensor.shape[1] // 2, 1)


def _normalised(tensor: Tensor) -> Tensor:
    return (tensor - _of(MEAN, tensor)) / _of(STD, tensor)


def _of(constants: tuple[float, ...], tensor: Tensor) -> Tensor:
    return torch.tensor(constants, dtype=tensor.dtype, device=tensor.device).reshape(1, 3, 1, 1)


# Each holds for any activations: cause, words, function of what should have come.
ANYWHERE: tuple[tuple[Cause, str, Signal], ...] = (
    (Cause.SOFTMAX_APPENDED, "a softmax is applied to it", lambda x: x.softmax(1)),
    (Cause.SOFTMAX_APPENDED, "a log-softmax is applied to it", lambda x: x.log_softmax(1)),
    (Cause.SOFTMAX_APPENDED, "a sigmoid is applied to it", torch.sigmoid),
    (Cause.ACTIVATION_CHANGED, "it is clamped at 6, as ReLU6 does", lambda x: x.clamp(max=6)),
    (Cause.ACTIVATION_ADDED, "a ReLU is applied to it", torch.relu),
    (Cause.NEGATED, "its sign is turned", torch.neg),
    (Cause.BATCH_MIXED, "a reshape mixes images and features", lambda x: x.reshape(-1, len(x)).t()),
    (Cause.BATCH_MIXED, "a reshape mixes images and features", lambda x: x.reshape(len(x), -1).t()),
    (Cause.BATCH_MIXED, "the images are in reverse order", lambda x: x.flip(0)),
    (Cause.BATCH_MIXED, "each image has another's values", lambda x: x.roll(1, 0)),
    (Cause.BATCH_MIXED, "each image has another's values", lambda x: x.roll(-1, 0)),
    (Cause.BATCH_MIXED, "all images have the first one's values", lambda x: x[:1].expand_as(x)),
    (Cause.CHANNELS_REVERSED, "its channels are reversed", lambda x: x.flip(1)),
    (Cause.SHIFTED, "its channels are shifted by 1", lambda x: x.roll(1, 1)),
    (Cause.SHIFTED, "its channels are shifted by -1", lambda x: x.roll(-1, 1)),
    (Cause.HALVES_SWAPPED, "the halves of its channels are swapped", _swapped),
)
MAPS: tuple[tuple[Cause, str, Signal], ...] = (
    (Cause.IMAGE_TRANSPOSED, "height and width are swapped", lambda x: x.transpose(2, 3)),
    (Cause.MIRRORED, "it is mirrored, left for right", lambda x: x.flip(3)),
    (Cause.MIRRORED, "it is mirrored, top for bottom", lambda x: x.flip(2)),
    (Cause.KERNEL_ROTATED, "it is turned by 180°", lambda x: x.flip(2, 3)),
    (Cause.CHANNEL_LAST_FLATTEN, "it is flattened channel-last", lambda x: x.permute(0, 2, 3, 1)),
    (Cause.CROP_SHIFTED, "it is shifted by one row", lambda x: x.roll(1, 2)),
    (Cause.CROP_SHIFTED, "it is shifted by one row", lambda x: x.roll(-1, 2)),
    (Cause.CROP_SHIFTED, "it is shifted by one column", lambda x: x.roll(1, 3)),
    (Cause.CROP_SHIFTED, "it is shifted by one column", lambda x: x.roll(-1, 3)),
)
IMAGES: tuple[tuple[Cause, str, Signal], ...] = (
    (Cause.NORMALISED_TWICE, "mean and std are applied once more", _normalised),
    (
        Cause.NOT_NORMALISED,
        "mean and std are not applied",
        lambda x: x * _of(STD, x) + _of(MEAN, x),
    ),
    (Cause.STD_MISSING, "the division by std is missing", lambda x: x * _of(STD, x)),
    (Cause.STD_MISSING, "std is divided by once more", lambda x: x / _of(STD, x)),
    (
        Cause.CONSTANTS_REVERSED,
        "mean and std are in BGR order",
        lambda x: (x * _of(STD, x) + _of(MEAN, x) - _of(MEAN[::-1], x)) / _of(STD[::-1], x),
    ),
    (
        Cause.RANGE_255,
        "values in 0 … 255 are normalised as if in 0 … 1",
        lambda x: (255 * (x * _of(STD, x) + _of(MEAN, x)) - _of(MEAN, x)) / _of(STD, x),
    ),
    (Cause.RANGE_255, "its values are times 255", lambda x: 255 * x),
    (Cause.RANGE_255, "its values are divided by 255", lambda x: x / 255),
)


def signals(wanted: Tensor, *, images: bool = False) -> Iterator[Candidate]:
    """Yield what may have been done to activations or, at a model's start, to images."""
    table = ANYWHERE if wanted.ndim > 1 else ANYWHERE[:0]
    if wanted.ndim == 4:
        if images and wanted.shape[1] == 3:
            yield from _bound(IMAGES, wanted)
        table = (*table, *MAPS)
    yield from _bound(table, wanted)
    if wanted.ndim == 2:
        yield from _flattened(wanted)
    for kind, rounded in REDUCED.items():
        words = f"it is rounded to {kind}"
        yield Candidate(Cause.REDUCED_PRECISION, words, partial(round_tensor, wanted, rounded))


def explain_factor(outcome: Outcome) -> Diagnosis | None:
    """Say so where everything is one multiple of what it should be."""
    wanted, got = outcome.wanted, outcome.got
    if wanted is None or wanted.numel() < 4:
        return None
    power = float((wanted.double() ** 2).sum())
    factor = float((wanted.double() * got.double()).sum()) / power if power else 0.0
    off = float((got - factor * wanted).abs().max())
    if not factor or not off <= 1e-5 * abs(factor) * float(wanted.abs().max()):
        return None
    words = f"{outcome.name}: it is {factor:.6g} times what it should be"
    for share in DROPPED:
        if abs(factor - (1 - share)) <= 1e-5 or abs(factor * (1 - share) - 1) <= 1e-5:
            return Diagnosis(Cause.DROPOUT_SCALE, f"{words}, as a dropout of {share:g} scales")
    if abs(factor + 1) <= 1e-5:
        return Diagnosis(Cause.NEGATED, words)
    return None if abs(factor - 1) <= 1e-5 else Diagnosis(Cause.SCALED, words)


def explain_dropout(outcome: Outcome) -> Diagnosis | None:
    """Say so where some values are zero and all others are scaled up to make up for them."""
    if outcome.wanted is None:
        return None
    there = outcome.wanted != 0
    ratios = (outcome.got[there] / outcome.wanted[there]).double()
    kept = ratios[ratios != 0]
    if len(kept) < 8 or len(kept) == len(ratios):
        return None
    factor = float(kept.median())
    lost = 1 - len(kept) / len(ratios)
    fits = factor > 1 and abs(lost - (1 - 1 / factor)) <= max(0.05, 2 / len(ratios) ** 0.5)
    if not fits or float((kept - factor).abs().max()) > 1e-3 * factor:
        return None
    words = f"{100 * lost:.3g} % of the values are dropped, the others are times {factor:.4g}"
    return Diagnosis(Cause.DROPOUT_ACTIVE, f"{outcome.name}: {words}: dropout is active")


def round_tensor(tensor: Tensor, rounded: "Callable[[Array], Array]") -> Tensor:
    """Round a tensor's values as numpy does."""
    values = tensor.detach().cpu().numpy().astype(np.float32)
    return torch.from_numpy(rounded(values).copy()).to(tensor)


def _bound(table: tuple[tuple[Cause, str, Signal], ...], wanted: Tensor) -> Iterator[Candidate]:
    for cause, words, signal in table:
        yield Candidate(cause, words, partial(signal, wanted))


def _flattened(wanted: Tensor) -> Iterator[Candidate]:
    """Yield the orders in which square maps may have been flattened."""
    count, width = wanted.shape
    words = "its maps are flattened channel-last (h w c)"
    for size in KERNELS:
        channels, rest = divmod(width, size**2)
        if rest == 0 and channels > 1:
            for shape, order in (
                ((count, channels, size, size), (0, 2, 3, 1)),
                ((count, size, size, channels), (0, 3, 1, 2)),
            ):
                turned = partial(_turned, wanted, shape, order)
                yield Candidate(Cause.CHANNEL_LAST_FLATTEN, words, turned)


def _turned(tensor: Tensor, shape: tuple[int, ...], order: tuple[int, ...]) -> Tensor:
    return tensor.reshape(shape).permute(order)
