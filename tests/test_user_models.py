"""Models of a user's own that do what users do: work in place, tie, alias, exit, answer nothing."""

import numpy as np
import pytest
import torch

import portkit
from portkit.cli.main import run_command

MODULE = """
import sys
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)
        self.f = nn.Linear(4, 6)
        self.g = nn.Linear(6, 6)

    def forward(self, x):
        x = functional.relu(self.c(x * 2 - 1)).mean((2, 3))
        return self.g(functional.relu(self.f(x)))


class InPlace(Net):
    def forward(self, x):
        return super().forward(x.mul_(2).sub_(1).add_(1).div_(2))


class Reused(Net):
    def forward(self, x):
        made = super().forward(x)
        kept = getattr(self, "kept", None)
        if kept is None or (kept.shape, kept.dtype) != (made.shape, made.dtype):
            self.kept = made.clone()
        self.kept.copy_(made)
        return self.kept


class Aliased(Net):
    def __init__(self):
        super().__init__()
        self.held = [self.f.weight, self.f.bias]

    def forward(self, x):
        x = functional.relu(self.c(x * 2 - 1)).mean((2, 3))
        return self.g(functional.relu(functional.linear(x, *self.held)))


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.g.bias = self.f.bias


class Leaving(Net):
    def forward(self, x):
        sys.exit(0)


class Raising(Net):
    def forward(self, x):
        return {}["nothing"]
"""
MAPPING = "portkit: 1\nfrom: python:nets:Net\nto: python:nets:%s\nrules:\n  - map: '{r:**}'\n"


@pytest.fixture
def port(tmp_path, monkeypatch):
    """Port random weights of Net into another class of the same file, and verify."""
    monkeypatch.chdir(tmp_path)
    name = f"nets_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)

    def run(target, weights="random"):
        (tmp_path / "m.yaml").write_text((MAPPING % target).replace("nets", name))
        source = f"python:{name}:Net@{weights}"
        goal = f"python:{name}:{target}"
        portkit.convert(source, goal, "o.safetensors", mapping="m.yaml")
        return run_command(["verify", "o.safetensors", "--input-size", "32"])

    return run


@pytest.mark.parametrize("target", ["Net", "InPlace", "Reused", "Aliased"])
def test_a_correct_port_passes_however_it_is_written(port, target):
    assert port(target) == 0


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("Tied", 2, "does not keep its values: the model ties it to another tensor"),
        ("Leaving", 1, "cannot run"),
        ("Raising", 1, "'nothing'"),
    ],
)
def test_a_model_that_cannot_hold_or_answer_is_no_proof(port, capsys, target, code, said):
    assert port(target) == code
    found = capsys.readouterr()
    assert said in found.out + found.err


def test_a_source_that_answers_every_input_alike_vouches_for_nothing(port, tmp_path, capsys):
    state = {
        "c.weight": torch.randn(4, 3, 3, 3), "c.bias": torch.randn(4),
        "f.weight": torch.randn(6, 4), "f.bias": torch.randn(6),
        "g.weight": torch.zeros(6, 6), "g.bias": torch.randn(6),
    }  # fmt: skip
    torch.save(state, tmp_path / "dead.pth")
    assert port("Net", "dead.pth") == 2
    assert "answers every input alike" in capsys.readouterr().err


def test_the_weights_arrive_in_the_users_model(port):
    assert port("Aliased") == 0
    name = next(path.stem for path in __import__("pathlib").Path().glob("nets_*.py"))
    model = portkit.load("o.safetensors")
    assert type(model).__name__ == "Aliased"
    assert model.held[0] is model.f.weight
    assert np.isfinite(model.f.weight.detach().numpy()).all()
    assert name.startswith("nets_")
