"""`portkit demo`: what a newcomer runs first."""

from pathlib import Path

from portkit.verification import Check, Verification
from portkit.verification.results import rung_of


def test_the_demo_proves_both_ports_and_finds_no_flip(run):
    found = run("demo", "--json").json
    assert found["passed"] is True
    assert found["round_trip"]["unequal"] == []
    assert [one["flips"] for one in found["evaluations"]] == [0, 0, 0]
    assert {one["right"] for one in found["evaluations"]} == {found["evaluations"][0]["right"]}
    assert found["evaluations"][0]["accuracy"] >= 0.9
    rungs = [[rung["status"] for rung in one["rungs"]] for one in found["verifications"]]
    assert rungs == [["passed"] * 7, ["passed"] * 3 + ["does not apply"] + ["passed"] * 3]
    assert list(Path().iterdir()) == []


def test_what_is_kept_can_be_kept_again(run, monkeypatch):
    monkeypatch.setattr("portkit.cli.demo._evaluate", lambda *_, **__: ())
    proof = Verification(
        "a", "b", "c", (rung_of("bits", [Check("w", passed=True, what="alike")], ""),)
    )
    monkeypatch.setattr("portkit.verification.verify_port", lambda *_: proof)
    for _ in range(2):
        assert run("demo", "--keep", "kept").code == 0
    names = sorted(path.name for path in Path("kept").iterdir())
    assert names == ["fashion-conv-head.safetensors", "fashion-fc-head.safetensors"]
