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


def rho_in_words(rho: float) -> str:
    """Return ρ as short as it can be said."""
    if rho == float("inf"):
        return "∞"
    return f"{rho:.2f}" if 0.01 <= rho < 1000 or rho == 0 else f"{rho:.1e}"


def layers_of(verification: Verification) -> tuple[Check, ...]:
    """Return the checks of the layers rung that measured a ρ, in the order of the model."""
    rungs = (rung for rung in verification.rungs if rung.rung == "layers")
    return tuple(check for rung in rungs for check in rung.checks if "rho" in check.numbers)


def gate_in_words(layers: Sequence[Check], gate: float) -> str:
    """Say what ρ was held to; layers compared in float64 are held to far less."""
    held = all(check.passed == (check.numbers["rho"] <= gate) for check in layers)
    return f"gate {gate:g}" if held else f"{gate:g}, the gate in float32; compared in float64"


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
