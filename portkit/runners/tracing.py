"""Watch a module's layers at work: keep what they are given and answer, or put others' in place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Key = tuple[str, int]  # a layer's name and which of its calls


@dataclass(frozen=True, slots=True)
class Call:
    """What a layer was given, and what it answered."""

    given: Tensor
    answered: Tensor


Before = Callable[[Key, Tensor], Tensor | None]  # sees an input, may put another in its place
After = Callable[[Key, Tensor], Tensor | None]


@contextmanager
def watched(module: nn.Module, names: list[str], before: Before, after: After) -> Iterator[None]:
    """Call `before` and `after` around every call of the named layers while the block runs.

    Layers whose first argument or whose answer is no tensor are left alone.
    """
    counts: dict[str, int] = {}
    open_calls: dict[str, list[Key | None]] = {name: [] for name in names}

    def enter(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> Any:
            if not inputs or not isinstance(inputs[0], Tensor):
                open_calls[name].append(None)
                return None
            key = name, counts.get(name, 0)
            counts[name] = key[1] + 1
            open_calls[name].append(key)
            changed = before(key, inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        return hook

    def leave(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, answer: Any) -> Any:
            key = open_calls[name].pop() if open_calls[name] else None
            if key is None or not isinstance(answer, Tensor):
                return None
            return after(key, answer)

        return hook

    hooks = []
    for name in names:
        layer = module.get_submodule(name)
        hooks.append(layer.register_forward_pre_hook(enter(name)))
        hooks.append(layer.register_forward_hook(leave(name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recorded(module: nn.Module, names: list[str]) -> Iterator[dict[Key, Call]]:
    """Keep what the named layers are given and answer, in the order in which they are called."""
    given: dict[Key, Tensor] = {}
    calls: dict[Key, Call] = {}

    def before(key: Key, tensor: Tensor) -> None:
        given[key] = tensor.detach().clone()  # layers after it may work in place

    def after(key: Key, tensor: Tensor) -> None:
        calls[key] = Call(given[key], tensor.detach().clone())

    with watched(module, names, before, after):
        yield calls
    order = {key: place for place, key in enumerate(given)}
    for key in sorted(calls, key=order.__getitem__):  # containers answer after what they contain
        calls[key] = calls.pop(key)
