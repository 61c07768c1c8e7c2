"""Models that no mapping of moved tensors leads between: folded, fused, or with a layer more."""

import torch
from torch import nn
from torch.nn import functional


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.b(functional.relu(self.bn(self.a(x)))).mean((2, 3)))


class Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3)
        self.b = nn.Conv2d(6, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.b(functional.relu(self.a(x))).mean((2, 3)))


class Separate(nn.Module):
    """Attention with a projection each."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        made = functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.fc(self.out(made).mean(1))


class Fused(nn.Module):
    """The same with torch's own layer, and a token of the model's own in front."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 1, batch_first=True)
        self.head = nn.Linear(8, 4)
        self.place = nn.Parameter(torch.zeros(1, 64, 8))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Long(nn.Sequential):
    def __init__(self):
        layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Short(nn.Sequential):
    def __init__(self):
        layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x)).mean((2, 3))
