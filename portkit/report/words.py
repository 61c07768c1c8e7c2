"""What every report says in the same words: verdicts, times, names that may hold anything."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from portkit.errors import PortkitError
from portkit.verification.results import (
    NOT_ASKED,
    Check,
    FlippedImage,
    RungResult,
    Status,
    Verification,
)

Result = Verification | PortkitError
Results = Mapping[Path, Result] | Mapping[str, Result] | Mapping[Path | str, Result]

SHORTEST = 0.05  # seconds that are worth a word
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN = rf"\x7f-\x9f\u2028\u2029{_BIDI}\ud800-\udfff\ufffe\uffff"
_UNSHOWN = re.compile(rf"[\x00-\x1f{_UNSEEN}]")
_UNSHOWN_IN_LINES = re.compile(rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]")


class Tone(StrEnum):
    """How good a verdict is."""

    GOOD = "good"
    PARTLY = "partly"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification comes to."""

    words: str
    tone: Tone


def judge(verification: Verification) -> Verdict:
    """Return the verdict in words, which names what was left out."""
    if not verification.passed:
        return Verdict("NOT verified", Tone.BAD)
    left = [rung.rung for rung in verification.rungs if rung.status is Status.NOT_CHECKED]
    if left:
        return Verdict(f"verified, all but {listed(left)}", Tone.PARTLY)
    if any(text.endswith(NOT_ASKED) for text in verification.not_checked):
        climbed = [rung.rung for rung in verification.rungs if rung.status is Status.PASSED]
        return Verdict(f"verified: {listed(climbed)} only", Tone.PARTLY)
    return Verdict("verified", Tone.GOOD)


def listed(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def seconds_in_words(seconds: float) -> str:
    """Return `1.2 s`, and nothing for times too short to matter."""
    return f"{seconds:,.1f} s" if seconds > SHORTEST else ""


def diagnosis_in_words(check: Check) -> str:
    """Return `transposed: it equals its source's transpose`, and nothing without a diagnosis."""
    if check.diagnosis is None:
        return ""
    cause, evidence = check.diagnosis.cause, check.diagnosis.evidence
    return f"{cause}: {evidence}" if evidence else cause


def flip_in_words(flip: FlippedImage) -> str:
    """Return one image's two answers and how near they were."""
    label = f" ({flip.label})" if flip.label else ""
    tie = "a tie" if flip.is_tie else "no tie"
    return f"{flip.name}{label}: {flip.before} → {flip.after}, margin {flip.margin:.3g}, {tie}"


def size_in_words(size: float) -> str:
    """Return ρ, or a share, as short as it can be said."""
    if size == float("inf"):
        return "∞"
    return f"{size:.2f}" if 0.01 <= size < 1000 or size == 0 else f"{size:.1e}"


def layers_of(verification: Verification) -> tuple[Check, ...]:
    """Return the checks of the layers rung that measured something, in the order of the model."""
    rungs = (rung for rung in verification.rungs if rung.rung == "layers")
    return tuple(check for rung in rungs for check in rung.checks if "gate" in check.numbers)


@dataclass(frozen=True, slots=True)
class Scale:
    """What was measured of layers, and the most of it that is let through."""

    unit: str
    title: str
    gate: float


def scale_of(layers: Sequence[Check]) -> Scale:
    """Return what a rung measured: ρ in float32, a share of the largest value without rounding."""
    numbers = layers[0].numbers
    if "rho" in numbers:
        return Scale("ρ", "ρ by layer", numbers["gate"])
    return Scale("share", "differences by layer, shares of the largest value", numbers["gate"])


def size_of(layer: Check) -> float:
    """Return how far off a layer is, on the scale of its rung; infinity for what is no number."""
    size = layer.numbers.get("rho", layer.numbers.get("share", float("nan")))
    return float("inf") if size != size else size  # noqa: PLR0124


def flips_of(verification: Verification) -> tuple[FlippedImage, ...]:
    """Return the images that source and port answer differently, each once."""
    flips = (flip for rung in verification.rungs for flip in rung.flips)
    return tuple(dict.fromkeys(flips))


def failed_rungs(verification: Verification) -> tuple[RungResult, ...]:
    return tuple(rung for rung in verification.rungs if rung.status is Status.FAILED)


def shown(text: str) -> str:
    r"""Return a name on one line, with characters that steer a terminal written as `\x1b`."""
    return _UNSHOWN.sub(_escape, text)


def shown_lines(text: str) -> str:
    """Return words that may take several lines, as `shown` does."""
    return _UNSHOWN_IN_LINES.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
