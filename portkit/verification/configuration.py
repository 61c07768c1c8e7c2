"""What tensors do not say: epsilons, strides, padding, pooling, activations of both models."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from portkit.planning import Plan
from portkit.verification.cuts import find_cuts
from portkit.verification.results import Check

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
# Layers without tensors, by family: within one, another class is a difference like any other.
FAMILIES: Mapping[str, tuple[type[nn.Module], ...]] = MappingProxyType(
    {"pooling": _POOLS, "activation": _ACTIVATIONS, "lrn": (nn.LocalResponseNorm,)}
)
# Attributes that change what a layer computes.
ATTRIBUTES = (
    "kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad",
    "divisor_override", "size", "alpha", "beta", "k", "negative_slope", "approximate", "dim",
)  # fmt: skip
_OF_CONVOLUTIONS = ("stride", "padding", "dilation", "groups", "padding_mode")
_OF_NORMS = ("eps", "track_running_stats")

Modules = tuple[nn.Module, nn.Module]  # source and target
Layer = tuple[str, nn.Module]  # with its name


@dataclass(frozen=True, slots=True)
class Compared:
    """Settings that were compared, and what could not be."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def compare_configurations(plan: Plan, modules: Modules) -> Compared:
    """Compare both models' settings: what the mapping states, layer by layer, mode by mode."""
    notes: list[str] = []
    checks = [*_check_facts(plan.facts, modules), *_check_owners(plan, modules)]
    for family, kinds in FAMILIES.items():
        checks += _check_family(family, kinds, modules, notes)
    checks += _check_modes(modules)
    return Compared(tuple(checks), tuple(notes))


def _layers(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[Layer]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def _check_facts(facts: Mapping[str, Any], modules: Modules) -> Iterator[Check]:
    """Hold what the mapping states against both models, where they have such layers."""
    for fact, (kinds, read) in _FACTS.items():
        if fact not in facts:
            continue
        stated = read(facts[fact])
        for side, module in zip(("source", "target"), modules, strict=True):
            for name, layer in _layers(module, kinds):
                found = _settings(layer, tuple(stated))
                differs = _difference(stated, found)
                what = f"{fact} of {side} {name or 'model'}: {_listed(found)}"
                if differs:
                    what += f", the mapping states {_listed(stated)}"
                yield Check(name, passed=not differs, what=what)


# Fact → the layers that it is about, and what it says of them.
_FACTS: Mapping[str, tuple[tuple[type[nn.Module], ...], Callable[[Any], dict[str, Any]]]] = (
    MappingProxyType(
        {
            "batchnorm_eps": (_NORMS, lambda fact: {"eps": fact}),
            "lrn": ((nn.LocalResponseNorm,), dict),
            "padding": (_CONVOLUTIONS, lambda fact: {"padding_mode": fact}),
            "pooling": (_POOLS, dict),
        }
    )
)


def _check_owners(plan: Plan, modules: Modules) -> Iterator[Check]:
    """Compare the layers whose tensors the plan pairs."""
    source, target = (dict(module.named_modules()) for module in modules)
    for cut in find_cuts(plan):
        one, other = cut.enter, cut.target
        if one not in source or other not in target:
            continue
        ours, theirs = source[one], target[other]
        wanted = _expected(ours, theirs)
        if wanted:
            found = _settings(theirs, tuple(wanted))
            differs = _difference(wanted, found)
            what = f"{type(theirs).__name__} {_listed(found)}"
            if differs:
                what = f"{_listed(found, differs)}, source {one} has {_listed(wanted, differs)}"
            yield Check(other, passed=not differs, what=what)


def _expected(ours: nn.Module, theirs: nn.Module) -> dict[str, Any]:
    """Return the settings that the target's layer must have."""
    if isinstance(ours, _CONVOLUTIONS) and isinstance(theirs, _CONVOLUTIONS):
        alike = ours.weight.shape == theirs.weight.shape
        return _settings(ours, _OF_CONVOLUTIONS) if alike else {}
    if isinstance(ours, nn.Linear) and isinstance(theirs, _CONVOLUTIONS):
        return {"padding": 0, "dilation": 1, "groups": 1}
    if isinstance(ours, _NORMS) and isinstance(theirs, _NORMS):
        return _settings(ours, _OF_NORMS)
    return {}


def _check_family(
    family: str, kinds: tuple[type[nn.Module], ...], modules: Modules, notes: list[str]
) -> Iterator[Check]:
    """Compare layers without tensors, where both models have as many of them.

    Layers that are used more than once, or written as function calls, cannot be paired like this.
    """
    ours, theirs = (_layers(module, kinds) for module in modules)
    if len(ours) != len(theirs):
        words = f"{len(ours)} {family} layers in the source, {len(theirs)} in the target"
        notes.append(f"{words}: not compared one by one")
        return
    texts = [[_describe(layer) for _, layer in side] for side in (ours, theirs)]
    same = Counter(texts[0]) == Counter(texts[1])
    for (one, _), (other, _), want, got in zip(ours, theirs, *texts, strict=True):
        ok = same or want == got
        what = got if ok else f"{got}, source {one} is {want}"
        yield Check(other, passed=ok, what=what)


def _describe(layer: nn.Module) -> str:
    settings = _settings(layer, ATTRIBUTES)
    return f"{type(layer).__name__}({_listed(settings)})"


def _check_modes(modules: Modules) -> Iterator[Check]:
    """Find what stays in training mode in a model that was put into eval mode."""
    for side, module in zip(("source", "target"), modules, strict=True):
        training = [name or "the model" for name, layer in module.named_modules() if layer.training]
        yield Check(f"{side} mode", passed=not training, what=f"all of the {side} in eval mode")
        for name in training:
            yield Check(name, passed=False, what=f"{side} layer in training mode")


def _settings(layer: nn.Module, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a layer's settings, 2 and (2, 2) written alike."""
    found = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _difference(want: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in want if name in got and want[name] != got[name])


def _listed(settings: Mapping[str, Any], only: tuple[str, ...] = ()) -> str:
    chosen = {name: value for name, value in settings.items() if not only or name in only}
    return ", ".join(f"{name} {value}" for name, value in chosen.items()) or "as its class has it"
