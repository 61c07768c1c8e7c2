"""A port: a source, a target and the plan between them, found by name and route."""

from dataclasses import dataclass, replace
from pathlib import Path

from portkit.endpoints import Endpoint, open_weights, resolve_source, resolve_target
from portkit.errors import PortkitError, Problems
from portkit.mapping import MAPPING_SUFFIXES, PortMap, invert, load_mapping
from portkit.mapping.library import find_routes, shipped_mapping
from portkit.planning import Ends, Plan, Step, compose_plans, make_plan

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
    routes = routes_between(start, end)
    return settle(tuple(_planned(start, target, route) for route in routes))


def _hint(portmap: PortMap, target: str) -> str:
    """Return what a bare file's tensors are called: as the end that is not asked for."""
    return portmap.target if target == portmap.source != portmap.target else portmap.source


def _leads_back(portmap: PortMap, start: Endpoint, target: str) -> bool:
    """Say whether a mapping has to be run backwards to get from here to there."""
    there = target.partition(":")[0] == portmap.source.partition(":")[0]
    return there and not fits(portmap.source, start) and fits(portmap.target, start)


def open_mapping(name: str | Path, base: Path = Path()) -> PortMap:
    """Read a mapping by its shipped name or its path."""
    if isinstance(name, str) and not name.endswith(MAPPING_SUFFIXES):
        return shipped_mapping(name)
    shown = str(name)
    return replace(load_mapping(base / name), name=shown)


def routes_between(start: Endpoint, end: Endpoint) -> tuple[tuple[PortMap, ...], ...]:
    """Return every way through the library between two models; raise PortkitError for none."""
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
    return plan_route(start, resolve_target(target, start, scheme), route)


def plan_route(start: Endpoint, end: Endpoint, route: tuple[PortMap, ...]) -> Port:
    """Plan a way through one mapping or several; raise PortkitError listing every misfit."""
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
    if not fits(first.source, start):
        made = start.provenance
        again = f" (ported from {made.source}): a second time would be wrong" if made else ""
        what = f"maps from {first.source}, but the source is {start.reference.model}{again}"
        problems.add(first.name, what, "" if made else _from_fix(start))
    if not fits(last.target, end):
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


def fits(end: str, endpoint: Endpoint) -> bool:
    """Say whether a mapping's `from:` or `to:` means this endpoint."""
    scheme, _, arch = end.partition(":")
    return scheme == endpoint.scheme and arch in ("", endpoint.reference.arch)


def settle(ports: tuple[Port, ...]) -> Port:
    """Return the one port that all routes come to; raise PortkitError where they disagree."""
    first = ports[0]
    for other in ports[1:]:
        if _effect(first.plan) != _effect(other.plan):
            routes = " and ".join(" → ".join(port.plan.route) for port in (first, other))
            fix = "name the mapping to use with --mapping"
            raise PortkitError.at(str(first.source), f"routes {routes} disagree", fix)
    return first


def _effect(plan: Plan) -> dict[str, object]:
    """Return what a plan does to bytes, however it is written."""
    return {step.target.name: _step_effect(step) for step in plan.steps}


def _step_effect(step: Step) -> object:
    names = tuple(spec.name for spec in step.sources)
    permutation = step.permutation
    return names, step.target.form, permutation or tuple(map(str, step.ops))
