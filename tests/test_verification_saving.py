"""Raw outputs in a file: what is kept, and judging it again under other tolerances."""

import json
from dataclasses import replace

import numpy as np
import pytest

from portkit.errors import PortkitError
from portkit.verification import Check, Options, RungResult, Status, Tolerances, verify_port
from portkit.verification.results import Verification
from portkit.verification.saving import digest_arrays, judge_saved, save_outputs

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = Options(quick=True)


@pytest.fixture(scope="module")
def saved(ports, tmp_path_factory):
    """A verification and the file of its outputs."""
    path = tmp_path_factory.mktemp("saved") / "o.npz"
    verification = verify_port(*ports("alexnet"), QUICK)
    count = save_outputs(verification, path)
    assert count == sum(
        check.evidence is not None for rung in verification.rungs for check in rung.checks
    )
    return verification, path


def test_saved_outputs_are_judged_as_they_were(saved):
    before, path = saved
    again = judge_saved(path, QUICK)
    assert again.passed
    assert (again.artifact, again.source, again.target) == (
        before.artifact, before.source, before.target,
    )  # fmt: skip
    for rung in ("structure", "outputs"):
        one, two = (next(r for r in v.rungs if r.rung == rung) for v in (before, again))
        assert one.checks == two.checks
        assert all(check.histogram for check in two.checks)
    assert f"no model was run: judged from {path}" in again.not_checked


@pytest.mark.parametrize(
    ("tolerances", "fails"),
    [
        (Tolerances(rho=1e-3), "outputs"),
        (Tolerances(atol=1e-30), "structure"),
        (Tolerances(atol=1e-7, strict_atol=True), "outputs"),
        (Tolerances(rho=100, because="an old processor"), ""),
    ],
)
def test_other_tolerances_give_other_verdicts(saved, tolerances, fails):
    again = judge_saved(saved[1], replace(QUICK, tolerances=tolerances))
    failed = [rung.rung for rung in again.rungs if rung.status is Status.FAILED]
    assert failed == ([fails] if fails else [])
    assert again.passed is not bool(fails)


def test_another_library_reads_what_is_saved(saved):
    verification, path = saved
    checks = [c for rung in verification.rungs for c in rung.checks if c.evidence is not None]
    with np.load(path, allow_pickle=False) as arrays:
        assert json.loads(arrays["verification"].tobytes())["portkit_outputs"] == 1
        for place, check in enumerate(checks):
            np.testing.assert_array_equal(arrays[f"{place}.port"], check.evidence.port)
            np.testing.assert_array_equal(arrays[f"{place}.source"], check.evidence.source)


def test_what_failed_without_outputs_still_fails(saved, tmp_path):
    verification, _ = saved
    wrong = RungResult("bits", Status.FAILED, "no", (Check("w", passed=False, what="differs"),))
    rungs = tuple(wrong if rung.rung == "bits" else rung for rung in verification.rungs)
    save_outputs(replace(verification, rungs=rungs), tmp_path / "o.npz")
    again = judge_saved(tmp_path / "o.npz", QUICK)
    assert not again.passed
    assert [check.what for rung in again.rungs for check in rung.failed] == ["differs"]


def test_nothing_is_saved_of_nothing(tmp_path):
    nothing = Verification("a", "b", "c", (RungResult("bits", Status.PASSED, ""),))
    with pytest.raises(PortkitError) as caught:
        save_outputs(nothing, tmp_path / "o.npz")
    assert "no outputs were compared" in str(caught.value)
    assert not list(tmp_path.iterdir())


def _changed(path, made, change):
    """Edit a file of outputs by one who knows of the digest."""
    with np.load(path, allow_pickle=False) as arrays:
        kept = dict(arrays)
    about = json.loads(kept["verification"].tobytes())
    change(about, kept)
    raw = kept.pop("JSON", json.dumps(about).encode())
    kept["verification"] = np.frombuffer(raw, np.uint8)
    kept.pop("digest")
    np.savez(made, digest=digest_arrays((name, kept[name]) for name in sorted(kept)), **kept)
    return made


def _rung(about, name):
    return next(rung for rung in about["rungs"] if rung["rung"] == name)


def _checks(about):
    return [check for rung in about["rungs"] for check in rung["checks"]]


BROKEN = {
    "an array is missing": lambda _, kept: kept.pop("0.port"),
    "a rung that does not exist": lambda about, _: about["rungs"][0].update(rung="luck"),
    "no rungs": lambda about, _: about.update(rungs=[]),
    "another version": lambda about, _: about.update(portkit_outputs=2),
    "a status that does not exist": lambda about, _: about["rungs"][2].update(status="fine"),
    "rungs that are a number": lambda about, _: about.update(rungs=3),
    "a gate that lets all through": lambda about, _: _checks(about)[0].update(gate=1e9),
    "a gate that is no number": lambda about, _: _checks(about)[0].update(gate=float("nan")),
    "a gate below zero": lambda about, _: _checks(about)[0].update(gate=-1.0),
    "a share that lets all through": lambda about, _: _checks(about)[-1].update(share=1e9),
    "a check left out": lambda about, _: _rung(about, "outputs")["checks"].pop(),
    "a rung's checks left out": lambda about, _: _rung(about, "outputs").update(checks=[]),
    "the exact answers are missing": lambda _, kept: kept.pop(
        next(name for name in kept if name.endswith(".exact"))
    ),
    "JSON nested too deeply": lambda _, kept: kept.update(JSON=b"[" * 200_000),
    "checks left out": lambda about, _: [rung.update(checks=[]) for rung in about["rungs"]],
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_damaged_file_is_an_error_and_never_a_pass(saved, tmp_path, broken):
    path = _changed(saved[1], tmp_path / "o.npz", BROKEN[broken])
    with pytest.raises(PortkitError):
        judge_saved(path, QUICK)


def test_a_check_that_failed_fails_its_rung(saved, tmp_path):
    def change(about, _):
        coverage = _rung(about, "coverage")
        coverage["checks"].append({"subject": "w", "what": "is missing"})
        coverage["left_out"] -= 1

    again = judge_saved(_changed(saved[1], tmp_path / "o.npz", change), QUICK)
    assert not again.passed
    assert [check.what for rung in again.rungs for check in rung.failed] == ["is missing"]


@pytest.mark.parametrize("name", ["0.port", "2.exact", "verification", "digest"])
def test_a_changed_bit_is_seen(saved, tmp_path, name):
    with np.load(saved[1], allow_pickle=False) as arrays:
        kept = {one: arrays[one].copy() for one in arrays}
    kept[name].reshape(-1).view(np.uint8)[-1] ^= 1
    np.savez(tmp_path / "o.npz", **kept)
    with pytest.raises(PortkitError) as caught:
        judge_saved(tmp_path / "o.npz", QUICK)
    assert "has been changed since it was written" in str(caught.value)
    kept.pop("digest")
    np.savez(tmp_path / "o.npz", **kept)
    with pytest.raises(PortkitError, match="has no digest"):
        judge_saved(tmp_path / "o.npz", QUICK)


def test_outputs_that_were_tampered_with_fail(saved, tmp_path):
    def change(_, kept):
        kept["0.port"] = kept["0.port"] + 1e-3

    assert not judge_saved(_changed(saved[1], tmp_path / "o.npz", change), QUICK).passed

    def nan(_, kept):
        kept["1.port"] = kept["1.port"] * np.nan

    assert not judge_saved(_changed(saved[1], tmp_path / "n.npz", nan), QUICK).passed


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with pytest.raises(PortkitError) as caught:
        judge_saved(tmp_path / "w.npz", QUICK)
    assert "holds no outputs of a verification" in str(caught.value)
