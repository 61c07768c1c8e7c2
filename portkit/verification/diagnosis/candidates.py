"""Trying causes on layers at work: the one whose answer is the wrong one is it.

Models are never changed: a variant of a layer is a shallow copy with other attributes or tensors.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from portkit.verification.causes import Cause
from portkit.verification.results import Diagnosis

EXPLAINED = 1e-3  # of the energy of a difference may be left
_EXACT = 1e-10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out, and what should have; None where that has another size."""

    name: str
    wanted: Tensor | None
    got: Tensor

    def residual(self, made: Tensor | None) -> float:
        """Return the share of the difference's energy that an answer leaves unexplained."""
        if made is None or made.numel() != self.got.numel():
            return float("inf")
        if self.wanted is None and made.shape != self.got.shape:
            return float("inf")
        rest = energy(self.got - made.to(self.got).reshape(self.got.shape))
        whole = energy(self.got if self.wanted is None else self.got - self.wanted)
        return rest / whole if whole else float("inf")

    def is_wanted(self, made: Tensor | None) -> bool:
        """Say whether an answer is the right one, as far as the difference allows to tell."""
        if self.wanted is None or made is None or made.numel() != self.wanted.numel():
            return False
        rest = energy(self.wanted - made.to(self.wanted).reshape(self.wanted.shape))
        return bool(rest <= EXPLAINED * energy(self.got - self.wanted))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cause, what it says, and the answer that it would give."""

    cause: Cause
    words: str
    answer: Callable[[], Tensor | None]


def find_candidate(outcome: Outcome, candidates: Iterable[Candidate]) -> Diagnosis | None:
    """Return the cause that explains the difference, the first exact one or else the best."""
    least, found = EXPLAINED, None
    for candidate in candidates:
        residual = outcome.residual(attempt(candidate.answer))
        if residual <= least and not (found and residual > least / 4):
            least, found = residual, candidate
        if residual <= _EXACT:
            break
    if found is None:
        return None
    share = f"{100 * (1 - least):.4g} % of the difference explained"
    return Diagnosis(found.cause, f"{outcome.name}: {found.words}, {share}")


def attempt(answer: Callable[[], Any]) -> Tensor | None:
    """Return an answer, or None where a cause cannot be tried on this layer."""
    try:
        with torch.inference_mode():
            made = answer()
    except Exception:
        return None
    return made if isinstance(made, Tensor) else None


def energy(tensor: Tensor) -> float:
    return float(tensor.double().square().sum())


def run_layer(layer: nn.Module, given: Tensor) -> Tensor:
    """Return a layer's answer without its hooks, leaving what it is given as it is."""
    answer: Tensor = layer.forward(given.clone())
    return answer


def run_chain(layers: Iterable[nn.Module], given: Tensor) -> Tensor:
    """Return what layers make of an input, one after the other."""
    flowing = given.clone()
    for layer in layers:
        flowing = layer.forward(flowing)
    return flowing


def altered(layer: nn.Module, changes: Mapping[str, Any]) -> nn.Module:
    """Return a shallow copy of a layer with other attributes, parameters or buffers."""
    twin = copy.copy(layer)
    tables = {name: dict(getattr(layer, name)) for name in ("_parameters", "_buffers", "_modules")}
    for name, buffer in tables["_buffers"].items():  # batch norm in training writes to its own
        tables["_buffers"][name] = None if buffer is None else buffer.clone()
    twin.__dict__.update(tables)
    for name, value in changes.items():
        table = next((t for t in tables.values() if name in t), twin.__dict__)
        table[name] = value
    return twin


def refuse_values(outcome: Outcome) -> Diagnosis | None:
    """Say so where values are not finite though they should be."""
    wrong = int((~torch.isfinite(outcome.got)).sum())
    fine = outcome.wanted is None or bool(torch.isfinite(outcome.wanted).all())
    if not wrong or not fine:
        return None
    words = f"{wrong:,} of {outcome.got.numel():,} values are not finite"
    return Diagnosis(Cause.NOT_FINITE, f"{outcome.name}: {words}")


def describe_difference(outcome: Outcome) -> Diagnosis:
    """Return the figures of a difference that no usual cause explains."""
    words = f"{outcome.name}: no usual cause fits"
    if outcome.wanted is None:
        return Diagnosis(Cause.UNKNOWN, f"{words}, the shape is {list(outcome.got.shape)}")
    off = (outcome.got - outcome.wanted).abs()
    wrong = int((off > 1e-6 * outcome.wanted.abs().max()).sum())
    words += f", {wrong:,} of {off.numel():,} values are off, by {float(off.max()):.3g} at most"
    words += f", largest value {float(outcome.wanted.abs().max()):.3g}"
    return Diagnosis(Cause.UNKNOWN, words)
