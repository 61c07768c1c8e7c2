"""VGG (Simonyan & Zisserman 2015): the paper's table 1, with either head.

"Very Deep Convolutional Networks for Large-Scale Image Recognition", configurations A to E. Every
convolution keeps the size of its map and is followed by a ReLU; every block ends in a 2×2 max pool
of stride 2.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from portkit.models.heads import HeadSizes, build_head, refuse_small
from portkit.models.init import initialise

Block = tuple[int | str, ...]  # kernel sizes, and "lrn"

# Table 1, column by column. C ends its last three blocks with a 1×1 convolution.
CONFIGURATIONS: Mapping[str, tuple[Block, ...]] = MappingProxyType(
    {
        "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
        "A-LRN": ((3, "lrn"), (3,), (3, 3), (3, 3), (3, 3)),
        "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
        "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
        "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
        "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
    }
)
WIDTHS = (1, 2, 4, 8, 8)  # channels of each block, in units of the first block's
BASE = 64  # channels of the first block at width 1


class VGG(nn.Module):
    """A net of one configuration.

    Takes images `[N, in_channels, H, W]`. With `head="fc"` it answers with logits
    `[N, num_classes]`, with `head="conv"` with a map of scores `[N, num_classes, h, w]`. `width` is
    a factor on all channel counts, `pooled` the last map's height and width at the training size
    (which is `32·pooled` pixels).
    """

    def __init__(
        self,
        configuration: str = "D",
        *,
        batch_norm: bool = False,
        head: str = "fc",
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        hidden: int = 4096,
        pooled: int = 7,
        dropout: float = 0.5,
        init: str = "kaiming_fan_in",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if configuration not in CONFIGURATIONS:
            known = ", ".join(CONFIGURATIONS)
            raise ValueError(f"no configuration {configuration!r}, use one of: {known}")
        base = max(1, round(BASE * width))
        layers = _layers(CONFIGURATIONS[configuration], in_channels, base, batch_norm=batch_norm)
        self.features = nn.Sequential(*layers)
        sizes = HeadSizes(base * WIDTHS[-1], pooled, hidden, num_classes, dropout)
        self.classifier = build_head(head, sizes)
        self.least = 32 * (pooled if head == "conv" else 1)  # five pools halve it
        initialise(self, init, seed)

    def forward(self, images: Tensor) -> Tensor:
        refuse_small(images, self.least)
        scores: Tensor = self.classifier(self.features(images))
        return scores


def _layers(
    blocks: tuple[Block, ...], in_channels: int, base: int, *, batch_norm: bool
) -> Iterator[nn.Module]:
    channels = in_channels
    for block, width in zip(blocks, WIDTHS, strict=True):
        for kernel in block:
            if isinstance(kernel, str):
                # Section 3.1 takes the parameters of Krizhevsky et al. 2012: n=5, k=2, β=0.75 and
                # α=1e-4, which torch divides by n.
                yield nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
                continue
            yield nn.Conv2d(channels, width * base, kernel, padding=kernel // 2)
            if batch_norm:
                yield nn.BatchNorm2d(width * base)
            yield nn.ReLU(inplace=True)
            channels = width * base
        yield nn.MaxPool2d(2, 2)


def vgg11(**options: Any) -> VGG:
    """Return configuration A: 8 convolutions, 3 linear layers."""
    return VGG("A", **options)


def vgg11_bn(**options: Any) -> VGG:
    """Return configuration A with batch norm."""
    return VGG("A", batch_norm=True, **options)


def vgg11_lrn(**options: Any) -> VGG:
    """Return configuration A-LRN: A with local response normalisation after the first ReLU."""
    return VGG("A-LRN", **options)


def vgg11_lrn_bn(**options: Any) -> VGG:
    """Return configuration A-LRN with batch norm."""
    return VGG("A-LRN", batch_norm=True, **options)


def vgg13(**options: Any) -> VGG:
    """Return configuration B: 10 convolutions."""
    return VGG("B", **options)


def vgg13_bn(**options: Any) -> VGG:
    """Return configuration B with batch norm."""
    return VGG("B", batch_norm=True, **options)


def vgg16c(**options: Any) -> VGG:
    """Return configuration C: 13 convolutions, three of them 1×1."""
    return VGG("C", **options)


def vgg16c_bn(**options: Any) -> VGG:
    """Return configuration C with batch norm."""
    return VGG("C", batch_norm=True, **options)


def vgg16(**options: Any) -> VGG:
    """Return configuration D: 13 convolutions, all 3×3."""
    return VGG("D", **options)


def vgg16_bn(**options: Any) -> VGG:
    """Return configuration D with batch norm."""
    return VGG("D", batch_norm=True, **options)


def vgg19(**options: Any) -> VGG:
    """Return configuration E: 16 convolutions."""
    return VGG("E", **options)


def vgg19_bn(**options: Any) -> VGG:
    """Return configuration E with batch norm."""
    return VGG("E", batch_norm=True, **options)
