"""Decide, from headers alone, what every tensor becomes. No file is open here."""

from collections.abc import Mapping
from dataclasses import dataclass

from portkit.errors import Problem, Problems
from portkit.mapping.facts import resolve_facts
from portkit.mapping.rules import Made, PortMap, Rule
from portkit.mapping.shapes import ShapeError
from portkit.ops import Frame, Op, OpError, Pick
from portkit.planning.accounting import (
    Accounts,
    Form,
    Use,
    check_accounts,
    leftovers,
    open_accounts,
    patterns_of,
)
from portkit.planning.blindness import mark_blind
from portkit.planning.steps import Dropped, MappingId, Plan, Step, Tied
from portkit.tensors import Specs, TensorSpec

_SHOWN = 20  # problems of one sort; the rest is counted


@dataclass(frozen=True, slots=True)
class Ends:
    """The headers on both sides, and the numbers that the source model's parameters have.

    `target` is None where nothing is known about the model that the tensors are for.
    """

    source: Specs
    target: Specs | None
    symbols: Mapping[str, int]
    names: tuple[str, str] = ("the source", "the target")


def make_plan(portmap: PortMap, ends: Ends) -> Plan:
    """Match every header to its one rule; raise PortkitError listing every misfit."""
    accounts = open_accounts(portmap, ends.source, ends.target)
    problems = check_accounts(accounts, ends.source)
    overfull = {name for name, givers in accounts.givers.items() if len(givers) > 1}
    steps = [
        step
        for use in accounts.uses
        if not overfull.intersection(use.targets)
        for step in _steps_of(use, ends, problems)
    ]
    steps += _init_steps(accounts, ends, problems)
    _list_leftovers(portmap, accounts, ends, problems)
    problems.raise_if_any()
    place = {name: i for i, name in enumerate(ends.source)}
    last = len(place)
    steps.sort(key=lambda step: place[step.sources[0].name] if step.sources else last)
    return Plan(
        steps=mark_blind(steps),
        dropped=tuple(Dropped(ends.source[n], d.because, d.at) for d, n in accounts.drops),
        tied=tuple(Tied(ends.source[n], e, t.because, t.at) for t, n, e in accounts.ties),
        route=(portmap.source, portmap.target),
        mappings=(MappingId(portmap.name, portmap.digest, portmap.inverted),),
        facts=resolve_facts(portmap.facts, ends.symbols),
    )


def _steps_of(use: Use, ends: Ends, problems: Problems) -> list[Step]:
    rule = use.rule
    if use.missing:
        if rule.if_missing is None or use.sources:
            return []
        return [
            step
            for name in use.targets
            if (step := _made_step(name, rule.if_missing, rule.at, ends, problems))
        ]
    sources = tuple(ends.source[name] for name in use.sources)
    try:
        ops, frame = _bind(rule, sources, ends.symbols)
    except (OpError, ShapeError) as error:
        problems.add(rule.at, f"{use.sources[0]}: {error}")
        return []
    if len(frame.shapes) != len(use.targets):
        made, named = len(frame.shapes), len(use.targets)
        problems.add(
            rule.at, f"{use.sources[0]}: the ops make {made} tensors, the rule names {named}"
        )
        return []
    steps = []
    for place, name in enumerate(use.targets):
        target = TensorSpec(name, frame.shapes[place], frame.dtypes[place])
        _check_target(target, rule.at, ends, problems)
        picked = (*ops, Pick(place)) if len(use.targets) > 1 else ops
        steps.append(Step(sources, target, picked, rule.at))
    return steps


def _bind(
    rule: Rule, sources: tuple[TensorSpec, ...], parameters: Mapping[str, int]
) -> tuple[tuple[Op, ...], Frame]:
    symbols = dict(parameters)
    if rule.shape:
        symbols = rule.shape.bind(sources[0].shape, symbols)
    shapes, dtypes = tuple(s.shape for s in sources), tuple(s.dtype for s in sources)
    if rule.axes and any(len(rule.axes) != len(shape) for shape in shapes):
        raise OpError(f"`axes: {' '.join(rule.axes)}` does not name the axes of {list(shapes[0])}")
    frame = Frame(shapes, dtypes, rule.axes)
    ops: list[Op] = []
    for op in rule.ops:
        bound, frame = op.bind(frame, symbols)
        ops.append(bound)
    if rule.shape:
        rule.shape.check(frame.shapes[0], symbols)
    return tuple(ops), frame


def _check_target(target: TensorSpec, at: str, ends: Ends, problems: Problems) -> None:
    if ends.target is None:
        return
    wanted = ends.target.get(target.name)
    if wanted is None:
        from difflib import get_close_matches

        close = get_close_matches(target.name, ends.target, 1)
        fix = f"nearest: {close[0]!r}" if close else ""
        problems.add(at, f"gives {target}, but {ends.names[1]} has no such tensor", fix)
    elif wanted.shape != target.shape:
        fix = "give the ops that turn one into the other"
        problems.add(at, f"gives {target}, but {ends.names[1]} has {wanted.form}", fix)
    elif wanted.dtype is not target.dtype and not (wanted.dtype.is_float and target.dtype.is_float):
        problems.add(at, f"gives {target}, but {ends.names[1]} has {wanted.form}", "add a cast")


def _init_steps(accounts: Accounts, ends: Ends, problems: Problems) -> list[Step]:
    steps = (
        _made_step(name, init.made, init.at, ends, problems)
        for init, name in accounts.inits
        if len(accounts.givers[name]) == 1
    )
    return [step for step in steps if step]


def _made_step(name: str, made: Made, at: str, ends: Ends, problems: Problems) -> Step | None:
    if ends.target is None or name not in ends.target:
        problems.add(at, f"{name} cannot be made: its shape is not known")
        return None
    try:
        op = made.fill.bind_to(ends.target[name])
    except OpError as error:
        problems.add(at, str(error))
        return None
    return Step((), ends.target[name], (op,), at, made.because)


def _list_leftovers(portmap: PortMap, accounts: Accounts, ends: Ends, problems: Problems) -> None:
    untaken, ungiven = leftovers(accounts, ends.source, ends.target)
    rules: tuple[Form, ...] = (*portmap.rules, *portmap.drops, *portmap.ties, *portmap.inits)
    takes, gives = patterns_of(rules, "takes"), patterns_of(rules, "gives")
    untaken_problems = [
        Problem(portmap.name, f"no rule takes {ends.source[name]}", _closest(name, takes, "takes"))
        for name in untaken
    ]
    ungiven_problems = [
        Problem(
            portmap.name,
            f"nothing gives {(ends.target or {})[name]}, which {ends.names[1]} needs",
            _closest(name, gives, "gives"),
        )
        for name in ungiven
    ]
    for group in (untaken_problems, ungiven_problems):
        problems.extend(group[:_SHOWN])
        if len(group) > _SHOWN:
            problems.add(portmap.name, f"and {len(group) - _SHOWN} more like these")
    if problems:
        for rule in accounts.idle:
            pattern = getattr(rule, "takes", None) or getattr(rule, "gives", "")
            text = " + ".join(map(str, pattern)) if isinstance(pattern, tuple) else str(pattern)
            problems.add(rule.at, f"no tensor is named like {text!r}")


def _closest(name: str, patterns: Mapping[str, str], verb: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, patterns, 1)
    return f"closest rule {verb} {close[0]!r} ({patterns[close[0]]})" if close else ""
