"""Notice a model that rounds on its way: one that casts float64 down, whatever it is asked for."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


class CastWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the name of the first operation that makes less than float64 of float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation as it is, and look at the precisions that go in and come out."""
        del types
        made = func(*args, **(kwargs or {}))
        if not self.found and _any(made, _LOWER) and _any((args, kwargs), (torch.float64,)):
            self.found = str(func)
        return made


def _any(values: Any, dtypes: tuple[torch.dtype, ...]) -> bool:
    """Say whether there is a tensor of one of these precisions, and of more than one element."""
    return any(tensor.dtype in dtypes and tensor.numel() > 1 for tensor in _tensors(values))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _all(values.values())
    elif isinstance(values, list | tuple):
        yield from _all(values)


def _all(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        yield from _tensors(value)
