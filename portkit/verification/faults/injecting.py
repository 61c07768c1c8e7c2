"""Put a fault into one side of a comparison: into its model, its configuration, its tensors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.tensors import DType, Extent, Specs, TensorSpec
from portkit.verification.faults.entries import Control, Fault, Inject
from portkit.verification.sides import Side

if TYPE_CHECKING:
    from portkit.formats.protocols import Array


@dataclass(frozen=True, slots=True)
class ChangedReader:
    """A reader some of whose tensors are others, in memory."""

    inner: Reader
    changed: "Mapping[str, Array]"

    @property
    def path(self) -> Path:
        return self.inner.path

    @property
    def specs(self) -> Specs:
        return self.inner.specs

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.inner.metadata

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.inner.ignored

    def fetch(self, name: str) -> "Extent | Array":
        """Return the changed tensor, or what the reader has."""
        return self.changed[name] if name in self.changed else self.inner.fetch(name)


@dataclass(frozen=True, slots=True)
class Faulty:
    """A side with a fault in it, and where the fault is."""

    side: Side
    place: str
    changed: tuple[str, ...] = ()  # the tensors that are stored otherwise


def share(net: nn.Module) -> nn.Module:
    """Return a net of its own on the same memory: giving one other tensors leaves the other be."""
    memo: dict[int, object] = {}
    for tensor in (*net.parameters(), *net.buffers()):
        made: Tensor = tensor.detach()
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, tensor.requires_grad)
        memo[id(tensor)] = made
    return deepcopy(net, memo)


def inject(entry: Fault | Control, net: nn.Module, seed: int) -> str | None:
    """Change a net in place and say where; None where it has no place for that."""
    return work_of(entry)(net, Random(f"{entry.id}:{seed}"))  # noqa: S311 (repeatable, not secret)


def work_of(entry: Fault | Control) -> Inject:
    return entry.inject if isinstance(entry, Fault) else entry.apply


def inject_into(side: Side, entry: Fault | Control, seed: int = 0) -> Faulty | None:
    """Return a side with a fault in all that it gives; None where the fault does not apply."""
    net = side.build(torch.float64)
    return inject_built(side, net, entry, seed)


def inject_built(side: Side, net: nn.Module, entry: Fault | Control, seed: int) -> Faulty | None:
    """Do so where the side's model is built already, in float64; it stays as it is."""
    faulty = share(net)
    place = inject(entry, faulty, seed)
    if place is None:
        return None
    changed = _changed_tensors(side, net, faulty) if _is_stored(entry) else {}
    if changed is None:
        return None

    def build(dtype: torch.dtype) -> nn.Module:
        made = side.build(dtype)
        inject(entry, made, seed)
        return made

    def make_skeleton() -> nn.Module:
        made = side.skeleton()
        if not _is_stored(entry):
            inject(entry, made, seed)
        return made

    @contextmanager
    def open_changed() -> Iterator[Reader]:
        with side.open() as reader:
            yield ChangedReader(reader, changed) if changed else reader

    injected = replace(side, open=open_changed, build=build, skeleton=make_skeleton)
    return Faulty(injected, place, tuple(changed))


def _is_stored(entry: Fault | Control) -> bool:
    return isinstance(entry, Fault) and entry.is_stored


def _changed_tensors(side: Side, net: nn.Module, faulty: nn.Module) -> "dict[str, Array] | None":
    """Return the tensors that differ as they are stored; None where rounding hides the fault."""
    before, after = net.state_dict(), faulty.state_dict()
    found: dict[str, Array] = {}
    with side.open() as reader:
        for name, tensor in after.items():
            old = before.get(name)
            if old is None or name not in reader.specs or old.data_ptr() == tensor.data_ptr():
                continue
            spec = reader.specs[name]
            made = _stored(tensor, spec)
            if made.tobytes() != as_array(reader.fetch(name), spec).tobytes():
                found[name] = made
    return found or None


def _stored(tensor: Tensor, spec: TensorSpec) -> "Array":
    """Return a tensor as an array of the carrier of its dtype."""
    plain = tensor.detach().cpu().contiguous()
    if spec.dtype is DType.BF16:
        plain = plain.to(torch.bfloat16).view(torch.int16)
    made: Array = plain.numpy()
    if spec.dtype is DType.BF16:
        return made.view(spec.dtype.carrier)
    return made.astype(spec.dtype.carrier)
