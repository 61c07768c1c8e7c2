"""The shape of the package, as rules: who imports whom, how long, what stays unimported."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portkit
from portkit.cli.main import COMMANDS

PACKAGE = Path(portkit.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each layer may import itself and what stands before it.
LAYERS = (
    ("errors",),
    ("tensors",),
    ("progress",),
    ("names",),
    ("ops",),
    ("formats",),
    ("mapping",),
    ("manifests",),
    ("provenance", "random_weights", "references", "downloads"),
    ("endpoints",),
    ("planning",),
    ("porting",),
    ("counterparts",),
    ("conversion",),
    ("models",),
    ("runners",),
    ("pairing",),
    ("evaluation",),
    ("verification",),
    ("onnx_graph",),
    ("report",),
    ("api",),
    ("cli",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# Types that a lower layer only names in annotations, and the models that a factory of the user's or
# a download needs torch for.
TORCH_FREE = RANK["models"]
MAY_IMPORT_TORCH = ("downloads.py", "manifests/factory.py")


def layer_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_names(tree):
    """Yield every `a.b.c` that is imported anywhere, in functions too, except for typing only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "portkit":
            yield from (f"portkit.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


class WithoutTyping(ast.NodeTransformer):
    def visit_If(self, node):
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def runtime_tree(path):
    return WithoutTyping().visit(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    layer = layer_of(path)
    if layer == "__init__":
        return
    assert layer in RANK, f"{layer} has no place in LAYERS"
    used = {name.split(".")[1] for name in imported_names(runtime_tree(path)) if "portkit." in name}
    above = sorted(other for other in used if other in RANK and RANK[other] > RANK[layer])
    assert not above


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_below_the_models_nothing_imports_torch(path):
    relative = path.relative_to(PACKAGE).as_posix()
    layer = layer_of(path)
    if layer == "__init__" or RANK[layer] >= TORCH_FREE or relative in MAY_IMPORT_TORCH:
        return
    heavy = {name.split(".")[0] for name in imported_names(runtime_tree(path))}
    assert not heavy & {"torch", "torchvision", "onnxruntime"}


def test_modules_stay_short():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert {path.name: n for path, n in lengths.items() if n > 400} == {}


def test_no_function_hides_a_module():
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(portkit.__all__)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_prints_and_exits(path):
    if layer_of(path) == "cli":
        return
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if is_call(n)]
    assert not {"print", "exit", "sys.exit", "os._exit", "quit"} & set(calls)


def is_call(node):
    return isinstance(node, ast.Call)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command):
    readme = (PACKAGE.parent / "README.md").read_text()
    assert f"portkit {command}" in readme


HEAVY = ("numpy", "torch", "torchvision", "onnx", "onnxruntime", "einops", "rich", "scipy")
PROBE = """
import sys
from portkit.cli.main import run_command
code = run_command(sys.argv[1:])
print("imported:", *sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def heavy_imports(*words, cwd=None):
    """Run a command in a process of its own; return what it imported of the heavy libraries."""
    probe = PROBE.format(heavy=HEAVY)
    command = [sys.executable, "-c", probe, *map(str, words)]
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stderr.strip().splitlines()[-1].split()[1:]


def test_help_imports_nothing_heavy():
    assert heavy_imports("--help") == []


def test_inspecting_a_pth_imports_nothing_heavy(tmp_path, tensors, write_pth):
    assert heavy_imports("inspect", write_pth(tmp_path / "w.pth", tensors)) == []


def test_inspecting_a_safetensors_imports_nothing_heavy(tmp_path, tensors):
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "w.safetensors")
    assert heavy_imports("inspect", tmp_path / "w.safetensors") == []


def test_a_reshaping_conversion_of_a_pth_imports_nothing_heavy(tmp_path, write_pth):
    write_pth(tmp_path / "w.pth", {"w": np.arange(35, dtype=np.float32).reshape(5, 7)})
    (tmp_path / "m.yaml").write_text(
        "portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n"
        '  - map: "w -> k"\n    ops: [{rearrange: "o i -> o i 1 1"}]\n'
    )
    words = ("convert", "w.pth", "ours", "--mapping", "m.yaml", "-o", "k.safetensors")
    assert heavy_imports(*words, cwd=tmp_path) == []
