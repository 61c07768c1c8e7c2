"""One pass that judges every layer by itself: each is fed what the source's layer was fed.

One run of the source records what goes in and out at every cut. A run of the target then meets
those records: what arrives at a layer is judged (the span before it: activations, pooling,
normalisation, reshapes), the layer itself is fed the source's input, its answer is judged, and the
source's answer is passed on. So every independent fault is seen, and nothing downstream of one is
blamed for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from portkit.planning import Plan
from portkit.runners.torch import as_input, named_outputs
from portkit.runners.tracing import Call, Key, recorded, watched
from portkit.verification.battery import Batch
from portkit.verification.comparing import pair_outputs
from portkit.verification.cuts import Cut, find_cuts, layers_between
from portkit.verification.diagnosis.layers import LayerCase, explain_layer
from portkit.verification.diagnosis.spans import SpanCase, explain_span
from portkit.verification.fitting import Fitted, farthest, fit, largest
from portkit.verification.results import Diagnosis
from portkit.verification.running import Pair

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_EXPLAINED = 12  # failing units whose cause is searched for
_END = "output"


@dataclass(frozen=True, slots=True)
class Trace:
    """What the source's layers were given and answered to one batch, and what it answered."""

    batch: Batch
    cuts: tuple[Cut, ...]  # in the order in which the source comes to them
    calls: Mapping[Key, Call]
    outputs: Mapping[str, "Array"]

    def given(self, cut: Cut, call: int) -> Tensor | None:
        found = self.calls.get((cut.enter, call))
        return found.given if found else None

    def answered(self, cut: Cut, call: int) -> Tensor | None:
        found = self.calls.get((cut.leave, call))
        return found.answered if found else None


@dataclass(slots=True)
class Unit:
    """What one pass found out about a layer or a span: differences, and the size of the truth."""

    name: str
    worst: float  # largest difference
    scale: float  # largest value of the reference
    why_not: str = ""  # why it cannot be compared
    diagnosis: Diagnosis | None = None

    @property
    def share(self) -> float:
        if self.why_not or self.worst != self.worst:
            return float("inf")
        return self.worst / self.scale if self.scale else self.worst


Units = dict[str, Unit]


@dataclass(frozen=True, slots=True)
class Forced:
    """What a pass found out, and the layers that it did not meet: parts of the spans, then."""

    units: Units
    unmet: tuple[str, ...]


@dataclass(slots=True)
class _Pass:
    """One forced pass under way."""

    trace: Trace
    entering: Mapping[str, Cut]  # by the judged model's layer
    leaving: Mapping[str, Cut]
    gate: float  # share of the largest value above which a cause is searched for
    inputs: "Array"  # the traced batch, as the judged model takes it
    units: Units = field(default_factory=dict)
    last: Cut | None = None
    cases: list[tuple[Unit, Callable[[], Diagnosis | None]]] = field(default_factory=list)
    source: nn.Module | None = None  # to explain with
    target: nn.Module | None = None


def record_trace(pair: Pair, batch: Batch, plan: Plan, dtype: torch.dtype) -> Trace:
    """Run the source once and keep what goes in and out of the layers that the plan pairs."""
    source = pair.source.module(dtype)
    known = {name for name, _ in source.named_modules()}
    cuts = [cut for cut in find_cuts(plan) if cut.enter in known and cut.leave in known]
    names = dict.fromkeys(name for cut in cuts for name in (cut.enter, cut.leave))
    with torch.inference_mode(), recorded(source, list(names)) as calls:
        outputs = named_outputs(source(as_input(source, batch.images)))
    pair.source.advance(len(batch.images))
    of = {cut.enter: cut for cut in cuts}
    called = [of[name] for name in dict.fromkeys(name for name, _ in calls) if name in of]
    return Trace(batch, tuple(called), calls, outputs)


def force_source(pair: Pair, trace: Trace, dtype: torch.dtype) -> Forced:
    """Feed the source its own record in another precision: its rounding error, layer by layer."""
    module = pair.source.module(dtype)
    entering = {cut.enter: cut for cut in trace.cuts}
    leaving = {cut.leave: cut for cut in trace.cuts}
    pair.source.advance(len(trace.batch.images))
    return force(
        module, _Pass(trace, entering, leaving, float("inf"), pair.source.inputs(trace.batch))
    )


def force_target(
    pair: Pair, trace: Trace, dtype: torch.dtype, gate: float = float("inf")
) -> Forced:
    """Feed the target the source's record; explain what is off by more than a share of `gate`."""
    module = pair.target.module(dtype)
    cuts = {cut.target: cut for cut in trace.cuts}
    state = _Pass(trace, cuts, cuts, gate, pair.target.inputs(trace.batch))
    if gate < float("inf"):
        state.source, state.target = pair.source.module(dtype), module
    pair.target.advance(len(trace.batch.images))
    forced = force(module, state)
    for unit, explain in state.cases:  # not before: the search runs layers, hooks would see it
        unit.diagnosis = explain()
    return forced


def force(module: nn.Module, state: _Pass) -> Forced:
    known = {name for name, _ in module.named_modules()}
    layers = [name for name in {**state.entering, **state.leaving} if name in known]

    def before(key: Key, tensor: Tensor) -> Tensor | None:
        return _judge_given(state, key, tensor)

    def after(key: Key, tensor: Tensor) -> Tensor | None:
        return _judge_answer(state, key, tensor)

    answer: Any = None
    failure = ""
    with torch.inference_mode(), watched(module, layers, before, after):
        try:
            answer = module(as_input(module, state.inputs))
        except (Exception, SystemExit) as error:  # whatever a user's own code may raise
            failure = (str(error) or type(error).__name__).splitlines()[0]
    _judge_end(state, answer, failure)
    return Forced(state.units, tuple(_unmet(state)))


def _judge_given(state: _Pass, key: Key, tensor: Tensor) -> Tensor | None:
    """Judge what arrives at a layer, and put the source's input in its place."""
    cut = state.entering.get(key[0])
    given = state.trace.given(cut, key[1]) if cut else None
    if cut is None or given is None or _is_adapted(state, given):
        return None
    met = fit(given, tensor)
    unit = _unit(f"{_name(state.last)} → {_shown(cut, key[1])}", met, tensor)
    state.units[unit.name] = unit
    if unit.share > state.gate and len(state.cases) < _EXPLAINED:
        case = _span_case(state, cut, met, tensor)
        state.cases.append((unit, partial(explain_span, case)))
    return None if met is None else met.passed_on.clone()


def _is_adapted(state: _Pass, given: Tensor) -> bool:
    """Say whether a layer is given the images themselves, where both sides take other ones."""
    images = state.trace.batch.images
    return state.inputs is not images and bool(
        given.shape == images.shape and torch.equal(given, torch.from_numpy(images).to(given))
    )


def _judge_answer(state: _Pass, key: Key, tensor: Tensor) -> Tensor | None:
    """Judge what a layer makes of the source's input, and pass the source's answer on."""
    cut = state.leaving.get(key[0])
    answered = state.trace.answered(cut, key[1]) if cut else None
    if cut is None or answered is None:
        return None
    met = fit(answered, tensor)
    unit = _unit(_shown(cut, key[1]), met, tensor)
    state.units[unit.name] = unit
    state.last = cut
    if unit.share > state.gate and met is not None and len(state.cases) < _EXPLAINED:
        case = _layer_case(state, cut, key[1], met)
        if case is not None:
            state.cases.append((unit, partial(explain_layer, case)))
    return None if met is None else met.passed_on.clone()


def _name(cut: Cut | None) -> str:
    return cut.target if cut else "input"


def _shown(cut: Cut, call: int) -> str:
    return f"{cut.target} (call {call + 1})" if call else cut.target


def _unit(name: str, met: Fitted | None, seen: Tensor) -> Unit:
    if met is None:
        return Unit(name, float("inf"), 0.0, f"is {list(seen.shape)}, of another size")
    return Unit(name, farthest(met.wanted, met.got), largest(met.wanted))


def _unmet(state: _Pass) -> Iterator[str]:
    """Yield the layers that the judged model calls less often than the source.

    It may use their tensors in a function of its own: then they are judged within a span.
    """
    for cut in state.trace.cuts:
        count = sum(name == cut.leave for name, _ in state.trace.calls)
        seen = sum(_shown(cut, call) in state.units for call in range(count))
        if seen < count:
            yield f"{cut.target} is called {seen} times, source {cut.leave} {count} times"


def _judge_end(state: _Pass, answer: Any, failure: str) -> None:
    """Judge what is made of the last layer's answer."""
    name = f"{_name(state.last)} → {_END}"
    if failure:
        state.units[name] = Unit(name, float("inf"), 0.0, f"cannot run: {failure}")
        return
    try:
        outputs = named_outputs(answer)
    except Exception as error:
        state.units[name] = Unit(name, float("inf"), 0.0, f"answers nothing to compare: {error}")
        return
    for paired in pair_outputs(name, (outputs, state.trace.outputs)):
        if not paired.values:
            unit = Unit(paired.subject, float("inf"), 0.0, paired.why_not)
        else:
            got, wanted = (torch.from_numpy(value.copy()) for value in paired.values)
            met = Fitted(wanted, got, wanted) if got.shape == wanted.shape else None
            unit = _unit(paired.subject, met, got)
            if unit.share > state.gate and len(state.cases) < _EXPLAINED:
                case = _span_case(state, None, met, got)
                state.cases.append((unit, partial(explain_span, case)))
        state.units[unit.name] = unit


def _layer_case(state: _Pass, cut: Cut, call: int, met: Fitted) -> LayerCase | None:
    given = state.trace.given(cut, call)
    if state.source is None or state.target is None or given is None or cut.enter != cut.leave:
        return None
    layer = state.target.get_submodule(cut.target)
    kin = {
        other.target: module
        for other in state.trace.cuts
        if other is not cut
        and type(module := state.target.get_submodule(other.target)) is type(layer)
    }
    return LayerCase(
        name=cut.target,
        source=state.source.get_submodule(cut.enter),
        target=layer,
        given=_given_form(layer, given.to(met.got), met.got),
        wanted=met.wanted,
        got=met.got,
        siblings=kin,
    )


def _given_form(layer: nn.Module, given: Tensor, got: Tensor) -> Tensor:
    """Return the source's input with as many axes as the target's layer takes."""
    if isinstance(layer, nn.Conv2d) and given.ndim == 2:
        return given.reshape(len(given), -1, *layer.kernel_size)
    if isinstance(layer, nn.Linear) and given.ndim == 4:
        return given.reshape(len(got), -1)
    return given


def _span_case(state: _Pass, cut: Cut | None, met: Fitted | None, seen: Tensor) -> SpanCase:
    last = state.last
    answered = state.trace.answered(last, 0) if last else None
    given = torch.from_numpy(state.trace.batch.images) if answered is None else answered
    ours, theirs = (
        ()
        if module is None
        else tuple(layers_between(module, _end(last, side, "leave"), _end(cut, side, "enter")))
        for side, module in (("source", state.source), ("target", state.target))
    )
    return SpanCase(
        name=f"{_name(last)} → {cut.target if cut else _END}",
        given=given.to(seen),
        wanted=met.wanted if met else None,
        got=met.got if met else seen,
        source_modules=ours,
        target_modules=theirs,
    )


def _end(cut: Cut | None, side: str, edge: str) -> str:
    """Return what a cut's edge is called on one side; empty at the model's own ends."""
    if cut is None:
        return ""
    return cut.target if side == "target" else str(getattr(cut, edge))
