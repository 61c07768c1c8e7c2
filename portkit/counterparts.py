"""What a finished model is to be compared with: by its provenance, or by name.

Both ends have weights then, and the plan between them says which tensors correspond.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from portkit.endpoints import (
    Endpoint,
    FileWeights,
    open_file,
    open_weights,
    resolve_source,
    resolve_target,
)
from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.mapping import MAPPING_SUFFIXES, PortMap, invert, parse_mapping
from portkit.planning import Ends, make_plan
from portkit.porting import Port, fits, open_mapping, plan_route, routes_between, settle
from portkit.provenance import (
    AppliedMapping,
    Provenance,
    SourceFile,
    data_digest,
    files_of,
    header_digest,
    read_provenance,
)
from portkit.references import parse_reference

_ALIKE = """\
portkit: 1
from: {model}
to: {model}
rules:
  - map: "{{name:**}}"
"""


def port_of(artifact: Path, against: str | None = None, mapping: str | Path | None = None) -> Port:
    """Return the port that made a file, from its provenance; raise PortkitError.

    `against` names the source where provenance does not, or another one to compare with.
    """
    with open_file(FileWeights(artifact)) as reader:
        provenance = read_provenance(reader.metadata, artifact)
    if provenance is None:
        return _port_without_provenance(artifact, against, mapping)
    if mapping is not None:
        route: tuple[PortMap, ...] = (open_mapping(mapping),)
    else:
        route = tuple(_reopened(applied, artifact) for applied in provenance.mappings)
    if against is None:
        start = _recorded_source(provenance, artifact, route[0].source)
    else:
        start = resolve_source(against, scheme=route[0].source)
        if mapping is None and not fits(route[0].source, start):
            return _known(port_between(str(artifact), against), artifact, against)
    return plan_route(start, resolve_target(provenance.target, start, provenance.target), route)


def _port_without_provenance(
    artifact: Path, against: str | None, mapping: str | Path | None
) -> Port:
    if against is None:
        fix = "name its source with --against"
        raise PortkitError.at(artifact, "says nothing of where it came from", fix)
    return _known(port_between(str(artifact), against, mapping), artifact, against)


def _known(port: Port | None, artifact: Path, against: str) -> Port:
    if port is None:
        fix = "say what model it is for, python:MODULE:FACTORY@FILE, or name a mapping"
        raise PortkitError.at(artifact, f"no mapping leads here from {against}", fix)
    return port


def port_between(target: str, source: str, mapping: str | Path | None = None) -> Port | None:
    """Return the plan between two models that have their weights; raise PortkitError.

    None means that no mapping is known: one of them at least is a user's own model.
    """
    if mapping is not None:
        return _through(open_mapping(mapping), target, source)
    start, end = resolve_source(source), resolve_source(target)
    if (start.scheme, start.reference.arch) == (end.scheme, end.reference.arch):
        return port_alike(start, end)
    if "python" in (start.scheme, end.scheme):
        return None
    routes = routes_between(start, end)
    return settle(tuple(plan_route(start, end, route) for route in routes))


def _through(portmap: PortMap, target: str, source: str) -> Port:
    """Plan through one mapping, run backwards where it leads from the target to the source."""
    start = resolve_source(source, scheme=portmap.source)
    end = resolve_source(target, scheme=portmap.target)
    leads = fits(portmap.source, start) and fits(portmap.target, end)
    back = fits(portmap.source, end) and fits(portmap.target, start)
    return plan_route(start, end, (invert(portmap) if back and not leads else portmap,))


def port_alike(start: Endpoint, end: Endpoint) -> Port:
    """Plan between two weights of one model: every tensor is its namesake."""
    model = f"{start.scheme}:{start.reference.arch}"
    portmap = parse_mapping(_ALIKE.format(model=model), "one model, same names")
    return port_through(portmap, start, end)


def port_through(portmap: PortMap, start: Endpoint, end: Endpoint) -> Port:
    """Plan through a mapping that was made for these two ends; raise PortkitError."""
    with open_weights(start) as reader:
        specs = reader.specs
    names = str(start), end.reference.model
    ends = Ends(specs, end.specs, start.parameters, names)
    plan = make_plan(portmap, ends)
    return Port(start, end, replace(plan, route=(start.reference.model, end.reference.model)))


def _reopened(applied: AppliedMapping, artifact: Path) -> PortMap:
    if applied.name.endswith(MAPPING_SUFFIXES) and not (artifact.parent / applied.name).is_file():
        what = f"its mapping is not at {applied.name}"
        raise PortkitError.at(artifact, what, "name where it is now with --mapping")
    portmap = open_mapping(applied.name, artifact.parent)
    if portmap.digest != applied.digest:
        what = f"its mapping {applied.name} changed since ({applied.digest[:19]}…)"
        raise PortkitError.at(artifact, what, "convert again, or name a mapping with --mapping")
    return invert(portmap) if applied.inverted else portmap


def _recorded_source(provenance: Provenance, artifact: Path, scheme: str) -> Endpoint:
    """Find the source that provenance names, and make sure it is still the same."""
    recorded = provenance.file
    if recorded is None or parse_reference(provenance.source).weights.startswith("demo:"):
        return resolve_source(provenance.source, artifact.parent, scheme)
    reference = parse_reference(provenance.source)
    moved = Path(recorded.path)
    prefix = reference.file[1]
    located = f"{moved}#{prefix}" if prefix else str(moved)
    path = artifact.parent / moved
    if not path.is_file():
        what = f"its source {provenance.source} is not at {moved} ({recorded.header[:19]}…)"
        raise PortkitError.at(artifact, what, "name where it is now with --against")
    with open_file(FileWeights(path, prefix)) as reader:
        _refuse_changed(reader, recorded, artifact)
    text = f"{reference.model}@{located}" if reference.model else located
    return resolve_source(text, artifact.parent, scheme)


def _refuse_changed(reader: Reader, recorded: SourceFile, artifact: Path) -> None:
    changed = list(_changes(reader, recorded))
    if changed:
        what = f"its source {recorded.path} changed: {', '.join(changed)}"
        raise PortkitError.at(artifact, what, "convert again, or name another with --against")


def _changes(reader: Reader, recorded: SourceFile) -> Iterator[str]:
    files, header = files_of(reader), header_digest(reader.specs)
    size = sum(path.stat().st_size for path in files)
    if size != recorded.size:
        yield f"{recorded.size} bytes then, {size} now"
    if header != recorded.header:
        yield f"headers {recorded.header[:19]}… then, {header[:19]}… now"
    elif recorded.data and size == recorded.size:
        data = data_digest(files)
        if data != recorded.data:
            yield f"data {recorded.data[:19]}… then, {data[:19]}… now"
