"""Benchmarks how soon portkit answers: `--help` and `inspect`, against a bare click program.

`inspect` reads 553 MB files, as `bench_convert.py` makes them. Whole processes, page cache warm,
medians of interleaved rounds.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench_files import make_files
from measuring import Case, markdown_table, measure_cases, ratio

_BARE = '''
import click

@click.group()
def main():
    """A group of six commands that do nothing."""

for name in ("convert", "verify", "plan", "inspect", "mappings", "demo"):
    main.command(name, help=f"What {name} does, in one line.")(lambda: None)

main()
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    portkit = str(Path(sys.executable).with_name("portkit"))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_files(folder)
        (folder / "bare.py").write_text(_BARE)
        files = {"safetensors": "vgg16.safetensors", "zip `.pth`": "zip.pth"}
        files["legacy `.pth`"] = "legacy.pth"
        cases = [
            Case("bare click, `--help`", (sys.executable, str(folder / "bare.py"), "--help")),
            Case("`portkit --help`", (portkit, "--help"), budget="1.5 × bare click"),
        ]
        for kind, file in files.items():
            words = (portkit, "inspect", str(folder / file))
            cases.append(Case(f"`portkit inspect`, {kind}", words, budget="100 ms, 30 MB"))
        results = measure_cases(cases, options.rounds, lambda _: None)
    rows = [
        [
            result.case.name,
            f"{result.median_seconds * 1000:.0f}",
            f"{ratio(result, results[0]):.2f}",
            f"{result.peak_mib:.0f}",
            result.case.budget,
        ]
        for result in results
    ]
    print(markdown_table(("start-up", "ms", "× bare click", "peak MiB", "budget"), rows))


if __name__ == "__main__":
    main()
