"""A self-test, for people and for machines: each fault, where it was put, what rejected it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from portkit.verification.selftest import SelfTest, Trial


def render_self_test(tested: "SelfTest") -> RenderableType:
    """Return a line for every fault that was tried, and the verdict on the verifier."""
    return Group(*_parts(tested))


def _parts(tested: "SelfTest") -> Iterator[RenderableType]:
    untouched = tested.untouched
    yield Text(f"{untouched.artifact}: {untouched.source} → {untouched.target}, with faults put in")
    if not untouched.passed:
        yield Text("the port does not pass by itself: no fault was tried", "bold red")
        yield Text("see why: run the same without --self-test")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "put into", "rejected by", "named"):
        table.add_column(heading, overflow="fold")
    for trial in tested.trials:
        rejected = Text(trial.rung, "green") if trial.rejected else Text("NOT REJECTED", "bold red")
        table.add_row(
            Text(f"{trial.fault} {trial.words}"), Text(trial.place), rejected, _named(trial)
        )
    yield table
    if tested.left_out:
        yield Text(f"no place in this port for: {', '.join(tested.left_out)}", "dim")
    yield _verdict(tested)


def _named(trial: "Trial") -> Text:
    if not trial.cause_found:
        return Text("", "dim")
    return Text(trial.cause_found, "" if trial.named or not trial.cause_expected else "yellow")


def _verdict(tested: "SelfTest") -> Text:
    tried, survivors = len(tested.trials), tested.survivors
    words = f"{tried - len(survivors)} of {tried} faults rejected, the untouched port passes"
    if survivors:
        left = ", ".join(trial.fault for trial in survivors)
        return Text(f"the verifier can be fooled: {words}; survivors: {left}", "bold red")
    if not tried:
        return Text("no fault has a place in this port: nothing is proved", "bold red")
    few = f"; {tested.few}" if tested.few else ""
    return Text(f"{words}{few}", "bold yellow" if few else "bold green")


def self_test_as_dict(tested: "SelfTest") -> dict[str, Any]:
    """Return what `--json` says of a self-test."""
    return {
        "passed": tested.passed,
        "survivors": [trial.fault for trial in tested.survivors],
        "left_out": list(tested.left_out),
        "trials": [
            {
                "fault": trial.fault,
                "words": trial.words,
                "place": trial.place,
                "rejected": trial.rejected,
                "rung": trial.rung,
                "cause_found": trial.cause_found,
                "cause_expected": trial.cause_expected,
            }
            for trial in tested.trials
        ],
    }
