"""Run a model once, and see which tensors it uses, in what order, and what feeds what.

Functions are watched, not modules: a tensor counts however it is held and whoever calls. What is
computed from tensors of the model alone (a transpose, a reshape) stands for them; what is computed
without any (activations, pooling) passes on what fed it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from portkit.errors import PortkitError
from portkit.pairing.roles import COMMUTATIVE, Slot, plain_name, rank_of, slot_of
from portkit.pairing.values import Edge, Flow, Tag, Use
from portkit.runners.torch import as_input

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Feeds = frozenset[tuple[int, Tag]]
_INPUT: Feeds = frozenset({(-1, ())})
_JOINING = ("cat", "concat", "concatenate", "stack")
_DEEPEST = 8  # offsets and places kept of one path between two uses


def trace_flow(module: nn.Module, images: "Array", where: str) -> Flow:
    """Run a model on images; raise PortkitError where it cannot run."""
    state = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    watch = _Watch({first[id(tensor)]: tensor for tensor in state.values()})
    given = as_input(module, images)
    watch.feeds[given] = _INPUT
    try:
        with torch.inference_mode(), watch:
            answer = module(given)
    except Exception as error:
        what = f"cannot run on an input {list(images.shape)}: {type(error).__name__}: {error}"
        raise PortkitError.at(where, what) from error
    for place, (_, tensor) in enumerate(_tensors(answer)):
        watch.reach(len(watch.uses), watch.feeds.get(tensor, frozenset()), (place,))
    return Flow(
        uses=tuple(watch.uses),
        edges=frozenset(watch.edges),
        shapes=MappingProxyType({name: tuple(tensor.shape) for name, tensor in state.items()}),
        aliases=MappingProxyType(
            {name: first[id(t)] for name, t in state.items() if first[id(t)] != name}
        ),
    )


class _Watch(TorchFunctionMode):
    """Follows every function of torch that is called while a model runs."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self.edges: set[Edge] = set()
        self.feeds: Any = WeakTensorKeyDictionary()  # what fed an activation
        self._held = held
        self._roots: Any = WeakTensorKeyDictionary()  # the model's tensors that another stands for
        for name, tensor in held.items():
            self._roots[tensor] = (name,)
        self._last: dict[str, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        named = kwargs or {}
        places = [(str(i), a) for i, a in enumerate(args)] + list(named.items())
        given = [(argument, t) for argument, value in places for _, t in _tensors(value)]
        fed = [(place, t, self.feeds[t]) for place, (_, t) in enumerate(given) if t in self.feeds]
        used = [(a, t, self._roots[t]) for a, t in given if t in self._roots]
        answer = func(*args, **named)
        function = getattr(func, "__name__", str(func))
        made = [t for _, t in _tensors(answer)]
        if function == "__setitem__":
            made = [args[0]]
        self._note(function, fed, used, made)
        return answer

    def _note(
        self,
        function: str,
        fed: "list[tuple[int, Tensor, Feeds]]",
        used: "list[tuple[str, Tensor, tuple[str, ...]]]",
        made: list[Tensor],
    ) -> None:
        """Keep what one call's answers come from."""
        if not made:
            return
        if not fed:
            names = tuple(dict.fromkeys(name for _, _, roots in used for name in roots))
            for tensor in made if names else ():
                if tensor not in self._roots:
                    self._roots[tensor] = names
            return
        feeds = frozenset().union(*_tagged(function, fed))
        slots = [(slot_of(function, a, t.ndim), t, roots) for a, t, roots in used]
        for slot, tensor, roots in sorted(slots, key=lambda item: rank_of(item[0].role)):
            for place, name in enumerate(roots):
                feeds = self._use(slot, tensor, name, place if len(roots) > 1 else None, feeds)
        for place, tensor in enumerate(made):
            beside = (place,) if len(made) > 1 else _offset(fed, tensor)
            self.feeds[tensor] = _extend(feeds, beside)

    def _use(self, slot: Slot, tensor: Tensor, name: str, place: int | None, feeds: Feeds) -> Feeds:
        """Note one use of one of the model's tensors; return what feeds on from it."""
        number, held = len(self.uses), self._held[name]
        role = slot.role if place is None else f"{slot.role} {place}"
        axes = _stored_axes(slot, tensor, held)
        self.uses.append(Use(name, role, slot.family, tuple(held.shape), axes))
        self.reach(number, feeds)
        if name in self._last:
            self.edges.add((self._last[name], number, (-1,)))
        self._last[name] = number
        return frozenset({(number, ())})

    def reach(self, number: int, feeds: Feeds, beside: Tag = ()) -> None:
        """Note that these uses feed another one, or the answer (whose number may still move)."""
        for start, tag in feeds:
            self.edges.add((start, number, (*tag, *beside)))


def _tagged(function: str, fed: "Sequence[tuple[int, Tensor, Feeds]]") -> Iterator[Feeds]:
    """Yield what feeds a call, marked with where it goes in where that matters."""
    name, offset = plain_name(function), 0
    for place, tensor, feeds in fed:
        if name in _JOINING:
            yield _extend(feeds, (offset,) if offset else ())
            offset += tensor.numel()
        else:
            alone = len(fed) == 1 or name in COMMUTATIVE
            yield _extend(feeds, () if alone else (place,))


def _extend(feeds: Feeds, beside: Tag) -> Feeds:
    if not beside:
        return feeds
    return frozenset((start, (*tag, *beside)[-_DEEPEST:]) for start, tag in feeds)


def _offset(fed: "Sequence[tuple[int, Tensor, Feeds]]", made: Tensor) -> Tag:
    """Return where in its only source a view starts; nothing where it starts with it."""
    if len(fed) != 1:
        return ()
    whole = fed[0][1]
    shared = made is not whole and made.untyped_storage().data_ptr() == (
        whole.untyped_storage().data_ptr()
    )
    start = int(made.storage_offset() - whole.storage_offset()) if shared else 0
    return (start,) if start else ()


def _stored_axes(slot: Slot, seen: Tensor, held: Tensor) -> tuple[str, ...]:
    """Name the axes of a tensor as it is stored, where a function sees a transpose of it."""
    if not slot.axes or seen.ndim != held.ndim or prod(seen.shape) != prod(held.shape):
        return ()
    if seen.untyped_storage().data_ptr() != held.untyped_storage().data_ptr():
        return slot.axes if seen.shape == held.shape else ()
    for order in permutations(range(seen.ndim)):
        shape = tuple(seen.shape[axis] for axis in order)
        strides = [seen.stride(axis) for axis in order]
        wide = [i for i, length in enumerate(shape) if length > 1]
        if shape == tuple(held.shape) and all(strides[i] == held.stride(i) for i in wide):
            return tuple(slot.axes[axis] for axis in order)
    return ()


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in an argument or an answer, with where it stands."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _tensors(part, f"{name}.{place}")
