"""What a function of torch does with a tensor that it is given: its role, and its axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_LAYER = ("input", "weight", "bias")
_NORMALISED = ("input", "", "weight", "bias")
_STATISTICS = ("input", "running_mean", "running_var", "weight", "bias")

# What each function calls its arguments, in their order.
_ARGUMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "linear": _LAYER,
        **{f"conv{n}d": _LAYER for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": _LAYER for n in (1, 2, 3)},
        "batch_norm": _STATISTICS,
        "instance_norm": _STATISTICS,
        "layer_norm": _NORMALISED,
        "group_norm": _NORMALISED,
        "rms_norm": _NORMALISED,
        "embedding": ("input", "weight"),
        "addmm": ("bias", "left", "right"),
        "matmul": ("left", "right"),
        "mm": ("left", "right"),
    }
)
_ROLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "conv": {"weight": "kernel", "bias": "shift"},
        "deconv": {"weight": "kernel", "bias": "shift"},
        "linear": {"weight": "kernel", "bias": "shift", "left": "kernel", "right": "kernel"},
        "norm": {
            "running_mean": "mean",
            "running_var": "spread",
            "weight": "scale",
            "bias": "shift",
        },
        "embedding": {"weight": "table"},
    }
)
_ELEMENTWISE: Mapping[str, str] = MappingProxyType(
    {"add": "shift", "sub": "mean", "mul": "scale", "div": "spread", "truediv": "spread"}
)
_ORDER = ("kernel", "table", "mean", "spread", "scale", "shift")
_SPACE: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {1: ("w",), 2: ("h", "w"), 3: ("d", "h", "w")}
)

ELEMENTWISE = "elementwise"
COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "max", "min"})


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument of one function: the role a tensor plays there."""

    role: str
    family: str
    axes: tuple[str, ...] = ()  # as the function sees them


def rank_of(role: str) -> int:
    """Return a role's place among the tensors of one call, the same however that is written."""
    plain = role.partition(" ")[0]
    return _ORDER.index(plain) if plain in _ORDER else len(_ORDER)


def plain_name(function: str) -> str:
    """Return what a function is called, whichever way it is written: `__iadd__` is `add`."""
    name = function.strip("_")
    for prefix in ("i", "r"):
        short = name.removeprefix(prefix)
        if function.startswith("__") and short in {*_ELEMENTWISE, "matmul"}:
            return short
    return name


def slot_of(function: str, argument: str, ndim: int) -> Slot:
    """Return the role of an argument, by its keyword or by its place (as digits)."""
    name = plain_name(function)
    if name in _ELEMENTWISE:
        return Slot(_ELEMENTWISE[name], ELEMENTWISE)
    named = _ARGUMENTS.get(name, ())
    if argument.isdigit():
        place = int(argument)
        argument = named[place] if place < len(named) and named[place] else argument
    family = _family(name)
    role = _ROLES.get(family, {}).get(argument, f"{name}:{argument}")
    return Slot(role, family, _axes(family, argument, ndim) if role == "kernel" else ())


def _family(name: str) -> str:
    if name.startswith("conv"):
        return "deconv" if "transpose" in name else "conv"
    if name in ("linear", "addmm", "matmul", "mm"):
        return "linear"
    return "norm" if name.endswith("_norm") and name in _ARGUMENTS else name


def _axes(family: str, argument: str, ndim: int) -> tuple[str, ...]:
    """Name a kernel's axes as the function that it is given to sees them."""
    first = {"right": ("in", "out"), "deconv": ("in", "out")}
    ends = first.get(argument, first.get(family, ("out", "in")))
    if family == "linear":
        return ends if ndim == 2 else ()
    return (*ends, *_SPACE.get(ndim - 2, ())) if ndim > 2 else ()
