"""Match two runs of different structure by the order of execution, with gaps (Needleman, Wunsch).

As many uses as possible are matched. Where several such alignments exist, values and then names
choose; what else a use could have been matched with is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.pairing.evidence import Evidence, likeness
from portkit.pairing.relating import relate_uses
from portkit.pairing.roles import rank_of
from portkit.pairing.values import Flow, Match, Use

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

_MATCH = 1 << 40  # outweighs whatever speaks for other pairs
_VALUES = 1 << 10  # outweighs names


@dataclass(frozen=True, slots=True)
class _Row:
    """The uses of one side in execution order, those of one layer in an order of their own."""

    uses: tuple[Use, ...]
    numbers: tuple[int, ...]


def match_sequence(source: Flow, target: Flow, evidence: Evidence) -> tuple[Match, ...]:
    """Return the pairs of the best alignment, in the target's order of execution."""
    taken, given = _row_of(source), _row_of(target)
    fits = _compatible(taken, given)
    possible = _on_best_paths(fits)
    scores = fits * _MATCH

    def prefer(i: int, j: int) -> int:
        names = taken.uses[i].name, given.uses[j].name
        return round(100 * likeness(*names)) + (_VALUES if evidence.same(*names) else 0)

    contested = _contested(possible, prefer, scores)
    found = []
    for i, j in _best_path(scores):
        others = tuple(taken.numbers[k] for k in contested.get(j, ()))
        names = tuple(taken.uses[k].name for k in contested.get(j, ()))
        chosen = evidence.choose(names, given.uses[j].name) if names else None
        by = chosen[1] if chosen and chosen[0] == taken.uses[i].name else ""
        found.append(Match(taken.numbers[i], given.numbers[j], others, by))
    return tuple(found)


def _row_of(flow: Flow) -> _Row:
    numbers: list[int] = []
    for run in _runs(flow.uses):
        numbers += sorted(run, key=lambda number: rank_of(flow.uses[number].role))
    return _Row(tuple(flow.uses[number] for number in numbers), tuple(numbers))


def _runs(uses: tuple[Use, ...]) -> list[list[int]]:
    """Return neighbouring uses of one layer's tensors, each in one role, together."""
    runs: list[list[int]] = []
    for number, use in enumerate(uses):
        before = [uses[other] for other in runs[-1]] if runs else []
        alike = {one.owner for one in before} == {use.owner}
        if alike and use.role not in {one.role for one in before}:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _compatible(taken: _Row, given: _Row) -> "Array":
    """Return `[source, target]`: 1 where one use's tensor can become the other's."""
    import numpy as np

    known: dict[object, int] = {}
    fits = np.zeros((len(taken.uses), len(given.uses)), np.int64)
    for i, one in enumerate(taken.uses):
        for j, other in enumerate(given.uses):
            if one.role != other.role:
                continue
            key = (one.family, one.shape, one.axes, other.family, other.shape, other.axes, one.role)
            if key not in known:
                known[key] = int(relate_uses(one, other) is not None)
            fits[i, j] = known[key]
    return fits


def _best_scores(scores: "Array") -> "Array":
    """Return `[i, j]`: the best score of the first `i` uses with the first `j`."""
    import numpy as np

    best = np.zeros((scores.shape[0] + 1, scores.shape[1] + 1), np.int64)
    for i, row in enumerate(scores):
        reached = np.maximum(best[i, 1:], np.where(row > 0, best[i, :-1] + row, 0))
        best[i + 1, 1:] = np.maximum.accumulate(reached)
    return best


def _on_best_paths(fits: "Array") -> "Array":
    """Return `[source, target]`: where some longest alignment has this pair."""
    before = _best_scores(fits)
    after = _best_scores(fits[::-1, ::-1])[::-1, ::-1]
    through = before[:-1, :-1] + fits + after[1:, 1:]
    possible: Array = (fits > 0) & (through == before[-1, -1])
    return possible


def _contested(
    possible: "Array", prefer: Callable[[int, int], int], scores: "Array"
) -> dict[int, tuple[int, ...]]:
    """Add what speaks for each pair that is not the only one; return who could be whose."""
    found: dict[int, tuple[int, ...]] = {}
    for j in range(possible.shape[1]):
        candidates = tuple(int(i) for i in possible[:, j].nonzero()[0])
        rivals = any(possible[i].sum() > 1 for i in candidates)
        if len(candidates) > 1:
            found[j] = candidates
        if len(candidates) > 1 or rivals:
            for i in candidates:
                scores[i, j] += prefer(i, j)
    return found


def _best_path(scores: "Array") -> list[tuple[int, int]]:
    """Return the pairs of one alignment of the best score."""
    best = _best_scores(scores)
    i, j = scores.shape
    found = []
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]
