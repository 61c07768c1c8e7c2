"""Facts: what a mapping claims about two models beside their tensors. A closed vocabulary."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.mapping import nodes
from portkit.mapping.nodes import Node

_AFFINE = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)([+-]\d+)?")


@dataclass(frozen=True, slots=True)
class Affine:
    """`32*pooled+31`: a number that depends on one parameter of the model."""

    scale: int
    parameter: str
    offset: int

    def __str__(self) -> str:
        return f"{self.scale}*{self.parameter}{self.offset:+d}"


def resolve_facts(facts: Mapping[str, Any], symbols: Mapping[str, int]) -> dict[str, Any]:
    """Return the facts with numbers for parameters; leave out what the model cannot decide."""
    resolved = dict(facts)
    sizes = facts.get("valid_sizes")
    if sizes:
        ends = [end for pair in sizes.values() for end in pair]
        if any(isinstance(end, Affine) and end.parameter not in symbols for end in ends):
            del resolved["valid_sizes"]
        else:
            resolved["valid_sizes"] = {
                axis: tuple(_resolve(end, symbols) for end in pair) for axis, pair in sizes.items()
            }
    return resolved


def _resolve(value: int | Affine, symbols: Mapping[str, int]) -> int:
    if isinstance(value, int):
        return value
    return value.scale * symbols[value.parameter] + value.offset


def read_facts(node: Node) -> dict[str, Any]:
    """Read `facts:`; raise PortkitError. Each fact has a check in the coverage rung."""
    entries = nodes.entries_of(node, "`facts:`", tuple(FACTS))
    problems = Problems()
    facts: dict[str, Any] = {}
    for name, value in entries.items():
        with problems.collecting():
            facts[name] = FACTS[name](value)
    problems.raise_if_any()
    return facts


def _valid_sizes(node: Node) -> Mapping[str, tuple[int | Affine, int | Affine]]:
    """Read the input sizes, in pixels, for which both models compute the same function."""
    entries = nodes.entries_of(node, "`valid_sizes:`", ("h", "w"))
    missing = [axis for axis in ("h", "w") if axis not in entries]
    if missing:
        raise PortkitError.at(node.at, f"`valid_sizes:` needs {missing[0]!r}")
    return MappingProxyType({axis: _range(entries[axis], axis) for axis in ("h", "w")})


def _range(node: Node, axis: str) -> tuple[int | Affine, int | Affine]:
    ends = tuple(_end(item, axis) for item in nodes.items_of(node, f"`{axis}:`"))
    numbers = [end for end in ends if isinstance(end, int)]
    if len(ends) != 2 or numbers != sorted(numbers) or any(number < 1 for number in numbers):
        shown = ", ".join(map(str, ends))
        raise PortkitError.at(node.at, f"`{axis}:` must be [smallest, largest], found [{shown}]")
    return ends[0], ends[1]


def _end(node: Node, axis: str) -> int | Affine:
    found = _AFFINE.fullmatch(node.value) if isinstance(node.value, str) else None
    if found is None:
        return nodes.integer_of(node, f"`{axis}:`")
    return Affine(int(found[1] or 1), found[2], int(found[3] or 0))


def _batchnorm_eps(node: Node) -> float:
    """Read the epsilon that both models' batch norms add to the variance."""
    return nodes.number_of(node, "`batchnorm_eps:`")


def _lrn(node: Node) -> Mapping[str, float]:
    """Read local response normalisation's constants in torch's and ONNX's form (alpha / size)."""
    known = ("size", "alpha", "beta", "k")
    entries = nodes.entries_of(node, "`lrn:`", known)
    missing = [key for key in known if key not in entries]
    if missing:
        raise PortkitError.at(node.at, f"`lrn:` needs {missing[0]!r}")
    return MappingProxyType({key: nodes.number_of(entries[key], f"`{key}:`") for key in known})


def _padding(node: Node) -> str:
    """Read how convolutions pad: zeros, reflect, replicate or circular."""
    return _word(node, "`padding:`", ("zeros", "reflect", "replicate", "circular"))


def _pooling(node: Node) -> Mapping[str, bool]:
    """Read whether pooling rounds its output size up."""
    entries = nodes.entries_of(node, "`pooling:`", ("ceil_mode",))
    return MappingProxyType(
        {key: nodes.flag_of(value, f"`{key}:`") for key, value in entries.items()}
    )


def _word(node: Node, what: str, known: tuple[str, ...]) -> str:
    text = nodes.text_of(node, what)
    if text not in known:
        raise PortkitError.at(node.at, f"{what} must be one of {', '.join(known)}, found {text!r}")
    return text


FACTS: Mapping[str, Callable[[Node], Any]] = MappingProxyType(
    {
        "valid_sizes": _valid_sizes,
        "batchnorm_eps": _batchnorm_eps,
        "lrn": _lrn,
        "padding": _padding,
        "pooling": _pooling,
    }
)
