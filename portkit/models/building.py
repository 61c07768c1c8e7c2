"""From a scheme, an architecture's name and arguments to a module."""

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

from torch import nn

from portkit.errors import PortkitError
from portkit.models import vgg
from portkit.models.alexnets import AlexNet

_VGGS = tuple(
    f"{name}{norm}"
    for name in ("vgg11", "vgg11_lrn", "vgg13", "vgg16c", "vgg16", "vgg19")
    for norm in ("", "_bn")
)
BUILDERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "alexnet": AlexNet,
        **{name: getattr(vgg, name) for name in _VGGS},
    }
)
HEADS: Mapping[str, str] = MappingProxyType({"fc-head": "fc", "conv-head": "conv"})
_OWN_ARGUMENTS = tuple(
    name for name in signature(AlexNet.__init__).parameters if name not in ("self", "head")
)


def build(scheme: str, arch: str, **arguments: Any) -> nn.Module:
    """Build a net of a scheme, in eval mode; raise PortkitError for unknown words.

    `torchvision` nets take `num_classes`, and `in_channels` for files with a changed first layer.
    """
    where = f"{scheme}:{arch}"
    if scheme == "torchvision":
        return _build_torchvision(arch, arguments, where).eval()
    if scheme not in HEADS:
        known = ", ".join((*HEADS, "torchvision"))
        raise PortkitError.at(where, f"no scheme {scheme!r}", f"use one of: {known}")
    if arch not in BUILDERS:
        raise PortkitError.at(where, "no such net", f"use one of: {', '.join(BUILDERS)}")
    _refuse_unknown(arguments, _OWN_ARGUMENTS, where)
    try:
        return BUILDERS[arch](head=HEADS[scheme], **arguments).eval()
    except (ValueError, TypeError) as error:
        raise PortkitError.at(where, str(error)) from None


def _refuse_unknown(arguments: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = [name for name in arguments if name not in known]
    if unknown:
        fix = f"use some of: {', '.join(known)}"
        raise PortkitError.at(where, f"takes no argument {unknown[0]!r}", fix)


def _build_torchvision(arch: str, arguments: Mapping[str, Any], where: str) -> nn.Module:
    import torchvision

    _refuse_unknown(arguments, ("num_classes", "in_channels"), where)
    if arch not in torchvision.models.list_models(module=torchvision.models):
        raise PortkitError.at(where, "torchvision has no such net")
    given = {name: value for name, value in arguments.items() if name == "num_classes"}
    net: nn.Module = getattr(torchvision.models, arch)(weights=None, **given)
    channels = arguments.get("in_channels", 3)
    if channels != 3:
        _change_channels(net, int(channels), where)
    return net


def _change_channels(net: nn.Module, channels: int, where: str) -> None:
    """Replace the first convolution by one for another number of input channels."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            parent, _, leaf = name.rpartition(".")
            changed = nn.Conv2d(
                channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            setattr(net.get_submodule(parent), leaf, changed)
            return
    raise PortkitError.at(where, "has no convolution whose channels could be changed")
