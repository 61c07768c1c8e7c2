"""Moves trained weights between model implementations and file formats, and proves it."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portkit.api import convert, load, plan, verify
    from portkit.conversion import OutputOptions
    from portkit.errors import PortkitError
    from portkit.verification import Options, Tolerances

__version__ = "0.1.0"
__all__ = [
    "Options",
    "OutputOptions",
    "PortkitError",
    "Tolerances",
    "convert",
    "load",
    "plan",
    "verify",
]

_HOMES: Mapping[str, str] = MappingProxyType(
    {
        "Options": "portkit.verification",
        "OutputOptions": "portkit.conversion",
        "PortkitError": "portkit.errors",
        "Tolerances": "portkit.verification",
        "convert": "portkit.api",
        "load": "portkit.api",
        "plan": "portkit.api",
        "verify": "portkit.api",
    }
)


def __getattr__(name: str) -> Any:
    """Import the API when it is first asked for, so that `import portkit` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
