"""Which known model a file's names and shapes belong to."""

import json
from collections.abc import Iterator
from functools import cache

from portkit.errors import PortkitError
from portkit.manifests.files import (
    FOLDER,
    OPTIONAL,
    Manifest,
    Template,
    archs,
    bind_parameters,
    check_specs,
    read_template,
    schemes,
)
from portkit.tensors import Specs


def _candidates(specs: Specs) -> Iterator[Template]:
    """Read only the manifests that have as many tensors as there are."""
    counts = json.loads((FOLDER / "index.json").read_text())
    found = sum(not name.endswith(OPTIONAL) for name in specs)
    for model, count in counts.items():
        if count == found:
            scheme, _, arch = model.partition(":")
            yield read_template(scheme, arch)


@cache
def _templates() -> tuple[Template, ...]:
    return tuple(read_template(scheme, arch) for scheme in schemes() for arch in archs(scheme))


def recognise(specs: Specs) -> tuple[Manifest, ...]:
    """Return every known model that these tensors fit completely."""
    found = []
    for template in _candidates(specs):
        manifest = _fit(template, specs)
        if manifest is not None:
            found.append(manifest)
    return tuple(found)


def _fit(template: Template, specs: Specs) -> Manifest | None:
    if not specs.keys() <= template.shapes.keys():
        return None
    manifest = template.at(bind_parameters(template, specs))
    try:
        check_specs(specs, manifest, "")
    except PortkitError:
        return None
    return manifest


def nearest(specs: Specs, count: int = 3) -> tuple[tuple[str, str], ...]:
    """Return the models that fit best, each with what keeps it from fitting."""
    scored = sorted(
        (
            (*_misfit(template, specs), f"{template.scheme}:{template.arch}")
            for template in _templates()
        ),
        key=lambda entry: (entry[0], entry[2]),
    )
    return tuple((name, why) for _, why, name in scored[:count])


def _misfit(template: Template, specs: Specs) -> tuple[int, str]:
    """Return how many tensors do not fit, and in words."""
    manifest = template.at(bind_parameters(template, specs))
    missing = [n for n in manifest.specs if n not in specs and not n.endswith(OPTIONAL)]
    strange = [name for name in specs if name not in manifest.specs]
    shapes = [
        name
        for name, spec in manifest.specs.items()
        if name in specs and specs[name].shape != spec.shape
    ]
    parts = [
        f"{len(names)} of {len(manifest.specs)} {what}, first {names[0]}"
        for names, what in (
            (missing, "missing"),
            (strange, "unknown"),
            (shapes, "of another shape"),
        )
        if names
    ]
    return len(missing) + len(strange) + len(shapes), ", ".join(parts)
