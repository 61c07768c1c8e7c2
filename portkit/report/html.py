"""Verifications as one page that needs nothing else: no network, no script, no font."""

from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from portkit.errors import PortkitError
from portkit.report import charts, words
from portkit.report.words import Results, Tone, Verdict
from portkit.verification.results import Check, Status, Tolerances, Verification

_FAILED, _NEAREST, _HISTOGRAMS, _FLIPS = 50, 10, 12, 60  # the most that is shown of each
_QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "coverage": "Is every tensor accounted for, and the configuration alike?",
        "bits": "Is the file exactly what the plan makes of the source?",
        "structure": "Is it the same function, in float64?",
        "dense": "Does the score map mean what it should beyond the training size?",
        "layers": "Where do the two first differ?",
        "outputs": "Do both compute the same as deployed, in float32?",
        "pipeline": "From pixels, too?",
        "decisions": "Are images answered alike?",
        "accuracy": "Is it as accurate on labelled images?",
    }
)
_MARKS = MappingProxyType({Tone.GOOD: "✓", Tone.PARTLY: "!", Tone.BAD: "✗"})
_STATUSES = MappingProxyType(
    {
        Status.PASSED: ("✓", Tone.GOOD),
        Status.FAILED: ("✗", Tone.BAD),
        Status.NOT_CHECKED: ("!", Tone.PARTLY),
        Status.NOT_APPLICABLE: ("–", "none"),
    }
)


def html_of(results: Results, tolerances: Tolerances | None = None) -> str:
    """Return a page for all files; whatever names hold, it is text there and nothing else."""
    verdicts = [(str(artifact), _judge(result), result) for artifact, result in results.items()]
    page = _environment().get_template("report.html.j2")
    return page.render(
        files=verdicts, title=_title(verdicts), tolerances=tolerances or Tolerances()
    )


def _judge(result: Verification | PortkitError) -> Verdict:
    if isinstance(result, PortkitError):
        return Verdict("not found out", Tone.BAD)
    return words.judge(result)


def _title(files: list[tuple[str, Verdict, Any]]) -> str:
    if len(files) == 1:
        artifact, verdict, _ = files[0]
        return f"{verdict.words}: {artifact}"
    tones = [verdict.tone for _, verdict, _ in files]
    partly = f", {tones.count(Tone.PARTLY)} in part" if Tone.PARTLY in tones else ""
    return f"{tones.count(Tone.GOOD)} of {len(files)} files verified{partly}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("portkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "checks_of": _checks_of,
        "failed_of": _failed_of,
        "nearest_of": _nearest_of,
        "histograms_of": _histograms_of,
        "flips_of": words.flips_of,
        "layers_of": words.layers_of,
        "scale_of": words.scale_of,
        "size_of": words.size_of,
        "layout_layers": charts.layout_layers,
        "layout_histogram": charts.layout_histogram,
        "is_error": lambda result: isinstance(result, PortkitError),
        "marks": _MARKS,
        "statuses": _STATUSES,
        "questions": _QUESTIONS,
        "most": {"failed": _FAILED, "flips": _FLIPS, "histograms": _HISTOGRAMS},
        "gates": _gates,
    }
    environment.filters |= {
        "seconds": words.seconds_in_words,
        "size": words.size_in_words,
        "data_uri": _data_uri,
    }
    return environment


def _visible(value: Any) -> Any:
    """Show characters that would steer the reader's eye or break the encoding."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return words.shown_lines(value) if plain else value


def _checks_of(verification: Verification) -> list[tuple[str, Check]]:
    return [(rung.rung, check) for rung in verification.rungs for check in rung.checks]


def _failed_of(verification: Verification) -> list[tuple[str, Check]]:
    return [(rung, check) for rung, check in _checks_of(verification) if not check.passed]


def _nearest_of(verification: Verification) -> list[tuple[str, Check]]:
    """Return the checks that passed with the largest ρ, largest first."""
    measured = [
        (rung, check)
        for rung, check in _checks_of(verification)
        if check.passed and "rho" in check.numbers
    ]
    return sorted(measured, key=lambda one: -one[1].numbers["rho"])[:_NEAREST]


def _histograms_of(verification: Verification) -> list[tuple[str, Check]]:
    """Return the checks that counted their differences, failed ones first."""
    counted = [
        (rung, check) for rung, check in _checks_of(verification) if check.histogram is not None
    ]
    return sorted(counted, key=lambda one: one[1].passed)


def _gates(tolerances: Tolerances) -> list[tuple[str, str]]:
    """Return what each rung lets through, in words."""
    from portkit.verification.judging import FOLDED, STRUCTURE, WITHOUT_EXACT

    asked = [
        f"{name} {value:g}"
        for name, value in (("atol", tolerances.atol), ("rtol", tolerances.rtol))
        if value is not None
    ]
    strict = ", also for float32 rounding" if tolerances.strict_atol else ""
    noise = f"ρ up to {tolerances.rho:g}, unusual above {tolerances.rho_warn:g}"
    without = f"{WITHOUT_EXACT:g} of the largest value where the source cannot run in float64"
    exceptions = (
        f"{FOLDED:g} where the mapping computes weights, {WITHOUT_EXACT:g} where a model rounds"
    )
    gates = [
        ("coverage and bits", "nothing: every tensor, every bit"),
        ("structure and dense", f"{STRUCTURE:g} of the largest value, in float64; {exceptions}"),
        ("layers, outputs and pipeline", f"{noise}; {without}"),
        ("decisions", "flips that rounding alone explains: ties"),
        ("asked for", f"{', '.join(asked) or 'nothing else'}{strict}"),
    ]
    return [*gates, ("because", tolerances.because)] if tolerances.because else gates


def _data_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{b64encode(picture).decode()}"
