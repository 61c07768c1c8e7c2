"""What many tests share: the command line in-process, small tensors, `.pth` as torch writes."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from portkit.cli.main import run_command

SMALL = "(in_channels=2, num_classes=7, width=0.0625, hidden=24, pooled=3)"


class Ran(NamedTuple):
    """One command that has run: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys, folder):
    """Run a portkit command in this process, in an empty folder."""

    del folder

    def run_words(*words):
        capsys.readouterr()
        code = run_command([str(word) for word in words])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run_words


@pytest.fixture
def tensors():
    """A small state dict whose elements all differ, no two of its sizes alike."""
    shapes = {"conv.weight": (5, 3, 2, 4), "conv.bias": (5,), "head.weight": (7, 30)}
    state, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        state[name] = np.arange(start, start + size, dtype=np.float32).reshape(shape)
        start += size
    return state


@pytest.fixture(params=["zip", "legacy"])
def write_pth(request):
    """Write a state dict with torch.save, in either of its serializations."""
    import torch

    def write(path, state):
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
        modern = request.param == "zip"
        torch.save(tensors, path, _use_new_zipfile_serialization=modern)
        return path

    return write


SMALL_HEAD = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"


@pytest.fixture(scope="module")
def one_thread():
    """Run small nets on one thread, where they are faster."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Give a port to a conv head and its file, by architecture."""
    from portkit.conversion import convert_port
    from portkit.porting import make_port

    folder, made = tmp_path_factory.mktemp("ports"), {}

    def port_of_arch(arch):
        if arch not in made:
            port = make_port(f"fc-head:{arch}{SMALL_HEAD}@random", "conv-head")
            path = folder / f"{arch}.safetensors"
            convert_port(port, path)
            made[arch] = port, path
        return made[arch]

    return port_of_arch
