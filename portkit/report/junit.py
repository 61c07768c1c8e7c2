"""Verifications as JUnit XML, which every continuous integration server reads."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from portkit.errors import PortkitError, Problem
from portkit.report.words import Results, diagnosis_in_words, judge, shown, shown_lines
from portkit.verification.results import Check, RungResult, Status, Verification

_SKIPPED = (Status.NOT_CHECKED, Status.NOT_APPLICABLE)
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def junit_of(results: Results) -> bytes:
    """Return one suite per file and rung, one case per tensor, layer or output."""
    root = Element("testsuites", name="portkit verify")
    for artifact, result in results.items():
        if isinstance(result, PortkitError):
            root.append(_broken_suite(str(artifact), result))
        else:
            root.extend(_suites(str(artifact), result))
    for name in ("failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("tests", str(sum(int(suite.get("tests", "0")) for suite in root)))
    root.set("time", _time(sum(float(suite.get("time", "0")) for suite in root)))
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suites(artifact: str, verification: Verification) -> Iterator[Element]:
    for at, rung in enumerate(verification.rungs):
        suite = Element("testsuite", name=shown(f"{artifact}: {rung.rung}"))
        if at == 0:
            _add_properties(suite, verification)
        where = shown(f"{artifact}.{rung.rung}")
        for check in rung.checks:
            _add_check(suite, where, check, rung.rung)
        _add_rung(suite, where, rung)
        _count(suite, rung.seconds)
        yield suite
    if not verification.rungs:
        suite = Element("testsuite", name=shown(artifact))
        _add_properties(suite, verification)
        case = SubElement(suite, "testcase", name="rungs", classname=shown(artifact))
        SubElement(case, "failure", message="nothing was compared", type="nothing")
        _count(suite, 0.0)
        yield suite


def _add_properties(suite: Element, verification: Verification) -> None:
    pairs = [
        ("source", verification.source),
        ("target", verification.target),
        ("verdict", judge(verification).words),
        *verification.environment.items(),
        *(("not checked", text) for text in verification.not_checked),
    ]
    properties = SubElement(suite, "properties")
    for name, value in pairs:
        SubElement(properties, "property", name=shown(name), value=shown_lines(value))


def _add_check(suite: Element, where: str, check: Check, rung: str) -> None:
    case = SubElement(suite, "testcase", name=shown(check.subject), classname=where)
    if check.passed:
        return
    diagnosis = diagnosis_in_words(check)
    message = f"{check.what} ({diagnosis})" if diagnosis else check.what
    kind = check.diagnosis.cause if check.diagnosis else rung
    failure = SubElement(case, "failure", message=shown_lines(message), type=shown(kind))
    lines = [f"{check.subject}: {check.what}", diagnosis, *_figures(check)]
    failure.text = shown_lines("\n".join(line for line in lines if line))


def _figures(check: Check) -> Iterator[str]:
    yield from (f"{name} = {value:g}" for name, value in check.numbers.items())


def _add_rung(suite: Element, where: str, rung: RungResult) -> None:
    """Add a case for the rung itself where its checks do not say how it ended."""
    failed = rung.status is Status.FAILED and not rung.failed
    if rung.status not in _SKIPPED and rung.checks and not failed:
        return
    case = SubElement(suite, "testcase", name=shown(rung.rung), classname=where)
    message = shown_lines(rung.summary or rung.status.value)
    if rung.status in _SKIPPED:
        SubElement(case, "skipped", message=message)
    elif failed:
        SubElement(case, "failure", message=message, type=shown(rung.rung))


def _broken_suite(artifact: str, error: PortkitError) -> Element:
    suite = Element("testsuite", name=shown(artifact))
    for problem in error.problems or (Problem(artifact, "cannot be verified"),):
        name = shown(problem.where or "verify")
        case = SubElement(suite, "testcase", name=name, classname=shown(artifact))
        message = shown_lines(problem.what)
        SubElement(case, "error", message=message, type="PortkitError").text = shown_lines(
            str(problem)
        )
    _count(suite, 0.0)
    return suite


def _count(suite: Element, seconds: float) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for name, tag in _COUNTED.items():
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", _time(seconds))


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
