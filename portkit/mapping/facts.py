"""Facts: what a mapping claims about two models beside their tensors. A closed vocabulary."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.mapping import nodes
from portkit.mapping.nodes import Node

SIDED = ("input", "flatten", "labels", "heads")  # these say something of each side
TRAINING_ONLY = (
    "AlphaDropout", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "DropBlock2d",
    "FeatureAlphaDropout", "StochasticDepth",
)  # fmt: skip

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
    count = facts.get("labels", {}).get("count")
    if isinstance(count, str):
        labels = {key: value for key, value in facts["labels"].items() if key != "count"}
        known = {"count": symbols[count]} if count in symbols else {}
        resolved["labels"] = {**known, **labels}
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


def turn_facts(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what holds for the way back: what is said of each side changes sides."""
    return MappingProxyType(
        {name: _turned(fact) if name in SIDED else fact for name, fact in facts.items()}
    )


def _turned(fact: Mapping[str, Any]) -> Mapping[str, Any]:
    both = {key: value for key, value in fact.items() if key not in ("source", "target")}
    return MappingProxyType({**both, "source": fact["target"], "target": fact["source"]})


def join_sided(
    first: Mapping[str, Any] | None, second: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return what two legs of a route say of its ends, None where one of them is silent.

    Raise ValueError where they disagree about the model between them.
    """
    if first is None or second is None:
        return None
    alone = {key: value for key, value in first.items() if key not in ("source", "target")}
    other = {key: value for key, value in second.items() if key not in ("source", "target")}
    if first["target"] != second["source"] or any(
        alone[key] != other[key] for key in alone.keys() & other.keys()
    ):
        raise ValueError("the legs of a route disagree")
    return {**alone, **other, "source": first["source"], "target": second["target"]}


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


def _input(node: Node) -> Mapping[str, Mapping[str, Any]]:
    """Read what the models' images look like: of both sides alike, or of each one."""
    return _sided(node, "`input:`", _image, tuple(_IMAGE))


def _image(node: Node, what: str) -> Mapping[str, Any]:
    entries = nodes.entries_of(node, what, tuple(_IMAGE))
    image = {key: _IMAGE[key](value, f"`{key}:`") for key, value in entries.items()}
    lengths = {len(image[key]) for key in ("mean", "std") if key in image}
    if len(lengths) > 1:
        raise PortkitError.at(node.at, "`mean:` and `std:` need a number for each channel")
    return MappingProxyType(image)


def _interval(node: Node, what: str) -> tuple[float, ...]:
    ends = _numbers(node, what)
    if len(ends) != 2 or ends[0] >= ends[1]:
        raise PortkitError.at(node.at, f"{what} must be [smallest, largest]")
    return ends


def _numbers(node: Node, what: str) -> tuple[float, ...]:
    numbers = tuple(nodes.number_of(item, f"in {what} each") for item in nodes.items_of(node, what))
    if not numbers:
        raise PortkitError.at(node.at, f"{what} needs a number for each channel")
    return numbers


def _layout(node: Node, what: str) -> str:
    return _word(node, what, ("NCHW", "NHWC"))


def _channel_order(node: Node, what: str) -> str:
    return _word(node, what, ("RGB", "BGR", "gray"))


# What is said of an image: its axes, its channels' order, and values before and after mean and std.
_IMAGE: Mapping[str, Callable[[Node, str], Any]] = MappingProxyType(
    {
        "layout": _layout,
        "channel_order": _channel_order,
        "range": _interval,
        "mean": _numbers,
        "std": _numbers,
    }
)


def _flatten(node: Node) -> Mapping[str, str]:
    """Read in which order the first linear layer meets a feature map's axes."""
    return _sided(node, "`flatten:`", _axis_order, ())


def _axis_order(node: Node, what: str) -> str:
    order = " ".join(nodes.text_of(node, what).split())
    if sorted(order.split()) != ["c", "h", "w"]:
        raise PortkitError.at(node.at, f"{what} orders c, h and w, found {order!r}")
    return order


def _labels(node: Node) -> Mapping[str, Any]:
    """Read how many classes there are, and what their order is called, such as by its list."""
    entries = nodes.entries_of(node, "`labels:`", ("count", "order"))
    if "order" not in entries:
        raise PortkitError.at(node.at, "`labels:` needs 'order'", "`order: imagenet`, or by sides")
    count = nodes.plain_of(entries["count"]) if "count" in entries else None
    if count is not None and not (isinstance(count, int) and count > 0):
        parameter = nodes.text_of(entries["count"], "`count:`")
        if not parameter.isidentifier():
            what = f"`count:` must be a number or a parameter of the model, found {parameter!r}"
            raise PortkitError.at(entries["count"].at, what)
    sides = _sided(entries["order"], "`order:`", nodes.text_of, ())
    return MappingProxyType({**({} if count is None else {"count": count}), **sides})


def _heads(node: Node) -> Mapping[str, tuple[str, ...]]:
    """Read which auxiliary heads of the source the target does without."""
    items = nodes.items_of(node, "`heads:`")
    names = tuple(nodes.text_of(item, "a head's name") for item in items)
    return MappingProxyType({"source": names, "target": ()})


def _eval_only(node: Node) -> tuple[str, ...]:
    """Read which kinds of module differ: only such as do nothing but in training."""
    items = nodes.items_of(node, "`eval_only:`")
    return tuple(_word(item, "a kind in `eval_only:`", TRAINING_ONLY) for item in items)


def _sided(
    node: Node, what: str, read: Callable[[Node, str], Any], beside: tuple[str, ...]
) -> Mapping[str, Any]:
    """Read what holds on both sides, or `source:` and `target:` apart."""
    if not node.is_dict or (
        beside and not {"source", "target"} & set(nodes.entries_of(node, what))
    ):
        value = read(node, what)
        return MappingProxyType({"source": value, "target": value})
    entries = nodes.entries_of(node, what, ("source", "target"))
    missing = [side for side in ("source", "target") if side not in entries]
    if missing:
        raise PortkitError.at(node.at, f"{what} needs {missing[0]!r}")
    return MappingProxyType(
        {side: read(entries[side], f"`{side}:`") for side in ("source", "target")}
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
        "input": _input,
        "flatten": _flatten,
        "labels": _labels,
        "heads": _heads,
        "eval_only": _eval_only,
    }
)
