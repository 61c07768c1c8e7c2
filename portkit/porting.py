"""A port: a source, a target and the plan between them, found by name, route or provenance."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from portkit.endpoints import (
    Endpoint,
    FileWeights,
    open_file,
    open_weights,
    resolve_source,
    resolve_target,
)
from portkit.errors import PortkitError, Problems
from portkit.formats.protocols import Reader
from portkit.mapping import MAPPING_SUFFIXES, PortMap, invert, load_mapping
from portkit.mapping.library import find_routes, shipped_mapping
from portkit.planning import Ends, Plan, Step, compose_plans, make_plan
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

_NAMED = 3  # values beside the tensors that are named; the rest is counted


@dataclass(frozen=True, slots=True)
class Port:
    """Everything decided, nothing moved."""

    source: Endpoint
    target: Endpoint
    plan: Plan


def make_port(
    source: str, target: str, mapping: str | Path | None = None, base: Path = Path()
) -> Port:
    """Find both ends and the way between them, and plan it; raise PortkitError."""
    if mapping is not None:
        portmap = open_mapping(mapping, base)
        start = resolve_source(source, base, _hint(portmap, target))
        if _leads_back(portmap, start, target):
            portmap = invert(portmap)
        return _planned(start, target, (portmap,), portmap.target)
    start = resolve_source(source, base)
    end = resolve_target(target, start)
    routes = _routes(start, end)
    ports = [_planned(start, target, route) for route in routes]
    _refuse_disagreement(ports)
    return ports[0]


def _hint(portmap: PortMap, target: str) -> str:
    """Return what a bare file's tensors are called: as the end that is not asked for."""
    return portmap.target if target == portmap.source != portmap.target else portmap.source


def _leads_back(portmap: PortMap, start: Endpoint, target: str) -> bool:
    """Say whether a mapping has to be run backwards to get from here to there."""
    there = target.partition(":")[0] == portmap.source.partition(":")[0]
    return there and not _fits(portmap.source, start) and _fits(portmap.target, start)


def open_mapping(name: str | Path, base: Path = Path()) -> PortMap:
    """Read a mapping by its shipped name or its path."""
    if isinstance(name, str) and not name.endswith(MAPPING_SUFFIXES):
        return shipped_mapping(name)
    shown = str(name)
    return replace(load_mapping(base / name), name=shown)


def _routes(start: Endpoint, end: Endpoint) -> tuple[tuple[PortMap, ...], ...]:
    if start.reference.model == end.reference.model:
        made = f", ported from {start.provenance.source}" if start.provenance else ""
        what = f"is {end.reference.model} already{made}"
        raise PortkitError.at(str(start), what, "name another target")
    arch = start.reference.arch
    if arch != end.reference.arch or start.scheme == "python":
        fix = "write one: `portkit mappings new SRC DST`, then `--mapping FILE`"
        what = f"no shipped mapping leads to {end.reference.model}"
        raise PortkitError.at(start.reference.model, what, fix)
    routes = find_routes(start.scheme, end.scheme, arch)
    if not routes:
        fix = "`portkit mappings list` shows what there is; `portkit mappings new` starts another"
        what = f"no mapping leads to {end.reference.model}"
        raise PortkitError.at(start.reference.model, what, fix)
    return routes


def _planned(start: Endpoint, target: str, route: tuple[PortMap, ...], scheme: str = "") -> Port:
    end = resolve_target(target, start, scheme)
    _refuse_mismatch(start, end, route)
    with open_weights(start) as reader:
        specs, ignored = reader.specs, reader.ignored
    plan: Plan | None = None
    for place, portmap in enumerate(route):
        last = place == len(route) - 1
        ends = Ends(
            source=plan.targets if plan else specs,
            target=end.specs if last else None,
            symbols=start.parameters,
            names=(str(start), end.reference.model if last else portmap.target),
        )
        leg = make_plan(portmap, ends)
        plan = compose_plans(plan, leg) if plan else leg
    if plan is None:
        raise AssertionError("a route of no mapping")
    notes = (*_notes(ignored), *_dtype_notes(plan, end))
    return Port(start, end, replace(plan, notes=notes))


def _notes(ignored: tuple[str, ...]) -> tuple[str, ...]:
    if not ignored:
        return ()
    more = f" and {len(ignored) - _NAMED} more" if len(ignored) > _NAMED else ""
    return (f"the source also holds {', '.join(ignored[:_NAMED])}{more}: not looked at",)


def _dtype_notes(plan: Plan, end: Endpoint) -> tuple[str, ...]:
    """Say which tensors keep another precision than the target model has."""
    wanted = end.specs or {}
    kept: dict[str, list[str]] = {}
    for name, spec in plan.targets.items():
        if name in wanted and spec.dtype is not wanted[name].dtype:
            kept.setdefault(f"{spec.dtype}, the model has {wanted[name].dtype}", []).append(name)
    return tuple(
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} stay {words}"
        for words, names in kept.items()
    )


def _refuse_mismatch(start: Endpoint, end: Endpoint, route: tuple[PortMap, ...]) -> None:
    """Refuse a mapping that is for other models, or that this source has been through already."""
    problems = Problems()
    first, last = route[0], route[-1]
    if not _fits(first.source, start):
        made = start.provenance
        again = f" (ported from {made.source}): a second time would be wrong" if made else ""
        what = f"maps from {first.source}, but the source is {start.reference.model}{again}"
        problems.add(first.name, what, "" if made else _from_fix(start))
    if not _fits(last.target, end):
        problems.add(last.name, f"maps to {last.target}, but the target is {end.reference.model}")
    arch = start.reference.arch
    if arch and start.scheme != "python" and not first.covers(arch):
        listed = ", ".join(first.archs)
        problems.add(first.name, f"is for {listed}, but the source is {start.reference.model}")
    if start.provenance and first.source == last.target:
        digests = {used.digest for used in start.provenance.mappings}
        if digests & {portmap.digest for portmap in route}:
            problems.add(first.name, f"{start} has been through this mapping already")
    problems.raise_if_any()


def _from_fix(start: Endpoint) -> str:
    reference = start.reference
    return f"write `from: {reference.scheme}:{reference.arch}`"


def _fits(end: str, endpoint: Endpoint) -> bool:
    """Say whether a mapping's `from:` or `to:` means this endpoint."""
    scheme, _, arch = end.partition(":")
    return scheme == endpoint.scheme and arch in ("", endpoint.reference.arch)


def _refuse_disagreement(ports: list[Port]) -> None:
    first = ports[0]
    for other in ports[1:]:
        if _effect(first.plan) != _effect(other.plan):
            routes = " and ".join(" → ".join(port.plan.route) for port in (first, other))
            fix = "name the mapping to use with --mapping"
            raise PortkitError.at(str(first.source), f"routes {routes} disagree", fix)


def _effect(plan: Plan) -> dict[str, object]:
    """Return what a plan does to bytes, however it is written."""
    return {step.target.name: _step_effect(step) for step in plan.steps}


def _step_effect(step: Step) -> object:
    names = tuple(spec.name for spec in step.sources)
    permutation = step.permutation
    return names, step.target.form, permutation or tuple(map(str, step.ops))


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
    start = (
        resolve_source(against, scheme=route[0].source)
        if against is not None
        else _recorded_source(provenance, artifact, route[0].source)
    )
    return _planned(start, provenance.target, route, provenance.target)


def _port_without_provenance(
    artifact: Path, against: str | None, mapping: str | Path | None
) -> Port:
    if against is None:
        fix = "name its source with --against"
        raise PortkitError.at(artifact, "says nothing of where it came from", fix)
    scheme = open_mapping(mapping).target if mapping is not None else ""
    end = resolve_source(str(artifact), scheme=scheme)
    return make_port(against, end.reference.model or scheme, mapping)


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
