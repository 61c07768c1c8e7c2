"""Read a rule's ops, and how tensors are made, from nodes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from portkit.errors import PortkitError
from portkit.mapping import nodes
from portkit.mapping.nodes import Node
from portkit.mapping.rules import Made, Undo
from portkit.ops import OPS, Fill, Op, OpError, Size, parse_fill


def read_ops(node: Node) -> tuple[Op, ...]:
    """Read a list of `{op: argument}`; raise PortkitError."""
    return tuple(_read_op(item) for item in nodes.items_of(node, "`ops:`"))


def _read_op(node: Node) -> Op:
    entries = nodes.entries_of(node, "an op")
    names = [key for key in entries if key in OPS]
    if len(names) != 1:
        found = ", ".join(map(repr, entries)) or "nothing"
        what = f"an op needs exactly one name, found {found}"
        raise PortkitError.at(node.at, what, f"use one of: {', '.join(OPS)}")
    name = names[0]
    written = OPS[name]
    nodes.entries_of(node, f"`{name}`", (name, *written.beside))
    argument = _argument(name, entries[name], written.argument, written.inside)
    beside = {key: _sizes(entries[key]) for key in written.beside if key in entries}
    try:
        return written.parse(argument, beside)
    except OpError as error:
        raise PortkitError.at(node.at, str(error)) from None
    except KeyError as error:
        raise PortkitError.at(node.at, f"`{name}` needs {error.args[0]!r}") from None


def _argument(name: str, node: Node, kind: object, inside: tuple[str, ...]) -> object:
    what = f"`{name}`"
    if kind is str:
        return nodes.text_of(node, what)
    if kind is int:
        return nodes.integer_of(node, what)
    if kind is Size:
        nodes.text_of(node, what)
        return nodes.plain_of(node)
    if kind is list:
        items = (node,) if isinstance(node.value, str) else nodes.items_of(node, what)
        return [nodes.plain_of(item) for item in items]
    entries = nodes.entries_of(node, what, inside)
    if not inside:
        return nodes.plain_of(node)
    return {key: _INSIDE.get(key, _plain)(value, f"`{key}:`") for key, value in entries.items()}


def _plain(node: Node, what: str) -> object:
    nodes.text_of(node, what)
    return nodes.plain_of(node)


def _plains(node: Node, what: str) -> tuple[object, ...]:
    return tuple(nodes.plain_of(item) for item in nodes.items_of(node, what))


def _indices(node: Node, what: str) -> tuple[int, ...]:
    return tuple(nodes.integer_of(item, "an index") for item in nodes.items_of(node, what))


def _numbers(node: Node, what: str) -> tuple[float, ...]:
    return tuple(nodes.number_of(item, f"in {what} each") for item in nodes.items_of(node, what))


def _factor(node: Node, what: str) -> float | tuple[float, ...]:
    return _numbers(node, what) if node.is_list else nodes.number_of(node, what)


# How the keys inside an op's argument are read; every other one is a word or a number.
_INSIDE: Mapping[str, Callable[[Node, str], object]] = MappingProxyType(
    {
        "sizes": _plains,
        "takes": _plains,
        "indices": _indices,
        "by": _factor,
        "mean": _numbers,
        "std": _numbers,
        "eps": nodes.number_of,
    }
)


def _sizes(node: Node) -> Mapping[str, object]:
    sizes: Mapping[str, object] = nodes.entries_of(node, "`sizes:`")
    return {axis: nodes.plain_of(size) for axis, size in sizes.items() if isinstance(size, Node)}


def read_fill(node: Node) -> Fill:
    """Read `zeros` or `{kind: normal, std: 0.01, seed: 3}`; raise PortkitError."""
    try:
        if isinstance(node.value, str):
            return parse_fill(nodes.text_of(node, "a way to make a tensor"))
        entries = nodes.entries_of(node, "a way to make a tensor", ("kind", "seed", "std"))
        if "kind" not in entries:
            raise PortkitError.at(node.at, "a way to make a tensor needs `kind:`")
        seed = nodes.integer_of(entries["seed"], "`seed:`") if "seed" in entries else 0
        std = nodes.number_of(entries["std"], "`std:`") if "std" in entries else 0.01
        return parse_fill(nodes.text_of(entries["kind"], "`kind:`"), seed, std)
    except OpError as error:
        raise PortkitError.at(node.at, str(error)) from None


def read_made(node: Node | None, rule: Node, entries: Mapping[str, Node]) -> Made:
    """Read how a tensor is made and why; both must be said."""
    if node is None:
        raise PortkitError.at(rule.at, "does not say how the tensor is made", "add e.g. `zeros`")
    if "because" not in entries:
        raise PortkitError.at(rule.at, "says no reason", "add `because: …`")
    return Made(read_fill(node), nodes.text_of(entries["because"], "`because:`"))


def read_undo(node: Node | None) -> Undo | None:
    """Read `inverse: {none: why}` or `inverse: {init: zeros, because: …}`."""
    if node is None:
        return None
    entries = nodes.entries_of(node, "`inverse:`", ("none", "init", "because"))
    if ("none" in entries) == ("init" in entries):
        raise PortkitError.at(node.at, "`inverse:` says either `none: why` or `init: how`")
    if "none" in entries:
        nodes.entries_of(node, "`inverse: {none: why}`", ("none",))
        return Undo(None, nodes.text_of(entries["none"], "`none:`"))
    made = read_made(entries["init"], node, entries)
    return Undo(made.fill, made.because)
