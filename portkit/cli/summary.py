"""A plan in words and as plain data: what convert, plan and demo all say about it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from portkit.endpoints import Endpoint
from portkit.planning import Dropped, MappingId, Plan, Step
from portkit.porting import Port
from portkit.tensors import TensorSpec

_NAMED = 3  # tensors named in a line; the rest is counted
_KINDS = ("as they are", "reshaped", "permuted", "recomputed", "initialised")


def describe_step(step: Step) -> str:
    """Return what happens to a tensor's values: one of five words."""
    if not step.sources:
        return "initialised"
    if step.reinterprets:
        same = step.sources[0].shape == step.target.shape
        return "as they are" if same else "reshaped"
    return "permuted" if step.kind == "exact" else "recomputed"


def count_steps(plan: Plan) -> Mapping[str, int]:
    """Return how many tensors fare in which way, only ways that occur."""
    counts = Counter(map(describe_step, plan.steps))
    return {kind: counts[kind] for kind in _KINDS if counts[kind]}


def describe_port(port: Port) -> list[tuple[str, str]]:
    """Return `(name, value)` lines that sum a port up; a value may be empty."""
    plan = port.plan
    counts = ", ".join(f"{count} {kind}" for kind, count in count_steps(plan).items())
    return [
        ("port", f"{port.source} → {name_end(port.target)}"),
        ("route", " → ".join(plan.route) if len(plan.mappings) > 1 else ""),
        ("mapping", ", ".join(map(_mapping, plan.mappings))),
        ("tensors", f"{len(plan.steps)}: {counts}"),
        ("made", _because(plan.made)),
        ("dropped", _because(plan.dropped)),
        ("tied", ", ".join(f"{tied.spec.name} = {tied.equals}" for tied in plan.tied)),
        ("facts", "; ".join(f"{name} {_fact(name, value)}" for name, value in plan.facts.items())),
        ("notes", "; ".join(plan.notes)),
    ]


def name_end(endpoint: Endpoint) -> str:
    """Return what a target is called: its model, or the scheme of its names."""
    return endpoint.reference.model or str(endpoint.reference)


def _mapping(used: MappingId) -> str:
    return f"{used.name} (inverted)" if used.inverted else used.name


def _because(items: tuple[Step, ...] | tuple[Dropped, ...]) -> str:
    """Return names by reason: `head.weight, head.bias (new head)`."""
    groups: dict[str, list[str]] = {}
    for item in items:
        name = item.target.name if isinstance(item, Step) else item.spec.name
        groups.setdefault(item.because, []).append(name)
    return "; ".join(f"{_listed(names)} ({because})" for because, names in groups.items())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _fact(name: str, value: Any) -> str:
    """Return a fact in words; of what mappings may claim, only sizes are ranges."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(name, inner)}" for key, inner in value.items())
    if isinstance(value, tuple):
        return (" to " if name == "valid_sizes" else ", ").join(map(str, value))
    return str(value).lower()


def port_as_dict(port: Port) -> dict[str, Any]:
    """Return the whole plan as JSON-ready data."""
    plan = port.plan
    return {
        "source": str(port.source),
        "target": name_end(port.target),
        "route": list(plan.route),
        "mappings": [
            {"name": used.name, "digest": used.digest, "inverted": used.inverted}
            for used in plan.mappings
        ],
        "counts": dict(count_steps(plan)),
        "bytes": sum(step.target.nbytes for step in plan.steps),
        "steps": [_step_as_dict(step) for step in plan.steps],
        "dropped": [
            {**spec_as_dict(drop.spec), "because": drop.because, "where": drop.where}
            for drop in plan.dropped
        ],
        "tied": [
            {**spec_as_dict(t.spec), "equals": t.equals, "because": t.because, "where": t.where}
            for t in plan.tied
        ],
        "facts": plain_data(plan.facts),
        "notes": list(plan.notes),
    }


def _step_as_dict(step: Step) -> dict[str, Any]:
    return {
        "sources": [spec_as_dict(spec) for spec in step.sources],
        "target": spec_as_dict(step.target),
        "ops": [str(op) for op in step.ops],
        "kind": step.kind.value,
        "values": describe_step(step),
        "where": step.where,
        "because": step.because,
        "blind": list(step.blind),
    }


def spec_as_dict(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)}


def plain_data(value: Any) -> Any:
    """Return nested mappings and tuples as the dicts and lists that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain_data(inner) for key, inner in value.items()}
    return [plain_data(inner) for inner in value] if isinstance(value, tuple | list) else value
