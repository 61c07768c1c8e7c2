"""portkit without torch and onnx: planning, converting, inspecting and comparing bits."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import portkit

ROOT = Path(portkit.__file__).parents[1]
SMALL = "(in_channels=2, num_classes=7, width=0.0625, hidden=24, pooled=3)"
COMMANDS = (
    ("plan", f"fc-head:vgg11{SMALL}@random", "conv-head"),
    ("convert", f"fc-head:vgg11{SMALL}@random", "conv-head", "-o", "net.safetensors"),
    ("convert", "net.safetensors", "fc-head", "-o", "back.pth"),
    ("inspect", "net.safetensors", "back.pth"),
    ("verify", "net.safetensors", "--rungs", "coverage,bits"),
    ("mappings", "check"),
)

# Finds the heavy libraries as little as if they were not installed.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
class LightFinder:
    def find_spec(self, name, path=None, target=None):
        absent = ("torch", "torchvision", "onnx", "onnxruntime", "scipy", "jinja2")
        light = name.partition(".")[0] not in absent
        return PathFinder.find_spec(name, path, target) if light else None
sys.meta_path[sys.meta_path.index(PathFinder)] = LightFinder()
from portkit.cli.main import main
main()
"""


def ran(words, folder, **environment):
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_torch_free_commands_work_without_torch(tmp_path):
    for command in COMMANDS:
        result = ran([sys.executable, "-c", WITHOUT, *command], tmp_path)
        assert (result.returncode, result.stderr) == (0, ""), result.stdout


def test_verifying_everything_without_torch_is_not_a_yes(tmp_path):
    ran([sys.executable, "-c", WITHOUT, *COMMANDS[1]], tmp_path)
    result = ran([sys.executable, "-c", WITHOUT, "verify", "net.safetensors"], tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "error: torch: is not installed: the models were not run\n"
        "  fix: install it, or ask for what needs none: --rungs coverage,bits\n"
    )


@pytest.mark.slow
def test_the_readme_s_light_installation_works(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    note = "<!-- run by tests/test_light_install.py -->"
    block = re.search(rf"{note}\n```bash\n(.*?)```", text, re.DOTALL)[1]
    in_folder = block.replace(".venv-light", f"{tmp_path}/.venv-light").replace(
        "-o light.safetensors", f"-o {tmp_path}/light.safetensors"
    )
    moved = in_folder.replace("verify light.safetensors", f"verify {tmp_path}/light.safetensors")
    result = ran(["bash", "-euo", "pipefail", "-c", moved], ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    packages = list((tmp_path / ".venv-light").glob("lib/python*/site-packages/torch"))
    assert packages == []
