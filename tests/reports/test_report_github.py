"""GitHub Actions: commands that names cannot end, and a summary that names cannot mark up."""

import dataclasses
import re

import pytest

from portkit.report.github import annotations, job_summary
from portkit.verification.results import Check, RungResult, Status, Verification


def failing(count, rung="bits"):
    checks = tuple(Check(f"t.{at}", passed=False, what="differs") for at in range(count))
    return Verification("a", "s", "t", (RungResult(rung, Status.FAILED, "", checks),))


def test_each_failed_check_is_an_annotation_of_its_file(examples):
    found = annotations({"ports/b.safetensors": examples.failed})
    assert found[0] == (
        "::error title=portkit bits%3A classifier.3.weight,file=ports/b.safetensors::"
        "classifier.3.weight: 16,773,120 of 16,777,216 differ, first at (0, 1)%0A"
        "transposed: it equals the transpose of its source, 16,777,216 elements"
    )
    assert len(found) == 6


def test_ten_of_a_rung_are_annotated_and_the_rest_counted():
    found = annotations({"a": failing(13)})
    assert len(found) == 11
    assert found[-1] == "::error title=portkit bits,file=a::and 3 more of the bits rung"
    assert len(annotations({"a": failing(10)})) == 10


def test_a_proof_is_not_annotated(examples):
    assert annotations({"a": examples.passed, "b": examples.partly}) == []


def test_what_is_no_proof_without_a_failed_check_is_annotated(examples):
    rung = RungResult("layers", Status.FAILED, "no layer is paired")
    assert annotations({"a": Verification("a", "s", "t", (rung,))}) == [
        "::error title=portkit layers,file=a::no layer is paired"
    ]
    assert annotations({"a": examples.nothing}) == [
        "::error title=portkit,file=a::nothing was compared: NOT verified"
    ]


def test_problems_are_annotated_with_their_fix(examples):
    assert annotations({"w.npz": examples.error}) == [
        (
            "::error title=portkit cannot verify,file=w.npz::w.npz: says nothing of where it came "
            "from%0A  fix: name its source with --against"
        ),
        "::error title=portkit cannot verify,file=w.npz::no such model",
    ]


def test_no_name_ends_a_command(examples):
    name = "a%0A,file=b:c\r\n::error::x"
    check = Check(name, passed=False, what=name)
    failed = Verification("a", "s", "t", (RungResult("bits", Status.FAILED, "", (check,)),))
    (line,) = annotations({name: failed})
    properties = r"a%250A%2Cfile=b%3Ac\x0d\x0a%3A%3Aerror%3A%3Ax"
    assert line == (
        f"::error title=portkit bits%3A {properties},file={properties}::"
        "a%250A,file=b:c%0A::error::x: a%250A,file=b:c%0A::error::x"
    )
    for line in annotations(examples.all_hurt):
        assert line.isprintable()


def test_a_summary_has_the_ladder_the_failures_and_the_flips(examples):
    text = job_summary({"b.safetensors": examples.failed})
    assert text.startswith(
        "## portkit verify\n\n### ❌ b.safetensors: NOT verified\n\n"
        "fc-head:net\\@w.pth → conv-head:net(num\\_classes=7)\n\n"
        "| rung | verdict | time | compared |\n| --- | --- | --- | --- |\n"
        "| bits | ❌ failed | 1.5 s | 2 of 32 tensors differ |\n"
    )
    assert "\n\n**What failed in the bits rung**\n\n| what | found | diagnosis |\n" in text
    assert (
        "| bn1 | ρ 2400.00 by itself, off by 0.00024 of the largest | batchnorm\\_eps: with eps "
        "0.001 instead of 1e-05 the layer agrees to 3e-16 |\n"
    ) in text
    assert "| test-0017 | ankle boot | ankle boot | sneaker | 1.25 | **no** |\n" in text
    assert "| test-0230 |  | shirt | coat | 3e-06 | yes |\n" in text
    assert text.endswith("**Not checked**\n\n- outputs: an earlier rung failed\n")


def test_every_row_of_a_table_has_as_many_cells_as_its_head(examples):
    width = 0
    for line in job_summary(examples.all).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells in (0, width) or not width, line
        width = cells


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ("passed", "### ✅ a: verified"),
        ("partly", "### ⚠️ a: verified, all but structure"),
        ("nothing", "### ❌ a: NOT verified"),
        ("error", "### ❌ a: not found out"),
    ],
)
def test_a_summary_begins_with_the_verdict(examples, result, line):
    assert line in job_summary({"a": getattr(examples, result)}).splitlines()


def test_names_are_no_markup_in_a_summary(examples):
    text = job_summary(examples.all_hurt)
    assert "<script" not in text
    assert r"""x&lt;script&gt;alert(1)&lt;/script&gt;'"&amp;\]\]&gt;\|\`\*\_%,:<br>""" in text
    assert not re.search(r"^::", text, re.MULTILINE)
    assert not {"\x1b", "\x00", "\u202e"} & set(text)
    assert not re.search(r"(?<!\\)[`*]_", text)


def test_long_lists_are_cut_and_counted():
    text = job_summary({"a": failing(25)})
    assert text.count("| differs |") == 20
    assert "\nand 5 more\n" in text


def test_many_flips_are_cut_and_counted(examples):
    flip = examples.passed.rungs[-1].flips[0]
    flips = tuple(dataclasses.replace(flip, name=f"n{at}") for at in range(23))
    rung = RungResult("decisions", Status.PASSED, "", flips=flips)
    text = job_summary({"a": Verification("a", "s", "t", (rung,))})
    assert text.count("| shirt | coat |") == 20
    assert "\nand 3 more\n" in text


def test_a_summary_fits_what_github_takes(examples):
    long = dataclasses.replace(examples.passed, not_checked=("ρ" * 200_000,))
    text = job_summary({f"n{at}": long for at in range(5)})
    assert len(text.encode()) < 1_000_000
    assert text.count("### ") == 2
    assert text.endswith("3 more files are not listed: the summary is full\n")
