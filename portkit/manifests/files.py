"""The manifest files: loaded for given arguments, or matched against a file's own shapes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portkit.errors import PortkitError, Problems
from portkit.tensors import DType, Shape, Specs, TensorSpec

FOLDER = Path(__file__).parent
OPTIONAL = "num_batches_tracked"  # files older than PyTorch 0.4.1 have none
_BASE = 64  # channels of the first layer at width 1
_SHOWN = 20

Argument = int | float | bool | str
Dim = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model's headers at definite parameters."""

    scheme: str
    arch: str
    parameters: Mapping[str, int]
    specs: Specs
    arguments: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)  # entry → file name
    default_weights: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A manifest file: shapes in symbols, the defaults, and which symbols may vary."""

    scheme: str
    arch: str
    parameters: Mapping[str, int]
    free: tuple[str, ...]
    arguments: tuple[str, ...]
    weights: Mapping[str, str]
    default_weights: str
    dtypes: Mapping[str, DType]
    shapes: Mapping[str, tuple[Dim, ...]]

    def at(self, parameters: Mapping[str, int]) -> Manifest:
        """Return the manifest at these parameters."""
        specs = {
            name: TensorSpec(name, _shape(dims, parameters), self.dtypes[name])
            for name, dims in self.shapes.items()
        }
        return Manifest(
            self.scheme,
            self.arch,
            MappingProxyType(dict(parameters)),
            MappingProxyType(specs),
            self.arguments,
            self.weights,
            self.default_weights,
        )


def _shape(dims: tuple[Dim, ...], parameters: Mapping[str, int]) -> Shape:
    return tuple(prod(f if isinstance(f, int) else parameters[f] for f in dim) for dim in dims)


def schemes() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in FOLDER.iterdir() if any(path.glob("*.json"))))


def archs(scheme: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (FOLDER / scheme).glob("*.json")))


@cache
def read_template(scheme: str, arch: str) -> Template:
    """Read one manifest file; raise PortkitError with the nearest names."""
    path = FOLDER / scheme / f"{arch}.json"
    if arch not in archs(scheme):
        raise PortkitError.at(f"{scheme}:{arch}", *_unknown_arch(scheme, arch))
    raw: Any = json.loads(path.read_text())
    dims = {name: tuple(_dim(dim) for dim in shape) for name, (_, shape) in raw["tensors"].items()}
    return Template(
        scheme,
        arch,
        MappingProxyType(raw["parameters"]),
        tuple(raw["free"]),
        tuple(raw["arguments"]),
        MappingProxyType(raw["weights"]),
        raw["default_weights"],
        MappingProxyType({name: DType(dtype) for name, (dtype, _) in raw["tensors"].items()}),
        MappingProxyType(dims),
    )


def _dim(value: int | str) -> Dim:
    if isinstance(value, int):
        return (value,)
    return tuple(int(part) if part.isdigit() else part for part in value.split("*"))


def _unknown_arch(scheme: str, arch: str) -> tuple[str, str]:
    from difflib import get_close_matches

    if scheme not in schemes():
        return f"no scheme {scheme!r}", f"use one of: {', '.join(schemes())}"
    close = get_close_matches(arch, archs(scheme), 1)
    fix = (
        f"did you mean {scheme}:{close[0]}?" if close else f"use one of: {', '.join(archs(scheme))}"
    )
    return f"{scheme} has no {arch!r} that portkit knows", fix


def load_manifest(scheme: str, arch: str, arguments: Mapping[str, Argument]) -> Manifest:
    """Return a model's manifest for builder arguments; raise PortkitError for unknown ones."""
    template = read_template(scheme, arch)
    problems = Problems()
    parameters = dict(template.parameters)
    for name, value in arguments.items():
        where = f"{scheme}:{arch}"
        if name not in template.arguments:
            known = ", ".join(template.arguments)
            problems.add(where, f"takes no argument {name!r}", f"use some of: {known}")
        elif name == "width":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e3:
                problems.add(where, f"width must be a positive number, found {value!r}")
            else:
                parameters["base"] = max(1, round(_BASE * value))
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            problems.add(where, f"{name} must be a whole number of at least 1, found {value!r}")
        else:
            parameters[name] = value
    problems.raise_if_any()
    return template.at(parameters)


def arguments_for(scheme: str, manifest: Manifest) -> Mapping[str, Argument]:
    """Return the arguments that a model of `scheme` needs to have this manifest's parameters.

    Raise PortkitError where that scheme fixes a parameter at another number.
    """
    template = read_template(scheme, manifest.arch)
    arguments: dict[str, Argument] = {}
    for name, default in template.parameters.items():
        found = manifest.parameters.get(name, default)
        if found == default:
            continue
        if name not in template.free:
            what = f"has {name}={default}, the source has {name}={found}"
            raise PortkitError.at(f"{scheme}:{manifest.arch}", what)
        arguments.update({"width": found / _BASE} if name == "base" else {name: found})
    return MappingProxyType(arguments)


def match_manifest(scheme: str, arch: str, specs: Specs) -> Manifest:
    """Return the manifest at the parameters that a file's shapes show; raise PortkitError."""
    template = read_template(scheme, arch)
    manifest = template.at(bind_parameters(template, specs))
    check_specs(specs, manifest, f"{scheme}:{arch}")
    return manifest


def bind_parameters(template: Template, specs: Specs) -> dict[str, int]:
    """Read the free parameters off a file's shapes; the default where they do not show."""
    found: dict[str, int] = {}
    for _ in range(2):  # a second pass solves products whose other factor came later
        for name, dims in template.shapes.items():
            spec = specs.get(name)
            if spec is None or len(spec.shape) != len(dims):
                continue
            for dim, length in zip(dims, spec.shape, strict=True):
                _bind(dim, length, template, found)
    return {**template.parameters, **found}


def _bind(dim: Dim, length: int, template: Template, found: dict[str, int]) -> None:
    unknown = {f for f in dim if isinstance(f, str) and f in template.free and f not in found}
    if len(unknown) != 1:
        return
    (name,) = unknown
    power = dim.count(name)
    rest = prod(
        f if isinstance(f, int) else found.get(f, template.parameters[f]) for f in dim if f != name
    )
    if rest and length % rest == 0:
        root = round((length // rest) ** (1 / power))
        if root > 0 and root**power * rest == length:
            found[name] = root


def check_specs(specs: Specs, manifest: Manifest, where: str) -> None:
    """Compare a file's tensors with a model's; raise PortkitError listing every misfit."""
    problems = Problems()
    wanted = manifest.specs
    lacks = [s for n, s in wanted.items() if n not in specs and not n.endswith(OPTIONAL)]
    strange = [spec for name, spec in specs.items() if name not in wanted]
    unlike = [(specs[n], s) for n, s in wanted.items() if n in specs and not _fits(specs[n], s)]
    listings = (
        ([f"the file lacks {spec}" for spec in lacks], "that the file lacks"),
        ([f"the model does not know {spec}" for spec in strange], "that the model does not know"),
        ([f"the file has {found}, the model {s.form}" for found, s in unlike], "that do not fit"),
    )
    for lines, rest in listings:
        for line in lines[:_SHOWN]:
            problems.add(where, line)
        if len(lines) > _SHOWN:
            problems.add(where, f"and {len(lines) - _SHOWN} more {rest}")
    problems.raise_if_any()


def _fits(found: TensorSpec, wanted: TensorSpec) -> bool:
    return found.shape == wanted.shape and alike(wanted.dtype, found.dtype)


def alike(wanted: DType, found: DType) -> bool:
    """Say whether a tensor may have this dtype: any float for a float."""
    return wanted is found or (wanted.is_float and found.is_float)
