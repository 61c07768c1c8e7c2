"""A layer that is called twice, tied weights, an auxiliary head that evaluation leaves out."""

from torch import nn
from torch.nn import functional


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.aux = nn.Linear(6, 4)
        self.inner = nn.Linear(6, 6)
        self.outer = nn.Linear(6, 6)
        self.outer.weight = self.inner.weight
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu(self.conv(x))
        x = functional.relu(self.again(functional.relu(self.again(x)))).mean((2, 3))
        if self.training:
            return self.head(x), self.aux(x)
        return self.head(functional.relu(self.outer(functional.relu(self.inner(x)))))


class New(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x).relu_()
        for _ in range(2):
            x = self.twice(x).relu_()
        x = self.first(x.mean((2, 3))).relu_()
        return self.last(self.second(x).relu_())


MAPS = {
    "stem.weight": "conv.weight",
    "stem.bias": "conv.bias",
    "twice.weight": "again.weight",
    "twice.bias": "again.bias",
    "first.weight": "inner.weight",
    "first.bias": "inner.bias",
    "second.weight": "outer.weight",
    "second.bias": "outer.bias",
    "last.weight": "head.weight",
    "last.bias": "head.bias",
}
