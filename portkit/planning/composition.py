"""Two plans in a row as one: A→B and B→C make A→C, without B ever being written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from portkit.errors import Problems
from portkit.mapping.facts import SIDED, join_sided
from portkit.planning.blindness import mark_blind
from portkit.planning.steps import Dropped, Plan, Step


def compose_plans(first: Plan, second: Plan) -> Plan:
    """Return the plan that does both; raise PortkitError where steps cannot be joined."""
    problems = Problems()
    earlier = {step.target.name: step for step in first.steps}
    steps = [_join(step, earlier, problems) for step in second.steps]
    for tie in second.tied:
        problems.add(tie.where, "a tie can only stand in the first mapping of a route")
    facts = _join_facts(first.facts, second.facts, problems)
    problems.raise_if_any()
    return Plan(
        steps=mark_blind(steps),
        dropped=(*first.dropped, *(d for drop in second.dropped for d in _trace(drop, earlier))),
        tied=first.tied,
        route=(*first.route, *second.route[1:]),
        mappings=(*first.mappings, *second.mappings),
        facts=facts,
    )


def _join(step: Step, earlier: Mapping[str, Step], problems: Problems) -> Step:
    before = [earlier[spec.name] for spec in step.sources]
    if len(before) == 1:
        (only,) = before
        because = step.because or only.because
        return replace(step, sources=only.sources, ops=(*only.ops, *step.ops), because=because)
    if any(one.ops for one in before):
        problems.add(
            step.where, f"{step.target.name} joins tensors that an earlier mapping changed"
        )
        return step
    return replace(step, sources=tuple(spec for one in before for spec in one.sources))


def _trace(drop: Dropped, earlier: Mapping[str, Step]) -> list[Dropped]:
    return [replace(drop, spec=spec) for spec in earlier[drop.spec.name].sources]


def _join_facts(
    first: Mapping[str, Any], second: Mapping[str, Any], problems: Problems
) -> dict[str, Any]:
    facts = {name: fact for name, fact in {**first, **second}.items() if name not in SIDED}
    for name in SIDED:
        try:
            joined = join_sided(first.get(name), second.get(name))
        except ValueError:
            problems.add("facts", f"the route's mappings disagree on {name}")
        else:
            facts.update({name: joined} if joined else {})
    for name in sorted(first.keys() & second.keys() - set(SIDED)):
        if name == "valid_sizes":
            facts[name] = {
                axis: (max(low, second[name][axis][0]), min(high, second[name][axis][1]))
                for axis, (low, high) in first[name].items()
            }
        elif name == "eval_only":
            facts[name] = tuple(dict.fromkeys((*first[name], *second[name])))
        elif first[name] != second[name]:
            problems.add("facts", f"the route's mappings disagree on {name}")
    return facts
