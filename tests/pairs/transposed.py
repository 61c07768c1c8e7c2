"""Layers whose weights are stored transposed: square ones, and kernels with channels last."""

import torch
from torch import nn
from torch.nn import functional


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.up = nn.Linear(6, 8)
        self.same = nn.Linear(8, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        x = functional.gelu(self.conv(x)).mean((2, 3))
        x = functional.gelu(self.up(x))
        return self.out(functional.gelu(self.same(x)))


class Transposed(nn.Module):
    """As the Conv1D of GPT-2: `[in, out]`."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class ChannelsLast(nn.Module):
    """`[h, w, in, out]`, as Keras stores kernels."""

    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(size, size, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return functional.conv2d(x, self.kernel.permute(3, 2, 0, 1), self.bias)


class New(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = ChannelsLast(3, 6, 3)
        self.a = Transposed(6, 8)
        self.b = Transposed(8, 8)
        self.kernel = nn.Parameter(torch.zeros(8, 4))
        self.offset = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        x = functional.gelu(self.c(x)).mean((2, 3))
        x = functional.gelu(self.b(functional.gelu(self.a(x))))
        return x @ self.kernel + self.offset


MAPS = {
    "c.kernel": "conv.weight",
    "c.bias": "conv.bias",
    "a.weight": "up.weight",
    "a.bias": "up.bias",
    "b.weight": "same.weight",
    "b.bias": "same.bias",
    "kernel": "out.weight",
    "offset": "out.bias",
}
CHANGES = {
    "c.kernel": lambda w: w.permute(2, 3, 1, 0),
    "a.weight": lambda w: w.T,
    "b.weight": lambda w: w.T,
    "kernel": lambda w: w.T,
}
