"""Tolerances: what passes, what fails, and the arithmetic that is said about it."""

import numpy as np
import pytest

from portkit.errors import PortkitError
from portkit.verification import Options, Tolerances
from portkit.verification.comparing import pair_outputs
from portkit.verification.jobs import refuse_options
from portkit.verification.judging import (
    judge_output,
    judge_structure,
    noise_share,
)
from portkit.verification.results import Evidence

EXACT = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]])
NOISE = 1.1e-5


def evidence(off, noise=NOISE):
    """Return answers whose port is `off` from the truth in one place, the source `noise`."""
    source, port = EXACT.copy(), EXACT.copy()
    source[0, 0] += noise
    port[1, 2] += off
    return Evidence(port, source, EXACT)


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (np.ones((1, 4)), np.ones((3, 1)), "shape [1, 4], expected [3, 1]"),
        (np.ones((2, 3)), np.ones((2, 3, 1)), "shape [2, 3], expected [2, 3, 1]"),
        (np.ones((0, 4)), np.ones((0, 4)), "nothing to compare: the output is empty"),
        (np.ones(3, np.int64), np.ones(3), "dtype int64, expected float64"),
        (np.array([1, np.nan]), np.ones(2), "1 of 2 values of the port are not finite"),
        (np.array([np.inf, np.nan]), np.ones(2), "2 of 2 values of the port are not finite"),
        (np.ones(2), np.array([np.inf, 1]), "1 of 2 values of the source are not finite"),
    ],
)
def test_what_cannot_be_compared_fails(got, want, said):
    loose = Tolerances(atol=1e9, because="a test")
    for check in (
        judge_structure("x", got, want, loose),
        judge_output("x", Evidence(got, want, want), loose),
    ):
        assert (check.passed, check.what) == (False, said)


@pytest.mark.parametrize(
    ("off", "tolerances", "passed", "said"),
    [
        (2e-5, Tolerances(), True, "ρ 1.82, gate 8"),
        (5e-5, Tolerances(), True, "ρ 4.55, gate 8, above 4: unusual for a correct port"),
        (
            1e-4,
            Tolerances(),
            False,
            ("ρ 9.09, gate 8; max |port - source| 0.0001, noise 1.1e-05; worst at [1, 2]"),
        ),
        (
            1.067e-5,
            Tolerances(atol=1e-5),
            True,
            "atol 1e-5 is below this model's float32 noise (1.1e-05); judged by ρ = 0.97",
        ),
        (
            2e-5,
            Tolerances(atol=1.5e-5),
            True,
            (
                "atol 1.5e-5 is within 8 times this model's float32 noise (1.1e-05); "
                "judged by ρ = 1.82"
            ),
        ),
        (
            2e-5,
            Tolerances(atol=1e-5, strict_atol=True),
            False,
            (
                "2 of 6 values exceed atol 1e-5, atol 2e-05 would pass; ρ 1.82, gate 8; "
                "worst at [1, 2]"
            ),
        ),
        (
            2e-5,
            Tolerances(rtol=1e-4),
            True,
            "max |port - source| 2e-05, rtol 0.0001; ρ 1.82, gate 8",
        ),
        (
            3e-4,
            Tolerances(atol=1e-3),
            False,
            (
                "atol 0.001 holds, but ρ 27.27, gate 8; max |port - source| 0.0003, noise 1.1e-05; "
                "a looser gate needs a reason (--because); worst at [1, 2]"
            ),
        ),
        (
            3e-4,
            Tolerances(atol=1e-3, because="weights in bf16"),
            True,
            (
                "atol 0.001 holds, ρ 27.27, gate 8; max |port - source| 0.0003, noise 1.1e-05; "
                "because: weights in bf16"
            ),
        ),
        (
            1e-4,
            Tolerances(rho=20, because="an old processor"),
            True,
            "ρ 9.09, gate 20, above 4: unusual for a correct port, because: an old processor",
        ),
    ],
)
def test_outputs_are_judged_by_noise_and_by_what_is_asked(off, tolerances, passed, said):
    check = judge_output("x", evidence(off), tolerances)
    assert (check.what, check.passed) == (said, passed)


def test_where_atol_says_more_than_noise_the_port_must_meet_it():
    check = judge_output("x", evidence(1e-6, noise=1e-6), Tolerances(atol=5e-7))
    assert check.passed
    check = judge_output("x", evidence(2e-4, noise=1e-5), Tolerances(atol=1e-4))
    assert not check.passed


def test_a_source_without_noise_is_held_to_float32_s_resolution():
    exact = np.array([[1.0, 8.0]])
    near = Evidence(exact + 7 * 4 * 2.0**-24 * 8, exact, exact)
    far = Evidence(exact + 9 * 4 * 2.0**-24 * 8, exact, exact)
    assert judge_output("x", near, Tolerances()).passed
    assert not judge_output("x", far, Tolerances()).passed
    zeros = np.zeros((1, 2))
    assert judge_output("x", Evidence(zeros, zeros, zeros), Tolerances()).passed
    assert not judge_output("x", Evidence(zeros + 1e-30, zeros, zeros), Tolerances()).passed


def test_a_lucky_draw_among_few_outputs_is_no_false_alarm():
    lucky = evidence(2e-5, noise=1e-7)
    assert not judge_output("x", lucky, Tolerances()).passed
    share = noise_share([(EXACT + 1e-5, EXACT), (EXACT, EXACT)])
    assert share == pytest.approx(2.5e-6)
    spoken = Evidence(lucky.port, lucky.source, EXACT, share)
    assert judge_output("x", spoken, Tolerances()).passed


def test_without_a_float64_source_a_share_of_the_largest_value_is_the_gate():
    source = EXACT.astype(np.float32)
    assert judge_output("x", Evidence(source + 3e-5, source, None), Tolerances()).passed
    check = judge_output("x", Evidence(source + 6e-5, source, None), Tolerances())
    assert check.what.startswith("max |port - source| 6e-05, gate 4e-05 (no float64); worst at")


@pytest.mark.parametrize(
    ("off", "tolerances", "passed", "said"),
    [
        (3e-12, Tolerances(), True, "max |port - source| 3e-12 in float64, gate 4e-12"),
        (
            5e-12,
            Tolerances(),
            False,
            (
                "1 of 6 values differ, max |port - source| 5e-12 in float64, gate 4e-12; "
                "worst at [1, 2]"
            ),
        ),
        (
            5e-12,
            Tolerances(atol=1e-5),
            False,
            (
                "1 of 6 values differ, max |port - source| 5e-12 in float64, "
                "gate 4e-12 and atol 1e-5; worst at [1, 2]"
            ),
        ),
        (
            2e-12,
            Tolerances(atol=1e-12),
            False,
            (
                "1 of 6 values differ, max |port - source| 2e-12 in float64, "
                "gate 4e-12 and atol 1e-12; worst at [1, 2]"
            ),
        ),
        (
            5e-6,
            Tolerances(atol=1e-5, because="folded in float32"),
            True,
            "max |port - source| 5e-06 in float64, atol 1e-5, because: folded in float32",
        ),
    ],
)
def test_structure_is_held_hard(off, tolerances, passed, said):
    port = EXACT.copy()
    port[1, 2] += off
    check = judge_structure("x", port, EXACT, tolerances)
    assert (check.what, check.passed) == (said, passed)


def test_figures_are_reported_and_never_gate():
    numbers = judge_output("x", evidence(2e-5), Tolerances()).numbers
    assert numbers["cosine"] == pytest.approx(1.0)
    assert numbers["snr_db"] == pytest.approx(108.8, abs=0.1)
    assert numbers["ulp_at_largest"] == pytest.approx(2e-5 / np.spacing(np.float32(4)), rel=1e-6)


@pytest.mark.parametrize(
    ("tolerances", "said"),
    [
        (Tolerances(atol=-1.0), "--atol: must be a number from 0 on, found -1.0"),
        (Tolerances(rtol=float("nan")), "--rtol: must be a number from 0 on, found nan"),
        (Tolerances(strict_atol=True), "--strict-atol: has no use without --atol"),
        (
            Tolerances(rho=9.0),
            "rho: 9 is looser than 8\n  fix: say why with --because",
        ),
    ],
)
def test_tolerances_that_mean_nothing_are_refused(tolerances, said):
    with pytest.raises(PortkitError) as caught:
        refuse_options(Options(tolerances))
    assert str(caught.value) == said


def test_outputs_are_paired_by_name_and_none_is_left_out():
    one, two = np.ones((2, 3)), np.ones((2, 3, 1, 4))
    pairs = list(pair_outputs("x", ({"a": one, "c": two}, {"a": one, "b": one, "c": one})))
    assert [(pair.subject, len(pair.values), pair.why_not) for pair in pairs] == [
        ("x: a", 2, ""),
        ("x: c", 2, ""),
        ("x: b", 0, "the port has no output 'b', it has 'a', 'c'"),
    ]
    assert pairs[1].values[0].shape == (2, 3)
    assert next(pair_outputs("x", ({}, {}))).why_not == "no output to compare"
