"""Times whole processes and reads their peak memory, case after case in interleaved rounds.

Linux counts the memory of the process that spawns into the peak of the spawned one, so a script
that measures must itself stay small: standard library only, no file held in memory.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Case:
    """One command to measure; `output` is removed before each run, so that it is always new."""

    name: str
    command: tuple[str, ...]
    output: Path | None = None
    budget: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """All rounds of one case."""

    case: Case
    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)  # bytes

    @property
    def median_seconds(self) -> float:
        return median(self.seconds)

    @property
    def peak_mib(self) -> float:
        return max(self.peaks) / 2**20


def measure_process(command: Sequence[str]) -> tuple[float, int]:
    """Run a command, its output thrown away; return wall seconds and peak resident bytes."""
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    start = perf_counter()
    pid = os.posix_spawnp(command[0], list(command), environment, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = perf_counter() - start
    os.close(null)
    if status:
        raise SystemExit(f"failed with status {status}: {' '.join(command)}")
    return seconds, usage.ru_maxrss * 1024


def measure_cases(
    cases: Iterable[Case], rounds: int, told: Callable[[str], None]
) -> list[Measured]:
    """Run every case once a round, so that a slow moment of the machine meets all of them.

    The first round warms the page cache and is not counted.
    """
    results = [Measured(case) for case in cases]
    for number in range(rounds + 1):
        for result in results:
            told(f"round {number} of {rounds}: {result.case.name}")
            _clear(result.case.output)
            seconds, peak = measure_process(result.case.command)
            _clear(result.case.output)
            if number:
                result.seconds.append(seconds)
                result.peaks.append(peak)
    return results


def _clear(output: Path | None) -> None:
    """Remove an earlier output, and wait until nothing is being written back."""
    if output is not None:
        output.unlink(missing_ok=True)
        os.sync()


def ratio(one: Measured, base: Measured) -> float:
    """Return the median over rounds of one case's time over the base's time in that round."""
    return median(a / b for a, b in zip(one.seconds, base.seconds, strict=True))


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column flushed left and the others right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
