"""From matched uses to paired tensors: a tensor that is used twice must mean the same twice."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from portkit.ops import Rearrange
from portkit.pairing.relating import relate_uses
from portkit.pairing.values import Ambiguity, Flow, Match, Relation, Use


@dataclass(slots=True)
class Found:
    """What a target tensor is made from, as far as it is settled."""

    source: str
    relation: Relation
    because: tuple[str, ...]
    op: Rearrange | None = None
    equal: bool = False  # bit for bit


@dataclass(slots=True)
class Draft:
    """A mapping while it is inferred, by target name."""

    source: Flow
    target: Flow
    pairs: dict[str, Found] = field(default_factory=dict)
    ambiguous: dict[str, Ambiguity] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)  # source name, and why
    ties: dict[str, str] = field(default_factory=dict)  # source name, and which one it repeats
    made: dict[str, str] = field(default_factory=dict)  # target name, and why it is made anew
    notes: list[str] = field(default_factory=list)
    absent: frozenset[str] = frozenset()  # source names that its file does not hold

    @property
    def taken(self) -> frozenset[str]:
        """Source names that have a use in the mapping."""
        used = {found.source for found in self.pairs.values()}
        return frozenset({*used, *self.dropped, *self.ties})

    @property
    def unpaired_source(self) -> tuple[str, ...]:
        gone = self.taken | self.absent
        return tuple(name for name in self.source.shapes if name not in gone)

    @property
    def unpaired_target(self) -> tuple[str, ...]:
        given = {*self.pairs, *self.made}
        return tuple(name for name in self.target.shapes if name not in given)


def draft_pairs(source: Flow, target: Flow, matches: Iterable[Match]) -> Draft:
    """Pair the tensors whose uses match and whose shapes allow it."""
    draft = Draft(source, target)
    matched: dict[int, int] = {}
    for match in matches:
        one, other = source.uses[match.source], target.uses[match.target]
        relation = relate_uses(one, other)
        if relation is None:
            continue
        matched[match.source] = match.target
        before = draft.pairs.get(other.name)
        if before is not None and before.source != one.name:
            names = before.source, one.name
            draft.ambiguous[other.name] = Ambiguity(other.name, names, "its first call")
        elif before is None:
            draft.pairs[other.name] = Found(one.name, relation, _because(match))
            _note_others(draft, match)
    _part_folded(draft, matched)
    return draft


def _because(match: Match) -> tuple[str, ...]:
    """Name the evidence that made a pair: the run, or what chose where the run decides nothing."""
    if match.others:
        return (match.decided,) if match.decided else ()
    return ("execution order",)


def _note_others(draft: Draft, match: Match) -> None:
    name = draft.target.uses[match.target].name
    candidates = tuple(dict.fromkeys(draft.source.uses[other].name for other in match.others))
    if len(candidates) > 1:
        draft.ambiguous[name] = Ambiguity(name, candidates, match.decided)


def _part_folded(draft: Draft, matched: dict[int, int]) -> None:
    """Take back pairs of layers that a normalisation follows on one side only: it may be folded.

    Such a layer's weights are not moved but computed.
    """
    sides = (
        ("source", draft.source, set(matched)),
        ("target", draft.target, set(matched.values())),
    )
    for side, flow, known in sides:
        lone = {n for n, use in enumerate(flow.uses) if use.family == "norm" and n not in known}
        owners = dict.fromkeys(flow.uses[n].owner for n in sorted(lone))
        fed = {flow.uses[n].name for n in _feeding(flow, lone)}
        for target in [
            t for t, f in draft.pairs.items() if (f.source if side == "source" else t) in fed
        ]:
            del draft.pairs[target]
            draft.ambiguous.pop(target, None)
        if owners:
            shown = ", ".join(list(owners)[:3]) + (" and more" if len(owners) > 3 else "")
            what = f"{len(owners)} normalisations ({shown}) have no counterpart"
            if fed:
                what += ", so the layers before them are not paired, either"
            draft.notes.append(f"the {side}'s {what}: folded ones are computed, not moved")


def _feeding(flow: Flow, norms: set[int]) -> set[int]:
    """Return the uses of the layers right before some normalisations."""
    found = {a for a, b, _ in flow.edges if b in norms and a >= 0 and _is_layer(flow.uses[a])}
    kernels = {a for a, b, _ in flow.edges if b in found and a >= 0}
    owners = {flow.uses[n].owner for n in found}
    return found | {n for n in kernels if flow.uses[n].owner in owners}


def _is_layer(use: Use) -> bool:
    return use.family in ("conv", "deconv", "linear")
