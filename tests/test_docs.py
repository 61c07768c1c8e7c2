"""The README does what it says: its blocks run in order, every word of the language is in it."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import portkit
from portkit.mapping import facts, mappings_folder
from portkit.ops import OPS
from portkit.verification.faults import FAULTS, PIXEL_FAULTS

README = Path(portkit.__file__).parents[1] / "README.md"
ELSEWHERE = re.compile(r"run by (\S+)")
BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<kind>\w+)(?: title=(?P<title>\S+))?\n(?P<text>.*?)```",
    re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block, with the comment above it."""

    kind: str
    title: str
    text: str
    note: str

    @property
    def exit_code(self):
        found = re.fullmatch(r"exit (\d+)", self.note)
        return int(found[1]) if found else 0


def read_blocks():
    found = BLOCK.finditer(README.read_text(encoding="utf-8"))
    return [Block(m["kind"], m["title"] or "", m["text"], m["note"] or "") for m in found]


def run_block(block, folder):
    """Save a titled block, run another; return what it printed when its exit code is right."""
    if block.title:
        (folder / block.title).write_text(block.text, encoding="utf-8")
        return
    interpreter = (
        [sys.executable, "-c"] if block.kind == "python" else ["bash", "-euo", "pipefail", "-c"]
    )
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": "."}
    ran = subprocess.run(
        [*interpreter, block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == block.exit_code, f"{block.text}\n{ran.stdout}\n{ran.stderr}"


def test_every_block_runs_in_order(tmp_path):
    blocks = [block for block in read_blocks() if block.kind in ("bash", "python", "yaml")]
    assert len(blocks) > 10
    for block in blocks:
        if not ELSEWHERE.match(block.note) and block.note != "slow":
            run_block(block, tmp_path)


@pytest.mark.slow
def test_every_slow_block_runs(tmp_path):
    for block in read_blocks():
        if block.note == "slow":
            run_block(block, tmp_path)


def test_blocks_that_run_elsewhere_really_do():
    root = README.parent
    named = {ELSEWHERE.match(block.note)[1] for block in read_blocks() if "run by" in block.note}
    assert named == {".ci/run", "tests/test_light_install.py"}
    assert all((root / name).is_file() for name in named)
    assert [block.note for block in read_blocks() if block.kind == "bash"][:2] == [
        "run by .ci/run"
    ] * 2


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_explained_and_used(op):
    text = README.read_text(encoding="utf-8")
    assert re.search(rf"\| `[^|]*\b{op}:", text)
    assert re.search(rf"\{{{op}: ", next(b.text for b in read_blocks() if b.title == "ops.yaml"))


def language_keys():
    """Return every key of a mapping file and of its rules, from the published schema."""
    schema = json.loads((mappings_folder() / "portkit-mapping.schema.json").read_text())
    rules = schema["$defs"]["rule"]["oneOf"]
    return sorted({*schema["properties"], *(key for rule in rules for key in rule["properties"])})


@pytest.mark.parametrize("key", language_keys())
def test_every_key_is_explained(key):
    assert re.search(rf"`{key}:[^`]*`", README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("fact", facts.FACTS)
def test_every_fact_is_named(fact):
    assert f"`{fact}`" in README.read_text(encoding="utf-8")


def fault_rows():
    """Return the cells of every fault in the table that `tools/faults.py --by-fault` printed."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| fault | placements |"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_of_faults_is_the_catalogue():
    listed = [row[0] for row in fault_rows()]
    assert sorted(listed) == sorted(f"{f.id} {f.words}" for f in (*FAULTS, *PIXEL_FAULTS))


def test_faults_are_counted_as_in_their_table():
    """The table writes ✗ for all placements, · for none, nothing where it does not apply."""

    def count(cell, placements):
        if " of " in cell:
            return tuple(map(int, cell.split(" of ")))
        return placements if cell == "✗" else 0, placements if cell else 0

    rows = fault_rows()
    total = sum(int(row[1]) for row in rows)
    by_column = [[count(row[n], int(row[1])) for row in rows] for n in (-1, -3, -2)]
    (named, nameable), (close, tried), (agreed, _) = (
        [sum(numbers) for numbers in zip(*column, strict=True)] for column in by_column
    )
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert f"Of {total} placements of {len(rows)} faults none survives" in text
    assert f"{named} of {nameable} nameable causes are named rightly" in text
    assert f"`allclose` lets {tried - close} pass, top-1 agreement {tried - agreed}." in text
