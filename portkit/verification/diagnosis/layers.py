"""What went wrong with a layer: its attributes, its parameters, then causes tried at work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from portkit.verification.causes import Cause
from portkit.verification.diagnosis.candidates import (
    Candidate,
    Outcome,
    altered,
    attempt,
    describe_difference,
    find_candidate,
    refuse_values,
    run_layer,
)
from portkit.verification.diagnosis.signals import explain_factor, signals
from portkit.verification.diagnosis.tensors import explain_parameter
from portkit.verification.diagnosis.variants import layer_variants
from portkit.verification.results import Diagnosis
from portkit.verification.settings import causes_of, differing, settings_of

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

# What it is where a layer lacks a tensor; any other has no name of its own.
_MISSING: Mapping[str, Cause] = MappingProxyType(
    {
        "weight": Cause.MISSING_WEIGHT,
        "bias": Cause.MISSING_BIAS,
        "running_mean": Cause.MISSING_RUNNING_MEAN,
        "running_var": Cause.MISSING_RUNNING_VAR,
    }
)
# Causes that a better one overrules.
_WEAK = (Cause.UNKNOWN, Cause.UNRELATED, Cause.ANOTHER_CHECKPOINT)
_MOVES = (Cause.CHANNEL_LAST_FLATTEN, Cause.MEMORY_ORDER, Cause.TRANSPOSED, Cause.ELEMENTS_PERMUTED)
_IMAGES = 2  # the worst ones, which costly layers are tried on


@dataclass(frozen=True, slots=True)
class LayerCase:
    """A layer that answers wrongly when it is given what the source's layer was given."""

    name: str
    source: nn.Module
    target: nn.Module
    given: Tensor
    wanted: Tensor
    got: Tensor
    siblings: Mapping[str, nn.Module]  # the target's other layers of this kind, by name


def explain_layer(case: LayerCase) -> Diagnosis | None:
    """Return why a layer of the target does not answer as the source's; None where it does."""
    outcome = Outcome(case.name, case.wanted, case.got)
    if case.got.shape != case.wanted.shape or outcome.got.equal(case.wanted):
        return None
    settings = _differing(case)
    confirmed = find_candidate(outcome, _tried(case, settings))
    if confirmed:
        return confirmed
    parameters = _explain_parameters(case)
    if parameters and parameters.cause not in _WEAK:
        return parameters
    at_work = refuse_values(outcome) or _explain_at_work(case, outcome)
    return at_work or parameters or _said(case, settings) or describe_difference(outcome)


def _differing(case: LayerCase) -> dict[str, tuple[Any, Any]]:
    """Return the attributes that differ between two layers of one kind: the source's, ours."""
    one, other = case.source, case.target
    alike = isinstance(other, type(one)) or isinstance(one, type(other))
    if not alike:
        return {}
    names = causes_of(one)
    found = differing(settings_of(one, names), settings_of(other, names))
    return {name: (getattr(one, name), getattr(other, name)) for name in found}


def _tried(case: LayerCase, found: dict[str, tuple[Any, Any]]) -> Iterator[Candidate]:
    """Yield the source's layer with each of the target's attributes."""
    given = _fitting(case.source, case.given)
    for name, (ours, theirs) in found.items():
        words = f"its {name} is {theirs}, its source's {ours}"
        if name == "training":
            words = "it is in train mode: it normalises with the batch's own statistics"
        twin = altered(case.source, {name: theirs})
        yield Candidate(causes_of(case.source)[name], words, partial(run_layer, twin, given))


def _said(case: LayerCase, found: dict[str, tuple[Any, Any]]) -> Diagnosis | None:
    for name, (ours, theirs) in found.items():
        words = f"{case.name}: its {name} is {theirs}, its source's {ours}"
        return Diagnosis(causes_of(case.source)[name], words)
    return None


def _explain_parameters(case: LayerCase) -> Diagnosis | None:
    """Compare every tensor of the two layers; join what is found out about each."""
    wanted, got = _tensors(case.source), _tensors(case.target)
    found: list[Diagnosis | None] = []
    for name, want in wanted.items():
        if name not in got:
            words = f"{case.name} has no {name}, its source's is not zero"
            found += [Diagnosis(_MISSING.get(name, Cause.MISSING_TENSOR), words)] * bool(want.any())
        elif got[name].size == want.size:
            made = want.reshape(got[name].shape)
            if not _same(got[name], made):
                found.append(_explain_tensor(case, name, got[name], made))
    known = [diagnosis for diagnosis in found if diagnosis]
    if any(diagnosis.cause in _MOVES for diagnosis in known) and not _fits_plainly(case):
        return None  # a form of its own, such as channel-last features, which fits its inputs
    known.sort(key=lambda diagnosis: diagnosis.cause in _WEAK)
    if not known:
        return None
    return Diagnosis(known[0].cause, "; ".join(diagnosis.evidence for diagnosis in known))


def _explain_tensor(case: LayerCase, name: str, got: "Array", want: "Array") -> Diagnosis | None:
    own = {f"{case.name}.{n}": a for n, a in _tensors(case.source).items() if n != name}
    kin = {f"{owner}.{name}": _tensors(m).get(name) for owner, m in case.siblings.items()}
    there = {owner: array for owner, array in kin.items() if array is not None}
    splits = tuple(_tensors(layer)[name].shape for layer in (case.source, case.target))
    if case.given.ndim == 4:
        splits += ((got.shape[0], *case.given.shape[1:]),) if got.ndim else ()
    found = explain_parameter(f"{case.name}.{name}", got, want, {**own, **there}, splits)
    if found is None or found.cause not in _WEAK:
        return found
    for owner, array in there.items():  # a swap: the other one has what this one should have
        if array.size == want.size and _same(array.reshape(want.shape), want):
            every = f"{want.size:,} of {want.size:,} elements"
            words = f"{owner} has what {case.name}.{name} should have, {every}"
            return Diagnosis(Cause.SIBLING_SWAPPED, words)
    return found


def _same(one: "Array", other: "Array") -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _tensors(layer: nn.Module) -> "dict[str, Array]":
    named = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
    return {name: t.detach().cpu().numpy() for name, t in named if t.is_floating_point()}


def _fits_plainly(case: LayerCase) -> bool:
    """Say whether the target's layer with the source's tensors, reshaped, answers as it should."""
    own = dict(case.target.named_parameters(recurse=False))
    theirs = {
        name: tensor.detach().reshape(own[name].shape)
        for name, tensor in case.source.named_parameters(recurse=False)
        if name in own and own[name].numel() == tensor.numel()
    }
    twin = altered(case.target, theirs)
    outcome = Outcome(case.name, case.wanted, case.got)
    return outcome.is_wanted(attempt(lambda: run_layer(twin, case.given)))


def _explain_at_work(case: LayerCase, outcome: Outcome) -> Diagnosis | None:
    """Try causes on the source's layer, costly ones on few images, then on what it answered."""
    given, few = case.given, outcome
    if len(case.given) == len(case.got) and not isinstance(case.source, _BatchNorm):
        off = (case.got - case.wanted).double().square().flatten(1).sum(1)
        worst = off.topk(min(_IMAGES, len(off))).indices
        given, few = given[worst], Outcome(outcome.name, case.wanted[worst], case.got[worst])
    given = _fitting(case.source, given)
    found = find_candidate(few, layer_variants(case.source, given))
    found = found or explain_factor(outcome)
    return found or find_candidate(outcome, signals(case.wanted))


def _fitting(layer: nn.Module, given: Tensor) -> Tensor:
    """Return an input with as many axes as the source's layer takes."""
    if isinstance(layer, nn.Linear) and given.ndim == 4:
        return given.flatten(1)
    if isinstance(layer, nn.Conv2d) and given.ndim == 2:
        sizes = layer.kernel_size
        return given.reshape(len(given), given.shape[1] // prod(sizes), *sizes)
    return given
