"""The pattern language: what a parameter's name looks like, matched and filled both ways.

    features.{i}.weight      an integer
    features.{2*i+1}.bias    affine arithmetic on that integer
    {x:seg}.kernel           one part between dots or slashes
    {x:**}.kernel            one part or more
    bn.{p:weight|bias}       a choice
    block{i:extra}           a key of table `extra`
    backbone.{extra[i]}      the value that table `extra` gives for it

A name inside braces that another pattern of the same rule declares needs no second declaration.
Braces that belong to a name are doubled: `{{` and `}}`. Patterns that could match a name in two
ways are refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

Capture = int | str
Captures = Mapping[str, Capture]
Table = Mapping[Capture, Capture]
Tables = Mapping[str, Table]

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[^{}]+|.", re.DOTALL)
_AFFINE = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)(?:([+-])(\d+))?")
_DECLARED = re.compile(r"([A-Za-z_]\w*):(.+)", re.DOTALL)
_LOOKUP = re.compile(r"([A-Za-z_]\w*)\[([A-Za-z_]\w*)\]")
_INTEGER = "(0|[1-9][0-9]*)"


class PatternError(ValueError):
    """A pattern that cannot be read; its text is the complaint."""


class Kind(NamedTuple):
    """What a hole may hold: `integer`, `seg`, `**`, `choice` or `key` (of a table)."""

    name: str
    options: tuple[Capture, ...] = ()
    table: str = ""


INTEGER = Kind("integer")


@dataclass(frozen=True, slots=True)
class Hole:
    """One pair of braces: a captured value, or a function of it."""

    name: str
    kind: Kind
    scale: int = 1
    offset: int = 0
    lookup: tuple[tuple[Capture, Capture], ...] = ()

    @property
    def regex(self) -> str:
        if self.lookup:
            return _one_of(value for _, value in self.lookup)
        match self.kind.name:
            case "integer":
                return _INTEGER
            case "seg":
                return r"([^./]+)"
            case "**":
                return r"([^./]+(?:[./][^./]+)*)"
            case _:
                return _one_of(self.kind.options)

    def read(self, text: str) -> Capture | None:
        """Return the captured value that prints as `text`, or None."""
        if self.lookup:
            return next(key for key, value in self.lookup if str(value) == text)
        if self.kind.name != "integer":
            return next((o for o in self.kind.options if str(o) == text), text)
        value, rest = divmod(int(text) - self.offset, self.scale)
        return None if rest or value < 0 else value

    def write(self, value: Capture) -> str | None:
        """Return what `value` prints as in this hole, or None where it has no such form."""
        if self.lookup:
            return next((str(given) for key, given in self.lookup if key == value), None)
        if self.kind.name != "integer":
            return str(value)
        number = self.scale * int(value) + self.offset
        return str(number) if number >= 0 else None


def _one_of(options: Iterable[Capture]) -> str:
    longest_first = sorted(map(str, options), key=len, reverse=True)
    return "(" + "|".join(map(re.escape, longest_first)) + ")"


@dataclass(frozen=True)
class Pattern:
    """A whole tensor name with holes."""

    text: str
    parts: tuple[str | Hole, ...]

    @cached_property
    def holes(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Hole))

    @property
    def literal(self) -> str | None:
        """The one name this pattern matches, where it has no hole."""
        return None if self.holes else "".join(part for part in self.parts if isinstance(part, str))

    @cached_property
    def prefix(self) -> str:
        """Text that every matching name starts with."""
        first = self.parts[0] if self.parts else ""
        return first if isinstance(first, str) else ""

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(
            "".join(re.escape(p) if isinstance(p, str) else p.regex for p in self.parts), re.DOTALL
        )

    def match(self, name: str) -> dict[str, Capture] | None:
        """Return what the holes hold when the whole of `name` fits, else None."""
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        captures: dict[str, Capture] = {}
        holes = (part for part in self.parts if isinstance(part, Hole))
        for hole, text in zip(holes, found.groups(), strict=True):
            value = hole.read(text)
            if value is None or captures.setdefault(hole.name, value) != value:
                return None
        return captures

    def fill(self, captures: Captures) -> str | None:
        """Return the name that these captures make, or None where a hole cannot hold its value."""
        texts = [p if isinstance(p, str) else p.write(captures[p.name]) for p in self.parts]
        return None if None in texts else "".join(text for text in texts if text is not None)

    def __str__(self) -> str:
        return self.text


def parse_patterns(texts: Iterable[str], tables: Tables) -> tuple[Pattern, ...]:
    """Read the patterns of one rule, which share their declarations; raise PatternError."""
    split = [(text, _split(text)) for text in texts]
    kinds: dict[str, Kind] = {}
    for text, pieces in split:
        for piece in pieces:
            declared = isinstance(piece, _Braces) and _DECLARED.fullmatch(piece.inside)
            if declared:
                name, kind = declared[1], _kind_of(declared[2], tables, text)
                if kinds.setdefault(name, kind) != kind:
                    raise PatternError(f"{{{name}}} is declared twice, differently")
    return tuple(
        _checked(
            Pattern(
                text,
                tuple(p if isinstance(p, str) else _hole(p, kinds, tables, text) for p in pieces),
            )
        )
        for text, pieces in split
    )


class _Braces(NamedTuple):
    inside: str
    at: int


def _split(text: str) -> list[str | _Braces]:
    pieces: list[str | _Braces] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("{", "}"):
            raise PatternError(f"unbalanced brace\n    {text}\n    {' ' * token.start()}^")
        if token[1] is not None:
            pieces.append(_Braces(token[1], token.start()))
            continue
        literal = {"{{": "{", "}}": "}"}.get(token[0], token[0])
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] += literal
        else:
            pieces.append(literal)
    if not pieces:
        raise PatternError("an empty pattern matches no tensor")
    return pieces


def _kind_of(text: str, tables: Tables, pattern: str) -> Kind:
    if text in ("seg", "**"):
        return Kind(text)
    if text in tables:
        return Kind("key", tuple(tables[text]), text)
    if "|" in text:
        options = tuple(text.split("|"))
        if "" in options or len(set(options)) < len(options):
            raise PatternError(f"choice {text!r} in {pattern!r} has an empty or repeated option")
        return Kind("choice", options)
    known = ", ".join(["seg", "**", "a|b", *tables])
    raise PatternError(f"unknown kind {text!r} in {pattern!r}, use one of: {known}")


def _hole(braces: _Braces, kinds: Mapping[str, Kind], tables: Tables, pattern: str) -> Hole:
    inside = braces.inside
    if declared := _DECLARED.fullmatch(inside):
        return Hole(declared[1], kinds[declared[1]])
    if found := _LOOKUP.fullmatch(inside):
        table, name = found[1], found[2]
        if table not in tables:
            raise PatternError(f"no table is named {table!r}, in {pattern!r}")
        kind = kinds.get(name, Kind("key", tuple(tables[table]), table))
        return Hole(name, kind, lookup=tuple(tables[table].items()))
    if found := _AFFINE.fullmatch(inside):
        scale = int(found[1] or 1)
        offset = int(f"{found[3] or '+'}{found[4] or 0}")
        kind = kinds.get(found[2], INTEGER)
        if (scale, offset) != (1, 0) and not _is_integral(kind):
            raise PatternError(f"{{{inside}}} does arithmetic on {found[2]!r}, not an integer")
        if scale == 0:
            raise PatternError(f"{{{inside}}} multiplies by zero, nothing could be told back")
        if (scale, offset) != (1, 0) and kind.name == "key":
            kind = INTEGER
        return Hole(found[2], kind, scale, offset)
    caret = " " * braces.at + "^"
    raise PatternError(f"misspelt hole {{{inside}}}\n    {pattern}\n    {caret}")


def _is_integral(kind: Kind) -> bool:
    return kind.name == "integer" or (
        kind.name == "key" and all(isinstance(option, int) for option in kind.options)
    )


def _checked(pattern: Pattern) -> Pattern:
    """Refuse a pattern that could match one name in two ways."""
    previous: Hole | None = None
    between = ""
    deep = 0
    for part in pattern.parts:
        if isinstance(part, str):
            between = part
            continue
        deep += part.kind.name == "**"
        if previous is not None and not _separates(between, previous, part):
            raise PatternError(
                f"{pattern.text!r} could match a name in two ways: "
                f"{{{previous.name}}} and {{{part.name}}} need a separator that neither can hold"
            )
        previous, between = part, ""
    if deep > 1:
        raise PatternError(f"{pattern.text!r} could match a name in two ways: it has two {{:**}}")
    return pattern


def _separates(between: str, left: Hole, right: Hole) -> bool:
    if left.kind.name in ("seg", "**") or right.kind.name in ("seg", "**"):
        other_is_closed = left.kind.name not in ("seg", "**") or right.kind.name not in (
            "seg",
            "**",
        )
        return any(c in "./" for c in between) or (other_is_closed and bool(between.strip("_")))
    return any(not c.isdigit() for c in between)
