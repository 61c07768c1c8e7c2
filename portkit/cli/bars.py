"""Progress drawn as a bar with the time left: on a terminal, and only for work that lasts."""

import sys
from time import monotonic
from typing import TYPE_CHECKING

from portkit.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_PATIENCE = 0.5  # seconds of work before a bar is worth drawing, or rich worth importing


def choose_progress(*, quiet: bool = False) -> Progress:
    """Return bars where somebody watches stderr, else silence."""
    return DrawnProgress() if sys.stderr.isatty() and not quiet else SILENT


class DrawnProgress:
    """One bar at a time on stderr, gone when its work is done."""

    def __init__(self) -> None:
        self._label, self._total, self._unit = "", 0, "B"
        self._done, self._since = 0, 0.0
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def start(self, label: str, total: int, unit: str = "B") -> None:
        self.finish()
        self._label, self._total, self._unit = label, total, unit
        self._done, self._since = 0, monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        if self._bars is None and monotonic() - self._since > _PATIENCE:
            self._draw()
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self._done)

    def finish(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn() if self._unit == "B" else MofNCompleteColumn()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bars.start()
        self._task = self._bars.add_task(self._label, total=self._total, completed=self._done)
