"""Pairing the outputs of two models by name: a missing one is a failure, never left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.verification.results import Check

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Answers = Mapping[str, "Array"]


@dataclass(frozen=True, slots=True)
class Paired:
    """One output on all sides, the port's first, in one form; or why there is no such thing."""

    subject: str
    name: str
    values: "tuple[Array, ...]" = ()
    why_not: str = ""

    @property
    def refusal(self) -> Check:
        return Check(self.subject, passed=False, what=self.why_not)


def pair_outputs(where: str, sides: tuple[Answers, ...]) -> Iterator[Paired]:
    """Pair what the port and one or two runs of the source answered to one batch.

    The only output of both sides is paired whatever it is called; a tuple's are paired in order.
    """
    sides = _renamed(sides)
    names = list(dict.fromkeys(name for side in sides for name in side))
    if not names:
        yield Paired(where, "", why_not="no output to compare")
    for name in names:
        subject = where if len(names) == 1 else f"{where}: {name}"
        lacking = [i for i, side in enumerate(sides) if name not in side]
        if lacking:
            who, found = ("port", sides[0]) if 0 in lacking else ("source", sides[lacking[0]])
            known = ", ".join(map(repr, found)) or "none"
            why_not = f"the {who} has no output {name!r}, it has {known}"
            yield Paired(subject, name, why_not=why_not)
        else:
            yield Paired(subject, name, _in_one_form(tuple(side[name] for side in sides)))


def _renamed(sides: tuple[Answers, ...]) -> tuple[Answers, ...]:
    """Call outputs as the source calls them where one side numbers them only, as tuples do."""
    counts = {len(side) for side in sides}
    port, source = sides[0], sides[-1]
    single = counts == {1}
    numbered = len(counts) == 1 and any(all(map(str.isdecimal, side)) for side in (port, source))
    if not (single or (numbered and source.keys() != port.keys())):
        return sides
    return tuple(dict(zip(source, side.values(), strict=True)) for side in sides)


def is_averaged(port: "Array", source: "Array") -> bool:
    """Say whether one side is a score map `[N, C, h, w]` and the other its logits `[N, C]`."""
    return {port.ndim, source.ndim} == {2, 4}


def _in_one_form(values: "tuple[Array, ...]") -> "tuple[Array, ...]":
    """Average score maps over their places where the other side has logits."""
    if not is_averaged(values[0], values[-1]):
        return values
    return tuple(value.mean(axis=(2, 3)) if value.ndim == 4 else value for value in values)
