"""Reports say what results hold, and decide nothing: whole texts and documents are compared."""

import json

from rich.console import Console

from portkit.report.json import verification_as_dict
from portkit.report.text import render_verification
from portkit.verification import Check, RungResult, Status, Verification

BITS = RungResult(
    "bits",
    Status.PASSED,
    "2 tensors, 1,234 bytes, are what the plan makes of the source",
    (Check("a.weight", passed=True, what="F32[2, 3], bit for bit"),),
    ("shapes prove nothing for 1 of 2 tensors: wrong ones would fit",),
)
OUTPUTS = RungResult(
    "outputs",
    Status.PASSED,
    "ρ 0.97 at most, float32, 21 inputs in batches of 1, 2, 3 and 8, 224×224 px",
    (
        Check(
            "photographs", passed=True, what="ρ 0.97, gate 8", numbers={"rho": 0.97, "snr_db": 1e9}
        ),
    ),
    ("atol 1e-5 is below this model's float32 noise (1.1e-05); judged by ρ = 0.97",),
)
PASSED = Verification(
    "net.safetensors",
    "torchvision:vgg16@random:0",
    "conv-head:vgg16",
    (BITS, OUTPUTS),
    ("images outside 224–255 px", "accuracy: no labelled images were given"),
)
MANY = tuple(Check(f"t.{i}", passed=i == 3, what=f"{i + 1} of 9 differ") for i in range(24))
FAILED = Verification(
    "net.safetensors",
    "fc-head:net@w.pth",
    "conv-head:net(num_classes=7)",
    (RungResult("bits", Status.FAILED, "23 of 24 tensors differ [sic]", MANY),),
    ("structure: an earlier rung failed",),
)
PARTLY = Verification(
    "net.safetensors",
    "a",
    "b",
    (BITS, RungResult("structure", Status.NOT_CHECKED, "torch is not installed")),
)


def printed(verification, width=100):
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(render_verification(verification))
    return captured.get()


def test_a_proof_reads_as_a_table_its_notes_and_its_limits():
    assert [line.rstrip() for line in printed(PASSED).splitlines()] == [
        "net.safetensors: torchvision:vgg16@random:0 → conv-head:vgg16",
        "rung     verdict  compared",
        "bits     passed   2 tensors, 1,234 bytes, are what the plan makes of the source",
        (
            "outputs  passed   ρ 0.97 at most, float32, 21 inputs in batches of 1, 2, 3 and 8, "
            "224×224 px"
        ),
        "note: shapes prove nothing for 1 of 2 tensors: wrong ones would fit",
        "note: atol 1e-5 is below this model's float32 noise (1.1e-05); judged by ρ = 0.97",
        "not checked: images outside 224–255 px",
        "not checked: accuracy: no labelled images were given",
        "verified",
    ]


def test_a_refutation_names_what_failed_and_counts_the_rest():
    lines = [line.rstrip() for line in printed(FAILED).splitlines()]
    assert lines[2] == "bits  failed   23 of 24 tensors differ [sic]"
    assert lines[3:7] == [f"FAIL t.{i}: {i + 1} of 9 differ" for i in (0, 1, 2, 4)]
    assert lines[23:] == [
        "and 3 more of the bits rung",
        "not checked: structure: an earlier rung failed",
        "NOT verified",
    ]


def test_what_could_not_be_checked_is_part_of_the_verdict():
    assert printed(PARTLY).splitlines()[-1] == "verified, all but structure"


def test_names_in_brackets_are_not_taken_for_markup():
    odd = Check("[red]x", passed=False, what="[/]")
    failed = Verification("[bold]", "s", "t", (RungResult("bits", Status.FAILED, "[i]", (odd,)),))
    text = printed(failed)
    assert "FAIL [red]x: [/]" in text
    assert text.startswith("[bold]: s → t")
    assert "failed   [i]" in text


def test_a_verification_is_plain_data():
    found = json.loads(json.dumps(verification_as_dict(PASSED), allow_nan=False))
    assert found["passed"] is True
    assert list(found) == [
        "artifact",
        "source",
        "target",
        "passed",
        "rungs",
        "not_checked",
        "environment",
    ]
    assert found["rungs"][1] == {
        "rung": "outputs",
        "status": "passed",
        "summary": OUTPUTS.summary,
        "seconds": 0.0,
        "checks": [
            {
                "subject": "photographs",
                "passed": True,
                "what": "ρ 0.97, gate 8",
                "numbers": {"rho": 0.97, "snr_db": 1e9},
                "diagnosis": None,
                "histogram": None,
            }
        ],
        "notes": list(OUTPUTS.notes),
        "flips": [],
    }
    assert verification_as_dict(FAILED)["passed"] is False


def test_infinite_figures_are_written_as_text():
    endless = Check("x", passed=True, what="exact", numbers={"snr_db": float("inf"), "rho": 0.0})
    rung = RungResult("outputs", Status.PASSED, "", (endless,))
    found = verification_as_dict(Verification("a", "b", "c", (rung,)))
    assert found["rungs"][0]["checks"][0]["numbers"] == {"snr_db": "inf", "rho": 0.0}
    json.dumps(found, allow_nan=False)
