"""Plans mappings without any weights, as `portkit mappings check` does: headers on both sides."""

from collections.abc import Iterator
from pathlib import Path

from portkit import manifests
from portkit.cli.ends import needs_no_file, open_end
from portkit.endpoints import resolve_source
from portkit.errors import PortkitError
from portkit.manifests import Manifest
from portkit.mapping import PortMap, invert, load_library, load_mapping, obstacles
from portkit.planning import Ends, Plan, make_plan
from portkit.porting import make_port
from portkit.references import parse_reference

Checked = tuple[str, str] | PortkitError


def check_between(file: str, source: str, target: str) -> Iterator[Checked]:
    """Plan one mapping file between two ends; a file as target shows what is wanted."""
    try:
        if parse_reference(target).scheme or not Path(target).is_file():
            plan = make_port(_with_weights(source), target, Path(file)).plan
        else:
            plan = _plan_towards_file(load_mapping(Path(file)), source, target)
    except PortkitError as error:
        yield error
        return
    yield file, f"{source} → {target}: {_sum_up(plan)}"


def _plan_towards_file(portmap: PortMap, source: str, target: str) -> Plan:
    """Plan towards the tensors of a file, such as weights that somebody else has converted."""
    start = resolve_source(_with_weights(source), scheme=portmap.source)
    end = open_end(target)
    ends = Ends(start.specs or {}, end.specs, start.parameters, (source, target))
    return make_plan(portmap, ends)


def check_file(file: str) -> Iterator[Checked]:
    """Load one mapping file, and plan it where its own names say between which models."""
    try:
        portmap = load_mapping(Path(file))
    except PortkitError as error:
        yield error
        return
    yield from _check(portmap)


def check_library() -> Iterator[Checked]:
    """Load and plan every shipped mapping for every architecture, backwards too."""
    for portmap in load_library():
        yield from _check(portmap)


def _check(portmap: PortMap) -> Iterator[Checked]:
    results = [result for arch in portmap.archs or ("",) for result in _plans(portmap, arch)]
    yield from results
    if not results:
        ends = f"{portmap.source} → {portmap.target}"
        yield portmap.name, f"reads well; name SRC and DST to plan {ends}"


def _plans(portmap: PortMap, arch: str) -> Iterator[Checked]:
    """Plan one architecture in both directions, as far as its models are known."""
    there, back = _known(portmap.source, arch), _known(portmap.target, arch)
    reversible = not obstacles(portmap)
    if there and back:
        yield _plan(portmap, there, back)
        if reversible:
            yield _plan(invert(portmap), back, there)
    elif back and reversible:
        yield _round_trip(invert(portmap), portmap, back)
    elif there and reversible:
        yield _round_trip(portmap, invert(portmap), there)


def _known(end: str, arch: str) -> Manifest | None:
    scheme, _, own = end.partition(":")
    name = own or arch
    if scheme not in manifests.schemes() or name not in manifests.archs(scheme):
        return None
    return manifests.load_manifest(scheme, name, {})


def _plan(portmap: PortMap, start: Manifest, end: Manifest) -> Checked:
    names = f"{start.scheme}:{start.arch}", f"{end.scheme}:{end.arch}"
    try:
        plan = make_plan(portmap, Ends(start.specs, end.specs, start.parameters, names))
    except PortkitError as error:
        return error
    return portmap.name, f"{' → '.join(names)}: {_sum_up(plan)}"


def _round_trip(out: PortMap, home: PortMap, model: Manifest) -> Checked:
    """Plan from a known model to a scheme it has no manifest for, and back again."""
    name = f"{model.scheme}:{model.arch}"
    try:
        away = make_plan(out, Ends(model.specs, None, model.parameters, (name, out.target)))
        ends = Ends(away.targets, model.specs, model.parameters, (out.target, name))
        plan = make_plan(home, ends)
    except PortkitError as error:
        return error
    return out.name, f"{name} → {out.target} → {name}: {_sum_up(plan)}"


def _sum_up(plan: Plan) -> str:
    dropped = f", {len(plan.dropped)} dropped" if plan.dropped else ""
    made = f", {len(plan.made)} made" if plan.made else ""
    return f"{len(plan.steps)} tensors{dropped}{made}"


def _with_weights(text: str) -> str:
    """Return a source that needs no weight file, for planning reads headers only."""
    reference = parse_reference(text)
    return f"{reference.model}@random" if needs_no_file(reference) else text
