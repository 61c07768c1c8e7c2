"""What tensors do not say: epsilons, strides, padding, pooling, activations of both models."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from portkit.planning import Plan
from portkit.verification.causes import Cause
from portkit.verification.cuts import Cut, find_cuts
from portkit.verification.facts import check_facts, idle_facts
from portkit.verification.results import Check, Diagnosis
from portkit.verification.settings import (
    BATCH_NORMS,
    CONVOLUTIONS,
    FAMILIES,
    TRANSPOSED,
    Modules,
    causes_of,
    check_settings,
    differing,
    layers_of,
    listed,
    settings_of,
)

# Families that are compared otherwise: by the tensors they own, by their mode, or not at all.
_APART = ("batch norm", "dropout", "reshaping")
# Attributes that change what a layer computes.
_ATTRIBUTES = (
    "kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad",
    "divisor_override", "size", "alpha", "beta", "k", "negative_slope", "approximate", "dim",
    "output_size", "scale_factor", "mode", "align_corners", "upscale_factor", "downscale_factor",
    "min_val", "max_val", "threshold", "lambd", "value",
)  # fmt: skip
_OF_CONVOLUTIONS = ("stride", "padding", "dilation", "groups", "padding_mode")
_OF_BATCH_NORMS = ("eps", "track_running_stats")
# Other layers with tensors, and what changes what they compute; a momentum only trains.
_OF_OTHERS: tuple[tuple[tuple[type[nn.Module], ...], tuple[str, ...]], ...] = (
    (TRANSPOSED, (*_OF_CONVOLUTIONS, "output_padding")),
    ((nn.GroupNorm,), ("eps", "num_groups")),
    ((nn.LayerNorm, nn.RMSNorm), ("eps", "normalized_shape")),
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), ("eps", "track_running_stats")),
    ((nn.Embedding,), ("max_norm", "norm_type")),
    (
        (nn.MultiheadAttention,),
        ("num_heads", "batch_first", "add_zero_attn"),
    ),
    ((nn.LSTM, nn.GRU, nn.RNN), ("num_layers", "batch_first", "bidirectional", "mode")),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """Settings that were compared, and what could not be."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def compare_configurations(plan: Plan, modules: Modules) -> Compared:
    """Compare both models' settings: what the mapping states, layer by layer, mode by mode."""
    notes = list(idle_facts(plan, modules))
    checks = [*check_facts(plan, *modules), *_check_owners(find_cuts(plan), modules)]
    for family in FAMILIES:
        if family not in _APART:
            checks += _check_family(family, modules, notes)
    checks += _check_modes(modules)
    return Compared(tuple(checks), tuple(notes))


def _check_owners(cuts: tuple[Cut, ...], modules: Modules) -> Iterator[Check]:
    """Compare the layers whose tensors the plan pairs."""
    source, target = (dict(module.named_modules()) for module in modules)
    for cut in cuts:
        one, other = cut.enter, cut.target
        if one not in source or other not in target:
            continue
        ours, theirs = source[one], target[other]
        wanted = _expected(ours, theirs)
        if wanted:
            found = settings_of(theirs, tuple(wanted))
            differs = differing(wanted, found)
            what = f"{type(theirs).__name__} {listed(found)}"
            if differs:
                what = f"{listed(found, differs)}, source {one} has {listed(wanted, differs)}"
            yield check_settings(other, what, differs, theirs)


def _expected(ours: nn.Module, theirs: nn.Module) -> dict[str, Any]:
    """Return the settings that the target's layer must have."""
    if isinstance(ours, CONVOLUTIONS) and isinstance(theirs, CONVOLUTIONS):
        alike = ours.weight.shape == theirs.weight.shape
        return settings_of(ours, _OF_CONVOLUTIONS) if alike else {}
    if isinstance(ours, nn.Linear) and isinstance(theirs, CONVOLUTIONS):
        return {"padding": 0, "dilation": 1, "groups": 1}
    if isinstance(ours, BATCH_NORMS) and isinstance(theirs, BATCH_NORMS):
        return settings_of(ours, _OF_BATCH_NORMS)
    for kinds, names in _OF_OTHERS:
        if isinstance(ours, kinds) and isinstance(theirs, kinds):
            return settings_of(ours, names)
    return {}


def _check_family(family: str, modules: Modules, notes: list[str]) -> Iterator[Check]:
    """Compare layers without tensors, where both models have as many of them.

    Layers that are used more than once, or written as function calls, cannot be paired like this.
    """
    ours, theirs = (layers_of(module, FAMILIES[family]) for module in modules)
    if len(ours) != len(theirs):
        words = f"{len(ours)} {family} layers in the source, {len(theirs)} in the target"
        notes.append(f"{words}: not compared one by one")
        return
    texts = [[_describe(layer) for _, layer in side] for side in (ours, theirs)]
    same = Counter(texts[0]) == Counter(texts[1])
    for (one, first), (other, layer), want, got in zip(ours, theirs, *texts, strict=True):
        if same or want == got:
            yield Check(other, passed=True, what=got)
            continue
        what = f"{got}, source {one} is {want}"
        if type(first) is not type(layer):
            changed = family == "activation"
            diagnosis = Diagnosis(Cause.ACTIVATION_CHANGED, what) if changed else None
            yield Check(other, passed=False, what=what, diagnosis=diagnosis)
            continue
        differs = differing(settings_of(first, _ATTRIBUTES), settings_of(layer, _ATTRIBUTES))
        yield check_settings(other, what, differs, layer)


def _describe(layer: nn.Module) -> str:
    settings = settings_of(layer, _ATTRIBUTES)
    return f"{type(layer).__name__}({listed(settings)})"


def _check_modes(modules: Modules) -> Iterator[Check]:
    """Find what stays in training mode in a model that was put into eval mode."""
    for side, module in zip(("source", "target"), modules, strict=True):
        training = [(name, layer) for name, layer in module.named_modules() if layer.training]
        yield Check(f"{side} mode", passed=not training, what=f"all of the {side} in eval mode")
        for name, layer in training:
            what = f"{side} layer in training mode"
            cause = _cause_of_training(layer)
            diagnosis = (
                Diagnosis(cause, f"{type(layer).__name__}.training is set") if cause else None
            )
            yield Check(name or "the model", passed=False, what=what, diagnosis=diagnosis)


def _cause_of_training(layer: nn.Module) -> Cause | None:
    dropping = Cause.DROPOUT_ACTIVE if "Drop" in type(layer).__name__ else None
    return causes_of(layer).get("training", dropping)
