"""Infer a mapping between two models: run both, match their uses, settle every tensor, write it."""

from typing import TYPE_CHECKING

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.pairing.aliasing import spread_aliases
from portkit.pairing.evidence import ALIKE, Evidence, likeness
from portkit.pairing.fingerprints import exact_op, take_fingerprints
from portkit.pairing.leftovers import pair_companions, pair_unused, remark_leftovers
from portkit.pairing.matching import Draft, Found, draft_pairs
from portkit.pairing.sequence import match_sequence
from portkit.pairing.structure import match_structure
from portkit.pairing.values import Ambiguity, Flow, Inferred, Pairing, Party
from portkit.pairing.writing import write_mapping

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


def infer_mapping(source: Party, target: Party, images: "Array") -> Inferred:
    """Return which source tensor becomes which target tensor, seen on one run of each.

    Only the first of the images `[N, …]` is run. Raise PortkitError where a model cannot run.
    """
    flows = tuple(_flow_of(party, images) for party in (source, target))
    with source.open() as taken, target.open() as given:
        evidence = Evidence(take_fingerprints(taken), take_fingerprints(given))
        draft = _drafted((flows[0], flows[1]), evidence)
        draft.absent = _missing(flows[0], taken)
        spread_aliases(draft, draft.absent)
        _settle_ops(draft, taken, given)
    _report_conflicts(draft, evidence)
    return _inferred(draft, evidence, (_end(source), _end(target)))


def _end(party: Party) -> str:
    reference = party.endpoint.reference
    return f"{reference.scheme}:{reference.arch}"


def _flow_of(party: Party, images: "Array") -> Flow:
    import torch

    from portkit.pairing.flow import trace_flow

    return trace_flow(party.build(torch.float32), images[:1], str(party.endpoint))


def _missing(flow: Flow, reader: Reader) -> frozenset[str]:
    """Return what a model has and its file has not: counters, in files of before 2018."""
    return frozenset(flow.shapes) - frozenset(reader.specs)


def _drafted(flows: tuple[Flow, Flow], evidence: Evidence) -> Draft:
    """Pair by structure where both have the same, or else by execution order; then the rest."""
    matches = match_structure(*flows, evidence)
    if matches is None:
        matches = match_sequence(*flows, evidence)
    draft = draft_pairs(*flows, matches)
    pair_companions(draft)
    pair_unused(draft, evidence)
    remark_leftovers(draft)
    return draft


def _settle_ops(draft: Draft, taken: Reader, given: Reader) -> None:
    """Choose, of the rearrangements that fit, the one that makes the values equal, if one does."""
    for target, found in draft.pairs.items():
        if found.source not in taken.specs or target not in given.specs:
            continue
        one = as_array(taken.fetch(found.source), taken.specs[found.source])
        other = as_array(given.fetch(target), given.specs[target])
        place = exact_op(one, other, found.relation)
        found.equal = place is not None
        found.op = found.relation.ops[place or 0]
        if place:
            what = f"{target} has the values of {found.source} only by {found.op}"
            draft.notes.append(f"{what}: does the source flatten its maps channels last?")


def _report_conflicts(draft: Draft, evidence: Evidence) -> None:
    """Say where values speak against a pair: it stays as the order of execution has it."""
    for target, found in draft.pairs.items():
        if found.equal or target in draft.ambiguous:
            continue
        holders = evidence.holders(target)
        if found.source in holders:
            what = f"{target} has the values of {found.source}, in another order of elements"
            draft.notes.append(what)
        elif len(holders) == 1:
            decided = f"execution order, against its values, which are those of {holders[0]}"
            draft.ambiguous[target] = Ambiguity(target, (found.source, *holders), decided)


def _inferred(draft: Draft, evidence: Evidence, ends: tuple[str, str]) -> Inferred:
    pairs = {
        name: _pairing(name, draft.pairs[name], evidence)
        for name in draft.target.shapes
        if name in draft.pairs
    }
    return Inferred(
        text=write_mapping(draft, pairs, ends),
        pairs=tuple(pairs.values()),
        ambiguous=tuple(draft.ambiguous.values()),
        unpaired_source=draft.unpaired_source,
        unpaired_target=draft.unpaired_target,
        dropped=tuple(draft.dropped),
        notes=tuple(draft.notes),
    )


def _pairing(target: str, found: Found, evidence: Evidence) -> Pairing:
    because = [*found.because, "shape"]
    if likeness(found.source, target) >= ALIKE:
        because.append("name")
    if found.equal and evidence.same(found.source, target):
        because.append("fingerprint")
    ops = f"rearrange: {found.op}" if found.op else ""
    return Pairing(found.source, target, ops, tuple(dict.fromkeys(because)))
