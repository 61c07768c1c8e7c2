"""What went wrong between two layers: activations, pooling, normalisation, reshapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise

from torch import Tensor, nn

from portkit.verification.causes import Cause
from portkit.verification.diagnosis.candidates import (
    EXPLAINED,
    Candidate,
    Outcome,
    attempt,
    describe_difference,
    find_candidate,
    refuse_values,
    run_chain,
)
from portkit.verification.diagnosis.differences import Difference, cause_of_order, compare_modules
from portkit.verification.diagnosis.signals import explain_dropout, explain_factor, signals
from portkit.verification.diagnosis.variants import Chain, span_variants
from portkit.verification.results import Diagnosis
from portkit.verification.settings import Layer, family_of

START = "input"  # what a span at a model's start is called by
_LONGEST = 6  # layers among which an activation that is no module is looked for


@dataclass(frozen=True, slots=True)
class SpanCase:
    """What stands between two paired layers, and what arrives at the second of them."""

    name: str  # "features.0 → features.3"
    given: Tensor  # the answer of the layer before, or the images
    wanted: Tensor | None  # None where it has another size than what arrives
    got: Tensor
    source_modules: tuple[Layer, ...]
    target_modules: tuple[Layer, ...]


def explain_span(case: SpanCase) -> Diagnosis | None:
    """Return why something else arrives at a layer than in the source; None where it does not.

    A difference of the modules is named where it is one at work: models may do the same by
    functions that no list of modules shows.
    """
    outcome = Outcome(case.name, case.wanted, case.got)
    if case.wanted is not None and case.got.equal(case.wanted):
        return None
    found = compare_modules(case.source_modules, case.target_modules)
    confirmed = [difference for difference in found if _is_at_work(case, outcome, difference)]
    if confirmed:
        return _joined(case, confirmed)
    images = case.name.startswith(f"{START} ")
    tried = chain(_variants(case, outcome), _signals(case, images=images))
    at_work = (
        refuse_values(outcome)
        or explain_dropout(outcome)
        or find_candidate(outcome, _skipping(case))
        or explain_factor(outcome)
        or find_candidate(outcome, tried)
    )
    if at_work:
        return at_work
    likely = [difference for difference in found if difference.is_setting]
    if case.wanted is None:
        return _joined(case, likely or found) if found else _resized(case, outcome)
    return _joined(case, likely) if likely else describe_difference(outcome)


def _joined(case: SpanCase, found: Sequence[Difference]) -> Diagnosis:
    words = "; ".join(difference.words for difference in found)
    return Diagnosis(found[0].cause, f"{case.name}: {words}")


def _is_at_work(case: SpanCase, outcome: Outcome, difference: Difference) -> bool:
    """Say whether the source's modules with this difference answer as the target."""
    if difference.cause == Cause.DROPOUT_ACTIVE:
        return _is_random(case, outcome)
    made = attempt(partial(run_chain, difference.layers, case.given))
    if outcome.residual(made) <= EXPLAINED:
        return True
    theirs = attempt(partial(run_chain, _layers(case.target_modules), case.given))
    ours = attempt(partial(run_chain, _layers(case.source_modules), case.given))
    same = case.wanted is None or outcome.is_wanted(ours)
    return same and outcome.residual(theirs) <= EXPLAINED


def _is_random(case: SpanCase, outcome: Outcome) -> bool:
    """Say whether values are dropped, or nothing else than a module in train mode differs."""
    if explain_dropout(outcome):
        return True
    calm = [layer for layer in _layers(case.target_modules) if family_of(layer) != "dropout"]
    return outcome.is_wanted(attempt(partial(run_chain, calm, case.given)))


def _layers(modules: tuple[Layer, ...]) -> Chain:
    return tuple(layer for _, layer in modules)


def _chains(case: SpanCase, outcome: Outcome) -> Iterator[Chain]:
    """Yield the layers that make what should arrive, those that are no modules supplied."""
    listed = tuple(
        layer
        for layer in _layers(case.source_modules)
        if family_of(layer) not in ("dropout", "reshaping")
    )
    supplied = [(*listed[:i], nn.ReLU(), *listed[i:]) for i in range(len(listed) + 1)]
    for layers in (listed, *supplied[: _LONGEST + 1]):
        made = attempt(partial(run_chain, layers, case.given))
        if case.wanted is None or outcome.is_wanted(made):
            yield layers
            return


def _variants(case: SpanCase, outcome: Outcome) -> Iterator[Candidate]:
    """Yield what arrives when one of the layers between does one thing wrong."""
    for layers in _chains(case, outcome):
        for place, layer in enumerate(layers):
            before, after = layers[:place], layers[place + 1 :]
            for cause, words, instead in span_variants(layer):
                made = (*before, *instead, *after)
                yield Candidate(cause, words, partial(run_chain, made, case.given))
        for place, (one, other) in enumerate(pairwise(layers)):
            made = (*layers[:place], other, one, *layers[place + 2 :])
            cause = cause_of_order((one, other))
            words = f"{type(other).__name__} comes before {type(one).__name__}, not after it"
            yield Candidate(cause, words, partial(run_chain, made, case.given))


def _signals(case: SpanCase, *, images: bool) -> Iterator[Candidate]:
    if case.wanted is not None:
        yield from signals(case.wanted, images=images)


def _skipping(case: SpanCase) -> Iterator[Candidate]:
    """Yield what arrives where nothing at all stands between the layers."""
    if case.wanted is None or case.name.startswith(f"{START} "):
        return
    relu = attempt(partial(run_chain, (nn.ReLU(),), case.given))
    is_relu = Outcome(case.name, case.wanted, case.got).is_wanted(relu)
    cause = Cause.ACTIVATION_MISSING if is_relu else Cause.LAYERS_MISSING
    words = "its ReLU is missing" if is_relu else "what stands between the layers is missing"
    yield Candidate(cause, words, lambda: case.given)


def _resized(case: SpanCase, outcome: Outcome) -> Diagnosis:
    """Explain another size, which adaptive pooling would not have let through."""
    adaptive = any(family_of(layer) == "adaptive pooling" for layer in _layers(case.source_modules))
    if not adaptive:
        return describe_difference(outcome)
    words = f"{case.name}: the shape is {list(case.got.shape)}: its adaptive pooling is frozen"
    return Diagnosis(Cause.ADAPTIVE_POOL_FROZEN, words)
