"""Report files: refused before work, written whole, and what a run of GitHub Actions gets."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner

from portkit.cli.reporting import refuse_report_paths, report_options, write_reports
from portkit.errors import PortkitError

BOTH = """no/r.xml: cannot be written: there is no folder no
  fix: make it first
w.pth: holds something else than an earlier report
  fix: name another file"""


@pytest.fixture(autouse=True)
def no_github(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def test_the_options_name_files():
    @click.command()
    @report_options
    def command(**options):
        click.echo(repr(options))

    run = CliRunner().invoke
    assert run(command, ["--junit", "a.xml"]).output == "{'junit': 'a.xml', 'html': None}\n"
    assert "Write a JUnit XML report to FILE." in run(command, ["--help"]).output


def test_both_files_are_written_and_replaced(folder, examples):
    options = {"junit": "r.xml", "html": "r.html", "because": "old weights"}
    write_reports({"a": examples.passed}, options)
    write_reports({Path("a"): examples.failed}, options)
    assert ET.parse("r.xml").getroot().get("failures") == "6"
    page = Path("r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "NOT verified: a</title>" in page
    assert "old weights" in page
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "r.xml"]


def test_nothing_is_written_unasked(folder, examples, capsys):
    write_reports({"a": examples.failed}, {"junit": None, "html": None})
    assert list(folder.iterdir()) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"junit": "no/r.xml"}, "no/r.xml: cannot be written: there is no folder no"),
        ({"html": "."}, ".: is a folder\n  fix: name a file"),
        ({"html": "w.pth"}, "w.pth: holds something else than an earlier report"),
        ({"junit": "r.html"}, "r.html: holds something else than an earlier report"),
        ({"html": ""}, ".: is a folder"),
        ({"junit": "x", "html": "./x"}, "x: is named by --junit and by --html"),
        ({"junit": "no/r.xml", "html": "w.pth"}, BOTH),
    ],
)
def test_files_that_cannot_be_written_are_refused(folder, examples, options, said):
    (folder / "w.pth").write_bytes(b"weights")
    (folder / "r.html").write_bytes(b"<!DOCTYPE html>")
    for act in (refuse_report_paths, lambda given: write_reports({"a": examples.passed}, given)):
        with pytest.raises(PortkitError) as caught:
            act(options)
        assert str(caught.value).startswith(said)
    assert (folder / "w.pth").read_bytes() == b"weights"


def test_new_empty_and_earlier_reports_are_no_obstacle(folder):
    (folder / "empty").touch()
    (folder / "old.html").write_text("<!DOCTYPE HTML><html>")
    refuse_report_paths({"junit": "empty", "html": "old.html"})
    refuse_report_paths({"junit": "new.xml", "html": None})
    refuse_report_paths({})


@pytest.mark.parametrize("as_json", [False, True])
def test_github_gets_annotations_and_a_summary(folder, examples, capsys, monkeypatch, as_json):
    summary = folder / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    write_reports({"a": examples.failed}, {"as_json": as_json})
    out, err = capsys.readouterr()
    told, silent = (err, out) if as_json else (out, err)
    assert silent == ""
    assert told.count("::error title=") == 6
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n## portkit verify\n")
    assert "❌ a: NOT verified" in text


@pytest.mark.parametrize("value", ["", "false"])
def test_elsewhere_github_gets_nothing(folder, examples, capsys, monkeypatch, value):
    monkeypatch.setenv("GITHUB_ACTIONS", value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    write_reports({"a": examples.failed}, {})
    assert capsys.readouterr() == ("", "")
    assert list(folder.iterdir()) == []


def test_a_summary_that_cannot_be_written_is_said(folder, examples, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder))
    with pytest.raises(PortkitError, match="cannot be written: Is a directory"):
        write_reports({"a": examples.passed}, {})


def test_any_name_can_be_encoded(folder, examples):
    hurt = dataclasses.replace(examples.hurt, source="\ud800")
    write_reports({examples.hostile: hurt}, {"junit": "r.xml", "html": "r.html"})
    assert ET.parse(folder / "r.xml").getroot().get("tests") == "1"
