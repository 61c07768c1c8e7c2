"""What a reference names, found: the model's headers, and where its weights lie."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portkit import formats, manifests
from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.manifests import Manifest
from portkit.provenance import Provenance, read_provenance
from portkit.random_weights import RandomReader
from portkit.references import Reference, is_entry, parse_reference, random_seed
from portkit.tensors import Specs

HEADS = ("fc-head", "conv-head")
_DEMO = Path(__file__).parent / "evaluation" / "data"
_DEMOS = {"fashion": "fashion-vgg11.safetensors"}


@dataclass(frozen=True, slots=True)
class FileWeights:
    """Weights in a file, under names that start with `prefix`."""

    path: Path
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """Weights drawn from a seed."""

    seed: int


@dataclass(frozen=True, slots=True)
class FactoryWeights:
    """Weights that the user's own factory gives its model."""


Weights = FileWeights | RandomWeights | FactoryWeights


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a port. `manifest` is None where no model is known, only a scheme of names."""

    reference: Reference
    manifest: Manifest | None
    weights: Weights | None = None
    provenance: Provenance | None = None

    @property
    def scheme(self) -> str:
        return self.reference.scheme

    @property
    def is_known(self) -> bool:
        """Say whether this is a model that portkit itself can build."""
        return bool(self.manifest and self.manifest.arguments)

    @property
    def specs(self) -> Specs | None:
        return self.manifest.specs if self.manifest else None

    @property
    def parameters(self) -> Mapping[str, int]:
        return self.manifest.parameters if self.manifest else {}

    def __str__(self) -> str:
        return str(self.reference)


def resolve_source(text: str, base: Path = Path(), scheme: str = "") -> Endpoint:
    """Find a model and its weights; raise PortkitError.

    A path is relative to `base`. `scheme` names the tensors of a file that no known model fits.
    """
    reference = parse_reference(text)
    if reference.weights.startswith("demo:"):  # as provenance names it
        reference = parse_reference(reference.weights)
    if reference.scheme == "demo":
        return _demo(reference)
    if not reference.scheme:
        return _bare_file(reference, base, scheme)
    if reference.scheme == "python":
        return _factory(reference, base)
    manifest = manifests.load_manifest(reference.scheme, reference.arch, reference.arguments)
    seed = random_seed(reference.weights)
    if seed is not None:
        settled = Reference(reference.scheme, reference.arch, reference.arguments, f"random:{seed}")
        return Endpoint(settled, manifest, RandomWeights(seed))
    if not reference.weights or is_entry(reference.weights):
        return _published(reference, manifest)
    return _named_file(reference, base)


def resolve_target(text: str, source: Endpoint, scheme: str = "") -> Endpoint:
    """Find the model that tensors are for: a head, a whole reference or a mapping's own scheme."""
    if text in (*HEADS, "torchvision"):
        reference = Reference(text, source.reference.arch)
        if not source.is_known:
            fix = f"name the architecture: {text}:ARCH"
            raise PortkitError.at(text, f"{source} is no architecture of portkit's own", fix)
        return _model(_like(source, reference))
    reference = parse_reference(text)
    if reference.weights and reference.scheme:
        raise PortkitError.at(text, "a target has no weights yet", f"write {reference.model}")
    if reference.scheme == "python":
        return Endpoint(reference, _factory_manifest(reference))
    if reference.scheme and reference.scheme != "demo":
        return _model(reference if reference.arguments else _like(source, reference))
    if scheme and text == scheme:
        return Endpoint(Reference(text.split(":", 1)[0], text.partition(":")[2]), None)
    known = ", ".join((*HEADS, "torchvision:ARCH", "python:MODULE:FACTORY"))
    raise PortkitError.at(
        text, "is no model that tensors can be moved into", f"use one of: {known}"
    )


def _like(source: Endpoint, reference: Reference) -> Reference:
    """Give a target the arguments that its source's sizes ask for, where those are known."""
    if source.manifest is None or not source.is_known:
        return reference
    arguments = manifests.arguments_for(reference.scheme, source.manifest)
    return Reference(reference.scheme, reference.arch, arguments)


def _model(reference: Reference) -> Endpoint:
    return Endpoint(
        reference,
        manifests.load_manifest(reference.scheme, reference.arch, reference.arguments),
    )


def _demo(reference: Reference) -> Endpoint:
    if reference.arch not in _DEMOS or reference.weights or reference.arguments:
        fix = f"use one of: {', '.join(f'demo:{name}' for name in _DEMOS)}"
        raise PortkitError.at(str(reference), "no such demo", fix)
    found = _bare_file(Reference("", "", weights=str(_DEMO / _DEMOS[reference.arch])), Path(), "")
    model = found.reference
    return Endpoint(
        Reference(model.scheme, model.arch, model.arguments, str(reference)),
        found.manifest,
        found.weights,
        found.provenance,
    )


def _factory_manifest(reference: Reference) -> Manifest:
    from portkit.manifests.factory import factory_specs

    specs = factory_specs(reference.arch)
    return Manifest("python", reference.arch, {}, specs, (), {}, "")


def _factory(reference: Reference, base: Path) -> Endpoint:
    manifest = _factory_manifest(reference)
    if not reference.weights:
        return Endpoint(reference, manifest, FactoryWeights())
    seed = random_seed(reference.weights)
    if seed is not None:
        settled = Reference("python", reference.arch, weights=f"random:{seed}")
        return Endpoint(settled, manifest, RandomWeights(seed))
    path, prefix = reference.file
    weights = FileWeights(base / Path(path).expanduser(), prefix)
    with open_file(weights) as reader:
        manifests.check_specs(reader.specs, manifest, str(reference))
        return Endpoint(reference, manifest, weights, read_provenance(reader.metadata, path))


def _named_file(reference: Reference, base: Path) -> Endpoint:
    path, prefix = reference.file
    weights = FileWeights(base / Path(path).expanduser(), prefix)
    with open_file(weights) as reader:
        provenance = read_provenance(reader.metadata, path)
        _refuse_other_scheme(reference, provenance)
        specs = reader.specs
        try:
            manifest = manifests.match_manifest(reference.scheme, reference.arch, specs)
        except PortkitError as error:
            _offer_prefix(reference, prefix, specs)
            raise error from None
    asked = manifests.load_manifest(reference.scheme, reference.arch, reference.arguments)
    if reference.arguments:
        manifests.check_specs(specs, asked, str(reference))
    arguments = manifests.arguments_for(reference.scheme, manifest)
    settled = Reference(reference.scheme, reference.arch, arguments, reference.weights)
    return Endpoint(settled, manifest, weights, provenance)


def _refuse_other_scheme(reference: Reference, provenance: Provenance | None) -> None:
    if provenance is None:
        return
    made_for = parse_reference(provenance.target)
    if (made_for.scheme, made_for.arch) != (reference.scheme, reference.arch):
        what = f"holds {provenance.target}, ported from {provenance.source}, not {reference.model}"
        fix = f"name the file alone, {reference.weights}: its provenance says what it is"
        raise PortkitError.at(reference.weights, what, fix)


def _offer_prefix(reference: Reference, prefix: str, specs: Specs) -> None:
    """Raise a PortkitError that names the nesting under which the tensors do fit."""
    for candidate in formats.prefixes(specs):
        inner = formats.strip_prefix(specs, candidate)
        try:
            manifests.match_manifest(reference.scheme, reference.arch, inner)
        except PortkitError:
            continue
        path, _ = reference.file
        what = f"holds a {reference.model} state dict under {prefix + candidate!r}"
        raise PortkitError.at(path, what, f"write {path}#{prefix}{candidate}") from None


def _bare_file(reference: Reference, base: Path, scheme: str) -> Endpoint:
    path, prefix = reference.file
    weights = FileWeights(base / Path(path).expanduser(), prefix)
    with open_file(weights) as reader:
        specs = reader.specs
        provenance = read_provenance(reader.metadata, path)
    if provenance is not None:
        return _from_provenance(reference, weights, specs, provenance)
    if scheme and scheme.split(":", 1)[0] not in (*HEADS, "torchvision"):
        name, _, arch = scheme.partition(":")
        manifest = Manifest(name, arch, {}, specs, (), {}, "")
        return Endpoint(Reference(name, arch, weights=reference.weights), manifest, weights)
    found = manifests.recognise(specs)
    fitting = found
    if scheme:
        found = tuple(m for m in found if scheme in (m.scheme, f"{m.scheme}:{m.arch}"))
    if fitting and not found:
        what = f"is {fitting[0].scheme}:{fitting[0].arch}, {scheme} is needed"
        raise PortkitError.at(path, what)
    if len(found) != 1:
        _refuse_unrecognised(reference, specs, found)
    arguments = manifests.arguments_for(found[0].scheme, found[0])
    settled = Reference(found[0].scheme, found[0].arch, arguments, reference.weights)
    return Endpoint(settled, found[0], weights)


def _refuse_unrecognised(reference: Reference, specs: Specs, found: tuple[Manifest, ...]) -> None:
    path, prefix = reference.file
    if found:
        names = [f"{m.scheme}:{m.arch}" for m in found]
        fix = " or ".join(f"{name}@{reference.weights}" for name in names)
        raise PortkitError.at(path, f"fits {len(found)} models: {', '.join(names)}", f"write {fix}")
    for candidate in formats.prefixes(specs):
        inner = manifests.recognise(formats.strip_prefix(specs, candidate))
        if inner:
            what = f"holds a {inner[0].scheme}:{inner[0].arch} state dict under {candidate!r}"
            raise PortkitError.at(path, what, f"write {path}#{prefix}{candidate}")
    close = [pair for pair in manifests.nearest(specs) if _is_near(pair[0], specs)]
    nearest = "; ".join(f"{name}: {why}" for name, why in close)
    what = "fits no known model" + (f". Nearest: {nearest}" if nearest else "")
    fix = f"name its architecture: SCHEME:ARCH@{path}, or a mapping of your own with --mapping"
    raise PortkitError.at(path, what, fix)


def _is_near(model: str, specs: Specs) -> bool:
    """Say whether a model shares names with a file, so that naming it helps."""
    scheme, _, arch = model.partition(":")
    known = manifests.load_manifest(scheme, arch, {}).specs
    return len(known.keys() & specs.keys()) * 2 > len(specs)


def _from_provenance(
    reference: Reference, weights: FileWeights, specs: Specs, provenance: Provenance
) -> Endpoint:
    made_for = parse_reference(provenance.target)
    named = Reference(made_for.scheme, made_for.arch, made_for.arguments, reference.weights)
    if made_for.scheme == "python":
        manifest = _factory_manifest(made_for)
    elif made_for.scheme:
        manifest = manifests.load_manifest(made_for.scheme, made_for.arch, made_for.arguments)
    else:
        name, _, arch = provenance.target.partition(":")
        named = Reference(name, arch, weights=reference.weights)
        manifest = Manifest(name, arch, {}, specs, (), {}, "")
    return Endpoint(named, manifest, weights, provenance)


def _published(reference: Reference, manifest: Manifest) -> Endpoint:
    """Find one of torchvision's own weight files: in its cache, else by its download."""
    if reference.scheme != "torchvision":
        fix = f"write {reference.model}@FILE, or {reference.model}@random"
        raise PortkitError.at(str(reference), "names no weights", fix)
    entry = reference.weights or manifest.default_weights
    if entry not in manifest.weights:
        fix = f"use one of: {', '.join(manifest.weights)}"
        raise PortkitError.at(str(reference), f"has no weights called {entry!r}", fix)
    path = published_file(f"{reference.scheme}:{reference.arch}", manifest.weights[entry])
    inner = _named_file(Reference(reference.scheme, reference.arch, weights=str(path)), Path())
    if reference.arguments:
        manifests.check_specs(inner.specs or {}, manifest, str(reference))
    settled = Reference(reference.scheme, reference.arch, inner.reference.arguments, entry)
    return Endpoint(settled, inner.manifest, inner.weights)


def published_file(model: str, name: str) -> Path:
    """Return the cached weight file, downloaded first where that works; raise PortkitError."""
    home = Path(os.environ.get("TORCH_HOME") or _cache_home() / "torch")
    path = home / "hub" / "checkpoints" / name
    if path.is_file():
        return path
    from portkit.downloads import download_published

    reason = download_published(model.partition(":")[2], path)
    if not reason:
        return path
    fix = f"put {name} into {path.parent}, or name a file: {model}@FILE, or use {model}@random"
    raise PortkitError.at(model, f"{name} is not in {path.parent} and {reason}", fix)


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@contextmanager
def open_file(weights: FileWeights) -> Iterator[Reader]:
    """Open a weight file as its prefix selects it."""
    with formats.open_reader(weights.path) as reader:
        yield formats.select(reader, weights.prefix) if weights.prefix else reader


@contextmanager
def open_weights(endpoint: Endpoint) -> Iterator[Reader]:
    """Open an endpoint's weights, named as its model names them."""
    weights = endpoint.weights
    if isinstance(weights, FileWeights):
        with open_file(weights) as reader:
            yield reader
    elif isinstance(weights, RandomWeights):
        yield RandomReader(endpoint.specs or {}, weights.seed)
    elif isinstance(weights, FactoryWeights):
        from portkit.manifests.factory import FactoryReader

        yield FactoryReader(endpoint.reference.arch)
    else:
        raise AssertionError(f"{endpoint} has no weights to open")  # noqa: TRY004 (our own fault)
