"""Build torch modules from endpoints and run them on numpy arrays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from portkit.endpoints import Endpoint, open_weights
from portkit.errors import PortkitError, Problems
from portkit.formats import as_array
from portkit.formats.protocols import Reader
from portkit.manifests.factory import build_factory, import_factory
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
    _refuse_misfits(wanted, reader, str(endpoint))
    state = {
        name: _tensor(reader, reader.specs[name], dtype)
        if name in reader.specs
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in wanted.items()
    }
    if endpoint.reference.scheme != "python":
        module.load_state_dict(state, assign=True)
        return module.to(dtype).eval()
    module.to(dtype).load_state_dict(state)  # in place: others may hold its parameters, too
    _refuse_untied(module, state, str(endpoint))
    return module.eval()


def _refuse_untied(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise PortkitError where a model keeps one tensor under two names and a file keeps two."""
    problems = Problems()
    for name, held in module.state_dict().items():
        given = state[name].to(held.dtype)
        if not bool(((held == given) | ((held != held) & (given != given))).all()):  # noqa: PLR0124
            what = f"{name} does not keep its values: the model ties it to another tensor"
            problems.add(where, what, "give both the same values, or drop one in the mapping")
    problems.raise_if_any()


def _refuse_misfits(wanted: Mapping[str, Tensor], reader: Reader, where: str) -> None:
    """Raise PortkitError listing every tensor that the model and the reader do not share.

    Only `num_batches_tracked` may be absent: files older than PyTorch 0.4.1 have none.
    """
    problems = Problems()
    for name, tensor in wanted.items():
        found = reader.specs.get(name)
        if found is None and not name.endswith("num_batches_tracked"):
            problems.add(reader.path, f"{where} needs {name} {list(tensor.shape)}, found none")
        elif found is not None and found.shape != tuple(tensor.shape):
            problems.add(reader.path, f"{where} needs {name} {list(tensor.shape)}, found {found}")
    for name, spec in reader.specs.items():
        if name not in wanted:
            problems.add(reader.path, f"{where} has no place for {spec}")
    problems.raise_if_any()


def empty_module(endpoint: Endpoint) -> nn.Module:
    """Return an endpoint's model without its weights: on the meta device where it is ours."""
    reference = endpoint.reference
    if reference.scheme == "python":
        return build_factory(reference.arch)
    if endpoint.manifest is None or not endpoint.manifest.arguments:
        raise PortkitError.at(str(endpoint), "no model is known that has these tensors")
    with torch.device("meta"):
        return build(reference.scheme, reference.arch, **reference.arguments)


def skeleton(endpoint: Endpoint) -> nn.Module:
    """Return an endpoint's model for its configuration alone: on the meta device if it can be."""
    if endpoint.reference.scheme != "python":
        return empty_module(endpoint)
    try:
        with torch.device("meta"):
            made = import_factory(endpoint.reference.arch)()
    except (
        Exception,
        SystemExit,
    ):  # whatever a factory of the user's raises where there are no values
        return empty_module(endpoint)
    return made.eval() if isinstance(made, nn.Module) else empty_module(endpoint)


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

    A single tensor is called `output`; tuples are numbered, dicts and dataclasses keep their names.
    """
    with torch.inference_mode():
        made = module(as_input(module, images))
    return named_outputs(made)


def as_input(module: nn.Module, images: "Array") -> Tensor:
    """Return a copy of images where and as a module computes; models may work on it in place."""
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    if first is None:
        return torch.tensor(images, dtype=torch.float32)
    return torch.tensor(images, dtype=first.dtype, device=first.device)


def named_outputs(made: Any) -> dict[str, "Array"]:
    """Return every tensor of a module's answer by its name, as arrays of their own.

    Complex ones get an axis for their real and imaginary parts, narrow floats become float32.
    Raise PortkitError for two outputs of one name: one of them would never be compared.
    """
    outputs: dict[str, Array] = {}
    for name, tensor in _named(made):
        if name in outputs:
            raise PortkitError.at(f"output {name!r}", "is the name of two", "name them apart")
        outputs[name] = _as_real(tensor.detach()).cpu().numpy().copy()
    return outputs


def _as_real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < 4
    return tensor.float() if narrow and tensor.dtype is not torch.float16 else tensor


def _named(made: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of an answer under its path; raise PortkitError for what is none."""
    if isinstance(made, Tensor):
        yield name or "output", made
    elif isinstance(made, bool | int | float):
        yield name or "output", torch.tensor(made)
    elif made is not None:
        for key, part in _parts(made, name or "outputs"):
            yield from _named(part, f"{name}.{key}" if name else str(key))


def _parts(made: Any, where: str) -> Iterable[tuple[Any, Any]]:
    if isinstance(made, Mapping):
        return made.items()
    if hasattr(made, "_asdict"):
        return dict(made._asdict()).items()
    if is_dataclass(made):
        return [(field.name, getattr(made, field.name)) for field in fields(made)]
    if isinstance(made, list | tuple):
        return enumerate(made)
    raise PortkitError.at(where, f"a {type(made).__name__} holds no tensor to compare")
