"""Tied tensors: one that goes by several names, on either side or on one only."""

from portkit.pairing.matching import Draft, Found

_COUNTER = "num_batches_tracked"


def spread_aliases(draft: Draft, missing: frozenset[str]) -> None:
    """Give every name of a tied tensor its rule, and counters that a file lacks a start.

    `missing` are tensors that the source model has and its file has not.
    """
    _start_counters(draft, missing)
    for alias, first in draft.target.aliases.items():
        if first in draft.pairs:
            found = draft.pairs[first]
            draft.pairs[alias] = Found(found.source, found.relation, ("tied", *found.because))
    wanted: dict[str, list[str]] = {}
    for target, found in draft.pairs.items():
        wanted.setdefault(found.source, []).append(target)
    for alias, first in draft.source.aliases.items():
        targets = wanted.get(first, [])
        if len(targets) > 1:
            draft.pairs[targets.pop()].source = alias
        elif targets:
            draft.ties[alias] = first
        elif first in draft.dropped:
            draft.dropped[alias] = draft.dropped[first]


def _start_counters(draft: Draft, missing: frozenset[str]) -> None:
    """Forget what the source's file lacks, and let the target's counters start at zero."""
    for target in [t for t, found in draft.pairs.items() if found.source in missing]:
        del draft.pairs[target]
    for name in missing:
        draft.dropped.pop(name, None)
    for target in draft.target.shapes:
        if target not in draft.pairs and target.endswith(_COUNTER):
            draft.made[target] = "the source counts no batches"
