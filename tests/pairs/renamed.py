"""A plain net by attributes, and the same one as a Sequential under other names."""

from torch import nn
from torch.nn import functional


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)  # declared first, run last
        self.conv_b = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv_a = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x):
        x = functional.relu(self.norm(self.conv_a(x)))
        x = functional.relu(self.conv_b(x))
        return self.fc(x.mean((2, 3)))


class New(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )


MAPS = {
    "0.0.weight": "conv_a.weight",
    "0.0.bias": "conv_a.bias",
    "0.1.weight": "norm.weight",
    "0.1.bias": "norm.bias",
    "0.1.running_mean": "norm.running_mean",
    "0.1.running_var": "norm.running_var",
    "0.1.num_batches_tracked": "norm.num_batches_tracked",
    "1.weight": "conv_b.weight",
    "1.bias": "conv_b.bias",
    "5.weight": "fc.weight",
    "5.bias": "fc.bias",
}
