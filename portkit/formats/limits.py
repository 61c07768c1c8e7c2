"""What no honest file exceeds: checked before a claim is computed with, printed or allocated."""

from typing import Any

_MOST_AXES = 64  # as numpy has it
_MOST_QUOTED = 8
_LARGEST = 1 << 63


def is_count(value: Any) -> bool:
    """Say whether a value is a whole number that a file can mean as a size or a place."""
    return type(value) is int and 0 <= value < _LARGEST


def is_shape(value: Any) -> bool:
    """Say whether a list or tuple can be a tensor's shape, or its strides."""
    if not isinstance(value, list | tuple) or len(value) > _MOST_AXES:
        return False
    # `is_count`, spelt out: large headers hold very many
    return all(type(size) is int and 0 <= size < _LARGEST for size in value)


def brief(value: Any) -> str:
    """Return a value from a file as a complaint may quote it: short, whatever it is.

    The repr of containers that hold each other twice, level after level, would never end.
    """
    if isinstance(value, list | tuple) and len(value) <= _MOST_QUOTED:
        return f"[{', '.join(map(_brief_one, value))}]"
    return _brief_one(value)


def _brief_one(value: Any) -> str:
    if type(value) is int and abs(value) > _LARGEST:
        return f"a number of {value.bit_length()} bits"
    if value is None or type(value) in (bool, int, float, str):
        return ascii(value)[:60]
    return type(value).__name__
