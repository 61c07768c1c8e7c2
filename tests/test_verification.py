"""The ladder: any pair of models, the inputs that are tried, what is left out and said so."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from portkit.conversion import OutputOptions, convert_port
from portkit.errors import PortkitError
from portkit.planning import Plan
from portkit.porting import make_port
from portkit.verification import Options, Status, Tolerances, jobs, verify_port
from portkit.verification.battery import (
    Inputs,
    choose_sizes,
    exact_batches,
    make_batches,
    make_trials,
)

SIZES = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"
QUICK = Options(quick=True)


pytestmark = pytest.mark.usefixtures("one_thread")


# --- models of one's own ------------------------------------------------------------------------

MODULE = """
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Answer:
    scores: torch.Tensor
    hidden: tuple


class Net(nn.Module):
    def __init__(self, names=("a", "b"), extra=False, dtype=None, shape=(3, 8)):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 4)
        self.names, self.dtype = names, dtype

    def forward(self, values):
        if self.dtype is not None:
            values = values + torch.ones(1, dtype=self.dtype)
            if values.dtype != self.dtype:
                raise RuntimeError("expected Float")
        hidden = self.first(values).tanh()
        return dict(zip(self.names, (Answer(self.second(hidden), (hidden, None)), hidden.sum(1))))


def build():
    return Net()


def lacking():
    return Net(names=("a",))


def renamed():
    return Net(names=("a", "c"))


def narrow():
    return Net(dtype=torch.float32)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, values):
        return values * self.weight


def odd():
    return Odd()


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(3 * 14 * 18, 4)

    def forward(self, images):
        return self.head(self.stem(images).flatten(1))


def fixed():
    return Fixed()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Port between two factories of a module of one's own; names are the same on both sides."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownnet.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)

    def port_between(source, target):
        (tmp_path / "m.yaml").write_text(
            f"portkit: 1\nfrom: python:ownnet:{source}\nto: python:ownnet:{target}\nrules:\n"
            '  - map: "{name:**}"\n'
        )
        port = make_port(f"python:ownnet:{source}@random", f"python:ownnet:{target}", "m.yaml")
        convert_port(port, tmp_path / "own.safetensors", OutputOptions(force=True))
        return port, tmp_path / "own.safetensors"

    yield port_between
    sys.modules.pop("ownnet", None)


def test_outputs_of_any_nesting_are_compared_by_name(own):
    found = verify_port(*own("build", "build"), QUICK)
    assert found.passed
    subjects = {check.subject.rpartition(": ")[2] for check in found.rungs[2].checks}
    assert subjects == {"a.scores", "a.hidden.0", "b"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("lacking", "the port has no output 'b', it has 'a.scores', 'a.hidden.0'"),
        ("renamed", "the source has no output 'c', it has 'a.scores', 'a.hidden.0', 'b'"),
    ],
)
def test_a_missing_output_fails(own, target, said):
    found = verify_port(*own("build", target), QUICK)
    assert found.rungs[-1].status is Status.FAILED
    assert said in {check.what for check in found.rungs[-1].failed}


def test_a_source_that_only_runs_in_float32_is_judged_without_float64(own):
    found = verify_port(*own("narrow", "narrow"), QUICK)
    structure, outputs = found.rungs[2:]
    assert structure.status is Status.NOT_CHECKED
    assert structure.summary.startswith("the source cannot run in float64 (noise")
    assert outputs.status is Status.PASSED
    assert "judged by 1e-5 of the largest value instead of ρ" in outputs.notes[0]
    assert verify_port(*own("build", "narrow"), QUICK).rungs[2].status is Status.FAILED


def test_a_net_of_unknown_inputs_cannot_be_run(own):
    with pytest.raises(PortkitError) as caught:
        verify_port(*own("odd", "odd"), QUICK)
    assert str(caught.value) == (
        "python:ownnet:odd@random:0: its first layer is neither a convolution nor linear: what "
        "it takes is not known\n  fix: verify what needs no inputs: --rungs coverage,bits"
    )


def test_a_net_of_one_size_asks_for_it(own):
    port, path = own("fixed", "fixed")
    with pytest.raises(PortkitError) as caught:
        verify_port(port, path, QUICK)
    assert str(caught.value).startswith("python:ownnet:fixed@random:0: cannot run ")
    assert str(caught.value).endswith("fix: name the size that it takes with --input-size")
    found = verify_port(port, path, replace(QUICK, input_size=(16, 20)))
    assert found.passed
    assert (
        "images of other sizes than 16×20 px (17×35, 47×20, 17×23, 32×64, 64×32: the source does "
        "not run on them)"
    ) in found.not_checked


# --- what is tried ------------------------------------------------------------------------------


def test_the_battery_is_what_it_promises():
    batches = make_batches(Inputs(3, ((96, 96), (97, 111), (127, 96))), quick=False)
    assert [batch.images.shape for batch in batches] == [
        (1, 3, 96, 96), (1, 3, 127, 96), (2, 3, 96, 96), (2, 3, 97, 111), (3, 3, 97, 111),
        (8, 3, 96, 96),
    ]  # fmt: skip
    assert all(batch.images.dtype == np.float32 for batch in batches)
    assert len({batch.shown for batch in batches}) == len(batches)
    photographs = batches[5].images
    assert [batch.extreme for batch in batches] == [True, False, False, True, False, False]
    assert np.abs(batches[0].images).max() > 500
    assert len(np.unique(photographs.reshape(8, -1)[:, 1000])) == 8
    assert not np.allclose(photographs[:, 0], photographs[:, 2], atol=0.1)
    again = make_batches(Inputs(3, ((96, 96), (97, 111), (127, 96))), quick=False)
    for one, two in zip(batches, again, strict=True):
        np.testing.assert_array_equal(one.images, two.images)


@pytest.mark.parametrize(
    "inputs", [Inputs(1, ((96, 96),)), Inputs(5, ((40, 50),)), Inputs(0, (), 5)]
)
@pytest.mark.parametrize("quick", [True, False])
def test_every_model_gets_more_than_one_input_at_a_time(inputs, quick):
    batches = make_batches(inputs, quick=quick)
    trials = make_trials(batches, quick=quick)
    assert len({trial.given.shown for trial in trials}) == len(trials)
    assert any(len(batch.images) > 1 for batch in exact_batches(batches))
    for trial in trials:
        rows = list(trial.rows) or slice(None)
        np.testing.assert_array_equal(trial.given.images, trial.of.images[rows])


def test_forwards_are_counted_as_they_are_run(ports):
    class Counting:
        def start(self, label, total, unit="B"):
            self.label, self.total, self.done, self.unit = label, total, 0, unit

        def advance(self, amount):
            self.done += amount

        def finish(self): ...

    for options in (QUICK, Options(), Options(rungs=("outputs",)), Options(rungs=("structure",))):
        counting = Counting()
        verify_port(*ports("alexnet"), options, counting)
        assert (counting.label, counting.unit) == ("running models", "inputs")
        assert counting.done == counting.total


def _plan(facts):
    return Plan((), (), (), (), (), facts)


def test_sizes_are_even_odd_and_not_square_up_to_the_limit(ports):
    source = ports("alexnet")[0].source
    facts = {"valid_sizes": {"h": (223, 254), "w": (223, 254)}}
    sizes = choose_sizes(_plan(facts), source, None)
    assert sizes.tried == ((224, 224), (223, 239), (254, 224))
    assert sizes.left_out == "images outside 223–254 px"
    narrow = {"valid_sizes": {"h": (64, 64), "w": (32, 33)}}
    assert choose_sizes(_plan(narrow), source, None).tried == ((64, 32), (64, 33))
    assert choose_sizes(_plan({}), source, None).tried == ((128, 128), (129, 143), (159, 128))
    asked = choose_sizes(_plan({}), source, (50, 60))
    assert (asked.tried[0], asked.certain) == ((50, 60), 1)
    with pytest.raises(PortkitError) as caught:
        choose_sizes(_plan(narrow), source, (64, 31))
    assert str(caught.value) == "64×31: the mapping makes a claim for 64–64 × 32–33 px only"


# --- the ladder ---------------------------------------------------------------------------------


def test_without_torch_the_models_are_not_run(ports, monkeypatch):
    monkeypatch.setattr(jobs, "is_installed", lambda package: package != "torch")
    found = verify_port(*ports("vgg11"), Options())
    assert [rung.status for rung in found.rungs[:2]] == [Status.PASSED] * 2
    assert {rung.status for rung in found.rungs[2:]} == {Status.NOT_CHECKED}
    assert found.rungs[2].summary == "torch is not installed"
    assert found.passed
    assert (
        "both models' configuration and what they compute: torch is not installed"
        in found.not_checked
    )


def test_a_model_that_is_not_known_is_not_run(tmp_path):
    np.savez(tmp_path / "in.npz", a=np.arange(3.0))
    (tmp_path / "m.yaml").write_text(
        "portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n  - map: a -> b\n"
    )
    port = make_port(str(tmp_path / "in.npz"), "ours", tmp_path / "m.yaml")
    convert_port(port, tmp_path / "out.npz")
    found = verify_port(port, tmp_path / "out.npz", Options())
    assert {rung.status for rung in found.rungs[2:]} == {Status.NOT_CHECKED}
    assert found.rungs[2].summary == "no model is known for the tensors of 'theirs'"


def test_a_loosened_gate_is_printed_with_its_reason(ports):
    tolerances = Tolerances(rho=20, because="an old processor")
    found = verify_port(*ports("vgg11"), replace(QUICK, tolerances=tolerances))
    assert found.rungs[3].notes[1].endswith(", gate 20, because: an old processor")


def test_an_unknown_rung_is_refused(ports):
    with pytest.raises(PortkitError) as caught:
        verify_port(*ports("vgg11"), Options(rungs=("bytes",)))
    assert str(caught.value) == (
        "--rungs: no rung is called 'bytes'\n  fix: use some of: coverage, bits, structure, dense, "
        "layers, outputs, pipeline, decisions, accuracy"
    )


def test_what_was_made_anew_is_not_claimed(own, tmp_path):
    (tmp_path / "m.yaml").write_text(
        "portkit: 1\nfrom: python:ownnet:build\nto: python:ownnet:build\nrules:\n"
        '  - map: "first.{p:weight|bias}"\n  - map: second.bias\n'
        "  - {drop: second.weight, because: other classes}\n"
        "  - {init: second.weight, with: {kind: normal, seed: 3}, because: a new head}\n"
    )
    del own
    port = make_port("python:ownnet:build@random", "python:ownnet:build", "m.yaml")
    convert_port(port, tmp_path / "own.safetensors", OutputOptions(force=True))
    found = verify_port(port, tmp_path / "own.safetensors", Options(rungs=("coverage", "bits")))
    assert found.passed
    assert found.rungs[0].notes[:2] == (
        "second.weight F32[4, 6] is left behind: other classes",
        "second.weight F32[4, 6] is made, normal std 0.01 seed 3: a new head",
    )
    assert found.not_checked[-1] == ("second.weight: made anew, there is no source to compare with")
