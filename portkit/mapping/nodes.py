"""YAML as nodes that know their line; scalars are read by the type that is expected.

PyYAML's own constructors read `1e-5` as text, `no` as False and drop repeated keys in silence, so
nothing is constructed here: text stays text until somebody asks for a number.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portkit.errors import PortkitError, Problems

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LARGEST = 4 << 20  # bytes; a mapping of 20,000 literal rules is half of that


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping of nodes, and where it stands."""

    value: "str | tuple[Node, ...] | Mapping[str, Node]"
    at: str  # "file.yaml:12"
    plain: bool = False  # a scalar without quotes, so that it may be a number

    @property
    def is_dict(self) -> bool:
        return isinstance(self.value, Mapping)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, tuple)


def read_nodes(text: str, shown: str) -> Node:
    """Read one YAML document; `shown` is how complaints name the file. Raise PortkitError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for token in yaml.scan(text, Loader=loader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
                at = f"{shown}:{token.start_mark.line + 1}"
                raise PortkitError.at(at, "anchors, aliases and tags have no meaning in a mapping")
        documents = list(yaml.compose_all(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{shown}:{mark.line + 1}" if mark else shown
        raise PortkitError.at(at, f"no YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise PortkitError.at(shown, f"no YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise PortkitError.at(shown, "nested too deeply to be a mapping") from None
    if len(documents) != 1:
        raise PortkitError.at(shown, f"one YAML document is needed, found {len(documents)}")
    problems = Problems()
    root = _node(documents[0], shown, problems)
    problems.raise_if_any()
    return root


def read_text(path: Path, shown: str) -> str:
    """Read a mapping file of a sensible size; raise PortkitError."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise PortkitError.at(shown, "no such file") from None
    except OSError as error:
        raise PortkitError.at(shown, f"cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise PortkitError.at(shown, f"larger than {_LARGEST} bytes, that is no mapping")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PortkitError.at(shown, f"byte {error.start} is not UTF-8") from None


def _node(raw: Any, shown: str, problems: Problems) -> Node:
    import yaml

    at = f"{shown}:{raw.start_mark.line + 1}"
    if isinstance(raw, yaml.ScalarNode):
        return Node(raw.value, at, plain=not raw.style)
    if isinstance(raw, yaml.SequenceNode):
        return Node(tuple(_node(item, shown, problems) for item in raw.value), at)
    entries: dict[str, Node] = {}
    for key, value in raw.value:
        where = f"{shown}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            problems.add(where, "a key must be a word or a number")
        elif key.value in entries:
            problems.add(where, f"{key.value!r} is given twice")
        else:
            entries[key.value] = _node(value, shown, problems)
    return Node(entries, at)


def text_of(node: Node, what: str) -> str:
    """Return a scalar's text; raise PortkitError naming `what` was needed."""
    if not isinstance(node.value, str) or not node.value:
        raise PortkitError.at(node.at, f"{what} must be text")
    return node.value


def integer_of(node: Node, what: str) -> int:
    """Return a scalar's whole number; raise PortkitError."""
    if isinstance(node.value, str) and _INTEGER.fullmatch(node.value):
        return int(node.value)
    raise PortkitError.at(node.at, f"{what} must be a whole number, found {_shown(node)}")


def number_of(node: Node, what: str) -> float:
    """Return a scalar's number, `1e-5` included; raise PortkitError."""
    if isinstance(node.value, str) and _NUMBER.fullmatch(node.value):
        return float(node.value)
    raise PortkitError.at(node.at, f"{what} must be a number, found {_shown(node)}")


def flag_of(node: Node, what: str) -> bool:
    """Return `true` or `false`; raise PortkitError."""
    if node.value in ("true", "false"):
        return node.value == "true"
    raise PortkitError.at(node.at, f"{what} must be true or false, found {_shown(node)}")


def items_of(node: Node, what: str) -> tuple[Node, ...]:
    """Return a list's nodes; raise PortkitError."""
    if isinstance(node.value, tuple):
        return node.value
    raise PortkitError.at(node.at, f"{what} must be a list, found {_shown(node)}")


def entries_of(node: Node, what: str, known: tuple[str, ...] = ()) -> Mapping[str, Node]:
    """Return a mapping's entries; raise PortkitError for one that is not among `known`."""
    if not isinstance(node.value, Mapping):
        raise PortkitError.at(node.at, f"{what} must have keys, found {_shown(node)}")
    if known:
        problems = Problems(_unknown(node.value, what, known))
        problems.raise_if_any()
    return node.value


def _unknown(entries: Mapping[str, Node], what: str, known: tuple[str, ...]) -> Iterator[Any]:
    from difflib import get_close_matches

    from portkit.errors import Problem

    for key, value in entries.items():
        if key not in known:
            close = get_close_matches(key, known, 1)
            fix = f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(known)}"
            yield Problem(value.at, f"{what} has no key {key!r}", fix)


def plain_of(node: Node) -> Any:
    """Return plain data: unquoted whole numbers are ints, everything else is text."""
    if isinstance(node.value, Mapping):
        return {_plain_key(key): plain_of(value) for key, value in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain_of(item) for item in node.value]
    return int(node.value) if node.plain and _INTEGER.fullmatch(node.value) else node.value


def _plain_key(key: str) -> str | int:
    return int(key) if _INTEGER.fullmatch(key) else key


def _shown(node: Node) -> str:
    if isinstance(node.value, str):
        return repr(node.value)
    return "a list" if node.is_list else "keys"
