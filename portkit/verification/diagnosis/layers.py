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

from portkit.verification.diagnosis.candidates import (
    Candidate,
    Seen,
    altered,
    attempt,
    describe_difference,
    find_candidate,
    refuse_values,
    run_layer,
)
from portkit.verification.diagnosis.signals import explain_factor, signals
from portkit.verification.diagnosis.spans import SpanCase, explain_span
from portkit.verification.diagnosis.tensors import explain_parameter
from portkit.verification.diagnosis.variants import layer_variants
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

__all__ = ["LayerCase", "SpanCase", "explain_layer", "explain_span"]

ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "eps": "batchnorm_eps",
        "stride": "stride",
        "padding": "padding",
        "padding_mode": "padding_mode",
        "groups": "groups",
        "dilation": "dilation",
        "training": "batchnorm_train_mode",
    }
)
_WEAK = ("unknown", "unrelated", "another_checkpoint")  # causes that a better one overrules
_MOVES = ("channel_last_flatten", "memory_order", "transposed", "elements_permuted")
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
    seen = Seen(case.name, case.wanted, case.got)
    if case.got.shape != case.wanted.shape or seen.got.equal(case.wanted):
        return None
    differing = _differing(case)
    confirmed = find_candidate(seen, _tried(case, differing))
    if confirmed:
        return confirmed
    parameters = _explain_parameters(case)
    if parameters and parameters.cause not in _WEAK:
        return parameters
    at_work = refuse_values(seen) or _explain_at_work(case, seen)
    return at_work or parameters or _said(case, differing) or describe_difference(seen)


def _differing(case: LayerCase) -> dict[str, tuple[Any, Any]]:
    """Return the attributes that differ between two layers of one kind: the source's, ours."""
    one, other = case.source, case.target
    alike = isinstance(other, type(one)) or isinstance(one, type(other))
    if not alike:
        return {}
    kept = [name for name in ATTRIBUTES if name != "training" or isinstance(one, _BatchNorm)]
    found = {name: (getattr(one, name, None), getattr(other, name, None)) for name in kept}
    return {name: (a, b) for name, (a, b) in found.items() if _plain(a) != _plain(b)}


def _plain(value: Any) -> Any:
    """Return sizes as one number where all are one, so that 1 and (1, 1) are alike."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    return value


def _cause(case: LayerCase, attribute: str) -> str:
    is_norm = attribute != "eps" or isinstance(case.source, _BatchNorm)
    return ATTRIBUTES[attribute] if is_norm else attribute


def _tried(case: LayerCase, differing: dict[str, tuple[Any, Any]]) -> Iterator[Candidate]:
    """Yield the source's layer with each of the target's attributes."""
    given = _fitting(case.source, case.given)
    for name, (ours, theirs) in differing.items():
        words = f"its {name} is {theirs}, its source's {ours}"
        if name == "training":
            words = "it is in train mode: it normalises with the batch's own statistics"
        twin = altered(case.source, {name: theirs})
        yield Candidate(_cause(case, name), words, partial(run_layer, twin, given))


def _said(case: LayerCase, differing: dict[str, tuple[Any, Any]]) -> Diagnosis | None:
    for name, (ours, theirs) in differing.items():
        words = f"{case.name}: its {name} is {theirs}, its source's {ours}"
        return Diagnosis(_cause(case, name), words)
    return None


def _explain_parameters(case: LayerCase) -> Diagnosis | None:
    """Compare every tensor of the two layers; join what is found out about each."""
    wanted, got = _tensors(case.source), _tensors(case.target)
    found: list[Diagnosis | None] = []
    for name, want in wanted.items():
        if name not in got:
            words = f"{case.name} has no {name}, its source's is not zero"
            found += [Diagnosis(f"missing_{name}", words)] * bool(want.any())
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
            return Diagnosis("sibling_swapped", words)
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
    seen = Seen(case.name, case.wanted, case.got)
    return seen.is_wanted(attempt(lambda: run_layer(twin, case.given)))


def _explain_at_work(case: LayerCase, seen: Seen) -> Diagnosis | None:
    """Try causes on the source's layer, costly ones on few images, then on what it answered."""
    given, few = case.given, seen
    if len(case.given) == len(case.got) and not isinstance(case.source, _BatchNorm):
        off = (case.got - case.wanted).double().square().flatten(1).sum(1)
        worst = off.topk(min(_IMAGES, len(off))).indices
        given, few = given[worst], Seen(seen.name, case.wanted[worst], case.got[worst])
    given = _fitting(case.source, given)
    found = find_candidate(few, layer_variants(case.source, given))
    found = found or explain_factor(seen)
    return found or find_candidate(seen, signals(case.wanted))


def _fitting(layer: nn.Module, given: Tensor) -> Tensor:
    """Return an input with as many axes as the source's layer takes."""
    if isinstance(layer, nn.Linear) and given.ndim == 4:
        return given.flatten(1)
    if isinstance(layer, nn.Conv2d) and given.ndim == 2:
        sizes = layer.kernel_size
        return given.reshape(len(given), given.shape[1] // prod(sizes), *sizes)
    return given
