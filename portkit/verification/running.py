"""Both models of a port, and what they answer to the battery: nothing is run twice."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from portkit.errors import PortkitError
from portkit.progress import Progress
from portkit.runners.casts import CastWatch
from portkit.runners.devices import set_precision
from portkit.runners.torch import run_module
from portkit.verification.adapting import Adapt
from portkit.verification.battery import Batch

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Answers = dict[str, "Array"]  # outputs by name
Build = Callable[[torch.dtype], nn.Module]


class RunError(Exception):
    """A model that cannot answer a batch; its text is the model's own complaint."""


class Model:
    """One model: built when it is first needed, its weights held once, its answers kept.

    Rounding from float64 to float32 happens in place, and is exact for weights that were float32 or
    less to begin with.
    """

    def __init__(
        self,
        build: Build,
        progress: Progress,
        device: str = "cpu",
        adapt: Adapt | None = None,
    ) -> None:
        self._build = build
        self._adapt = adapt
        self._progress = progress
        self._device = device
        self._module: nn.Module | None = None
        self._dtype = torch.float64
        self._answers: dict[tuple[str, torch.dtype], Answers] = {}
        self.casts = ""  # the operation that rounds, in a model that does so in float64

    def module(self, dtype: torch.dtype) -> nn.Module:
        """Return the module with its floats in `dtype`."""
        if self._module is None or (dtype is torch.float64 and self._dtype is not dtype):
            self._module = None  # frees the old weights before the new ones come
            self._module = self._build(dtype).to(self._device)
            set_precision()  # a user's own module may have asked for something else
        elif self._dtype is not dtype:
            self._module.to(dtype)
        self._dtype = dtype
        return self._module

    def answer(self, batch: Batch, dtype: torch.dtype) -> Answers:
        """Return the model's answers to a batch; raise RunError. A batch is run once a dtype."""
        key = batch.digest, dtype
        if key not in self._answers:
            self._answers[key] = self._run(batch, dtype)
        return self._answers[key]

    def _run(self, batch: Batch, dtype: torch.dtype) -> Answers:
        module = self.module(dtype)
        watch = CastWatch() if dtype is torch.float64 else nullcontext()
        try:
            with watch as seen:
                found = run_module(module, self.inputs(batch))
        except (Exception, SystemExit) as error:  # whatever a user's own code may raise
            if isinstance(error, SystemExit) and _is_signal(error.code):
                raise
            words = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(f"{batch.shown}: {words}") from error
        self.casts = self.casts or (seen.found if seen else "")
        self.advance(len(batch.images))
        return found

    def inputs(self, batch: Batch) -> "Array":
        """Return a batch as this model takes it."""
        return batch.images if self._adapt is None or batch.own else self._adapt(batch.images)

    def advance(self, inputs: int) -> None:
        """Count inputs that were run, here or through the module itself."""
        self._progress.advance(inputs)

    def round(self) -> None:
        """Round the weights to float32, where the model is built, to hold half as much."""
        if self._module is not None:
            self.module(torch.float32)


def _is_signal(code: object) -> bool:
    """Say whether an exit was asked for from outside, as the command line's handler does it."""
    return isinstance(code, int) and code > 128


def refuse_shared(source: nn.Module, target: nn.Module) -> None:
    """Raise PortkitError where both models hold the same memory: then they are one model."""
    ours, theirs = ({t.data_ptr() for t in m.parameters() if t.numel()} for m in (source, target))
    if ours & theirs:
        what = "source and target share their tensors in memory: one model, compared with itself"
        raise PortkitError.at("target", what, "build them apart")


def refuse_constant(answers: "list[Answers]", where: str) -> None:
    """Raise PortkitError where a source answers all inputs alike: it would vouch for any port."""
    for name in answers[0]:
        alike = [a[name] for a in answers if a[name].shape[1:] == answers[0][name].shape[1:]]
        if any(one.ndim == 0 for one in alike) or sum(len(one) for one in alike) < 2:
            return
        rows = np.concatenate([one.reshape(len(one), -1) for one in alike])
        if bool((rows != rows[:1]).any()):
            return
    what = "answers every input alike, so nothing about its function can be told"
    raise PortkitError.at(where, what, "verify with trained weights, or with @random ones")


def refuse_chance(answers: "tuple[Mapping[str, Array], ...]", batch: Batch, where: str) -> None:
    """Raise PortkitError where a source answers the same batch otherwise the second time."""
    first, second = answers
    for name, one in first.items():
        two = second.get(name)
        if two is None or two.shape != one.shape or not np.allclose(one, two, 1e-6, equal_nan=True):
            what = f"answers {batch.shown} otherwise the second time: there is no one truth"
            fix = "turn off what is random in it, such as dropout as a function"
            raise PortkitError.at(where, what, fix)


def refuse_infinite(
    model: Model,
    batches: tuple[Batch, ...],
    exact: tuple[Batch, ...],
    told: tuple[torch.dtype, str],
) -> tuple[Batch, ...]:
    """Return the batches without extreme ones that overflow; raise PortkitError for others."""
    dtype, where = told
    for batch in exact:
        answers = model.answer(batch, dtype)
        wrong = [name for name, value in answers.items() if not _is_finite(value)]
        if wrong and batch.extreme:
            batches = tuple(other for other in batches if other is not batch)
        elif wrong:
            what = f"answers NaN or infinity to {batch.shown}: there is nothing to compare with"
            raise PortkitError.at(where, what, "verify with weights that are numbers")
    return batches


def _is_finite(value: "Array") -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models of a port."""

    source: Model
    target: Model
    inexact: str = ""  # why the source cannot run in float64, if it cannot
