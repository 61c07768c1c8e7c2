"""Running a mapping backwards: exact ops swap sides, what loses something refuses by name."""

from collections.abc import Iterator
from dataclasses import replace

from portkit.errors import PortkitError, Problem, Problems
from portkit.mapping.facts import turn_facts
from portkit.mapping.rules import Drop, Init, Made, PortMap, Rule
from portkit.ops import Kind


def obstacles(portmap: PortMap) -> tuple[Problem, ...]:
    """Return why a mapping cannot be inverted, one problem a rule; empty when it can."""
    problems = Problems()
    for rule in portmap.rules:
        if rule.undo is None or rule.undo.fill is None:
            reason = rule.undo.reason if rule.undo else _loss(rule)
            if reason:
                problems.add(rule.at, f"cannot be inverted: {reason}", _HOW)
    for drop in portmap.drops:
        if drop.undo is None or drop.undo.fill is None:
            reason = drop.undo.reason if drop.undo else f"{drop.takes} was dropped"
            problems.add(drop.at, f"cannot be inverted: {reason}", _HOW)
    for tie in portmap.ties:
        problems.add(tie.at, f"cannot be inverted: {tie.takes} was tied to {tie.equals}")
    return tuple(problems)


_HOW = "say how the tensor is made then: `inverse: {init: zeros, because: …}`"


def _loss(rule: Rule) -> str:
    if rule.shared:
        return "a shared tensor would be given twice"
    lossy = [op for op in rule.ops if op.kind is not Kind.EXACT]
    return f"{lossy[0]} cannot be undone" if lossy else ""


def invert(portmap: PortMap) -> PortMap:
    """Return the mapping that leads back; raise PortkitError naming every rule that cannot."""
    problems = obstacles(portmap)
    if problems:
        raise PortkitError(problems)
    turned = [_turn_rule(rule) for rule in portmap.rules if not _is_remade(rule)]
    return replace(
        portmap,
        source=portmap.target,
        target=portmap.source,
        rules=tuple(turned),
        drops=tuple(Drop(i.gives, i.made.because, i.at) for i in portmap.inits)
        + tuple(
            Drop(give, rule.undo.reason, rule.at)
            for rule in portmap.rules
            if rule.undo and rule.undo.fill
            for give in rule.gives
        ),
        inits=tuple(init for rule in portmap.rules for init in _inits(rule))
        + tuple(_remade(drop) for drop in portmap.drops),
        facts=turn_facts(portmap.facts),
        inverted=not portmap.inverted,
    )


def _is_remade(rule: Rule) -> bool:
    return rule.undo is not None and rule.undo.fill is not None


def _inits(rule: Rule) -> Iterator[Init]:
    """Make every source tensor of a rule anew that says so."""
    if rule.undo is not None and rule.undo.fill is not None:
        for pattern in rule.takes:
            yield Init(pattern, Made(rule.undo.fill, rule.undo.reason), rule.at)


def _turn_rule(rule: Rule) -> Rule:
    undone = [op.inverse() for op in reversed(rule.ops)]
    return replace(
        rule,
        takes=rule.gives,
        gives=rule.takes,
        ops=tuple(op for op in undone if op is not None),
        shape=rule.shape.inverse() if rule.shape else None,
        axes=_axes_after(rule),
    )


def _axes_after(rule: Rule) -> tuple[str, ...]:
    """Return what the axes are called when a rule's ops are done."""
    axes = rule.axes
    for op in rule.ops:
        axes = op.rename(axes)
    return axes


def _remade(drop: Drop) -> Init:
    if drop.undo is None or drop.undo.fill is None:
        raise AssertionError("a drop without an inverse was let through")
    made = Made(drop.undo.fill, drop.undo.reason)
    return Init(drop.takes, made, drop.at)
