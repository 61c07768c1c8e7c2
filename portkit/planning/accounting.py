"""Who takes which source tensor and who gives which target tensor: exactly one each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from portkit.errors import Problems
from portkit.mapping.rules import Drop, Init, PortMap, Rule, Tie
from portkit.names import Captures, Pattern
from portkit.tensors import Specs

Taker = Rule | Drop | Tie
Giver = Rule | Init
Form = Rule | Drop | Tie | Init


@dataclass(frozen=True, slots=True)
class Use:
    """One rule at work on concrete names; `missing` are sources that are not there."""

    rule: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounts:
    """All uses of all rules, and who has taken and given what."""

    uses: list[Use] = field(default_factory=list)
    drops: list[tuple[Drop, str]] = field(default_factory=list)
    ties: list[tuple[Tie, str, str]] = field(default_factory=list)
    inits: list[tuple[Init, str]] = field(default_factory=list)
    takers: dict[str, list[Taker]] = field(default_factory=dict)
    givers: dict[str, list[Giver]] = field(default_factory=dict)
    idle: list[Form] = field(default_factory=list)

    def take(self, name: str, taker: Taker) -> None:
        self.takers.setdefault(name, []).append(taker)

    def give(self, name: str, giver: Giver) -> None:
        self.givers.setdefault(name, []).append(giver)


def open_accounts(portmap: PortMap, source: Specs, target: Specs | None) -> Accounts:
    """Match every rule against the names on both sides."""
    accounts = Accounts()
    for rule in portmap.rules:
        uses = list(_uses(rule, source, target))
        for use in uses:
            accounts.uses.append(use)
            for name in use.sources:
                accounts.take(name, rule)
            for name in use.targets:
                accounts.give(name, rule)
        if not uses:
            accounts.idle.append(rule)
    _open_others(accounts, portmap, source, target)
    return accounts


def _open_others(accounts: Accounts, portmap: PortMap, source: Specs, target: Specs | None) -> None:
    for drop in portmap.drops:
        dropped = [name for name, _ in _matches(drop.takes, source)]
        accounts.drops.extend((drop, name) for name in dropped)
        for name in dropped:
            accounts.take(name, drop)
        if not dropped:
            accounts.idle.append(drop)
    for tie in portmap.ties:
        tied = _matches(tie.takes, source)
        for name, captures in tied:
            accounts.ties.append((tie, name, tie.equals.fill(captures) or ""))
            accounts.take(name, tie)
        if not tied:
            accounts.idle.append(tie)
    for init in portmap.inits:
        made = [name for name, _ in _matches(init.gives, target or {})]
        accounts.inits.extend((init, name) for name in made)
        for name in made:
            accounts.give(name, init)
        if not made:
            accounts.idle.append(init)


def _matches(pattern: Pattern, names: Iterable[str]) -> list[tuple[str, Captures]]:
    literal = pattern.literal
    if literal is not None:
        return [(literal, {})] if literal in names else []
    prefix = pattern.prefix
    found = ((name, pattern.match(name)) for name in names if name.startswith(prefix))
    return [(name, captures) for name, captures in found if captures is not None]


def _uses(rule: Rule, source: Specs, target: Specs | None) -> Iterable[Use]:
    seen: set[tuple[str, ...]] = set()
    for names, patterns in ((source, rule.takes), (target or {}, rule.gives)):
        if names is not source and rule.if_missing is None:
            return
        for pattern in patterns:
            for _, captures in _matches(pattern, names):
                use = _use(rule, captures, source) if rule.allows(captures) else None
                if use and use.targets not in seen and _wanted(use, target):
                    seen.add(use.targets)
                    yield use


def _use(rule: Rule, captures: Captures, source: Specs) -> Use | None:
    sources = [pattern.fill(captures) for pattern in rule.takes]
    targets = [pattern.fill(captures) for pattern in rule.gives]
    given = tuple(name for name in targets if name is not None)
    if len(given) < len(targets):
        return None
    found = tuple(name for name in sources if name in source)
    missing = tuple(
        str(pattern) if name is None else name
        for pattern, name in zip(rule.takes, sources, strict=True)
        if name is None or name not in source
    )
    return Use(rule, tuple(n for n in found if n), given, missing)


def _wanted(use: Use, target: Specs | None) -> bool:
    """Say whether a use that only fills a gap gives tensors that the target model has."""
    return bool(use.sources) or all(name in (target or {}) for name in use.targets)


def check_accounts(accounts: Accounts, source: Specs) -> Problems:
    """Return every tensor that is taken or given by none, or by more than one."""
    problems = Problems()
    for name, takers in accounts.takers.items():
        if len(takers) > 1 and not all(isinstance(t, Rule) and t.shared for t in takers):
            lines = " and ".join(dict.fromkeys(taker.at for taker in takers))
            fix = "say `shared: true` on each rule, if both are meant"
            problems.add(lines, f"both take {source[name]}", fix)
    for name, givers in accounts.givers.items():
        if len(givers) > 1:
            lines = " and ".join(dict.fromkeys(giver.at for giver in givers))
            problems.add(lines, f"{name} would be written {len(givers)} times")
    for use in accounts.uses:
        if use.missing and not (use.rule.if_missing and not use.sources):
            names = ", ".join(use.missing)
            problems.add(use.rule.at, f"{use.targets[0]} needs {names}, which the source lacks")
    for tie, name, equals in accounts.ties:
        what = _misfit_of_tie(accounts, source, name, equals)
        if what:
            problems.add(tie.at, f"{source[name]} is tied to {equals}, {what}")
    return problems


def _misfit_of_tie(accounts: Accounts, source: Specs, name: str, equals: str) -> str:
    """Say why a tensor cannot be left to another: that one must be there, alike and moved."""
    other = source.get(equals)
    if other is None:
        return "which the source lacks"
    if (other.shape, other.dtype) != (source[name].shape, source[name].dtype):
        return f"which is {other.form}"
    if equals == name or not any(isinstance(t, Rule) for t in accounts.takers.get(equals, ())):
        return "which no rule moves"
    return ""


def leftovers(
    accounts: Accounts, source: Specs, target: Specs | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the source names nobody takes and the target names nobody gives."""
    return (
        tuple(name for name in source if name not in accounts.takers),
        tuple(name for name in target or {} if name not in accounts.givers),
    )


def patterns_of(rules: Iterable[Form], side: str) -> Mapping[str, str]:
    """Return the literal texts of one side's patterns with their lines, for a nearest spelling."""
    found: dict[str, str] = {}
    for rule in rules:
        value = getattr(rule, side, None)
        for pattern in value if isinstance(value, tuple) else (value,) if value else ():
            found.setdefault(str(pattern), rule.at)
    return found
