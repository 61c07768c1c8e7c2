"""Both models of a port, and what they answer to the battery: nothing is run twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from portkit.errors import PortkitError
from portkit.progress import Progress
from portkit.runners.torch import run_module
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

    def __init__(self, build: Build, progress: Progress) -> None:
        self._build = build
        self._progress = progress
        self._module: nn.Module | None = None
        self._dtype = torch.float64
        self._answers: dict[tuple[str, torch.dtype], Answers] = {}

    def module(self, dtype: torch.dtype) -> nn.Module:
        """Return the module with its floats in `dtype`."""
        if self._module is None or (dtype is torch.float64 and self._dtype is not dtype):
            self._module = None  # frees the old weights before the new ones come
            self._module = self._build(dtype)
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
        try:
            found = run_module(module, batch.images)
        except (Exception, SystemExit) as error:  # whatever a user's own code may raise
            if isinstance(error, SystemExit) and _is_signal(error.code):
                raise
            words = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(f"{batch.shown}: {words}") from error
        self._progress.advance(len(batch.images))
        return found

    def round(self) -> None:
        """Round the weights to float32, where the model is built, to hold half as much."""
        if self._module is not None:
            self.module(torch.float32)

    def let_go(self) -> None:
        """Free the weights; what was answered stays."""
        self._module = None


def _is_signal(code: object) -> bool:
    """Say whether an exit was asked for from outside, as the command line's handler does it."""
    return isinstance(code, int) and code > 128


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


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models of a port."""

    source: Model
    target: Model
    inexact: str = ""  # why the source cannot run in float64, if it cannot
