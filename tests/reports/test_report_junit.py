"""JUnit XML: what Jenkins's schema asks for, written as rules, and what each case says."""

import re
from xml.etree import ElementTree as ET

import pytest

from portkit.report.junit import junit_of
from portkit.verification.results import RungResult, Status, Verification

# Element: its attributes (required ones first), and the children that it may have.
SCHEMA = {
    "testsuites": ((), ("name", "time", "tests", "failures", "disabled", "errors"), {"testsuite"}),
    "testsuite": (
        ("name", "tests"),
        ("failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "package"),
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": ((), (), {"property"}),
    "property": (("name", "value"), (), set()),
    "testcase": (
        ("name",),
        ("assertions", "time", "classname", "status"),
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "skipped": ((), ("type", "message"), set()),
    "error": ((), ("type", "message"), set()),
    "failure": ((), ("type", "message"), set()),
}
TIME = re.compile(r"\d+\.\d{3}")


def parsed(results):
    return ET.fromstring(junit_of(results))


def suite_of(root, name):
    (found,) = [suite for suite in root if suite.get("name") == name]
    return found


def test_the_document_follows_the_schema(examples):
    root = parsed(examples.all)
    assert root.tag == "testsuites"
    for element in root.iter():
        required, optional, children = SCHEMA[element.tag]
        assert set(required) <= set(element.attrib) <= {*required, *optional}
        assert {child.tag for child in element} <= children
        if element.get("time") is not None:
            assert TIME.fullmatch(element.get("time"))


def test_counts_are_what_is_there(examples):
    root = parsed(examples.all)
    for element in (root, *root):
        cases = list(element.iter("testcase"))
        assert cases
        assert int(element.get("tests")) == len(cases)
        assert int(element.get("failures")) == len(list(element.iter("failure")))
        assert int(element.get("errors")) == len(list(element.iter("error")))
    for suite in root:
        assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
        for case in suite.iter("testcase"):
            assert len(case) <= 1
    assert (root.get("failures"), root.get("errors")) == ("8", "2")


def test_there_is_a_suite_for_each_file_and_rung(examples):
    root = parsed({"a.safetensors": examples.passed, "b.safetensors": examples.failed})
    assert [suite.get("name") for suite in root] == [
        *(f"a.safetensors: {rung.rung}" for rung in examples.passed.rungs),
        *(f"b.safetensors: {rung.rung}" for rung in examples.failed.rungs),
    ]
    assert [case.get("name") for case in suite_of(root, "b.safetensors: bits")][1:] == [
        "conv.weight",
        "classifier.3.weight",
        "classifier.6.bias",
    ]
    assert suite_of(root, "a.safetensors: bits").get("time") == "2.340"
    assert root.get("time") == "49.350"


def test_a_failure_says_what_and_why(examples):
    root = parsed({"b": examples.failed})
    right, turned, plain = suite_of(root, "b: bits").iter("testcase")
    assert len(right) == 0
    assert turned.get("classname") == "b.bits"
    assert turned[0].attrib == {
        "message": (
            "16,773,120 of 16,777,216 differ, first at (0, 1) "
            "(transposed: it equals the transpose of its source, 16,777,216 elements)"
        ),
        "type": "transposed",
    }
    assert turned[0].text.splitlines() == [
        "classifier.3.weight: 16,773,120 of 16,777,216 differ, first at (0, 1)",
        "transposed: it equals the transpose of its source, 16,777,216 elements",
        "max_abs = 0.4",
    ]
    assert plain[0].attrib == {"message": "7 of 7 differ", "type": "bits"}


@pytest.mark.parametrize("status", [Status.NOT_CHECKED, Status.NOT_APPLICABLE])
def test_rungs_that_were_not_checked_are_skipped(status):
    rung = RungResult("structure", status, "torch is not installed")
    (suite,) = parsed({"a": Verification("a", "s", "t", (rung,))})
    assert (suite.get("tests"), suite.get("skipped"), suite.get("failures")) == ("1", "1", "0")
    assert suite.find("testcase/skipped").attrib == {"message": "torch is not installed"}


def test_a_rung_that_failed_without_a_failed_check_fails():
    rung = RungResult("layers", Status.FAILED, "no layer is paired")
    (suite,) = parsed({"a": Verification("a", "s", "t", (rung,))})
    assert suite.find("testcase/failure").get("message") == "no layer is paired"


def test_nothing_compared_is_a_failure(examples):
    (suite,) = parsed({"a": examples.nothing})
    assert suite.find("testcase/failure").get("message") == "nothing was compared"
    assert suite.get("failures") == "1"


def test_what_could_not_be_found_out_is_an_error(examples):
    (suite,) = parsed({"w.npz": examples.error})
    assert [case.get("name") for case in suite] == ["w.npz", "verify"]
    assert suite.find("testcase/error").attrib == {
        "message": "says nothing of where it came from",
        "type": "PortkitError",
    }
    assert suite.find("testcase/error").text.endswith("fix: name its source with --against")


def test_what_was_not_checked_and_where_it_ran_are_properties(examples):
    suite, *others = parsed({"a": examples.passed})
    found = [(one.get("name"), one.get("value")) for one in suite.iter("property")]
    assert ("not checked", "accuracy: no labels were given") in found
    assert ("TF32", "off") in found
    assert ("verdict", "verified") in found
    assert all(other.find("properties") is None for other in others)


def test_characters_that_xml_forbids_are_shown(examples):
    document = junit_of(examples.all_hurt).decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", document)
    case = ET.fromstring(document.encode()).find("testsuite/testcase")
    assert case.get("name").startswith("""x<script>alert(1)</script>'"&]]>|`*_%,:\\x0a::error""")
    assert case.get("name").endswith(r"\x1b[31m\x00\ud800\u202e")


def test_no_file_is_an_empty_document():
    root = parsed({})
    assert (len(root), root.get("tests"), root.get("failures")) == (0, "0", "0")
