"""Residual blocks of equal shapes, a normalisation written by hand and one by torch."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)

    def forward(self, x):
        made = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(made)) + x)


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.norm = nn.LayerNorm(6)
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.blocks(x).mean((2, 3)))


class ByHand(nn.Module):
    """Layer normalisation over channels, as in ConvNeXt."""

    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-5)
        return self.gamma[:, None, None] * x + self.beta[:, None, None]


class New(nn.Module):
    """All layers side by side, in one list a kind."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(6))
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(6))
        self.first = nn.Conv2d(3, 6, 1)
        self.ln = ByHand(6)

    def forward(self, x):
        x = self.ln(self.first(x))
        for block in range(0, 6, 2):
            made = functional.relu(self.norms[block](self.convs[block](x)))
            made = self.norms[block + 1](self.convs[block + 1](made))
            x = functional.relu(x + made)
        return self.fc(x.mean(3).mean(2))


MAPS = {
    "first.weight": "stem.weight",
    "first.bias": "stem.bias",
    "ln.gamma": "norm.weight",
    "ln.beta": "norm.bias",
    "fc.weight": "head.weight",
    "fc.bias": "head.bias",
    **{f"convs.{i}.weight": f"blocks.{i // 2}.conv{i % 2 + 1}.weight" for i in range(6)},
    **{
        f"norms.{i}.{name}": f"blocks.{i // 2}.bn{i % 2 + 1}.{name}"
        for i in range(6)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    },
}
