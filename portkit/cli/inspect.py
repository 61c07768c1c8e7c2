"""`portkit inspect`: the tensors of a file or model, or of several side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.options import json_option
from portkit.tensors import Specs, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Reader


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one reference holds, from headers alone."""

    reference: str
    specs: Specs
    metadata: Mapping[str, str] = field(default_factory=dict)
    model: str = ""  # what is known or recognised, in words
    file_bytes: int = 0

    @property
    def nbytes(self) -> int:
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def elements(self) -> int:
        return sum(spec.size for spec in self.specs.values())


@click.command("inspect")
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@json_option
def command(references: tuple[str, ...], as_json: bool) -> None:
    """List names, shapes and dtypes of a file or model; several REFs stand side by side."""
    found = [_inspect(reference) for reference in references]
    if as_json:
        documents = [_as_dict(one) for one in found]
        console.say_json(documents[0] if len(documents) == 1 else documents)
    elif len(found) == 1:
        _show_one(found[0])
    else:
        _show_side_by_side(found)


def _inspect(text: str) -> Inspected:
    from portkit.references import parse_reference

    reference = parse_reference(text)
    if reference.scheme:
        return _inspect_model(text)
    from portkit import formats

    path, prefix = reference.file
    with formats.open_reader(Path(path).expanduser()) as whole:
        reader = formats.select(whole, prefix) if prefix else whole
        return _from_reader(text, reader, _recognised(reader.specs, reader.metadata, path))


def _inspect_model(text: str) -> Inspected:
    """Inspect a model: with its weights where the reference names a file, else its headers."""
    from portkit.cli.ends import open_end
    from portkit.endpoints import FileWeights, open_file

    endpoint = open_end(text)
    if not isinstance(endpoint.weights, FileWeights):
        return Inspected(text, endpoint.specs or {}, {}, endpoint.reference.model)
    with open_file(endpoint.weights) as reader:
        return _from_reader(text, reader, endpoint.reference.model)


def _from_reader(text: str, reader: "Reader", model: str) -> Inspected:
    size = reader.path.stat().st_size if reader.path.is_file() else 0
    return Inspected(text, dict(reader.specs), dict(reader.metadata), model, size)


def _recognised(specs: Specs, metadata: Mapping[str, str], path: str) -> str:
    """Return which known models a file's tensors fit, also under a prefix; empty for none."""
    from portkit import formats, manifests
    from portkit.provenance import read_provenance

    provenance = read_provenance(metadata, path)
    if provenance is not None:
        return f"{provenance.target}, ported from {provenance.source}"
    found = [f"{model.scheme}:{model.arch}" for model in manifests.recognise(specs)]
    for prefix in () if found else formats.prefixes(specs):
        inner = manifests.recognise(formats.strip_prefix(specs, prefix))
        found += [f"{model.scheme}:{model.arch} under {prefix!r}" for model in inner]
    return " or ".join(found)


def _show_one(found: Inspected) -> None:
    rows = [_row(spec) for spec in found.specs.values()]
    console.say_table(("name", "dtype", "shape", "size"), rows, right=(3,))
    console.say()
    size = console.readable_bytes(found.nbytes)
    total = f"{len(found.specs)} tensors, {found.elements:,} elements, {size}"
    keys = ", ".join(found.metadata)
    console.say_facts(
        [
            ("total", total),
            ("file", console.readable_bytes(found.file_bytes) if found.file_bytes else ""),
            ("model", found.model or "none that portkit knows"),
            ("metadata", keys),
        ]
    )


def _row(spec: TensorSpec) -> tuple[str, str, str, str]:
    return spec.name, spec.dtype.value, str(list(spec.shape)), console.readable_bytes(spec.nbytes)


def _show_side_by_side(found: list[Inspected]) -> None:
    names = dict.fromkeys(name for one in found for name in one.specs)
    rows = []
    for name in names:
        forms = [one.specs[name].form if name in one.specs else "" for one in found]
        rows.append(("" if len(set(forms)) == 1 else "≠", name, *forms))
    console.say_table(("", "name", *(one.reference for one in found)), rows)
    alike = sum(not row[0] for row in rows)
    console.say()
    console.say(f"{len(rows)} names: {alike} alike, {len(rows) - alike} differ (≠)")


def _as_dict(found: Inspected) -> dict[str, Any]:
    import json

    from portkit.cli.summary import spec_as_dict
    from portkit.provenance import KEY

    provenance = found.metadata.get(KEY)
    return {
        "reference": found.reference,
        "model": found.model,
        "tensors": [{**spec_as_dict(spec), "bytes": spec.nbytes} for spec in found.specs.values()],
        "elements": found.elements,
        "bytes": found.nbytes,
        "metadata": {key: text for key, text in found.metadata.items() if key != KEY},
        "provenance": json.loads(provenance) if provenance else None,
    }
