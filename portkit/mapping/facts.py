"""Facts: what a mapping claims about two models beside their tensors. A closed vocabulary."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.mapping import nodes
from portkit.mapping.nodes import Node


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


def _valid_sizes(node: Node) -> Mapping[str, tuple[int, int]]:
    """Read the input sizes, in pixels, for which both models compute the same function."""
    entries = nodes.entries_of(node, "`valid_sizes:`", ("h", "w"))
    missing = [axis for axis in ("h", "w") if axis not in entries]
    if missing:
        raise PortkitError.at(node.at, f"`valid_sizes:` needs {missing[0]!r}")
    return MappingProxyType({axis: _range(entries[axis], axis) for axis in ("h", "w")})


def _range(node: Node, axis: str) -> tuple[int, int]:
    numbers = [nodes.integer_of(item, f"`{axis}:`") for item in nodes.items_of(node, f"`{axis}:`")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise PortkitError.at(node.at, f"`{axis}:` must be [smallest, largest], found {numbers}")
    return numbers[0], numbers[1]


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
