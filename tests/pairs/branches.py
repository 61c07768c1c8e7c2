"""Two branches that nothing but values and names tells apart, run in another order."""

from torch import nn
from torch.nn import functional


class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3))
        self.right = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head((self.left(x) + self.right(x)).mean((2, 3)))


class New(nn.Module):
    def __init__(self):
        super().__init__()
        self.right_in = nn.Conv2d(3, 6, 3)
        self.right_out = nn.Conv2d(6, 6, 3)
        self.left_in = nn.Conv2d(3, 6, 3)
        self.left_out = nn.Conv2d(6, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        right = self.right_out(functional.relu(self.right_in(x)))
        left = self.left_out(functional.relu(self.left_in(x)))
        return self.fc((right + left).mean((2, 3)))


MAPS = {
    "right_in.weight": "right.0.weight",
    "right_in.bias": "right.0.bias",
    "right_out.weight": "right.2.weight",
    "right_out.bias": "right.2.bias",
    "left_in.weight": "left.0.weight",
    "left_in.bias": "left.0.bias",
    "left_out.weight": "left.2.weight",
    "left_out.bias": "left.2.bias",
    "fc.weight": "head.weight",
    "fc.bias": "head.bias",
}
