"""Answers of two models: which flips are ties, which port is worse, and what proves nothing."""

import numpy as np
import pytest

from portkit.verification import Status
from portkit.verification.accuracy import check_accuracy
from portkit.verification.answering import Seen
from portkit.verification.decisions import check_decisions

NOISE = 1e-5  # of the source: a tie is up to 16 times as much
CLASSES = 8
NONE = np.zeros((0, CLASSES), np.float32)


def logits(count=30):
    """Logits whose margins are 1, the right class going round."""
    made = np.tile(np.arange(CLASSES, 0, -1, dtype=np.float32), (count, 1))
    return np.stack([np.roll(row, n) for n, row in enumerate(made)])


def seen(count=30, *, labels=True):
    return Seen(
        tuple(f"{n}.png" for n in range(count)),
        tuple("abcdefgh"),
        tuple(n % CLASSES for n in range(count)) if labels else None,
        "d1235",
        "all of them",
        ("a note",),
        lambda place: b"PNG %d" % place,
    )


def nearly(source, margins):
    """Bring the first images' second answers this close to the first; the port swaps the two."""
    source, port = source.copy(), source.copy()
    for place, margin in enumerate(margins):
        first, second = np.argsort(-source[place], kind="stable")[:2]
        source[place, second] = source[place, first] - np.float32(margin)
        port[place] = source[place]
        port[place, [first, second]] = source[place, [second, first]]
    return source, port


def decide(source, port, noise=NOISE, images=None):
    return check_decisions(source, port, noise, images or seen(len(source)))


# Decisions


def test_the_same_answers_pass():
    result = decide(logits(), logits())
    assert result.status is Status.PASSED
    assert result.summary == "30 of 30 images are answered alike"
    assert [check.subject for check in result.checks] == ["source", "top-1", "top-5"]
    assert result.flips == ()
    assert result.notes == (
        "a note",
        "all of them; ids d1235",
        "at most 9.50% of all such images are answered otherwise (95 %, one-sided)",
    )


def test_a_flip_is_a_tie_only_within_twice_the_tolerance():
    source, port = nearly(logits(), [1e-4, 3e-4, 0.5])
    result = decide(source, port)
    assert result.status is Status.FAILED
    assert [(flip.name, flip.is_tie) for flip in result.flips] == [
        ("2.png", False),
        ("1.png", False),
        ("0.png", True),
    ]
    assert [flip.margin for flip in result.flips] == pytest.approx([0.5, 3e-4, 1e-4], rel=0.02)
    flip = result.flips[0]
    assert (flip.label, flip.before, flip.after, flip.picture) == ("c", "c", "d", b"PNG 2")
    assert result.summary == "27 of 30 images are answered alike, 1 are ties"
    assert result.checks[1].what == (
        "27 of 30 answers are the same, 1 differ by a tie, 2 differ by more than a tie (0.00016): "
        "2.png by 0.5, 1.png by 0.0003"
    )


def test_ties_alone_pass_and_are_listed():
    result = decide(*nearly(logits(), [1e-4, 0.0]))
    assert result.status is Status.PASSED
    assert [flip.is_tie for flip in result.flips] == [True]
    assert result.checks[1].what == "29 of 30 answers are the same, 1 differ by a tie"


def test_a_source_without_noise_has_ties_within_float32s_resolution():
    largest = float(logits().max())
    within, beyond = 2 * 4 * 2.0**-24 * largest * 0.9, 2 * 4 * 2.0**-24 * largest * 1.5
    assert decide(*nearly(logits(), [within]), noise=0.0).status is Status.PASSED
    assert decide(*nearly(logits(), [beyond]), noise=0.0).status is Status.FAILED


def test_unlabelled_images_are_decided_too():
    result = decide(*nearly(logits(), [0.5]), images=seen(labels=False))
    assert result.flips[0].label == ""


def test_a_change_among_the_first_five_is_seen():
    source, port = logits(), logits()
    order = np.argsort(-source[4])
    port[4, order[5]] = source[4, order[3]] + 0.25
    result = decide(source, port)
    assert [check.passed for check in result.checks] == [True, True, False]
    assert result.checks[2].what.endswith("differ by more than a tie (0.00016): 4.png by 1")
    assert result.flips == ()
    swapped = logits()
    swapped[4, order[[1, 2]]] = swapped[4, order[[2, 1]]]
    assert decide(source, swapped).status is Status.PASSED


def test_pictures_are_shown_of_few():
    result = decide(*nearly(logits(), [0.5] * 30))
    assert len(result.flips) == 30
    assert [bool(flip.picture) for flip in result.flips] == [True] * 24 + [False] * 6


@pytest.mark.parametrize(
    ("source", "port", "noise", "count", "words"),
    [
        (logits(), logits() * np.nan, NOISE, 30, "240 of 240 values of the port are not finite"),
        (logits() * np.nan, logits(), NOISE, 30, "240 of 240 values of the source are not finite"),
        (logits(), logits()[:, :-1], NOISE, 30, "shape [30, 7], expected [30, 8]"),
        (logits(), logits()[:1], NOISE, 30, "shape [1, 8], expected [30, 8]"),
        (NONE, NONE, NOISE, 0, "nothing to compare: the output is empty"),
        (logits(), logits(), NOISE, 29, "logits are [30, 8] for 29 images"),
        (logits()[:, :1], logits()[:, :1], NOISE, 30, "the models have one answer only"),
        (logits(), logits(), np.nan, 30, "the source's float32 error is nan"),
        (logits(), logits(), np.inf, 30, "the source's float32 error is inf"),
    ],
)
def test_what_cannot_be_decided_fails(source, port, noise, count, words):
    result = decide(source, port, noise, seen(count))
    assert result.status is Status.FAILED
    assert result.summary.startswith(words)


def test_a_tolerance_that_excuses_everything_fails():
    result = decide(logits(), logits()[:, ::-1], noise=10.0)
    assert result.status is Status.FAILED
    assert result.checks[0].what == "0 of 30 answers are no ties (margin above 1.6e+02)"


def test_one_answer_to_everything_is_vacuous():
    alike = np.repeat(logits(1), 30, axis=0)
    assert decide(alike, alike).notes[-1] == (
        "vacuous: the source gives one answer to all 30 images"
    )
    assert "vacuous" not in " ".join(decide(alike[:20], alike[:20]).notes)


# Accuracy


def wrong(source, count, start=0):
    """Answer so many images with the second class."""
    made = source.copy()
    made[start : start + count] = np.roll(source[start : start + count], 1, axis=1)
    return made


def test_the_same_accuracy_passes():
    result = check_accuracy(wrong(logits(), 3), wrong(logits(), 3), seen())
    assert result.status is Status.PASSED
    assert result.summary == ("top-1 90.00% (73.47% to 97.89%), 27 of 30 images, the source 90.00%")
    assert [check.subject for check in result.checks] == ["top-1", "top-5"]
    assert result.checks[0].what == (
        "source 90.00% (73.47% to 97.89%), port 90.00% (73.47% to 97.89%); "
        "0 lost, 0 gained, McNemar p = 1"
    )
    assert result.notes == (
        "a note",
        "all of them; ids d1235",
        "0 answers differ: at most 9.50% of all such images do (95 %, one-sided)",
    )


@pytest.mark.parametrize(("lost", "status"), [(5, Status.PASSED), (6, Status.FAILED)])
def test_a_loss_that_chance_does_not_explain_fails(lost, status):
    result = check_accuracy(logits(), wrong(logits(), lost), seen())
    assert result.status is status
    assert result.checks[0].numbers["lost"] == lost
    assert ("worse than chance explains" in result.checks[0].what) is (status is Status.FAILED)


def test_a_loss_among_the_first_five_fails():
    port = logits()
    for row in port[:8]:
        row[row.argmax()] = 2.5  # behind five others
    source = logits()
    for row in source[:8]:
        row[row.argmax()] = 6.5  # second
    result = check_accuracy(source, port, seen())
    assert [check.passed for check in result.checks] == [True, False]


def test_gains_do_not_fail_and_are_said_to_be_odd():
    result = check_accuracy(wrong(logits(), 8), logits(), seen())
    assert result.status is Status.PASSED
    assert "the port is right more often than the source: it does not compute the same" in (
        result.notes
    )


def test_losses_are_not_made_up_for_by_as_many_gains():
    result = check_accuracy(wrong(logits(), 8), wrong(logits(), 8, 8), seen())
    assert (result.checks[0].numbers["lost"], result.checks[0].numbers["gained"]) == (8, 8)
    assert "16 answers differ: at most 69.15% of all such images do" in result.notes[-1]


def test_labels_in_another_order_are_suspected():
    turned = np.roll(logits(), 3, axis=1)
    result = check_accuracy(turned, turned, seen())
    assert result.status is Status.PASSED
    assert (
        "the source itself is right on 0.00% of the images, guessing is on 12.50%: "
        "are the labels in another order, or the weights untrained?"
    ) in result.notes
    assert not any("guessing" in note for note in check_accuracy(logits(), logits(), seen()).notes)


def test_without_labels_nothing_is_said():
    result = check_accuracy(logits(), logits(), seen(labels=False))
    assert (result.status, result.summary) == (Status.NOT_CHECKED, "the images have no labels")


@pytest.mark.parametrize(
    ("source", "port", "images", "words"),
    [
        (logits(), logits() * np.nan, seen(), "are NaN for 30 images"),
        (logits(), logits()[:, :6], seen(), "shape [30, 6], expected [30, 8]"),
        (logits(), logits(), seen(29), "are [30, 8], labels [29]; [images, classes] and"),
        (logits()[:, :6], logits()[:, :6], seen(), "reach from 0 to 7, the logits have 6 classes"),
        (np.zeros((0, 8)), np.zeros((0, 8)), seen(0), "are of 0 images, at least 1 is needed"),
    ],
)
def test_what_cannot_be_measured_fails(source, port, images, words):
    result = check_accuracy(source, port, images)
    assert result.status is Status.FAILED
    assert result.summary.startswith(words)
