"""Layers and their settings, as comparisons of configurations read and word them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from portkit.verification.results import Check, Diagnosis

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)

Modules = tuple[nn.Module, nn.Module]  # source and target
Layer = tuple[str, nn.Module]  # with its name

# Setting → the cause that it is when it differs, where it has one of its own.
_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "alpha": "lrn_alpha",
        "ceil_mode": "ceil_mode",
        "count_include_pad": "count_include_pad",
        "eps": "batchnorm_eps",
        "groups": "groups",
        "k": "lrn_k",
        "output_size": "adaptive_pool_frozen",
        "padding": "padding",
        "padding_mode": "padding_mode",
        "size": "lrn_size",
        "stride": "stride",
        "align_corners": "resize_mode",
        "mode": "resize_mode",
        "scale_factor": "resize_mode",
    }
)


def layers_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[Layer]:
    """Return the layers of some kinds with their names, as the model lists them."""
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def settings_of(layer: nn.Module, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a layer's settings, 2 and (2, 2) written alike."""
    found = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    return {name: _plain(value) for name, value in found.items()}


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
    causes = [_CAUSES[name] for name in differs if name in _CAUSES and _fits(name, layer)]
    diagnosis = Diagnosis(causes[0], what) if causes else None
    return Check(subject, passed=not differs, what=what, diagnosis=diagnosis)


def _fits(name: str, layer: nn.Module) -> bool:
    """Say whether a setting means on this layer what its cause is called after."""
    if name == "eps":
        return isinstance(layer, BATCH_NORMS)
    if name in ("alpha", "k", "size"):
        return isinstance(layer, nn.LocalResponseNorm)
    return True
