"""A fully connected head and the convolutional one that computes the same, for one input size."""

from torch import nn
from torch.nn import functional


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(8))
        self.fc6 = nn.Linear(4 * 4 * 4, 10)
        self.fc7 = nn.Linear(10, 10)
        self.fc8 = nn.Linear(10, 5)

    def forward(self, x):
        x = self.features(x).flatten(1)
        x = functional.relu(self.fc6(x))
        return self.fc8(functional.relu(self.fc7(x)))


class New(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(8)
        self.head = nn.ModuleList([nn.Conv2d(4, 10, 4), nn.Conv2d(10, 10, 1), nn.Conv2d(10, 5, 1)])

    def forward(self, x):
        x = self.pool(functional.relu(self.stem(x)))
        for layer in self.head[:2]:
            x = functional.relu(layer(x))
        return self.head[2](x).flatten(1)


MAPS = {
    "stem.weight": "features.0.weight",
    "stem.bias": "features.0.bias",
    "head.0.weight": "fc6.weight",
    "head.0.bias": "fc6.bias",
    "head.1.weight": "fc7.weight",
    "head.1.bias": "fc7.bias",
    "head.2.weight": "fc8.weight",
    "head.2.bias": "fc8.bias",
}
CHANGES = {
    "head.0.weight": lambda w: w.reshape(10, 4, 4, 4),
    "head.1.weight": lambda w: w[:, :, None, None],
    "head.2.weight": lambda w: w[:, :, None, None],
}
