"""Tensors that no run touches, and what can be said about those that stay without a counterpart."""

from collections.abc import Mapping
from math import prod

from portkit.pairing.evidence import Evidence, likeness
from portkit.pairing.matching import Draft, Found
from portkit.pairing.relating import relate_shapes
from portkit.pairing.values import Ambiguity
from portkit.tensors import Shape

_CALLED_ALIKE = 0.5  # names of unused tensors that are less alike than this are not paired


def pair_companions(draft: Draft) -> None:
    """Pair what layers hold beside their weights, such as the counters of batch norms."""
    owners: dict[str, str] = {}
    for target, found in draft.pairs.items():
        owners.setdefault(_owner(target), _owner(found.source))
    free = set(draft.source.unused)
    for target in draft.target.unused:
        name = target.rpartition(".")[2]
        layer = owners.get(_owner(target))
        source = name if layer == "" else f"{layer}.{name}"
        if layer is None or source not in free or target in draft.pairs:
            continue
        relation = relate_shapes(draft.source.shapes[source], draft.target.shapes[target])
        if relation:
            draft.pairs[target] = Found(source, relation, ("owner",))


def pair_unused(draft: Draft, evidence: Evidence) -> None:
    """Pair what neither model uses by its name, else by its values; drop what is the source's own.

    The name goes first: tensors that hold each other's values must not be paired so that they fit.
    """
    free = [name for name in draft.source.unused if name not in draft.taken]
    wanted = [name for name in draft.target.unused if name not in draft.pairs]
    for target in wanted:
        shape = draft.target.shapes[target]
        fitting = tuple(n for n in free if relate_shapes(draft.source.shapes[n], shape))
        chosen = _choose(fitting, target, evidence)
        if chosen is None or (chosen[1] == "name" and likeness(chosen[0], target) < _CALLED_ALIKE):
            continue
        relation = relate_shapes(draft.source.shapes[chosen[0]], shape)
        if relation:
            draft.pairs[target] = Found(chosen[0], relation, (chosen[1],))
            free.remove(chosen[0])
        if len(fitting) > 1 and chosen[1] != "fingerprint":
            draft.ambiguous[target] = Ambiguity(target, fitting, chosen[1])
    for name in free:
        draft.dropped[name] = "the source does not use it when it is evaluated"


def _choose(sources: tuple[str, ...], target: str, evidence: Evidence) -> tuple[str, str] | None:
    if target in sources:
        return target, "name"
    return evidence.choose(sources, target) if sources else None


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def remark_leftovers(draft: Draft) -> None:
    """Note where one unpaired tensor is as large as several of the other side's in a row."""
    taken = {n: draft.source.shapes[n] for n in draft.unpaired_source}
    given = {n: draft.target.shapes[n] for n in draft.unpaired_target}
    for whole, parts, word in ((given, taken, "concat"), (taken, given, "split")):
        for name, shape in whole.items():
            joined = _parts_of(shape, parts)
            if joined:
                what = f"{name} {list(shape)} is as large as {', '.join(joined)} together"
                draft.notes.append(f"{what}: a rule with `{word}` is needed")


def _parts_of(shape: Shape, parts: Mapping[str, Shape]) -> tuple[str, ...]:
    """Return neighbouring tensors that together are as long along the first axis as `shape`."""
    names = [n for n, s in parts.items() if s and shape and s[1:] == shape[1:]]
    for start in range(len(names)):
        for end in range(start + 2, len(names) + 1):
            run = names[start:end]
            if sum(prod(parts[name]) for name in run) == prod(shape):
                return tuple(run)
    return ()
