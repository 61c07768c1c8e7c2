"""What speaks for two tensors being the same one, apart from where they stand in the run."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from types import MappingProxyType

from portkit.pairing.fingerprints import Fingerprint

_TOKEN = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|\d+")
_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving": "running", "variance": "var"}
)
ALIKE = 0.8  # names that are as alike as this speak for a pair
_CLEAR = 0.05  # more alike than any other name by this


def tokens_of(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, in lower case and without synonyms."""
    words = (word.lower() for word in _TOKEN.findall(name))
    return tuple(_SYNONYMS.get(word, word) for word in words)


def likeness(source: str, target: str) -> float:
    """Return how alike two names are, from 0 to 1: their words, and their letters."""
    taken, given = tokens_of(source), tokens_of(target)
    words = SequenceMatcher(None, taken, given, autojunk=False).ratio()
    letters = SequenceMatcher(None, " ".join(taken), " ".join(given), autojunk=False).ratio()
    return (words + letters) / 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """The fingerprints of both sides' tensors."""

    source: Mapping[str, Fingerprint]
    target: Mapping[str, Fingerprint]

    def same(self, source: str, target: str) -> bool:
        """Say whether two tensors hold the same values in some order, and values that mean it."""
        print_ = self.target.get(target)
        return print_ is not None and self.source.get(source) == print_

    def holders(self, target: str) -> tuple[str, ...]:
        """Return the source tensors that hold a target tensor's values, in some order."""
        return tuple(name for name in self.source if self.same(name, target))

    def choose(self, sources: tuple[str, ...], target: str) -> tuple[str, str] | None:
        """Return the one source that values or names speak for, and which of the two does."""
        names = tuple(dict.fromkeys(sources))
        equal = [name for name in names if self.same(name, target)]
        if len(equal) == 1:
            return equal[0], "fingerprint"
        scores = sorted(((likeness(name, target), name) for name in equal or names), reverse=True)
        if len(scores) > 1 and scores[0][0] - scores[1][0] < _CLEAR:
            return None
        return scores[0][1], "name"


def repeated(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that stand there more than once."""
    return tuple(name for name, count in Counter(names).items() if count > 1)
