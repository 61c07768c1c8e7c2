"""The coverage rung: every tensor is accounted for, and both models are configured alike."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portkit.planning import Plan
from portkit.tensors import Specs
from portkit.verification.bits import open_artifact
from portkit.verification.results import Check, RungResult, rung_of

if TYPE_CHECKING:
    from torch import nn


def check_coverage(
    plan: Plan, source: Specs, artifact: Path, modules: "tuple[nn.Module, nn.Module] | None"
) -> RungResult:
    """Compare the file's header with the plan and, where models are known, their configurations."""
    with open_artifact(artifact) as reader:
        checks = [*_check_sources(plan, source), *_check_targets(plan, reader.specs)]
    tensors = len(checks)
    notes: tuple[str, ...] = ()
    if modules:
        checks += [*_check_facts(plan.facts, modules), *_check_alike(*modules)]
    made, dropped = len(plan.made), len(plan.dropped)
    summary = f"{tensors} tensors accounted for"
    if made or dropped:
        summary += f" ({made} made anew, {dropped} dropped)"
    if modules:
        summary += f", {len(checks) - tensors} facts of configuration"
    return rung_of("coverage", checks, summary, notes)


def _check_sources(plan: Plan, source: Specs) -> Iterator[Check]:
    """Make sure that every source tensor is used, dropped or tied, by name."""
    used = {spec.name for step in plan.steps for spec in step.sources}
    left = {d.spec.name for d in plan.dropped} | {t.spec.name for t in plan.tied}
    for name, spec in source.items():
        if name not in used | left:
            yield Check(name, passed=False, what=f"source tensor {spec.form} goes nowhere")
    for name in sorted((used | left) - source.keys()):
        yield Check(name, passed=False, what="the plan takes a tensor that the source lacks")


def _check_targets(plan: Plan, found: Specs) -> Iterator[Check]:
    """Hold the file against the plan's targets: no more and no less."""
    for name, spec in plan.targets.items():
        if name not in found:
            yield Check(name, passed=False, what=f"{spec.form} is missing from the file")
        elif (found[name].shape, found[name].dtype) != (spec.shape, spec.dtype):
            what = f"{found[name].form} in the file, the plan says {spec.form}"
            yield Check(name, passed=False, what=what)
        else:
            yield Check(name, passed=True, what=spec.form)
    for name in found.keys() - plan.targets.keys():
        yield Check(name, passed=False, what=f"{found[name].form} is in the file, not in the plan")


def _check_facts(
    facts: Mapping[str, Any], modules: "tuple[nn.Module, nn.Module]"
) -> Iterator[Check]:
    """Hold what the mapping claims against both models."""
    for side, module in zip(("source", "target"), modules, strict=True):
        layers = list(module.named_modules())
        for fact, stated, found in (
            ("batchnorm_eps", facts.get("batchnorm_eps"), _values(layers, "BatchNorm", _eps)),
            ("lrn", _lrn_fact(facts.get("lrn")), _values(layers, "LocalResponseNorm", _lrn)),
            ("padding", facts.get("padding"), _values(layers, "Conv", _padding)),
            ("pooling", _pool_fact(facts.get("pooling")), _values(layers, "MaxPool", _ceil)),
        ):
            if stated is None:
                continue
            wrong = [f"{name} has {value}" for name, value in found if value != stated]
            what = f"{fact} {stated} in the {side}"
            if wrong:
                what = f"{fact} should be {stated} in the {side}: {wrong[0]}"
            yield Check(fact, passed=not wrong, what=what)


def _values(layers: Any, kind: str, read: Any) -> list[tuple[str, Any]]:
    return [(name, read(layer)) for name, layer in layers if type(layer).__name__.startswith(kind)]


def _eps(layer: Any) -> float:
    return float(layer.eps)


def _lrn(layer: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in (layer.size, layer.alpha, layer.beta, layer.k))


def _lrn_fact(fact: Any) -> tuple[float, ...] | None:
    return tuple(float(fact[key]) for key in ("size", "alpha", "beta", "k")) if fact else None


def _padding(layer: Any) -> str:
    return str(getattr(layer, "padding_mode", "zeros"))


def _ceil(layer: Any) -> bool:
    return bool(layer.ceil_mode)


def _pool_fact(fact: Any) -> bool | None:
    return bool(fact["ceil_mode"]) if fact and "ceil_mode" in fact else None


# Kind of layer → the attributes that change what it computes.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "BatchNorm2d": ("eps", "track_running_stats"),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "ReLU": (),
    "ReLU6": (),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "SiLU": (),
    "Sigmoid": (),
    "Tanh": (),
    "Softmax": ("dim",),
}


def _check_alike(source: "nn.Module", target: "nn.Module") -> Iterator[Check]:
    """Compare layers that own no tensors, or more than tensors, kind by kind."""
    ours, theirs = _configurations(source), _configurations(target)
    for kind in ATTRIBUTES:
        one, other = ours.get(kind, Counter()), theirs.get(kind, Counter())
        if not one or not other:
            continue  # a functional call on one side: structure and outputs compare that
        missing, extra = one - other, other - one
        what = f"{sum(one.values())} {kind} layers alike"
        if missing or extra:
            listed = [f"{n}× {text}" for text, n in (missing or extra).items()]
            side = "target lacks" if missing else "target also has"
            what = f"{side} {kind} {', '.join(listed)}"
            if missing and extra:
                what += f", has {', '.join(f'{n}× {text}' for text, n in extra.items())} instead"
        yield Check(kind, passed=not (missing or extra), what=what)
    for side, module in (("source", source), ("target", target)):
        training = [name for name, layer in module.named_modules() if layer.training]
        what = f"{side} in eval mode"
        if training:
            what = f"{side}: {training[0] or 'the whole model'} is in training mode"
        yield Check("eval mode", passed=not training, what=what)


def _configurations(module: "nn.Module") -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for layer in module.modules():
        kind = type(layer).__name__
        if kind in ATTRIBUTES:
            text = ", ".join(f"{name}={_pair(getattr(layer, name))}" for name in ATTRIBUTES[kind])
            found.setdefault(kind, Counter())[text] += 1
    return found


def _pair(value: Any) -> Any:
    """Write 2 and (2, 2) alike."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
