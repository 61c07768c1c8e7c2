"""Build torch modules from endpoints and run them on numpy arrays."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from portkit.endpoints import Endpoint, open_weights
from portkit.errors import PortkitError
from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.manifests.factory import build_factory
from portkit.models.building import build
from portkit.tensors import DType, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Outputs = Mapping[str, "Array"]


def build_module(endpoint: Endpoint, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return an endpoint's model in eval mode, its floats in `dtype`; raise PortkitError."""
    with open_weights(endpoint) as reader:
        return load_module(endpoint, reader, dtype)


def load_module(endpoint: Endpoint, reader: Reader, dtype: torch.dtype) -> nn.Module:
    """Build an endpoint's model and give it a reader's tensors, without a second copy of them."""
    module = empty_module(endpoint)
    wanted = module.state_dict()
    lacking = [n for n in wanted if n not in reader.specs and not n.endswith("num_batches_tracked")]
    strange = [name for name in reader.specs if name not in wanted]
    if lacking or strange:
        what = f"lacks {lacking[:3] or 'nothing'}, has {strange[:3] or 'nothing'} too many"
        raise PortkitError.at(str(endpoint), what)
    state = {
        name: _tensor(reader, reader.specs[name], dtype)
        if name in reader.specs
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in wanted.items()
    }
    module.load_state_dict(state, assign=True)
    return module.to(dtype).eval().requires_grad_(requires_grad=False)


def empty_module(endpoint: Endpoint) -> nn.Module:
    """Return an endpoint's model without its weights: on the meta device where it is ours."""
    reference = endpoint.reference
    if reference.scheme == "python":
        return build_factory(reference.arch)
    if endpoint.manifest is None or not endpoint.manifest.arguments:
        raise PortkitError.at(str(endpoint), "no model is known that has these tensors")
    with torch.device("meta"):
        return build(reference.scheme, reference.arch, **reference.arguments)


def _tensor(reader: Reader, spec: TensorSpec, dtype: torch.dtype) -> Tensor:
    array = as_array(reader.fetch(spec.name), spec)
    if spec.dtype is DType.BF16:
        bits = np.array(array).view(np.int16)
        return torch.from_numpy(bits).view(torch.bfloat16).to(dtype)
    if spec.dtype.name.startswith("F8"):
        raise PortkitError.at(spec.name, f"{spec.dtype} is moved, but no model is run with it")
    if not spec.dtype.is_float:
        return torch.from_numpy(np.array(array))
    wide = np.float64 if dtype is torch.float64 else np.float32
    return torch.from_numpy(np.array(array, wide))


def run_module(module: nn.Module, images: "Array") -> dict[str, "Array"]:
    """Run a module on a batch `[N, …]` and return its outputs by name.

    A single tensor is called `output`; tuples are numbered, dicts keep their keys.
    """
    floats = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    with torch.inference_mode():
        made = module(torch.from_numpy(np.ascontiguousarray(images)).to(floats))
    return {name: tensor.numpy() for name, tensor in _named(made)}


def _named(made: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(made, Tensor):
        yield "output", made
    elif isinstance(made, Mapping):
        yield from ((str(key), value) for key, value in made.items() if isinstance(value, Tensor))
    elif hasattr(made, "_asdict"):
        yield from _named(made._asdict())
    elif isinstance(made, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(made) if isinstance(value, Tensor))
    else:
        raise PortkitError.at("outputs", f"a {type(made).__name__} holds no tensor to compare")


@contextmanager
def recorded(module: nn.Module, names: list[str]) -> Iterator[dict[str, "Array"]]:
    """Keep what the named submodules answer while the block runs."""
    seen: dict[str, Array] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen[name] = output.detach().clone().numpy()

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
