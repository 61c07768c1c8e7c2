"""AlexNet in the one-tower form (Krizhevsky 2014), as torchvision has it, with either head.

"One weird trick for parallelizing convolutional neural networks". Five convolutions, three
overlapping 3×3 max pools of stride 2, three linear layers; no local response normalisation.
"""

from torch import Tensor, nn

from portkit.models.heads import HeadSizes, build_head, refuse_small
from portkit.models.init import initialise

WIDTHS = (1, 3, 6, 4, 4)  # channels of each convolution, in units of the first one's
BASE = 64


class AlexNet(nn.Module):
    """A net for images `[N, in_channels, H, W]`.

    With `head="fc"` it answers with logits `[N, num_classes]`, with `head="conv"` with a map of
    scores `[N, num_classes, h, w]`. `width` is a factor on all channel counts, `pooled` the last
    map's height and width at the training size (224 pixels for 6).
    """

    def __init__(
        self,
        *,
        head: str = "fc",
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        hidden: int = 4096,
        pooled: int = 6,
        dropout: float = 0.5,
        init: str = "kaiming_fan_in",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        one, two, three, four, five = (max(1, round(BASE * width)) * factor for factor in WIDTHS)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, one, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(one, two, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(two, three, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(three, four, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(four, five, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = build_head(head, HeadSizes(five, pooled, hidden, num_classes, dropout))
        # Backwards from a p×p map: three pools of 3/2 need 8p+7, the first convolution 32p+31.
        self.least = 32 * (pooled if head == "conv" else 1) + 31
        initialise(self, init, seed)

    def forward(self, images: Tensor) -> Tensor:
        refuse_small(images, self.least)
        scores: Tensor = self.classifier(self.features(images))
        return scores


def alexnet(**options: object) -> AlexNet:
    """Return AlexNet: 5 convolutions, 3 linear layers."""
    return AlexNet(**options)  # type: ignore[arg-type]
