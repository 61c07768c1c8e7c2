"""The dense rung: what a score map means beyond the training size.

A conv head slides the source's head over a larger feature map (Sermanet et al. 2014, OverFeat). So
the port's score map must hold, at every place, what the source's own head answers to that window of
the source's own feature map. Both models run in float64.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from portkit.runners.torch import as_input, named_outputs
from portkit.verification.battery import Batch
from portkit.verification.cuts import Cut
from portkit.verification.forcing import Trace
from portkit.verification.judging import STRUCTURE, judge
from portkit.verification.results import Check, Evidence, RungResult, Status, Tolerances, rung_of
from portkit.verification.running import Pair, RunError

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

# What makes one window of a map of any size: windows are taken before it.
_POOLING = frozenset(
    ("adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_max_pool2d", "mean", "amax", "sum")
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a source's head begins: after a call of a function that makes its feature map."""

    after: int  # how many functions of torch the source has called by then
    window: tuple[int, int]  # height and width that one answer is made of


class _EnoughError(Exception):
    """Raised inside a run, once what is after is known."""


def find_head(pair: Pair, trace: Trace) -> Head | None:
    """Return where the source's head begins, where the target has made a convolution of it."""
    source, target = (model.module(torch.float64) for model in (pair.source, pair.target))
    for cut in trace.cuts:
        theirs = target.get_submodule(cut.target)
        if _is_slid(cut, pair, torch.float64) and isinstance(theirs, nn.Conv2d):
            rows, columns = theirs.kernel_size
            form = theirs.in_channels, rows, columns
            last = _last_map(source, cut.enter, trace.batch, form)
            return Head(last, (rows, columns)) if last else None
    return None


def _last_map(source: nn.Module, head: str, batch: Batch, form: tuple[int, int, int]) -> int:
    """Return the last call before the head that makes one window's map, `[N, *form]`; 0 for none.

    A head of one place takes maps of any size: it is averaged over places.
    """
    found: list[int] = []
    pooled: list[Tensor] = []  # and what is made of them alone

    def keep(place: int, name: str, given: Any, made: Tensor) -> Tensor:
        shape = tuple(made.shape[1:])
        tensors = [one for one in given if isinstance(one, Tensor)]
        if name in _POOLING or (len(tensors) == 1 and any(one is tensors[0] for one in pooled)):
            pooled.append(made)
        elif shape == form or (len(shape) == 3 and form == (shape[0], 1, 1)):
            in_place = any(one is made for one in tensors)
            found.extend([] if in_place else [place])
        return made

    def stop(_module: nn.Module, _inputs: Any) -> None:
        raise _EnoughError

    hook = source.get_submodule(head).register_forward_pre_hook(stop)
    try:
        with torch.inference_mode(), _Calls(keep):
            source(as_input(source, batch.images[:1]))
    except _EnoughError:
        pass
    finally:
        hook.remove()
    return found[-1] if found else 0


class _Calls(TorchFunctionMode):
    """Numbers the functions of torch that a model calls, layers' own too, and sees what they make.

    `see` is given the number, the function's name, its arguments and the tensor, and returns what
    the model goes on with.
    """

    def __init__(self, see: Callable[[int, str, Any, Tensor], Tensor]) -> None:
        super().__init__()
        self._see = see
        self._count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        self._count += 1
        if not isinstance(made, Tensor):
            return made
        return self._see(self._count, getattr(func, "__name__", ""), args, made)


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

    The windows take the place of that map; the rest of the model follows as its author
    wrote it, with windows for images.
    """
    source = pair.source.module(torch.float64)
    rows, columns = head.window
    places: list[tuple[int, int]] = []

    def cut(place: int, _name: str, _given: Any, made: Tensor) -> Tensor:
        if place != head.after:
            return made
        windows = made.unfold(2, rows, 1).unfold(3, columns, 1)  # [1, C, h, w, rows, columns]
        places.append((windows.shape[2], windows.shape[3]))
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    with torch.inference_mode(), _Calls(cut):
        made = source(as_input(source, batch.images))
    pair.source.advance(len(batch.images))
    return named_outputs(made), places[0]


def find_map(pair: Pair, trace: Trace, larger: Batch, dtype: torch.dtype = torch.float64) -> bool:
    """Say whether the port answers with score maps where the source has logits.

    It may drop the axes of a single place, and then shows its map to larger images only.
    """
    ours = pair.source.answer(trace.batch, dtype)
    if _has_map(ours, pair.target.answer(trace.batch, dtype)):
        return True
    if not any(_is_slid(cut, pair, dtype) for cut in trace.cuts):
        return False
    try:
        return _has_map(ours, pair.target.answer(larger, dtype))
    except RunError:
        return False


def _has_map(ours: "Mapping[str, Array]", theirs: "Mapping[str, Array]") -> bool:
    names = ours.keys() & theirs.keys()
    return any(theirs[name].ndim == 4 and ours[name].ndim == 2 for name in names)


def _is_slid(cut: Cut, pair: Pair, dtype: torch.dtype) -> bool:
    """Say whether the target has made a convolution of a linear layer."""
    source, target = (model.module(dtype) for model in (pair.source, pair.target))
    ours, theirs = source.get_submodule(cut.enter), target.get_submodule(cut.target)
    return isinstance(ours, nn.Linear) and isinstance(theirs, nn.Conv2d)


def not_dense(why: str, *, applies: bool) -> RungResult:
    """Return the rung's result where there is no score map to look into, or no way to."""
    if not applies:
        return RungResult("dense", Status.NOT_APPLICABLE, why)
    left_out = ("the places of the port's score maps: only their mean was compared",)
    return RungResult("dense", Status.NOT_CHECKED, why, left_out=left_out)
