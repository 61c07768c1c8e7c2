"""Write portkit/manifests/*/*.json from the real models, built on the meta device.

    python tools/make_manifests.py          # writes what changed
    python tools/make_manifests.py --check  # only says what would change; exit 1 if anything

Every dimension is written as a product of numbers and parameters, and proved by building the model
at several values of each parameter.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from portkit.manifests.files import OPTIONAL
from portkit.models.building import BUILDERS, build

FOLDER = Path(__file__).parents[1] / "portkit" / "manifests"
DTYPES = {torch.float32: "F32", torch.int64: "I64"}
ARGUMENTS = ("num_classes", "in_channels", "width", "hidden", "pooled")
TRIALS = (
    {"num_classes": 1000, "in_channels": 3, "base": 64, "hidden": 4096, "pooled": 7},
    {"num_classes": 11, "in_channels": 5, "base": 13, "hidden": 17, "pooled": 3},
    {"num_classes": 23, "in_channels": 1, "base": 29, "hidden": 31, "pooled": 2},
)
TORCHVISION = (
    "alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
)  # fmt: skip
Dim = int | str
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def shapes_of(module: nn.Module) -> Shapes:
    return {
        name: (DTYPES[tensor.dtype], tuple(tensor.shape))
        for name, tensor in module.state_dict().items()
    }


def own_trial(scheme: str, arch: str, values: Mapping[str, int]) -> Shapes:
    """Build one of our nets at these parameters."""
    arguments = {name: value for name, value in values.items() if name != "base"}
    with torch.device("meta"):
        return shapes_of(build(scheme, arch, width=values["base"] / 64, **arguments))


def torchvision_trial(arch: str, values: Mapping[str, int]) -> Shapes:
    with torch.device("meta"):
        net = build("torchvision", arch, num_classes=values["num_classes"],
                    in_channels=values["in_channels"])  # fmt: skip
        return shapes_of(net)


def candidates(length: int, values: Mapping[str, int]) -> Iterator[Dim]:
    """Yield what a length of the first trial may mean, the most telling first."""
    for name in ("in_channels", "num_classes", "hidden", "pooled"):
        if values.get(name) == length:
            yield name
    for symbols in (("base", "pooled", "pooled"), ("base",)):
        if all(symbol in values for symbol in symbols):
            unit = prod(values[symbol] for symbol in symbols)
            if length % unit == 0:
                factor = length // unit
                yield "*".join([str(factor)] * (factor > 1) + list(symbols))
    yield length


def value_of(dim: Dim, values: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    return prod(int(part) if part.isdigit() else values[part] for part in dim.split("*"))


def symbolic(trials: list[Shapes], values: list[Mapping[str, int]]) -> dict[str, list[object]]:
    """Return each tensor's shape in symbols that are right in every trial."""
    tensors: dict[str, list[object]] = {}
    for name, (dtype, shape) in trials[0].items():
        dims: list[Dim] = []
        for axis, length in enumerate(shape):
            fitting = [
                dim
                for dim in candidates(length, values[0])
                if all(
                    value_of(dim, given) == trial[name][1][axis]
                    for trial, given in zip(trials, values, strict=True)
                )
            ]
            if not fitting:
                raise AssertionError(f"{name}: no expression for axis {axis} of {shape}")
            dims.append(fitting[0])
        tensors[name] = [dtype, dims]
    return tensors


def own_manifest(scheme: str, arch: str) -> dict[str, Any]:
    pooled = 6 if arch == "alexnet" else 7
    values = [{**TRIALS[0], "pooled": pooled}, *TRIALS[1:]]
    return {
        "scheme": scheme,
        "arch": arch,
        "parameters": values[0],
        "free": list(values[0]),
        "arguments": list(ARGUMENTS),
        "weights": {},
        "default_weights": "",
        "tensors": symbolic([own_trial(scheme, arch, given) for given in values], values),
    }


def torchvision_manifest(arch: str) -> dict[str, Any]:
    free = ("num_classes", "in_channels")
    values = [{name: trial[name] for name in free} for trial in TRIALS]
    weights = torchvision.models.get_model_weights(arch)
    fixed = {"base": 64, "hidden": 4096, "pooled": 6 if arch == "alexnet" else 7}
    return {
        "scheme": "torchvision",
        "arch": arch,
        "parameters": {**values[0], **fixed},
        "free": list(free),
        "arguments": list(free),
        "weights": {entry.name: entry.url.rpartition("/")[2] for entry in weights},
        "default_weights": weights.DEFAULT.name,
        "tensors": symbolic([torchvision_trial(arch, given) for given in values], values),
    }


def text_of(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON with one tensor a line."""
    head = {key: value for key, value in manifest.items() if key != "tensors"}
    lines = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(form)}" for name, form in manifest["tensors"].items()
    )
    body = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    return f'{{\n{body}  "tensors": {{\n{lines}\n  }}\n}}\n'


def all_texts() -> dict[Path, str]:
    """Return every manifest's text by its path."""
    manifests = [torchvision_manifest(arch) for arch in TORCHVISION]
    manifests += [own_manifest(s, arch) for s in ("fc-head", "conv-head") for arch in BUILDERS]
    texts = {FOLDER / str(m["scheme"]) / f"{m['arch']}.json": text_of(m) for m in manifests}
    return {**texts, FOLDER / "index.json": index_of(manifests)}


def index_of(manifests: list[dict[str, object]]) -> str:
    """Return how many tensors every model must have, so that few manifests need be read."""
    counts: dict[str, int] = {}
    for manifest in manifests:
        tensors = manifest["tensors"]
        counts[f"{manifest['scheme']}:{manifest['arch']}"] = sum(
            not name.endswith(OPTIONAL)
            for name in list(tensors)  # type: ignore[call-overload]
        )
    return json.dumps(counts, indent=2) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [
        (path, text)
        for path, text in all_texts().items()
        if not path.exists() or path.read_text() != text
    ]
    for path, text in stale:
        print(f"{'stale' if check else 'wrote'} {path.parent.name}/{path.name}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
