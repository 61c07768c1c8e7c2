"""Moves trained weights between model implementations and file formats, and proves it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portkit.api import convert, load, plan, verify

__version__ = "0.1.0"
__all__ = ["convert", "load", "plan", "verify"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first asked for, so that `import portkit` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from portkit import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
