"""How long work says how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Told about one stretch of work after another; the command line draws it as a bar."""

    def start(self, label: str, total: int, unit: str = "B") -> None: ...

    def advance(self, amount: int) -> None: ...

    def finish(self) -> None: ...


class _Silent:
    def start(self, label: str, total: int, unit: str = "B") -> None: ...

    def advance(self, amount: int) -> None: ...

    def finish(self) -> None: ...


SILENT: Progress = _Silent()
