"""Small nets that have between them all that faults are put into, and correct ports of them."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from portkit.conversion import OutputOptions, convert_port
from portkit.porting import make_port
from portkit.verification import Options
from portkit.verification.jobs import Job
from portkit.verification.sides import side_of, written_side

HEADS = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"
SAME = "portkit: 1\nfrom: python:nets:{0}\nto: python:nets:{0}\nrules:\n  - map: '{{r:**}}'\n"
OWN = ("lrn", "residual", "tiny")  # the nets in this file
OWN_SIZE = (48, 48)  # of their images
KNOWN = ("alexnet", "vgg11", "vgg16_bn")  # also run at full size


def lrn():
    """Return a net of AlexNet's kind: LRN, groups, ceil mode, equal layers, a square FC layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(8, 12, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(108, 20),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(20, 20),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(20, 6),
    )


class Block(nn.Module):
    """A residual block that activates first (He et al. 2016, "Identity Mappings")."""

    def __init__(self, channels):
        super().__init__()
        self.before = nn.ReLU()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.between = nn.GELU()
        self.two = nn.Conv2d(channels, channels, 3, padding=2, dilation=2)

    def forward(self, values):
        made = self.two(self.between(self.norm(self.one(self.before(values)))))
        return values + made


class Residual(nn.Module):
    """Batch norms, residual blocks, padded pools, a resize, two outputs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.average = nn.AvgPool2d(3, 2, 1)
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.head, self.other = nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, images):
        values = self.blocks(self.pool(self.norm(self.stem(images))))
        values = functional.gelu(self.larger(self.average(values)))
        pooled = values.amax((2, 3)) + values.mean((2, 3))
        return self.head(pooled), self.other(pooled)


def residual():
    return Residual()


def tiny():
    """Return a net with its own weights, some of them denormal, that answers probabilities."""
    net = nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 4), nn.Softmax(1))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=random))
        net[0].bias[:3] = torch.tensor([1e-40, -3e-42, 1e-44])
    return net


PORTS = {
    "alexnet": (f"fc-head:alexnet{HEADS}@random:7", "conv-head"),
    "vgg11": (f"fc-head:vgg11{HEADS}@random:7", "conv-head"),
    "vgg16_bn": (f"fc-head:vgg16_bn{HEADS}@random:7", "conv-head"),
    "vgg11_lrn": (f"fc-head:vgg11_lrn{HEADS}@random:7", "conv-head"),
    "conv head back": (f"conv-head:vgg11{HEADS}@random:7", "fc-head"),
    "demo": ("demo:fashion", "conv-head"),
    "lrn": ("python:nets:lrn@random:7", "python:nets:lrn"),
    "residual": ("python:nets:residual@random:7", "python:nets:residual"),
    "tiny": ("python:nets:tiny", "python:nets:tiny"),
}


def make_job(name: str, folder: Path, options: Options) -> Job:
    """Port a net into a folder and return the job that verifies it.

    The nets of this file are imported by name, so its folder is put on the path.
    """
    source, target = PORTS[name]
    if str(Path(__file__).parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).parent))
    mapping = None
    if source.startswith("python:"):
        mapping = folder / "same.yaml"
        mapping.write_text(SAME.format(target.rpartition(":")[2]))
    port = make_port(source, target, mapping)
    path = folder / f"{name.replace(' ', '-')}.safetensors"
    convert_port(port, path, OutputOptions(force=True))
    return Job(port.plan, side_of(port.source), written_side(port.target, path), options)
