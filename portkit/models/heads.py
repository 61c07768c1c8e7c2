"""The two heads: fully connected over one pooled map, or convolutions sliding over any map.

A fully connected layer over a `C×H×W` feature map is a convolution with an `H×W` kernel and no
padding: `Linear[out, C·H·W]` and `Conv2d[out, C, H, W]` hold the same bytes in the same order. The
conv head therefore gives, for an input larger than the training crop, a map of class scores
(Sermanet et al. 2014, OverFeat; Simonyan & Zisserman 2015, section 3.2).
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """The numbers both heads share."""

    channels: int  # of the feature map
    pooled: int  # its height and width at the training size
    hidden: int
    num_classes: int
    dropout: float


def build_head(kind: str, sizes: HeadSizes) -> nn.Sequential:
    """Return the classifier of a net: `fc` or `conv`."""
    builders = {"fc": _fc_head, "conv": _conv_head}
    if kind not in builders:
        raise ValueError(f"head must be 'fc' or 'conv', found {kind!r}")
    return builders[kind](sizes)


def _fc_head(sizes: HeadSizes) -> nn.Sequential:
    """Map `[N, C, h, w]` to logits `[N, num_classes]`; the linear layers are 2, 5 and 8."""
    flat = sizes.channels * sizes.pooled**2
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(sizes.pooled),
        nn.Flatten(),
        nn.Linear(flat, sizes.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(sizes.dropout),
        nn.Linear(sizes.hidden, sizes.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(sizes.dropout),
        nn.Linear(sizes.hidden, sizes.num_classes),
    )


def _conv_head(sizes: HeadSizes) -> nn.Sequential:
    """Map `[N, C, h, w]` to scores `[N, num_classes, h-p+1, w-p+1]`; convolutions 0, 3 and 6."""
    return nn.Sequential(
        nn.Conv2d(sizes.channels, sizes.hidden, sizes.pooled),
        nn.ReLU(inplace=True),
        nn.Dropout(sizes.dropout),
        nn.Conv2d(sizes.hidden, sizes.hidden, 1),
        nn.ReLU(inplace=True),
        nn.Dropout(sizes.dropout),
        nn.Conv2d(sizes.hidden, sizes.num_classes, 1),
    )


def refuse_small(images: Tensor, least: int) -> None:
    """Raise ValueError where images `[N, C, H, W]` are too small for one answer."""
    height, width = images.shape[-2:]
    if height < least or width < least:
        raise ValueError(f"images of {height}×{width}, the net needs at least {least}×{least}")


class SpatialMean(nn.Module):
    """Average a score map `[N, C, h, w]` over its places: `[N, C]`."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores.mean(dim=(-2, -1))
