"""Benchmarks `portkit convert` on VGG-16 (553 MB) against `cp` and the scripts people write.

Every figure: a new output file, no fsync, page cache warm, the whole process from start to exit;
the median of interleaved rounds. `warm` is the ratio inside a process that has done it before.
Needs torch (for the .pth files and the scripts) and about 4 GB below --folder.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_files import make_files, make_large_file
from measuring import Case, Measured, markdown_table, measure_cases, ratio

_LOAD_SAVE = """
import sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1], weights_only=True)
for name, shape in (("classifier.0", (4096, 512, 7, 7)), ("classifier.3", (4096, 4096, 1, 1)),
                    ("classifier.6", (1000, 4096, 1, 1))):
    state[name + ".weight"] = state[name + ".weight"].reshape(shape)
save_file(state, sys.argv[2])
"""

_PERMUTE = """
import sys
from safetensors.{kind} import load_file, save_file
{head}
state = {{}}
for name, value in load_file(sys.argv[1]).items():
    if name == "fc1.kernel":
        value = {flatten}
    elif name.endswith("kernel"):
        value = {kernel}
    state[name] = value
save_file(state, sys.argv[2])
"""
_NUMPY = _PERMUTE.format(
    kind="numpy",
    head="import numpy as np",
    flatten="np.ascontiguousarray(value.reshape(7, 7, 512, 4096).transpose(3, 2, 0, 1)"
    ".reshape(4096, 25088))",
    kernel="np.ascontiguousarray(value.transpose((3, 2, 0, 1) if value.ndim == 4 else (1, 0)))",
)
_EINOPS = _PERMUTE.format(
    kind="numpy",
    head="import numpy as np\nfrom einops import rearrange",
    flatten="np.ascontiguousarray(rearrange(value, '(h w c) o -> o (c h w)', h=7, w=7))",
    kernel="np.ascontiguousarray(rearrange(value, "
    "'h w i o -> o i h w' if value.ndim == 4 else 'i o -> o i'))",
)
_TORCH = _PERMUTE.format(
    kind="torch",
    head="",
    flatten="value.reshape(7, 7, 512, 4096).permute(3, 2, 0, 1).reshape(4096, 25088).contiguous()",
    kernel="value.permute((3, 2, 0, 1) if value.ndim == 4 else (1, 0)).contiguous()",
)

_WARM = """
import json, subprocess, sys, time
from pathlib import Path
from statistics import median
from portkit.conversion import OutputOptions, convert_port
from portkit.porting import make_port
source, target, mapping, folder = sys.argv[1:]
output = Path(folder) / "warm.safetensors"
def convert():
    convert_port(make_port(source, target, mapping or None), output, OutputOptions())
def copy():
    subprocess.run(["cp", source.rpartition("@")[2], str(output)], check=True)
ratios = []
for number in range(6):
    spent = []
    for work in (convert, copy):
        output.unlink(missing_ok=True)
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    ratios.append(spent[0] / spent[1])
output.unlink()
print(json.dumps(median(ratios[1:])))
"""


def _cases(folder: Path) -> list[Case]:
    portkit = str(Path(sys.executable).with_name("portkit"))
    out = folder / "out.safetensors"

    def convert(source: str, target: str, *words: str) -> tuple[str, ...]:
        return (portkit, "convert", f"{source}", target, "-o", str(out), "-q", *words)

    def script(text: str, source: str) -> tuple[str, ...]:
        return (sys.executable, "-c", text, str(folder / source), str(out))

    keras = str(folder / "keras.safetensors")
    mapping = str(folder / "keras.yaml")
    return [
        Case("`cp`", ("cp", str(folder / "vgg16.safetensors"), str(out)), out),
        Case("`portkit convert` safetensors → safetensors, reshape only",
             convert(f"torchvision:vgg16@{folder / 'vgg16.safetensors'}", "conv-head"), out,
             "`cp` + 0.15 s"),
        Case("`portkit convert` zip `.pth` → safetensors, reshape only",
             convert(f"torchvision:vgg16@{folder / 'zip.pth'}", "conv-head"), out,
             "1.3 × `cp` + 0.15 s"),
        Case("`portkit convert` legacy `.pth` → safetensors, reshape only",
             convert(f"torchvision:vgg16@{folder / 'legacy.pth'}", "conv-head"), out,
             "1.6 × `cp` + 0.15 s"),
        Case("torch.load → reshape → save_file", script(_LOAD_SAVE, "zip.pth"), out),
        Case("`portkit convert` channel-last → channel-first, permuting",
             convert(keras, "torchvision:vgg16", "--mapping", mapping), out, "4 × `cp`"),
        Case("the same with numpy", script(_NUMPY, "keras.safetensors"), out),
        Case("the same with einops", script(_EINOPS, "keras.safetensors"), out),
        Case("the same with torch", script(_TORCH, "keras.safetensors"), out),
    ]  # fmt: skip


def _large_cases(folder: Path) -> list[Case]:
    portkit = str(Path(sys.executable).with_name("portkit"))
    source, out = str(folder / "large.safetensors"), folder / "out.safetensors"
    words = (portkit, "convert", source, "blocks", "--mapping", str(folder / "large.yaml"))
    return [
        Case("`cp`", ("cp", source, str(out)), out),
        Case("`portkit convert`, reshape only", (*words, "-o", str(out), "-q"), out, "1.1 × `cp`"),
    ]


def _warm_ratios(folder: Path) -> dict[int, float]:
    """Return the ratio to `cp` inside a warm process, by the place of its case."""
    files = {1: "vgg16.safetensors", 2: "zip.pth", 3: "legacy.pth", 5: "keras.safetensors"}
    found = {}
    for place, name in files.items():
        source, target, mapping = f"torchvision:vgg16@{folder / name}", "conv-head", ""
        if place == 5:
            source, target = str(folder / name), "torchvision:vgg16"
            mapping = str(folder / "keras.yaml")
        words = [sys.executable, "-c", _WARM, source, target, mapping, str(folder)]
        ran = subprocess.run(words, check=True, capture_output=True, text=True)
        found[place] = json.loads(ran.stdout)
    return found


def _rows(results: list[Measured], warm: dict[int, float]) -> list[list[str]]:
    base = results[0]
    return [
        [
            result.case.name,
            f"{result.median_seconds:.2f}",
            f"{ratio(result, base):.2f}",
            f"{warm[place]:.2f}" if place in warm else "",
            f"{result.peak_mib:.0f}",
            result.case.budget,
        ]
        for place, result in enumerate(results)
    ]


def _told(text: str) -> None:
    print(text, file=sys.stderr)


def _bench_vgg(folder: Path, rounds: int) -> str:
    _told("making 553 MB files")
    make_files(folder)
    results = measure_cases(_cases(folder), rounds, _told)
    warm = _warm_ratios(folder)
    heads = ("VGG-16, 553 MB", "seconds", "× `cp`", "× `cp`, warm", "peak MiB", "budget")
    return markdown_table(heads, _rows(results, warm))


def _bench_large(folder: Path, rounds: int) -> str:
    _told("making a 5 GB file")
    make_large_file(folder)
    results = measure_cases(_large_cases(folder), rounds, _told)
    heads = ("38 tensors, 5.1 GB", "seconds", "× `cp`", "× `cp`, warm", "peak MiB", "budget")
    return markdown_table(heads, _rows(results, {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="a 5 GB file instead of VGG-16")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    bench = _bench_large if options.large else _bench_vgg
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        print(bench(Path(name), options.rounds))
    print("\nA new output file, no fsync, page cache warm, whole process; medians of interleaved")
    print(f"rounds ({options.rounds}); warm: inside a process that has done it before.")


if __name__ == "__main__":
    main()
