"""Write an inferred mapping in the mapping language, with what is not certain as comments."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from portkit.mapping.quoting import escape_name, quote
from portkit.pairing.matching import Draft
from portkit.pairing.values import Pairing

_TIED = "it repeats another one: the source ties them"


def write_mapping(draft: Draft, pairs: Mapping[str, Pairing], ends: tuple[str, str]) -> str:
    """Return the text of a mapping file with a rule for every pair, or for every layer's pairs."""
    return "\n".join((*_head(draft, ends), *_rules(draft, pairs), *_others(draft), ""))


def _head(draft: Draft, ends: tuple[str, str]) -> Iterator[str]:
    yield "# Inferred from one run of each model: a claim to be verified, not a proof."
    for note in draft.notes:
        yield f"# {_one_line(note)}"
    yield "portkit: 1"
    yield f"from: {quote(ends[0])}"
    yield f"to: {quote(ends[1])}"
    yield ""
    yield "rules:" if _has_rules(draft) else "rules: []"


def _has_rules(draft: Draft) -> bool:
    return bool(draft.pairs or draft.dropped or draft.ties or draft.made)


def _rules(draft: Draft, pairs: Mapping[str, Pairing]) -> Iterator[str]:
    counts = Counter(pair.source for pair in pairs.values())
    shared = frozenset(name for name, count in counts.items() if count > 1)

    def key(pair: Pairing) -> tuple[object, ...]:
        together = _is_plain(pair) and pair.target not in draft.ambiguous
        owners = _split(pair.source)[0], _split(pair.target)[0]
        return (*owners, pair.source in shared) if together else (pair.target,)

    for _, group in groupby(pairs.values(), key=key):
        yield from _rule(draft, list(group), shared)


def _is_plain(pair: Pairing) -> bool:
    """Say whether a pair only renames a layer, not what the layer calls its tensor."""
    leaf = _split(pair.source)[1]
    return not pair.ops and leaf == _split(pair.target)[1] and not set("{}|:") & set(leaf)


def _split(name: str) -> tuple[str, str]:
    owner, dot, leaf = name.rpartition(".")
    return owner + dot, leaf


def _rule(draft: Draft, group: list[Pairing], shared: frozenset[str]) -> Iterator[str]:
    first = group[0]
    source, target = escape_name(first.source), escape_name(first.target)
    if len(group) > 1:
        owners = (escape_name(_split(name)[0]) for name in (first.source, first.target))
        leaves = "|".join(_split(pair.source)[1] for pair in group)
        source, target = (f"{owner}{{p:{leaves}}}" for owner in owners)
    if first.target in draft.ambiguous:
        yield f"  # ambiguous: {_one_line(str(draft.ambiguous[first.target]))}"
    because = dict.fromkeys(reason for pair in group for reason in pair.because)
    arrow = source if source == target else f"{source} -> {target}"
    yield f"  - map: {quote(arrow)}  # {', '.join(because)}"
    op = draft.pairs[first.target].op
    if op:
        sizes = ", ".join(f"{axis}: {size}" for axis, size in op.sizes)
        given = f", sizes: {{{sizes}}}" if sizes else ""
        yield f"    ops: [{{rearrange: {quote(op.pattern)}{given}}}]"
    if first.source in shared:
        yield "    shared: true"


def _others(draft: Draft) -> Iterator[str]:
    for name, first in draft.ties.items():
        arrow = quote(f"{escape_name(name)} -> {escape_name(first)}")
        yield f"  - {{tie: {arrow}, because: {quote(_TIED)}}}"
    for name, why in draft.dropped.items():
        yield f"  - {{drop: {quote(escape_name(name))}, because: {quote(why)}}}"
    for name, why in draft.made.items():
        yield f"  - {{init: {quote(escape_name(name))}, with: zeros, because: {quote(why)}}}"
    sides = (
        ("no counterpart: the source's", draft.unpaired_source, draft.source),
        ("no source: the target's", draft.unpaired_target, draft.target),
    )
    for words, names, flow in sides:
        for name in names:
            yield f"  # {words} {_one_line(name)} {list(flow.shapes[name])}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
