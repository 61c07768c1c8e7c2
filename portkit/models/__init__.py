"""The nets of the papers as plain modules, with parameter names that port without tables."""

from portkit.models.alexnets import AlexNet, alexnet
from portkit.models.building import build
from portkit.models.heads import SpatialMean
from portkit.models.init import INITIALISATIONS
from portkit.models.vgg import (
    CONFIGURATIONS,
    VGG,
    vgg11,
    vgg11_bn,
    vgg11_lrn,
    vgg11_lrn_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg16c,
    vgg16c_bn,
    vgg19,
    vgg19_bn,
)

__all__ = [
    "CONFIGURATIONS",
    "INITIALISATIONS",
    "VGG",
    "AlexNet",
    "SpatialMean",
    "alexnet",
    "build",
    "vgg11",
    "vgg11_bn",
    "vgg11_lrn",
    "vgg11_lrn_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg16c",
    "vgg16c_bn",
    "vgg19",
    "vgg19_bn",
]
