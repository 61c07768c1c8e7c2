"""The one form a complaint takes: where, what and, when it is known, the fix."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint. `where` is `file:line`, a path or a tensor name; `fix` may be empty."""

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class PortkitError(Exception):
    """Input that portkit cannot work with: every problem found, in the order they were met.

    >>> print(PortkitError.at("w.pth", "no such file"))
    w.pth: no such file
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def at(cls, where: object, what: str, fix: str = "") -> "PortkitError":
        return cls([Problem(str(where), what, fix)])


class Problems(list[Problem]):
    """Collects complaints, so that all of them can be raised together."""

    def add(self, where: object, what: str, fix: str = "") -> None:
        self.append(Problem(str(where), what, fix))

    def raise_if_any(self) -> None:
        if self:
            raise PortkitError(self)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep the problems of a PortkitError raised inside, and go on after the block."""
        try:
            yield
        except PortkitError as error:
            self.extend(error.problems)
