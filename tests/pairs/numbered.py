"""Twelve equal convolutions, whose names sort as 1, 10, 11, 12, 2, …"""

from torch import nn


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        for number in sorted(range(1, 13), key=str):
            self.add_module(f"conv{number}", nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, x):
        for number in range(1, 13):
            x = self.get_submodule(f"conv{number}")(x).relu()
        return x.mean((2, 3))


class New(nn.Sequential):
    def __init__(self):
        layers = []
        for _ in range(12):
            layers += [nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


MAPS = {f"{2 * i}.{name}": f"conv{i + 1}.{name}" for i in range(12) for name in ("weight", "bias")}
