"""Match two runs whose structure is the same, whatever order their branches run in.

Every use gets a colour: first its role and size, then again and again its own colour with those of
what feeds it and what it feeds (Weisfeiler and Leman). Uses that keep one colour are branches that
nothing in the structure tells apart: values choose among them, then names, then the order of
execution, one pair at a time, and the rest of each branch follows.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from portkit.pairing.evidence import Evidence
from portkit.pairing.values import Flow, Match, Tag

Colors = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class _Graph:
    """The uses of one side, then its answer and its input, with what feeds what."""

    into: tuple[tuple[tuple[int, Tag], ...], ...]
    out: tuple[tuple[tuple[int, Tag], ...], ...]


@dataclass(slots=True)
class _Matching:
    """Two runs, coloured together, and what was decided so far."""

    source: Flow
    target: Flow
    evidence: Evidence
    graphs: tuple[_Graph, _Graph]
    colors: Colors
    decided: dict[int, str] = field(default_factory=dict)


def match_structure(source: Flow, target: Flow, evidence: Evidence) -> tuple[Match, ...] | None:
    """Return the pairs of two runs of the same structure; None where it differs."""
    if len(source.uses) != len(target.uses) or len(source.edges) != len(target.edges):
        return None
    graphs = _graph_of(source), _graph_of(target)
    colors = _refined(graphs, _first_colors(source, target))
    if colors is None:
        return None
    alike = _members(colors[0])
    others = {c: tuple(uses) for c, uses in alike.items() if len(uses) > 1}
    free = {use: others.get(colors[1][use], ()) for use in range(len(target.uses))}
    matching = _Matching(source, target, evidence, graphs, colors)
    while _split_one(matching):
        pass
    place = {color: use for use, color in enumerate(matching.colors[0])}
    found = []
    for use, color in enumerate(matching.colors[1][: len(target.uses)]):
        found.append(Match(place[color], use, free[use], matching.decided.get(use, "")))
    return tuple(found)


def _graph_of(flow: Flow) -> _Graph:
    size = len(flow.uses) + 2
    into: list[list[tuple[int, Tag]]] = [[] for _ in range(size)]
    out: list[list[tuple[int, Tag]]] = [[] for _ in range(size)]
    for start, end, tag in flow.edges:
        out[start].append((end, tag))
        into[end].append((start % size, tag))
    return _Graph(tuple(map(tuple, into)), tuple(map(tuple, out)))


def _first_colors(source: Flow, target: Flow) -> Colors:
    numbers: dict[object, int] = {}
    sides = []
    for flow in (source, target):
        keys: list[object] = [(use.role, prod(use.shape)) for use in flow.uses]
        keys += ["answer", "input"]
        sides.append([numbers.setdefault(key, len(numbers)) for key in keys])
    return sides[0], sides[1]


def _refined(graphs: tuple[_Graph, _Graph], colors: Colors) -> Colors | None:
    """Colour by neighbours until nothing changes; None once the two sides differ."""
    count = 0
    while len(set(colors[0])) > count:
        count = len(set(colors[0]))
        numbers: dict[object, int] = {}
        made = [
            [numbers.setdefault(key, len(numbers)) for key in _keys(graph, side)]
            for graph, side in zip(graphs, colors, strict=True)
        ]
        colors = made[0], made[1]
        if Counter(colors[0]) != Counter(colors[1]):
            return None
    return colors


def _keys(graph: _Graph, colors: list[int]) -> Iterator[object]:
    for use, color in enumerate(colors):
        sides = (
            tuple(sorted((colors[other], tag) for other, tag in edges))
            for edges in (graph.into[use], graph.out[use])
        )
        yield color, *sides


def _members(colors: list[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for use, color in enumerate(colors):
        found.setdefault(color, []).append(use)
    return found


def _split_one(matching: _Matching) -> bool:
    """Pair one use of those that look alike, and colour on; say whether there was one."""
    alike = _members(matching.colors[0])
    open_uses = [
        use for use in range(len(matching.target.uses)) if len(alike[matching.colors[1][use]]) > 1
    ]
    if not open_uses:
        return False
    use, source, by = _choose(matching, open_uses, alike)
    new = len(alike)
    colors = [list(side) for side in matching.colors]
    colors[0][source] = colors[1][use] = new
    refined = _refined(matching.graphs, (colors[0], colors[1]))
    if refined is None:
        raise AssertionError("uses of one colour are alike")
    matching.colors = refined
    left = {color for color, uses in _members(refined[0]).items() if len(uses) > 1}
    for other in open_uses:
        if refined[1][other] not in left:
            matching.decided[other] = by
    return True


def _choose(
    matching: _Matching, open_uses: list[int], alike: dict[int, list[int]]
) -> tuple[int, int, str]:
    """Return the pair that most speaks for: by values, by names or, last, the first to run."""
    named = None
    for use in open_uses:
        uses = alike[matching.colors[1][use]]
        names = {matching.source.uses[other].name: other for other in reversed(uses)}
        found = matching.evidence.choose(tuple(names), matching.target.uses[use].name)
        if found and found[1] == "fingerprint":
            return use, names[found[0]], found[1]
        named = named or (found and (use, names[found[0]], found[1]))
    return named or (open_uses[0], alike[matching.colors[1][open_uses[0]]][0], "")
