"""What went wrong with a tensor: a bounded search through the usual causes, with the evidence."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.planning import Step
from portkit.tensors import DType, Shape
from portkit.verification.causes import Cause
from portkit.verification.diagnosis.moves import Permute, splits_of, usual_moves
from portkit.verification.diagnosis.rows import explain_rows
from portkit.verification.diagnosis.searching import Search, bits_of
from portkit.verification.diagnosis.values import (
    as_floats,
    describe,
    explain_constant,
    explain_element,
    explain_likeness,
    explain_negation,
    explain_values,
)
from portkit.verification.recomputing import recompute
from portkit.verification.reordering import owner_of
from portkit.verification.results import Diagnosis

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

# What a cause is called where it befalls these tensors of a batch norm.
REFINED: Mapping[tuple[str, str], Cause] = MappingProxyType(
    {
        (Cause.ZEROS, "running_mean"): Cause.BATCHNORM_STATS_INITIAL,
        (Cause.ONES, "running_var"): Cause.BATCHNORM_STATS_INITIAL,
        (Cause.SCALED, "running_mean"): Cause.BATCHNORM_STATS_SCALED,
        (Cause.SCALED, "running_var"): Cause.BATCHNORM_STATS_SCALED,
        (Cause.ONES, "weight"): Cause.BATCHNORM_GAMMA_ONE,
    }
)
# What is called by its own name when it is found in the place of the other, in one layer.
PARTNERS: Mapping[frozenset[str], Cause] = MappingProxyType(
    {
        frozenset({"running_mean", "running_var"}): Cause.BATCHNORM_MEAN_VAR_SWAPPED,
        frozenset({"weight", "bias"}): Cause.BATCHNORM_GAMMA_BETA_SWAPPED,
    }
)


def explain_tensor(step: Step, got: "Array", want: "Array", source: Reader) -> Diagnosis | None:
    """Return why a tensor is not what its step makes of the source; None where it is.

    Every cause but the last resorts holds for all elements, bit for bit or to a rounding.
    """
    if got.size == 0 or got.shape != want.shape:
        return None
    search = Search(step.target.name, got, want)
    splits = splits_of(want.shape, *(spec.shape for spec in step.sources))
    own = step.sources[0].name if step.sources else ""
    siblings = _siblings(step, source)
    return find_cause(search, siblings, splits, own=own, dtype=step.target.dtype)


def explain_parameter(
    name: str,
    got: "Array",
    want: "Array",
    siblings: "Mapping[str, Array]",
    splits: tuple[Shape, ...] = (),
) -> Diagnosis | None:
    """Return why a layer's parameter is not the source layer's; None where it is.

    `siblings` are the source's parameters that might have been taken instead.
    """
    if got.size == 0 or got.shape != want.shape:
        return None
    search = Search(name, got, want)
    return find_cause(search, siblings.items(), splits_of(want.shape, *splits))


def find_cause(
    search: Search,
    siblings: "Iterable[tuple[str, Array]]" = (),
    splits: tuple[Shape, ...] = (),
    *,
    own: str = "",
    dtype: DType | None = None,
) -> Diagnosis | None:
    """Try the usual causes, the plainest first; say so where none fits, None where all is right.

    `own` is what the tensor is called among its siblings.
    """
    if not len(search.wrong):
        return None
    got, want = as_floats(search.got, dtype), as_floats(search.want, dtype)
    found = explain_element(search, got, want)
    if got is None or want is None:
        found = found or _moved(search, splits) or _sibling(search, siblings, own or search.name)
        return found or explain_rows(search) or describe(search, got, want)
    found = (
        found
        or explain_constant(search, got, want)
        or explain_negation(search, got, want)  # halves of both signs may be swapped just so
        or _moved(search, splits)
        or _sibling(search, siblings, own or search.name)
        or explain_values(search, got, want)
        or explain_rows(search)
        or explain_likeness(search, got, want)
        or describe(search, got, want)
    )
    return _refined(search, found)


def _moved(search: Search, splits: tuple[Shape, ...]) -> Diagnosis | None:
    for named in usual_moves(search.want.shape, splits):
        if search.is_moved(named.move):
            return search.say(named.cause, named.words)
    return None


def _sibling(search: Search, siblings: "Iterable[tuple[str, Array]]", own: str) -> Diagnosis | None:
    """Say so where the tensor is what another one of the source should be, or that transposed."""
    for name, other in siblings:
        if other.size != search.got.size or other.dtype.itemsize != search.got.dtype.itemsize:
            continue
        if other.shape == search.got.shape and search.is_like(other):
            return search.say(_swap(own, name), f"equals source {name}")
        if other.ndim >= 2 and _turned(search, other):
            words = f"equals the transpose of source {name}"
            return search.say(Cause.SIBLING_SWAPPED, words)
    return None


def _turned(search: Search, other: "Array") -> bool:
    order = (1, 0, *range(2, other.ndim))
    if tuple(other.shape[axis] for axis in order) != search.got.shape:
        return False
    there = bits_of(other)[Permute(other.shape, order).trace(search.places)]
    same = np.array_equal(bits_of(search.got)[search.places], there)
    return same and search.is_all(other.transpose(order))


def _swap(name: str, other: str) -> Cause:
    if owner_of(name) != owner_of(other):
        return Cause.SIBLING_SWAPPED
    leaves = frozenset({_leaf(name), _leaf(other)})
    return PARTNERS.get(leaves, Cause.SIBLING_SWAPPED)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _siblings(step: Step, source: Reader) -> "Iterator[tuple[str, Array]]":
    """Yield what the step would make of other source tensors of the same size."""
    if len(step.sources) != 1:
        return
    own = step.sources[0]
    for name, spec in source.specs.items():
        if name == own.name or spec.dtype != own.dtype or prod(spec.shape) != own.size:
            continue
        if spec.shape == own.shape:
            yield name, recompute(step, (as_array(source.fetch(name), spec),))
        elif len(spec.shape) == len(step.target.shape):
            yield name, as_array(source.fetch(name), spec)


def _refined(search: Search, found: Diagnosis) -> Diagnosis:
    """Give a cause the name that it has for a batch norm's tensors."""
    leaf = _leaf(search.name)
    cause = REFINED.get((found.cause, leaf), found.cause) if search.got.ndim == 1 else found.cause
    evidence = found.evidence
    if (found.cause, leaf) == (Cause.SCALED, "running_var"):
        count = _count_of(search)
        if count:
            cause = Cause.BATCHNORM_UNBIASED_VAR
            evidence += f", n/(n - 1) of n = {count:,} or its inverse"
    return Diagnosis(cause, evidence)


def _count_of(search: Search) -> int:
    """Return the n for which the tensor is n/(n - 1) times its source, or the inverse of that."""
    ours, theirs = (
        float(np.abs(array).sum(dtype=np.float64)) for array in (search.got, search.want)
    )
    ratio = max(ours, theirs) / min(ours, theirs)
    count = ratio / (ratio - 1)
    whole = round(count)
    return whole if whole >= 2 and abs(count - whole) <= 1e-6 * count**2 else 0
