"""Layers by family, their settings, and the cause that it is where a setting differs."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from portkit.verification.causes import Cause
from portkit.verification.results import Check, Diagnosis

Kinds = type[nn.Module] | tuple[type[nn.Module], ...]
Modules = tuple[nn.Module, nn.Module]  # source and target
Layer = tuple[str, nn.Module]  # with its name

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
DROPOUTS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
# Without tensors, each element by itself.
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign,
    nn.LogSigmoid, nn.Threshold,
)  # fmt: skip
# Within a family, another class is a difference like any other.
FAMILIES: Mapping[str, tuple[type[nn.Module], ...]] = MappingProxyType(
    {
        "pooling": POOLS,
        "adaptive pooling": (
            nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
            nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
        ),
        "activation": (*ACTIVATIONS, nn.PReLU, nn.GLU),
        "softmax": (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin),
        "lrn": (nn.LocalResponseNorm,),
        "resizing": (nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
        "padding": (
            nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad1d,
            nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d,
        ),
        "batch norm": (*BATCH_NORMS, nn.SyncBatchNorm),
        "dropout": DROPOUTS,
        "reshaping": (nn.Identity, nn.Flatten, nn.Unflatten),
    }
)  # fmt: skip
# Family → setting → the cause that it is when it differs, where it has one of its own.
_CAUSES: Mapping[str, Mapping[str, Cause]] = MappingProxyType(
    {
        "pooling": {
            "kernel_size": Cause.KERNEL_SIZE,
            "stride": Cause.STRIDE,
            "padding": Cause.PADDING,
            "dilation": Cause.DILATION,
            "ceil_mode": Cause.CEIL_MODE,
            "count_include_pad": Cause.COUNT_INCLUDE_PAD,
            "divisor_override": Cause.COUNT_INCLUDE_PAD,
        },
        "adaptive pooling": {"output_size": Cause.ADAPTIVE_POOL_FROZEN},
        "activation": dict.fromkeys(
            (
                "negative_slope", "alpha", "approximate", "beta", "min_val", "max_val",
                "threshold", "value",
            ),
            Cause.ACTIVATION_CHANGED,
        ),
        "softmax": {"dim": Cause.SOFTMAX_AXIS},
        "lrn": {
            "alpha": Cause.LRN_ALPHA,
            "k": Cause.LRN_K,
            "size": Cause.LRN_SIZE,
            "beta": Cause.LRN_BETA,
        },
        "resizing": dict.fromkeys(("mode", "align_corners", "scale_factor"), Cause.RESIZE_MODE),
        "padding": dict.fromkeys(("padding", "value"), Cause.PADDING),
        "batch norm": {
            "eps": Cause.BATCHNORM_EPS,
            "training": Cause.BATCHNORM_TRAIN_MODE,
        },
        "dropout": {"training": Cause.DROPOUT_ACTIVE},
        "reshaping": {},
    }
)  # fmt: skip
_OF_ANY: Mapping[str, Cause] = MappingProxyType(  # of convolutions, and of what is of no family
    {
        "eps": Cause.NORM_EPS,
        "stride": Cause.STRIDE,
        "padding": Cause.PADDING,
        "padding_mode": Cause.PADDING_MODE,
        "groups": Cause.GROUPS,
        "dilation": Cause.DILATION,
    }
)


def family_of(layer: nn.Module) -> str:
    """Return what kind of layer a module is; its class where it is of no usual kind."""
    for family, kinds in FAMILIES.items():
        if isinstance(layer, kinds):
            return family
    return type(layer).__name__


def causes_of(layer: nn.Module) -> Mapping[str, Cause]:
    """Return the settings of a layer that have a cause of their own, and which it is."""
    return _CAUSES.get(family_of(layer), _OF_ANY)


def layers_of(module: nn.Module, kinds: Kinds) -> list[tuple[str, Any]]:
    """Return the layers of some kinds with their names, as the model lists them."""
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def settings_of(layer: nn.Module, names: Iterable[str]) -> dict[str, Any]:
    """Return a layer's settings, 2 and (2, 2) written alike."""
    found = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    return {name: _plain(value) for name, value in found.items() if not isinstance(value, Tensor)}


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def differing(want: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings that both have, and have differently."""
    return tuple(name for name in want if name in got and want[name] != got[name])


def listed(settings: Mapping[str, Any], only: tuple[str, ...] = ()) -> str:
    """Return settings as people read them."""
    chosen = {name: value for name, value in settings.items() if not only or name in only}
    return ", ".join(f"{name} {value}" for name, value in chosen.items()) or "as its class has it"


def check_settings(subject: str, what: str, differs: tuple[str, ...], layer: nn.Module) -> Check:
    """Return whether nothing differs and, where something does, the cause that it is."""
    known = causes_of(layer)
    causes = [known[name] for name in differs if name in known]
    diagnosis = Diagnosis(causes[0], what) if causes else None
    return Check(subject, passed=not differs, what=what, diagnosis=diagnosis)
