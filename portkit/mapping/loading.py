"""Read one mapping file strictly: every unknown word is an error with its line."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from portkit.errors import PortkitError, Problems
from portkit.mapping import nodes
from portkit.mapping.facts import read_facts
from portkit.mapping.nodes import Node
from portkit.mapping.operations import read_made, read_ops, read_undo
from portkit.mapping.rules import Drop, Init, Made, PortMap, Rule, Tie
from portkit.mapping.shapes import ShapeError, ShapeRule, parse_shape
from portkit.names import Capture, Pattern, PatternError, Tables, parse_patterns

LANGUAGE = 1
MAPPING_SUFFIXES = (".yaml", ".yml")

_TOP = ("portkit", "from", "to", "for", "tables", "rules", "facts")
_RULE = ("from", "to", "map", "where", "shape", "axes", "ops", "shared", "if_missing", "inverse")
_FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "drop": ("drop", "because", "inverse"),
        "init": ("init", "with", "because"),
        "tie": ("tie", "because"),
        "map": tuple(key for key in _RULE if key not in ("from", "to")),
        "from": tuple(key for key in _RULE if key != "map"),
    }
)

Form = Rule | Drop | Init | Tie


def load_mapping(path: Path, name: str = "") -> PortMap:
    """Read a mapping file; raise PortkitError with all that is wrong, each with `file:line`."""
    shown = f"{name}.yaml" if name else str(path)
    portmap = parse_mapping(nodes.read_text(path, shown), shown)
    return replace(portmap, name=name or str(path), path=path, digest=_digest(path.read_bytes()))


def parse_mapping(text: str, shown: str) -> PortMap:
    """Read a mapping's text; raise PortkitError with all that is wrong, each with `shown:line`."""
    root = nodes.read_nodes(text, shown)
    problems = Problems()
    with problems.collecting():
        nodes.entries_of(root, "a mapping", _TOP)
    if not root.is_dict:
        problems.raise_if_any()
    top = nodes.entries_of(root, "a mapping")
    _check_version(top, shown, problems)
    forms = _read_rules(top, shown, problems)
    facts = {}
    with problems.collecting():
        facts = read_facts(top["facts"]) if "facts" in top else {}
    source, target = (_endpoint(top, key, shown, problems) for key in ("from", "to"))
    archs = _archs(top, (source, target), shown, problems)
    problems.raise_if_any()
    return PortMap(
        name=shown,
        path=Path(shown),
        digest=_digest(text.encode()),
        source=source,
        target=target,
        archs=archs,
        rules=tuple(form for form in forms if isinstance(form, Rule)),
        drops=tuple(form for form in forms if isinstance(form, Drop)),
        inits=tuple(form for form in forms if isinstance(form, Init)),
        ties=tuple(form for form in forms if isinstance(form, Tie)),
        facts=MappingProxyType(facts),
    )


def _digest(data: bytes) -> str:
    from blake3 import blake3

    return f"blake3:{blake3(data).hexdigest()}"


def _check_version(top: Mapping[str, Node], shown: str, problems: Problems) -> None:
    if "portkit" not in top:
        fix = f"write `portkit: {LANGUAGE}` on the first line"
        problems.add(shown, "the language version is missing", fix)
    elif top["portkit"].value != str(LANGUAGE):
        found = top["portkit"].value
        what = f"this portkit reads language version {LANGUAGE}, found {found!r}"
        problems.add(top["portkit"].at, what)


def _endpoint(top: Mapping[str, Node], key: str, shown: str, problems: Problems) -> str:
    if key not in top:
        fix = f"name a scheme, such as `{key}: torchvision` or `{key}: torchvision:vgg16`"
        problems.add(shown, f"`{key}:` is missing", fix)
        return ""
    with problems.collecting():
        return nodes.text_of(top[key], f"`{key}:`")
    return ""


def _archs(
    top: Mapping[str, Node], ends: tuple[str, ...], shown: str, problems: Problems
) -> tuple[str, ...]:
    if "for" in top:
        with problems.collecting():
            items = nodes.items_of(top["for"], "`for:`")
            return tuple(nodes.text_of(item, "an architecture") for item in items)
        return ()
    named = [end.split(":", 1)[1] for end in ends if ":" in end and not end.startswith("python:")]
    if not named and not any(":" in end for end in ends):
        fix = "list them, such as `for: [vgg16]`"
        problems.add(shown, "`for:` is missing and neither end names an architecture", fix)
    return tuple(dict.fromkeys(named)) if all(":" in end for end in ends) else tuple(named)


def _read_rules(top: Mapping[str, Node], shown: str, problems: Problems) -> list[Form]:
    tables = _read_tables(top.get("tables"), problems)
    items: tuple[Node, ...] = ()
    if "rules" not in top:
        problems.add(shown, "`rules:` is missing")
    else:
        with problems.collecting():
            items = () if top["rules"].value == "" else nodes.items_of(top["rules"], "`rules:`")
    forms: list[Form] = []
    for item in items:
        with problems.collecting():
            forms.append(_read_form(item, tables))
    return forms


def _read_tables(node: Node | None, problems: Problems) -> Tables:
    if node is None:
        return {}
    tables: dict[str, Mapping[Capture, Capture]] = {}
    with problems.collecting():
        for name, entries in nodes.entries_of(node, "`tables:`").items():
            if not name.isidentifier() or name == "seg":
                problems.add(entries.at, f"{name!r} cannot be the name of a table")
            with problems.collecting():
                tables[name] = _read_table(name, entries)
    return tables


def _read_table(name: str, node: Node) -> Mapping[Capture, Capture]:
    problems = Problems()
    nodes.entries_of(node, f"table {name!r}")
    table: dict[Capture, Capture] = nodes.plain_of(node)
    seen: dict[str, Capture] = {}
    for key, value in table.items():
        if not isinstance(value, int | str) or value == "":
            problems.add(node.at, f"table {name!r} gives {key!r} no name or number")
        elif (other := seen.setdefault(str(value), key)) != key:
            problems.add(node.at, f"table {name!r} gives {value!r} to both {other!r} and {key!r}")
    problems.raise_if_any()
    return MappingProxyType(table)


def _read_form(node: Node, tables: Tables) -> Form:
    """Read one rule of any form; raise PortkitError."""
    entries = nodes.entries_of(node, "a rule")
    form = next((key for key in _FORMS if key in entries), None)
    if form is None:
        raise PortkitError.at(node.at, "a rule needs one of: map, from and to, drop, init, tie")
    nodes.entries_of(node, f"a `{form}` rule", _FORMS[form])
    match form:
        case "drop":
            (pattern,) = _patterns([entries["drop"]], tables)
            return Drop(
                pattern, _because(node, entries), node.at, read_undo(entries.get("inverse"))
            )
        case "init":
            (pattern,) = _patterns([entries["init"]], tables)
            return Init(pattern, read_made(entries.get("with"), node, entries), node.at)
        case "tie":
            takes, equals = _arrow(entries["tie"], "tie", tables, both=True)
            return Tie(takes, equals, _because(node, entries), node.at)
        case _:
            return _read_rule(node, entries, tables)


def _because(node: Node, entries: Mapping[str, Node]) -> str:
    if "because" not in entries:
        raise PortkitError.at(node.at, "says no reason", "add `because: …`")
    return nodes.text_of(entries["because"], "`because:`")


def _patterns(items: list[Node], tables: Tables) -> tuple[Pattern, ...]:
    try:
        return parse_patterns([nodes.text_of(item, "a pattern") for item in items], tables)
    except PatternError as error:
        raise PortkitError.at(items[0].at, str(error)) from None


def _arrow(node: Node, what: str, tables: Tables, *, both: bool = False) -> tuple[Pattern, Pattern]:
    """Read `pattern` or `pattern -> pattern`."""
    texts = [part.strip() for part in nodes.text_of(node, f"`{what}:`").split(" -> ")]
    if len(texts) > 2 or (both and len(texts) != 2):
        raise PortkitError.at(node.at, f"`{what}:` needs one ' -> ' between two patterns")
    takes, gives = _patterns([Node(texts[0], node.at), Node(texts[-1], node.at)], tables)
    return takes, gives


def _read_rule(node: Node, entries: Mapping[str, Node], tables: Tables) -> Rule:
    takes, gives = _sides(node, entries, tables)
    holes = [frozenset[str]().union(*(p.holes for p in side)) for side in (takes, gives)]
    lone = sorted(holes[0] ^ holes[1])
    if lone:
        raise PortkitError.at(node.at, f"{{{lone[0]}}} is on one side of the rule only")
    for side in (takes, gives):
        uneven = [pattern for pattern in side if pattern.holes != holes[0]]
        if uneven:
            what = f"{uneven[0]} must have the holes of the whole rule: {sorted(holes[0])}"
            raise PortkitError.at(node.at, what)
    made = entries.get("if_missing")
    return Rule(
        takes=takes,
        gives=gives,
        at=node.at,
        ops=read_ops(entries["ops"]) if "ops" in entries else (),
        limits=_limits(entries.get("where"), holes[0]),
        shape=_shape(entries.get("shape"), single=len(takes) == len(gives) == 1),
        axes=tuple(nodes.text_of(entries["axes"], "`axes:`").split()) if "axes" in entries else (),
        shared=nodes.flag_of(entries["shared"], "`shared:`") if "shared" in entries else False,
        if_missing=_missing(made) if made else None,
        undo=read_undo(entries.get("inverse")),
    )


def _missing(node: Node) -> Made:
    entries = nodes.entries_of(node, "`if_missing:`", ("init", "because"))
    return read_made(entries.get("init"), node, entries)


def _sides(
    node: Node, entries: Mapping[str, Node], tables: Tables
) -> tuple[tuple[Pattern, ...], tuple[Pattern, ...]]:
    if "map" in entries:
        takes, gives = _arrow(entries["map"], "map", tables)
        return (takes,), (gives,)
    if "to" not in entries:
        raise PortkitError.at(node.at, "`from:` needs `to:` in the same rule")
    lists = [
        list(entries[key].value) if entries[key].is_list else [entries[key]]
        for key in ("from", "to")
    ]
    if not all(lists):
        raise PortkitError.at(node.at, "`from:` and `to:` need at least one pattern each")
    patterns = _patterns([*lists[0], *lists[1]], tables)
    return patterns[: len(lists[0])], patterns[len(lists[0]) :]


def _limits(node: Node | None, holes: frozenset[str]) -> Mapping[str, tuple[Capture, ...]] | None:
    if node is None:
        return None
    entries = nodes.entries_of(node, "`where:`", tuple(sorted(holes)) or ("(no hole)",))
    return MappingProxyType(
        {
            name: tuple(nodes.plain_of(item) for item in nodes.items_of(value, f"`{name}:`"))
            for name, value in entries.items()
        }
    )


def _shape(node: Node | None, *, single: bool) -> ShapeRule | None:
    if node is None:
        return None
    if not single:
        raise PortkitError.at(node.at, "`shape:` speaks of one tensor in and one out")
    try:
        return parse_shape(nodes.text_of(node, "`shape:`"))
    except ShapeError as error:
        raise PortkitError.at(node.at, str(error)) from None
