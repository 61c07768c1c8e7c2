"""The user's own nets: a factory named as `package.module:factory`, its headers and its weights."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from portkit.errors import PortkitError, Problems
from portkit.tensors import DType, Specs, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from portkit.formats.protocols import Array


def import_factory(text: str) -> Any:
    """Import a factory, from the current folder first; raise PortkitError."""
    where = f"python:{text}"
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        fix = "write python:PACKAGE.MODULE:FACTORY"
        raise PortkitError.at(where, "names no module and factory", fix)
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = import_module(module_name)
    except (Exception, SystemExit) as error:
        what = f"importing {module_name!r} failed: {type(error).__name__}: {error}"
        raise PortkitError.at(where, what) from error
    finally:
        if added:
            sys.path.remove(here)
    if not hasattr(found, name):
        known = ", ".join(n for n in vars(found) if not n.startswith("_")) or "none"
        raise PortkitError.at(where, f"{module_name!r} has no {name!r}", f"it has: {known}")
    return getattr(found, name)


def build_factory(text: str) -> "nn.Module":
    """Call a factory for real and put its net into eval mode; raise PortkitError."""
    return _called(text, meta=False)


def _called(text: str, *, meta: bool) -> "nn.Module":
    import torch
    from torch import nn

    where = f"python:{text}"
    factory = import_factory(text)
    try:
        with torch.device("meta" if meta else "cpu"):
            made = factory()
    except (Exception, SystemExit) as error:
        what = f"the factory failed: {type(error).__name__}: {error}"
        raise PortkitError.at(where, what) from error
    if not isinstance(made, nn.Module):
        what = f"the factory made a {type(made).__name__}, not a torch.nn.Module"
        raise PortkitError.at(where, what)
    return made.eval()


@cache
def factory_specs(text: str) -> Specs:
    """Return a factory's headers, from the meta device or, where that fails, from a real build."""
    import_factory(text)
    try:
        with catch_warnings():
            simplefilter("ignore")  # torch warns once a tensor that loads weights there do nothing
            module = _called(text, meta=True)
    except PortkitError:
        module = _called(text, meta=False)
    return specs_of(module, f"python:{text}")


def specs_of(module: "nn.Module", where: str) -> Specs:
    """Return the headers of a module's state dict; raise PortkitError for what is no tensor."""
    state = module.state_dict()
    _refuse_formless(state, where)
    return MappingProxyType(
        {
            name: TensorSpec(name, tuple(tensor.shape), dtype_of(tensor, f"{where}: {name}"))
            for name, tensor in state.items()
        }
    )


def _refuse_formless(state: "Mapping[str, Any]", where: str) -> None:
    """Raise PortkitError for extra state, which holds anything, and for lazy parameters."""
    from torch import Tensor
    from torch.nn.parameter import is_lazy

    problems = Problems()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            fix = "keep it in buffers, or drop get_extra_state in a subclass"
            problems.add(where, f"{name} is a {type(value).__name__}: tensors only are moved", fix)
        elif is_lazy(value):
            problems.add(where, f"{name} has no shape yet", "run the lazy module in its factory")
    problems.raise_if_any()


def dtype_of(tensor: "Tensor", where: str) -> DType:
    from portkit.formats.pickles import TORCH_DTYPES

    name = str(tensor.dtype).removeprefix("torch.")
    if name not in TORCH_DTYPES:
        raise PortkitError.at(where, f"dtype {name} cannot be moved")
    return TORCH_DTYPES[name]


class FactoryReader:
    """A reader over the weights that a factory gives its net."""

    def __init__(self, text: str) -> None:
        module = build_factory(text)
        self.path = Path(f"python:{text}")
        self.metadata: Mapping[str, str] = MappingProxyType({})
        self.specs = specs_of(module, f"python:{text}")
        self.ignored: tuple[str, ...] = ()
        self._state = module.state_dict()

    def fetch(self, name: str) -> "Array":
        """Return the tensor's values, in the carrier of its dtype."""
        import torch

        spec = self.specs[name]
        tensor = self._state[name].detach().contiguous()
        flat = tensor.reshape(-1).view(torch.uint8).numpy() if spec.size else tensor.numpy()
        made: Array = flat.view(spec.dtype.carrier).reshape(spec.shape)
        return made
