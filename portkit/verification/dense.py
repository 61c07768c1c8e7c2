"""The dense rung: what a score map means beyond the training size.

A conv head slides the source's head over a larger feature map (Sermanet et al. 2014, OverFeat). So
the port's score map must hold, at every place, what the source's own head answers to that window of
the source's own feature map. Both models run in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from portkit.runners.torch import as_input, named_outputs
from portkit.verification.battery import Batch
from portkit.verification.forcing import Trace
from portkit.verification.judging import STRUCTURE, judge
from portkit.verification.results import Check, Evidence, RungResult, Status, Tolerances, rung_of
from portkit.verification.running import Pair, RunError

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_PASSIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Dropout, nn.Identity)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a source's head begins: after a layer whose answer is a feature map."""

    after: str
    window: tuple[int, int]  # height and width that one answer is made of


class _EnoughError(Exception):
    """Raised inside a run, once what is after is known."""


def find_head(pair: Pair, trace: Trace) -> Head | None:
    """Return where the source's head begins, where the target has made a convolution of it."""
    source, target = (model.module(torch.float64) for model in (pair.source, pair.target))
    for cut in trace.cuts:
        ours, theirs = source.get_submodule(cut.enter), target.get_submodule(cut.target)
        if isinstance(ours, nn.Linear) and isinstance(theirs, nn.Conv2d):
            rows, columns = theirs.kernel_size
            form = theirs.in_channels, rows, columns
            last = _last_map(source, cut.enter, trace.batch, form)
            return Head(last, (rows, columns)) if last else None
    return None


def _last_map(source: nn.Module, head: str, batch: Batch, form: tuple[int, int, int]) -> str:
    """Return the last layer before the head that answers one window's map, `[N, *form]`.

    A head of one place takes maps of any size: it is averaged over places.
    """
    found: list[str] = []

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, answer: Any) -> None:
            shape = tuple(answer.shape[1:]) if isinstance(answer, Tensor) else ()
            if shape == form or (len(shape) == 3 and form == (shape[0], 1, 1)):
                found.append(name)

        return hook

    def stop(_module: nn.Module, _inputs: Any) -> None:
        raise _EnoughError

    hooks = [
        layer.register_forward_hook(keep(name))
        for name, layer in source.named_modules()
        if not (any(layer.children()) or isinstance(layer, _PASSIVE))
    ]
    hooks.append(source.get_submodule(head).register_forward_pre_hook(stop))
    try:
        with torch.inference_mode():
            source(as_input(source, batch.images[:1]))
    except _EnoughError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return found[-1] if found else ""


def check_dense(
    pair: Pair, head: Head, batch: Batch, tolerances: Tolerances, gate: float = STRUCTURE
) -> RungResult:
    """Compare the target's score map on a large image with the source's head, window by window."""
    wanted, places = answer_windows(pair, head, batch)
    try:
        found = pair.target.answer(batch, torch.float64)
    except RunError as error:
        check = Check(f"target at {batch.size}", passed=False, what=f"cannot run {error}")
        return rung_of("dense", [check], "the port does not take larger images")
    checks = list(_judge(found, wanted, places, (batch, tolerances, gate)))
    shape = "×".join(map(str, places))
    summary = f"{shape} places of the score map, each against the source's head, {batch.size} px"
    return rung_of("dense", checks, summary)


def _judge(
    found: "dict[str, Array]",
    wanted: "dict[str, Array]",
    places: tuple[int, int],
    case: tuple[Batch, Tolerances, float],
) -> Iterator[Check]:
    batch, tolerances, gate = case
    for name in dict.fromkeys((*wanted, *found)):
        subject = f"{batch.shown}: {name}" if len(wanted) > 1 else batch.shown
        if name not in wanted or name not in found:
            who = "source" if name not in wanted else "port"
            yield Check(subject, passed=False, what=f"the {who} has no output {name!r}")
            continue
        grid = wanted[name].reshape(1, *places, -1).transpose(0, 3, 1, 2)
        yield judge(subject, Evidence(found[name], grid, gate=gate), tolerances)


def answer_windows(
    pair: Pair, head: Head, batch: Batch
) -> "tuple[dict[str, Array], tuple[int, int]]":
    """Run the source on one image, its head on every window of its feature map.

    The windows take the place of that layer's answer; the rest of the model follows as its author
    wrote it, with windows for images.
    """
    source = pair.source.module(torch.float64)
    rows, columns = head.window
    places: list[tuple[int, int]] = []

    def hook(_module: nn.Module, _inputs: Any, features: Tensor) -> Tensor:
        windows = features.unfold(2, rows, 1).unfold(3, columns, 1)  # [1, C, h, w, rows, columns]
        places.append((windows.shape[2], windows.shape[3]))
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    handle = source.get_submodule(head.after).register_forward_hook(hook)
    try:
        with torch.inference_mode():
            made = source(as_input(source, batch.images))
    finally:
        handle.remove()
    pair.source.advance(len(batch.images))
    return named_outputs(made), places[0]


def find_map(pair: Pair, batch: Batch) -> bool:
    """Say whether the port answers with score maps where the source has logits."""
    ours, theirs = (model.answer(batch, torch.float64) for model in (pair.source, pair.target))
    return any(
        theirs[name].ndim == 4 and value.ndim == 2 for name, value in ours.items() if name in theirs
    )


def not_dense(why: str, *, applies: bool) -> RungResult:
    """Return the rung's result where there is no score map to look into, or no way to."""
    return RungResult("dense", Status.NOT_CHECKED if applies else Status.NOT_APPLICABLE, why)
