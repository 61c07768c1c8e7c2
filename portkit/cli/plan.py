"""`portkit plan`: what convert would do, tensor by tensor."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portkit.cli import console
from portkit.cli.options import json_option, mapping_option

if TYPE_CHECKING:
    from portkit.planning import Plan, Step

_LONG = 60  # steps; beyond, one line a rule
_MARKS = (
    ("q", "square", "two axes are equally long: a transpose would fit"),
    ("s", "siblings", "another tensor has this shape: a swap would fit"),
    ("f", "flatten order", "axes are merged or split: another order would fit"),
)


@click.command("plan")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@mapping_option
@click.option("-o", "--output", metavar="FILE", help="Save the plan as JSON.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.option("--all", "show_all", is_flag=True, help="Show every tensor of a long plan.")
@json_option
def command(
    source: str, target: str, *, mapping: str | None, output: str | None, **options: bool
) -> None:
    """Show what convert would do to each tensor of SRC on its way to DST. Reads no value."""
    from portkit.cli.files import write_text
    from portkit.cli.summary import describe_port, port_as_dict
    from portkit.porting import make_port

    port = make_port(source, target, mapping)
    if output is not None:
        text = json.dumps(port_as_dict(port), indent=2, ensure_ascii=False)
        write_text(Path(output), f"{text}\n", force=options["force"])
    if options["as_json"]:
        console.say_json(port_as_dict(port))
        return
    _show_steps(port.plan, show_all=options["show_all"])
    console.say()
    console.say_facts(describe_port(port))


def _show_steps(plan: "Plan", *, show_all: bool) -> None:
    steps = plan.steps
    folded = len(steps) > _LONG and not show_all
    rows = list(_folded_rows(steps) if folded else map(_row, steps))
    console.say_table(("source", "", "ops", "target", "", "blind", "rule"), rows)
    used = "".join(row[5] for row in rows)
    for letter, word, meaning in _MARKS:
        if letter in used:
            console.say(f"{letter} {word}: {meaning}", dim=True)
    if folded:
        console.say(f"{len(steps)} tensors, one line a rule: --all shows each", dim=True)


def _row(step: "Step") -> tuple[str, ...]:
    source = " + ".join(spec.name for spec in step.sources) or "(new)"
    form = " + ".join(spec.form for spec in step.sources)
    ops = "; ".join(map(str, step.ops)) or "="
    marks = "".join(
        letter for letter, word, _ in _MARKS if any(mark.startswith(word) for mark in step.blind)
    )
    changed = "" if step.target.form == form else step.target.form
    return source, form, ops, step.target.name, changed, marks, step.where


def _folded_rows(steps: Iterable["Step"]) -> Iterator[tuple[str, ...]]:
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.where, []).append(step)
    for group in groups.values():
        row = _row(group[0])
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        yield (f"{row[0]}{more}", *row[1:])
