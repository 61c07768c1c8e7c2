"""The catalogue of faults: each changes what it says, repeatably, and leaves the rest alone."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portkit.runners.torch import run_module
from portkit.verification import Options, Status
from portkit.verification.battery import Inputs, guess_inputs, make_batches
from portkit.verification.causes import Cause
from portkit.verification.faults import (
    CONTROLS,
    FAULTS,
    PIXEL_FAULTS,
    inject,
    inject_into,
    share,
)
from portkit.verification.ladder import verify_job

sys.path.insert(0, str(Path(__file__).parent))
import nets

pytestmark = pytest.mark.usefixtures("one_thread")

# Faults that were measured on trained nets and can be put into a torch module or an image.
NUMBERS = {
    "W": (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15, 17, 18, 20, 21, 22),
    "N": (1, 2, 3, 4, 6),
    "B": (1, 2, 3, 4, 5, 6, 8, 10, 11),
    "A": (1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 18),
    "E": (1, 2),
    "P": (1, 2, 3, 4, 5, 6, 7, 9, 11, 12),
    "X": (6, 7, 8, 10, 14, 15, 16, 22),
}
MEASURED = [f"{kind}{number:02}" for kind, numbers in NUMBERS.items() for number in numbers]
TRIED = ("lrn", "residual", "tiny", "vgg16_bn")
BY_ID = {fault.id: fault for fault in FAULTS}
IN_PLACE = tuple(fault.id for fault in FAULTS if not fault.is_stored)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Give a correct port of each net, ported once."""
    folder, made = tmp_path_factory.mktemp("faults"), {}

    def job_of(name):
        if name not in made:
            size = nets.OWN_SIZE if name in nets.OWN else None
            made[name] = nets.make_job(name, folder, Options(input_size=size))
        return made[name]

    return job_of


@pytest.fixture(scope="module")
def built(jobs):
    """Give the built port of each net, in float64."""
    made = {}

    def net_of(name):
        if name not in made:
            made[name] = jobs(name).target.build(torch.float64)
        return made[name]

    return net_of


def homes(fault, built):
    """Yield the nets that a fault has a place in."""
    for name in TRIED:
        net = share(built(name))
        place = inject(fault, net, 0)
        if place is not None:
            yield name, net, place


def inputs_of(net, name):
    """Return what shows most faults: even and odd sizes, photographs, a thousandfold input."""
    side = 96 if name == "vgg16_bn" else 48
    inputs = guess_inputs(net, ((side, side), (side + 1, side + 7), (side + 3, side)))
    return [batch.images for batch in make_batches(inputs or Inputs(3, ()), quick=False)]


def answers(net, name, dtype=torch.float64):
    """Return all that a net answers, a failure to run included."""
    found = []
    for images in inputs_of(net, name):
        try:
            found.append(run_module(net.to(dtype), images))
        except (RuntimeError, ValueError) as error:
            found.append({str(error): np.zeros(0)})
    return found


def same(one, other):
    return all(
        list(a) == list(b)
        and all(a[k].shape == b[k].shape and np.array_equal(a[k], b[k], equal_nan=True) for k in a)
        for a, b in zip(one, other, strict=True)
    )


def states_differ(one, other):
    return any(not torch.equal(one[key], tensor) for key, tensor in other.items() if key in one)


def test_the_catalogue_has_every_measured_fault_that_can_be_injected():
    known = {fault.id for fault in (*FAULTS, *PIXEL_FAULTS)}
    assert [name for name in MEASURED if name not in known] == []
    assert len([name for name in known if name not in MEASURED]) >= 15


def test_ids_and_words_are_told_apart():
    entries = (*FAULTS, *PIXEL_FAULTS, *CONTROLS)
    assert len({entry.id for entry in entries}) == len(entries)
    assert len({entry.words for entry in entries}) == len(entries)


@pytest.mark.parametrize("name", BY_ID)
def test_every_fault_changes_a_net(built, name):
    fault, found = BY_ID[name], []
    for home, net, place in homes(fault, built):
        untouched = share(built(home))
        assert place
        if fault.is_stored:
            found.append(states_differ(net.state_dict(), untouched.state_dict()))
        else:
            dtype = torch.float64 if "structure" in fault.seen_by else torch.float32
            torch.manual_seed(0)
            found.append(not same(answers(net, home, dtype), answers(untouched, home, dtype)))
    assert found, "no net has a place for it"
    assert all(found)


@pytest.mark.parametrize("name", BY_ID)
def test_every_fault_is_the_same_each_time(built, name):
    fault = BY_ID[name]
    for home, net, place in homes(fault, built):
        again = share(built(home))
        assert inject(fault, again, 0) == place
        ours, theirs = net.state_dict(), again.state_dict()
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert np.array_equal(tensor.numpy(), theirs[key].numpy(), equal_nan=True)


@pytest.mark.parametrize("name", BY_ID)
def test_a_narrower_build_gets_the_same_fault(jobs, built, name):
    fault = BY_ID[name]
    home, net, place = next(homes(fault, built))
    narrow = jobs(home).target.build(torch.float32)
    assert inject(fault, narrow, 0) == place
    wide = net.to(torch.float32).state_dict()
    for key, tensor in narrow.state_dict().items():
        assert np.array_equal(tensor.numpy(), wide[key].numpy(), equal_nan=True)


def test_faults_leave_the_net_that_they_share_memory_with_alone(built):
    for home in TRIED:
        net = built(home)
        before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        for fault in FAULTS:
            faulty = share(net)
            if inject(fault, faulty, 1) is not None:
                answers(faulty, home)
        for key, tensor in net.state_dict().items():
            assert torch.equal(tensor, before[key])


def test_seeds_choose_among_places(built):
    for name in ("W01", "W13", "W20", "A09", "A11", "E01", "B01"):
        found = {inject(BY_ID[name], share(built("vgg16_bn")), seed) for seed in range(10)}
        assert len(found) >= 4, name


@pytest.mark.parametrize("name", ["W17", "N02", "B06", "X14"])
def test_the_stored_tensors_are_those_of_the_faulty_net(jobs, name):
    side = jobs("residual").target
    faulty = inject_into(side, BY_ID[name])
    state = faulty.side.build(torch.float32).state_dict()
    with faulty.side.open() as reader, side.open() as before:
        assert reader.specs == before.specs
        for key in faulty.changed:
            assert np.array_equal(reader.fetch(key), state[key].numpy(), equal_nan=True)
    assert faulty.changed


def form(net):
    """Return all of a net but its tensors: layers, their settings and modes, who answers."""
    plain = (bool, int, float, str, tuple, type(None))
    return [
        (name, type(layer), {k: v for k, v in vars(layer).items() if isinstance(v, plain)})
        for name, layer in net.named_modules()
    ], [name for name, layer in net.named_modules() if "forward" in vars(layer)]


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_configuration_has_the_fault_and_needs_no_values(jobs, built, name):
    for home, _, _ in homes(BY_ID[name], built):
        side = jobs(home).target
        faulty = inject_into(side, BY_ID[name]).side.skeleton()
        assert form(faulty) != form(side.skeleton())
        assert all(tensor.is_meta for tensor in faulty.parameters())


def test_the_configuration_of_stored_faults_is_as_it_was(jobs):
    side = jobs("residual").target
    faulty = inject_into(side, BY_ID["B02"]).side.skeleton()
    assert form(faulty) == form(side.skeleton())


def test_every_fault_is_called_by_a_cause_of_the_table():
    named = {cause for fault in FAULTS for cause in fault.causes}
    assert {type(cause) for cause in named} == {Cause}
    assert {type(fault.cause) for fault in PIXEL_FAULTS} == {Cause}


@pytest.mark.parametrize("home", TRIED)
def test_controls_pass(jobs, home):
    job, tried = jobs(home), 0
    for control in CONTROLS:
        faulty = inject_into(job.target, control)
        if faulty is None:
            continue
        options = Options(quick=True, rungs=control.rungs, input_size=job.options.input_size)
        found = verify_job(replace(job, target=faulty.side, options=options))
        failed = [(rung.rung, rung.failed) for rung in found.rungs if rung.failed]
        assert found.passed, (control.words, failed)
        tried += 1
    assert tried >= 4


@pytest.mark.parametrize("name", BY_ID)
def test_the_ladder_rejects_every_fault_by_each_rung_that_must_see_it(jobs, built, name):
    fault = BY_ID[name]
    home, _, _ = next(homes(fault, built))
    job = jobs(home)
    faulty = inject_into(job.target, fault)
    for rung in fault.seen_by:
        options = Options(rungs=(rung,), input_size=job.options.input_size)
        found = verify_job(replace(job, target=faulty.side, options=options))
        assert found.rungs[0].rung == rung
        assert found.rungs[0].status is Status.FAILED, (home, faulty.place)
