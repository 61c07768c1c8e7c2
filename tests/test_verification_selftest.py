"""The self-test: every fault in a port is rejected, and a verifier that lies is found out."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from portkit.errors import PortkitError
from portkit.verification import Options, selftest
from portkit.verification.faults import FAULTS, inject_into
from portkit.verification.results import RungResult, Status
from portkit.verification.selftest import FEW, self_test

sys.path.insert(0, str(Path(__file__).parent))
import nets

pytestmark = pytest.mark.usefixtures("one_thread")
BY_ID = {fault.id: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def job_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selftest")

    def make(name):
        size = nets.OWN_SIZE if name in nets.OWN else None
        return nets.make_job(name, folder, Options(input_size=size))

    return make


def lying(*_, **__):
    return RungResult("structure", Status.PASSED, "all is well")


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg11_lrn", "conv head back", "demo"])
def test_every_fault_in_a_port_is_rejected(job_of, name):
    tested = self_test(job_of(name))
    assert tested.untouched.passed
    assert tested.survivors == ()
    assert tested.passed
    assert tested.few == ""
    assert len(tested.trials) + len(tested.left_out) == len(FAULTS)
    nameable = [trial for trial in tested.trials if trial.cause_expected]
    assert sum(trial.named for trial in nameable) >= 0.9 * len(nameable)


@pytest.mark.parametrize("name", ["lrn", "residual", "tiny"])
def test_ten_placements_of_every_fault_are_rejected(job_of, name):
    tested = self_test(job_of(name), seeds=tuple(range(10)))
    assert tested.survivors == ()
    assert {trial.rung for trial in tested.trials} <= {"bits", "structure", "outputs", "coverage"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16_bn", "vgg11_lrn", "demo"])
def test_ten_placements_in_known_nets_are_rejected(job_of, name):
    assert self_test(job_of(name), seeds=tuple(range(10))).survivors == ()


def test_a_rung_that_lies_is_found_out(job_of, monkeypatch):
    job = job_of("lrn")
    monkeypatch.setattr(selftest, "check_structure", lying)
    monkeypatch.setattr(selftest, "check_outputs", lying)
    tested = self_test(job)
    assert not tested.passed
    survivors = {trial.fault for trial in tested.survivors}
    assert {"A11", "A14", "E01", "N04"} <= survivors
    assert not survivors & {"W01", "N01", "X14"}  # bits still tell the truth


def test_without_the_bits_rung_small_corruptions_survive(job_of, monkeypatch):
    monkeypatch.setattr(selftest, "check_bits", lying)
    survivors = {trial.fault for trial in self_test(job_of("tiny")).survivors}
    assert "W45" in survivors
    assert "W17" not in survivors


def test_a_port_that_does_not_pass_is_not_tried(job_of):
    job = job_of("lrn")
    broken = replace(job, target=inject_into(job.target, BY_ID["W17"]).side)
    tested = self_test(broken)
    assert (tested.passed, tested.trials, tested.untouched.passed) == (False, (), False)


def test_few_faults_are_said_to_be_few(job_of):
    tested = self_test(job_of("tiny"))
    few = replace(tested, trials=tested.trials[: FEW - 1])
    assert few.few == f"only {FEW - 1} of {len(FAULTS)} faults have a place in it"


def test_a_model_that_cannot_be_copied_is_built_anew(job_of, monkeypatch):
    def refuse(_net):
        raise TypeError("cannot pickle")

    job = job_of("tiny")
    monkeypatch.setattr(selftest, "share", refuse)
    assert self_test(job).passed


def test_a_port_that_is_compared_with_itself_proves_nothing(job_of):
    job = job_of("tiny")
    with pytest.raises(PortkitError, match="compared with itself"):
        self_test(replace(job, target=job.source))


def test_the_port_is_as_it_was(job_of):
    job = job_of("residual")
    before = job.target.build(torch.float64).state_dict()
    self_test(job)
    for name, tensor in job.target.build(torch.float64).state_dict().items():
        assert torch.equal(tensor, before[name])
