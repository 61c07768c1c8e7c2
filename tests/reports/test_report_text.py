"""The terminal's report: every rung with its time, why it failed, layers as bars, flips."""

import dataclasses
import json

import pytest
from rich.console import Console

from portkit.report.json import verification_as_dict
from portkit.report.text import render_verification
from portkit.report.words import judge, shown, shown_lines, size_in_words
from portkit.verification.results import RUNGS, Check, RungResult, Status, Verification


def printed(verification, width=110):
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(render_verification(verification))
    return [line.rstrip() for line in captured.get().splitlines()]


def bars(lines):
    """Return the rows below the bars' heading, by layer."""
    at = next(at for at, line in enumerate(lines) if " by layer, " in line)
    found = {}
    for line in lines[at + 1 :]:
        if "│" not in line:
            break
        name, _, _ = line.partition("  ")
        found[name] = line
    return found


def test_all_nine_rungs_are_rows_with_their_times():
    rungs = tuple(
        RungResult(rung, Status.PASSED, f"about {rung}", (Check("x", passed=True, what=""),))
        for rung in RUNGS
    )
    rungs = tuple(
        dataclasses.replace(rung, seconds=seconds)
        for rung, seconds in zip(rungs, (0.05, 0.06, 1, 2, 3, 4, 5, 6, 1234.5), strict=True)
    )
    lines = printed(Verification("a", "s", "t", rungs))
    assert lines[1:4] == [
        "rung       verdict       time  compared",
        "coverage   passed              about coverage",
        "bits       passed       0.1 s  about bits",
    ]
    assert lines[10] == "accuracy   passed   1,234.5 s  about accuracy"
    assert len(lines) == 12


def test_a_refutation_says_why_and_draws_where(examples):
    lines = printed(examples.failed)
    at = lines.index("FAIL classifier.3.weight: 16,773,120 of 16,777,216 differ, first at (0, 1)")
    assert lines[at + 1 : at + 3] == [
        "     transposed: it equals the transpose of its source, 16,777,216 elements",
        "FAIL classifier.6.bias: 7 of 7 differ",
    ]
    assert "ρ by layer, the worst 20 of 20, log scale, │ at gate 8" in lines
    drawn = bars(lines)
    assert list(drawn)[6:9] == ["bn1", "bn1 → features.12", "features.12"]
    marked = {name for name, line in drawn.items() if line.endswith("FAIL")}
    assert marked == {"bn1", "classifier.3", "classifier.6 (calls)"}
    assert drawn["classifier.3"].endswith(" 2.9e+06  FAIL")
    lengths = {name: line.count("█") for name, line in drawn.items()}
    assert lengths["bn1 → features.12"] == 0
    assert 0 < lengths["features.0"] < lengths["bn1"] < lengths["classifier.3"]
    assert lengths["classifier.6 (calls)"] == 32
    gates = {line.index("│") for line in drawn.values()}
    assert len(gates) == 1
    assert lines[-1] == "NOT verified"


def test_bars_beyond_the_gate_belong_to_layers_that_fail(examples):
    for name, line in bars(printed(examples.failed)).items():
        _, _, beyond = line.partition("│")
        assert ("█" in beyond) == line.endswith("FAIL"), name


def test_of_many_layers_the_worst_are_drawn_in_the_models_order():
    checks = tuple(
        Check(f"l{at}", passed=rho <= 8, what="", numbers={"rho": float(rho), "gate": 8.0})
        for at, rho in enumerate([*range(1, 41), 0, 50])
    )
    failed = Verification("a", "s", "t", (RungResult("layers", Status.FAILED, "", checks),))
    assert list(bars(printed(failed))) == [*(f"l{at}" for at in range(21, 40)), "l41"]
    good = tuple(check for check in checks if check.passed)
    passed = Verification("a", "s", "t", (RungResult("layers", Status.PASSED, "", good),))
    assert list(bars(printed(passed))) == ["l3", "l4", "l5", "l6", "l7"]


def test_layers_without_rounding_are_drawn_by_their_share_and_its_gate():
    off = Check("l", passed=False, what="", numbers={"share": 3e-4, "gate": 1e-12})
    lines = printed(Verification("a", "s", "t", (RungResult("layers", Status.FAILED, "", (off,)),)))
    title = "differences by layer, shares of the largest value, the worst 1 of 1"
    assert f"{title}, log scale, │ at gate 1e-12" in lines
    assert bars(lines)["l"].endswith("3.0e-04  FAIL")


def test_no_number_is_drawn_as_the_worst():
    nan = Check("n", passed=False, what="", numbers={"rho": float("nan"), "gate": 8.0})
    found = bars(
        printed(Verification("a", "s", "t", (RungResult("layers", Status.FAILED, "", (nan,)),)))
    )
    assert found["n"].count("█") == 32
    assert found["n"].endswith("∞  FAIL")


def test_the_gate_stands_within_the_bars_wherever_the_layers_are():
    for rho in (1e-3, 1.0, 8.0, 1e9):
        one = Check("l", passed=rho <= 8, what="", numbers={"rho": rho, "gate": 8.0})
        rung = RungResult("layers", Status.PASSED, "", (one,))
        row = bars(printed(Verification("a", "s", "t", (rung,))))["l"]
        bar = row.removeprefix("l  ")[:33]
        assert 0 < bar.index("│") < 32
        assert bar.count("█") >= 1


def test_flips_say_both_answers_and_whether_it_was_a_tie(examples):
    lines = printed(examples.failed)
    assert "flip test-0017 (ankle boot): ankle boot → sneaker, margin 1.25, no tie" in lines
    assert "flip test-0230: shirt → coat, margin 3e-06, a tie" in lines


def test_ten_flips_are_listed_and_the_rest_counted(examples):
    flip = examples.passed.rungs[-1].flips[0]
    flips = tuple(dataclasses.replace(flip, name=f"n{at}") for at in range(12))
    rung = RungResult("decisions", Status.PASSED, "", flips=flips)
    lines = printed(Verification("a", "s", "t", (rung, rung)))
    assert sum(line.startswith("flip ") for line in lines) == 10
    assert "and 2 more flips" in lines


def test_the_environment_is_said(examples):
    assert "ran with: device CPU, 2 threads, TF32 off, cuDNN autotuning off" in printed(
        examples.passed
    )


def test_names_cannot_steer_the_terminal(examples):
    text = "\n".join(printed(examples.hurt, width=1000))
    assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(text)
    assert r"\x0a::error::y\x1b[31m\x00\ud800\u202e" in text


@pytest.mark.parametrize(
    ("text", "one_line", "lines"),
    [
        ("a\tb\nc", r"a\x09b\x0ac", "a\tb\nc"),
        ("a\r\nb\rc", r"a\x0d\x0ab\x0dc", "a\nb\\x0dc"),
        ("\x9b2J\u2028", r"\x9b2J\u2028", r"\x9b2J\u2028"),
        ("ρ → ∞ 漢字 é", "ρ → ∞ 漢字 é", "ρ → ∞ 漢字 é"),
    ],
)
def test_unseen_characters_are_shown(text, one_line, lines):
    assert (shown(text), shown_lines(text)) == (one_line, lines)


@pytest.mark.parametrize(
    ("rho", "said"),
    [(0.0, "0.00"), (0.004, "4.0e-03"), (0.97, "0.97"), (999, "999.00"), (2.9e6, "2.9e+06")],
)
def test_rho_is_said_shortly(rho, said):
    assert size_in_words(rho) == said


def test_the_verdict_names_what_was_left_out(examples):
    assert judge(examples.passed).words == "verified"
    assert judge(examples.failed).words == "NOT verified"
    assert judge(examples.partly).words == "verified, all but structure"
    assert judge(examples.nothing).words == "NOT verified"
    some = dataclasses.replace(examples.passed, not_checked=("outputs: not asked for",))
    assert judge(some).words == "verified: coverage, bits, layers and decisions only"


def test_as_data_everything_is_there_but_pictures(examples):
    found = json.loads(json.dumps(verification_as_dict(examples.failed), allow_nan=False))
    bits, layers, decisions = found["rungs"]
    assert bits["seconds"] == 1.5
    assert bits["checks"][1]["diagnosis"] == {
        "cause": "transposed",
        "evidence": "it equals the transpose of its source, 16,777,216 elements",
    }
    assert bits["checks"][1]["histogram"] == {
        "decades": [-6, -5, -4, -3, -2, -1],
        "counts": [12, 90, 1300, 51300, 9120000, 7600000],
        "zeros": 4096,
    }
    assert bits["checks"][2]["diagnosis"] is bits["checks"][2]["histogram"] is None
    assert layers["checks"][-1]["numbers"]["rho"] == "inf"
    assert decisions["flips"][0] == {
        "name": "test-0017",
        "label": "ankle boot",
        "before": "ankle boot",
        "after": "sneaker",
        "margin": 1.25,
        "is_tie": False,
    }
    assert found["environment"]["TF32"] == "off"
    hurt = json.dumps(verification_as_dict(examples.hurt), allow_nan=False)
    assert json.loads(hurt)["rungs"][0]["flips"][0]["margin"] == "inf"
