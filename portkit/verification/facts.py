"""Facts: what a mapping states about both models beside their tensors, held against both."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from portkit.mapping.facts import TRAINING_ONLY
from portkit.ops import FoldNormalization
from portkit.planning import Plan, Step
from portkit.verification.reordering import (
    channels_moved,
    flattened_in,
    is_computed,
    owner_of,
    rows_kept,
)
from portkit.verification.results import Check, Diagnosis
from portkit.verification.settings import (
    BATCH_NORMS,
    CONVOLUTIONS,
    POOLS,
    Modules,
    check_settings,
    differing,
    layers_of,
    listed,
    settings_of,
)

_SIDES = ("source", "target")
_CHANNELS: Mapping[str, int] = MappingProxyType({"RGB": 3, "BGR": 3, "gray": 1})
_WITH_CHANNELS = (*CONVOLUTIONS, nn.Linear)

# Fact → the layers that it is about, and what it says of each of them.
_OF_LAYERS: Mapping[str, tuple[tuple[type[nn.Module], ...], Callable[[Any], dict[str, Any]]]] = (
    MappingProxyType(
        {
            "batchnorm_eps": (BATCH_NORMS, lambda fact: {"eps": fact}),
            "lrn": ((nn.LocalResponseNorm,), dict),
            "padding": (CONVOLUTIONS, lambda fact: {"padding_mode": fact}),
            "pooling": (POOLS, dict),
        }
    )
)


def check_facts(plan: Plan, source: nn.Module, target: nn.Module) -> list[Check]:
    """Hold every fact that a mapping states against both models and the plan."""
    modules, facts = (source, target), plan.facts
    checks = list(_check_borders(plan, target))
    for fact in _OF_LAYERS:
        if fact in facts:
            checks += _check_layers(fact, facts[fact], modules)
    for fact, check in _BY_FACT.items():
        if fact in facts:
            checks += check(facts[fact], plan, modules)
    return checks


def idle_facts(plan: Plan, modules: Modules) -> Iterator[str]:
    """Say which facts speak of layers that neither model has."""
    for fact, (kinds, _) in _OF_LAYERS.items():
        if fact in plan.facts and not any(layers_of(module, kinds) for module in modules):
            yield f"the mapping states {fact}, neither model has a layer that it is about"


def _check_layers(fact: str, value: Any, modules: Modules) -> Iterator[Check]:
    kinds, read = _OF_LAYERS[fact]
    stated = read(value)
    for side, module in zip(_SIDES, modules, strict=True):
        for name, layer in layers_of(module, kinds):
            found = settings_of(layer, tuple(stated))
            differs = differing(stated, found)
            what = f"{fact} of {side} {name or 'model'}: {listed(found)}"
            if differs:
                what += f", the mapping states {listed(stated)}"
            yield check_settings(name, what, differs, layer)


def _check_input(fact: Mapping[str, Any], plan: Plan, modules: Modules) -> Iterator[Check]:
    """Check channels, their order, and whether the plan makes up for what differs."""
    for side, module in zip(_SIDES, modules, strict=True):
        yield from _check_image(fact[side], side, module)
    first = _first_step(plan, modules)
    if first is None:
        yield Check("input", passed=False, what="no first layer is paired: cannot be checked")
        return
    orders = [fact[side].get("channel_order") for side in _SIDES]
    yield from _check_order(orders[0], orders[1], first)
    yield _check_values(fact, first)


def _check_image(stated: Mapping[str, Any], side: str, module: nn.Module) -> Iterator[Check]:
    subject = f"input of the {side}"
    name, layer = next(iter(layers_of(module, _WITH_CHANNELS)), ("", None))
    if layer is None:
        yield Check(subject, passed=False, what="no layer takes channels: cannot be checked")
        return
    channels = getattr(layer, "in_channels", getattr(layer, "in_features", 0))
    counts = {key: len(stated[key]) for key in ("mean", "std") if key in stated}
    if "channel_order" in stated:
        counts[f"channel_order {stated['channel_order']}"] = _CHANNELS[stated["channel_order"]]
    for key, count in counts.items():
        what = f"{name} takes {channels} channels, {key} has {count}"
        yield Check(subject, passed=count == channels, what=what)
    if "layout" in stated:
        takes = "NCHW" if isinstance(layer, CONVOLUTIONS) else "no layout that can be seen"
        what = f"layout {stated['layout']}, {name} takes {takes}"
        yield Check(subject, passed=stated["layout"] == takes, what=what)


def _check_order(source: str | None, target: str | None, first: Step) -> Iterator[Check]:
    """Hold the stated channel orders against what the plan does to the first layer's channels."""
    if source is None or target is None:
        return
    found, wanted = channels_moved(first), "reversed" if source != target else "kept"
    what = f"input channels {found}, stated {source} and {target}"
    diagnosis = None if found == wanted else Diagnosis("channels_reversed", what)
    yield Check(first.target.name, passed=found == wanted, what=what, diagnosis=diagnosis)


def _check_values(fact: Mapping[str, Any], first: Step) -> Check:
    """Make sure that another range, mean or std is made up for, and an equal one left alone."""
    keys = ("range", "mean", "std")
    ours, theirs = ({key: fact[side].get(key) for key in keys} for side in _SIDES)
    alike, computed = ours == theirs, is_computed(first)
    folds = [op for op in first.ops if isinstance(op, FoldNormalization)]
    wrong = [op for op in folds if op.mean != ours["mean"] or op.std != ours["std"]]
    if wrong:
        what = f"{wrong[0]}, stated for the source {listed(ours)}"
    elif alike:
        what = "both take the same values" + (", but the plan computes others" if computed else "")
    else:
        does = "computes others" if computed else "does not make up for it"
        what = f"values stated apart ({listed(ours)}; {listed(theirs)}), the plan {does}"
    return Check(first.target.name, passed=alike != computed and not wrong, what=what)


def _check_borders(plan: Plan, target: nn.Module) -> Iterator[Check]:
    """Hold `borders: exact` of a folded mean against the layer's own padding."""
    layers = dict(target.named_modules())
    for step in plan.steps:
        for op in step.ops:
            layer = layers.get(owner_of(step.target.name))
            if isinstance(op, FoldNormalization) and op.borders == "exact":
                padding = getattr(layer, "padding", 0)
                none = not any(padding) if isinstance(padding, tuple) else padding in (0, "valid")
                what = f"padding {padding}, a mean was folded with borders: exact"
                yield Check(step.target.name, passed=none, what=what)


def _first_step(plan: Plan, modules: Modules) -> Step | None:
    """Return the step that makes the weight of the target's first layer."""
    name, _ = next(iter(layers_of(modules[1], _WITH_CHANNELS)), ("", None))
    weight = f"{name}.weight" if name else "weight"
    return next((s for s in plan.steps if s.target.name == weight and s.sources), None)


def _check_flatten(fact: Mapping[str, str], plan: Plan, modules: Modules) -> Iterator[Check]:
    """Hold the stated orders against what the plan does to the first linear layer's inputs."""
    step = next(iter(_linear_steps(plan, modules)), None)
    if step is None:
        yield Check("flatten", passed=False, what="neither model has a linear layer to flatten for")
        return
    passed, what = flattened_in(step, fact["source"], fact["target"])
    diagnosis = None if passed else Diagnosis("channel_last_flatten", what)
    yield Check(step.target.name, passed=passed, what=what, diagnosis=diagnosis)


def _linear_steps(plan: Plan, modules: Modules) -> Iterator[Step]:
    source, target = (dict(module.named_modules()) for module in modules)
    for step in plan.steps:
        if len(step.target.shape) < 2 or not step.sources:
            continue
        owners = (
            source.get(owner_of(step.sources[0].name)),
            target.get(owner_of(step.target.name)),
        )
        if any(isinstance(owner, nn.Linear) for owner in owners):
            yield step


def _check_labels(fact: Mapping[str, Any], plan: Plan, modules: Modules) -> Iterator[Check]:
    """Check the number of logits, and that classes change their order as stated, or not at all."""
    del modules
    last = [step for step in plan.steps if step.sources and len(step.target.shape) > 1][-1:]
    if not last:
        yield Check("labels", passed=False, what="no last layer is paired: cannot be checked")
        return
    owner = owner_of(last[0].target.name)
    steps = [s for s in plan.steps if s.sources and owner_of(s.target.name) == owner]
    for step in steps:
        rows = step.sources[0].shape[0], step.target.shape[0]
        if "count" in fact:
            what = (
                f"{rows[0]} logits in the source, {rows[1]} in the target, stated {fact['count']}"
            )
            yield Check(step.target.name, passed=rows == (fact["count"],) * 2, what=what)
        kept, alike = rows_kept(step), fact["source"] == fact["target"]
        does = "keeps the order of the classes" if kept else "changes the order of the classes"
        what = f"the plan {does}, stated {fact['source']} and {fact['target']}"
        diagnosis = None if kept == alike else Diagnosis("rows_permuted", what)
        yield Check(step.target.name, passed=kept == alike, what=what, diagnosis=diagnosis)


def _check_heads(fact: Mapping[str, Any], plan: Plan, modules: Modules) -> Iterator[Check]:
    """Make sure that a head is in the one model only, and its tensors go nowhere else."""
    layers = [dict(module.named_modules()) for module in modules]
    apart = {dropped.spec.name for dropped in plan.dropped}, {s.target.name for s in plan.made}
    for here, side in enumerate(_SIDES):
        other = _SIDES[1 - here]
        for head in fact[side]:
            wrong = []
            if head not in layers[here]:
                wrong.append(f"the {side} has no such module")
            if head in layers[1 - here]:
                wrong.append(f"the {other} has it, too")
            tensors = dict(modules[here].state_dict())
            kept = [n for n in tensors if n.startswith(f"{head}.") and n not in apart[here]]
            if kept:
                wrong.append(f"{kept[0]} is not {'made' if here else 'dropped'} by the plan")
            what = "; ".join(wrong) or f"a head of the {side} alone"
            yield Check(head, passed=not wrong, what=what)


def _check_eval_only(fact: tuple[str, ...], plan: Plan, modules: Modules) -> Iterator[Check]:
    """Make sure that of what only trains, the stated kinds differ and no others."""
    del plan
    counts = [
        Counter(
            f"{type(layer).__name__}(p {getattr(layer, 'p', None)})"
            for layer in module.modules()
            if type(layer).__name__ in TRAINING_ONLY
        )
        for module in modules
    ]
    differ = {text.partition("(")[0] for text in (counts[0] - counts[1]) + (counts[1] - counts[0])}
    for kind in sorted({*fact, *differ}):
        said, does = (
            "stated" if kind in fact else "not stated",
            "differs" if kind in differ else "is alike",
        )
        yield Check(kind, passed=(kind in fact) == (kind in differ), what=f"{does}, {said}")


_BY_FACT: Mapping[str, Callable[[Any, Plan, Modules], Iterator[Check]]] = MappingProxyType(
    {
        "input": _check_input,
        "flatten": _check_flatten,
        "labels": _check_labels,
        "heads": _check_heads,
        "eval_only": _check_eval_only,
    }
)
