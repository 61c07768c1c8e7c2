"""The command line: exit codes, where words go, what each command says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from portkit.cli import console, main
from portkit.cli.bars import DrawnProgress, choose_progress
from portkit.progress import SILENT

SMALL = "(num_classes=7, in_channels=2, width=0.0625, hidden=24, pooled=3)"
SOURCE = f"fc-head:vgg11{SMALL}@random"


def failing(error):
    def raise_it(*_, **__):
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (
            AssertionError("the sky fell"),
            70,
            "this is a bug in portkit: AssertionError: the sky fell",
        ),
        (RecursionError("too deep"), 70, "this is a bug in portkit: RecursionError: too deep"),
    ],
)
def test_whatever_happens_has_its_exit_code(run, monkeypatch, error, code, said):
    monkeypatch.setattr(main.group, "invoke", failing(error))
    ran = run("plan", "a", "b")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["conver"], "error: portkit: no command 'conver'\n  fix: did you mean 'convert'?\n"),
        (
            ["frobnicate"],
            (
                "error: portkit: no command 'frobnicate'\n"
                "  fix: use one of: convert, verify, plan, inspect, mappings, demo\n"
            ),
        ),
        (
            ["plan", "--zzz"],
            "error: portkit plan: no such option '--zzz'\n  fix: `portkit plan --help` shows how\n",
        ),
        (
            ["plan", "a"],
            "error: portkit plan: missing argument 'DST'\n  fix: `portkit plan --help` shows how\n",
        ),
        (
            ["convert", "a", "b", "--shard-size", "big"],
            (
                "error: portkit convert: invalid value for '--shard-size': 'big' is no size, "
                "write 2GB or 500MB\n  fix: `portkit convert --help` shows how\n"
            ),
        ),
        (
            ["verify", "a", "--rungs", "bit"],
            (
                "error: --rungs: no rung is called 'bit'\n"
                "  fix: use some of: coverage, bits, structure, dense, layers, outputs, "
                "pipeline, decisions, accuracy\n"
            ),
        ),
        (["inspect", "no.pth"], "error: no.pth: no such file\n"),
    ],
)
def test_bad_usage_exits_2_with_one_complaint(run, words, said):
    ran = run(*words)
    assert (ran.code, ran.out, ran.err) == (2, "", said)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_help(run, command):
    ran = run(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: portkit {command}")


def test_the_version_is_the_package_s(run):
    assert run("--version").out == "portkit, version 0.1.0\n"


def test_a_reader_that_leaves_is_no_fault():
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-c", "from portkit.cli.main import main; main()", "--help"]
    ran = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, "")


def test_a_terminated_process_says_so_and_unwinds():
    script = (
        "import os, signal\nfrom portkit.cli import main\n"
        "def hang(*_, **__):\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n        print('unwound', flush=True)\n"
        "main.group.invoke = hang\nmain.main()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "plan"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (128 + signal.SIGTERM, "unwound\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    words = [sys.executable, "-c", "from portkit.cli.main import main; main()"]
    environment = {**os.environ, "_PORTKIT_COMPLETE": f"{shell}_complete"}
    environment |= {"COMP_WORDS": "portkit con", "COMP_CWORD": "1" if shell != "fish" else "con"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert "convert" in ran.stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (553_430_880, "553.4 MB"),
        (5 * 10**12, "5000.0 GB"),
    ],
)
def test_sizes_read_as_people_say_them(count, text):
    assert console.readable_bytes(count) == text


def test_tables_cut_nothing():
    lines = console.layout_table(
        ("name", "size"), [("a.very.long.name", "7"), ("b", "1234")], right=(1,)
    )
    assert lines == ["name              size", "a.very.long.name     7", "b                 1234"]


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.shows_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not console.shows_colour(Terminal())


def test_progress_is_silent_where_nobody_watches():
    assert choose_progress() is SILENT


def test_a_bar_is_drawn_only_for_work_that_lasts(monkeypatch, capfd):
    moments = iter([0.0, 0.1, 1.0, 1.1])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("portkit.cli.bars.monotonic", lambda: next(moments))
    bars = DrawnProgress()
    bars.start("moving weights", 100)
    bars.advance(10)
    assert capfd.readouterr().err == ""
    bars.advance(40)
    bars.advance(50)
    bars.finish()
    assert "moving weights" in capfd.readouterr().err


# --- convert and plan ----------------------------------------------------------------------------


def test_convert_says_what_it_did_and_what_comes_next(run, folder):
    ran = run("convert", SOURCE, "conv-head")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"port      fc-head:vgg11{SMALL}@random:0 → conv-head:vgg11{SMALL}\n"
        "route     fc-head → torchvision → conv-head\n"
        "mapping   vgg/torchvision_to_fc-head (inverted), vgg/torchvision_to_conv-head\n"
        "tensors   22: 19 as they are, 3 reshaped\n"
        "facts     batchnorm_eps 1e-05; padding zeros; pooling ceil_mode false; "
        "valid_sizes h 96 to 127, w 96 to 127\n"
        "wrote     vgg11-conv-head.safetensors (175.8 kB)\n"
        "next      portkit verify vgg11-conv-head.safetensors\n"
    )
    assert [path.name for path in folder.iterdir()] == ["vgg11-conv-head.safetensors"]


def test_facts_are_said_as_lists_and_ranges(run):
    np.savez("w.npz", w=np.zeros(2, np.float32))
    Path("m.yaml").write_text(
        "portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n  - map: w\n"
        "facts:\n  valid_sizes: {h: [96, 127], w: [96, 127]}\n"
        "  input:\n"
        "    source: {channel_order: BGR, range: [0, 255], mean: [0.485, 0.456, 0.406]}\n"
        "    target: {channel_order: RGB, range: [0, 1], mean: [0, 0, 0]}\n"
    )
    ran = run("plan", "w.npz", "ours", "--mapping", "m.yaml")
    assert ran.out.splitlines()[-1] == (
        "facts     valid_sizes h 96 to 127, w 96 to 127; "
        "input source channel_order bgr, range 0.0, 255.0, mean 0.485, 0.456, 0.406, "
        "target channel_order rgb, range 0.0, 1.0, mean 0.0, 0.0, 0.0"
    )


def test_convert_refuses_an_existing_output(run):
    run("convert", SOURCE, "conv-head", "-q")
    ran = run("convert", SOURCE, "conv-head", "-q")
    assert (ran.code, ran.err) == (
        2,
        "error: vgg11-conv-head.safetensors: already exists\n  fix: use --force to replace it\n",
    )
    assert run("convert", SOURCE, "conv-head", "-q", "--force") == (0, "", "")


def test_a_dry_run_writes_nothing(run, folder):
    ran = run("convert", SOURCE, "conv-head", "--dry-run")
    assert ran.out.endswith("would     write vgg11-conv-head.safetensors\n")
    assert list(folder.iterdir()) == []


def test_json_is_one_document_and_nothing_else(run):
    ran = run("convert", SOURCE, "conv-head", "--json")
    assert ran.err == ""
    assert ran.json["written"] is True
    assert ran.json["output"] == "vgg11-conv-head.safetensors"
    assert ran.json["counts"] == {"as they are": 19, "reshaped": 3}


def test_large_outputs_are_split(run, folder):
    assert run("convert", SOURCE, "conv-head", "--shard-size", "100kB", "-q").code == 0
    assert (folder / "vgg11-conv-head.safetensors.index.json").is_file()
    ran = run("convert", SOURCE, "conv-head", "--shard-size", "100kB", "--force")
    assert ran.out.endswith("next      portkit verify vgg11-conv-head.safetensors.index.json\n")


def test_a_plan_shows_every_tensor_with_its_marks(run):
    ran = run("plan", SOURCE, "conv-head")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["source", "ops", "target", "blind", "rule"]
    first = next(line for line in lines if line.startswith("classifier.2.weight"))
    assert "F32[24, 288]" in first
    assert "F32[24, 32, 3, 3]" in first
    assert "f flatten order: axes are merged or split: another order would fit" in lines


def test_a_plan_can_be_saved(run):
    assert run("plan", SOURCE, "conv-head", "-o", "plan.json").code == 0
    saved = json.loads(Path("plan.json").read_text())
    assert saved == run("plan", SOURCE, "conv-head", "--json").json
    assert run("plan", SOURCE, "conv-head", "-o", "plan.json").err == (
        "error: plan.json: already exists\n  fix: use --force to replace it\n"
    )


def test_a_long_plan_is_folded_until_all_is_asked_for(run):
    many = {f"layer.{i}.weight": np.arange(i + 1, dtype=np.float32) for i in range(70)}
    np.savez("many.npz", **many)
    Path("m.yaml").write_text(
        'portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n  - map: "layer.{i}.weight"\n'
    )
    folded = run("plan", "many.npz", "ours", "--mapping", "m.yaml").out
    assert "layer.0.weight and 69 more" in folded
    assert "70 tensors, one line a rule: --all shows each" in folded
    assert "layer.69.weight" in run("plan", "many.npz", "ours", "--mapping", "m.yaml", "--all").out


def test_all_misfits_are_printed(run):
    np.savez("w.npz", a=np.zeros(2, np.float32), b=np.zeros(3, np.float32))
    Path("m.yaml").write_text(
        "portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n  - map: c\n"
    )
    ran = run("convert", "w.npz", "ours", "--mapping", "m.yaml")
    assert (ran.code, ran.err) == (
        2,
        (
            "error: m.yaml: no rule takes a F32[2]\n"
            "error: m.yaml: no rule takes b F32[3]\n"
            "error: m.yaml:6: no tensor is named like 'c'\n"
        ),
    )
    assert not Path("ours.safetensors").exists()


# --- inspect -------------------------------------------------------------------------------------


def test_inspect_lists_a_file(run, tensors, write_pth):
    write_pth("w.pth", tensors)
    ran = run("inspect", "w.pth")
    size = console.readable_bytes(Path("w.pth").stat().st_size)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "name         dtype  shape          size\n"
        "conv.weight  F32    [5, 3, 2, 4]  480 B\n"
        "conv.bias    F32    [5]            20 B\n"
        "head.weight  F32    [7, 30]       840 B\n"
        "\n"
        "total     3 tensors, 335 elements, 1.3 kB\n"
        f"file      {size}\n"
        "model     none that portkit knows\n"
    )


def test_inspect_recognises_a_model_and_its_nesting(run):
    assert "model     torchvision:vgg11\n" in run("inspect", "torchvision:vgg11").out
    run("convert", SOURCE, "conv-head", "-o", "net.npz", "-q")
    assert (
        f"model     conv-head:vgg11{SMALL}, ported from {SOURCE}:0" in run("inspect", "net.npz").out
    )
    with np.load("net.npz") as arrays:
        np.savez("bare.npz", **arrays)
        np.savez("nested.npz", **{f"model.module.{name}": arrays[name] for name in arrays})
    assert "model     conv-head:vgg11\n" in run("inspect", "bare.npz").out
    nested = run("inspect", "nested.npz").out
    assert "model     conv-head:vgg11 under 'model.module.'\n" in nested
    assert "model     conv-head:vgg11\n" in run("inspect", "nested.npz#model.module.").out


def test_inspect_shows_models_side_by_side(run):
    ran = run("inspect", f"fc-head:vgg11{SMALL}", f"conv-head:vgg11{SMALL}")
    lines = ran.out.splitlines()
    assert lines[0].split()[:2] == ["name", f"fc-head:vgg11{SMALL}".split()[0]]
    assert "≠  classifier.2.weight" in ran.out
    assert lines[-1] == "28 names: 16 alike, 12 differ (≠)"


def test_inspect_prints_json(run, tensors):
    np.savez("w.npz", **tensors)
    found = run("inspect", "w.npz", "--json").json
    assert found["tensors"][1] == {"name": "conv.bias", "dtype": "F32", "shape": [5], "bytes": 20}
    assert (found["metadata"], found["provenance"]) == ({}, None)
    assert [one["reference"] for one in run("inspect", "w.npz", "w.npz", "--json").json] == [
        "w.npz"
    ] * 2


# --- convert and its verification ---------------------------------------------------------------


def test_options_of_a_verification_that_is_not_asked_for_are_refused(run):
    words = ("--atol", "1e-5", "--quick", "--device", "cpu", "--data", "shipped")
    ran = run("convert", SOURCE, "conv-head", *words, "--html", "r.html")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "".join(
        f"error: {option}: has no use without --verify\n"
        for option in ("--atol", "--quick", "--device", "--data", "--html")
    )
    assert not Path("vgg11-conv-head.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rungs", "bit"], "--rungs: no rung is called 'bit'"),
        (["--rungs", "accuracy"], "--rungs: accuracy needs images"),
        (["--atol", "-1"], "--atol: must be a number from 0 on, found -1.0"),
    ],
)
def test_what_cannot_be_verified_is_not_converted_either(run, folder, words, said):
    ran = run("convert", SOURCE, "conv-head", "--verify", *words)
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", f"error: {said}")
    assert list(folder.iterdir()) == []
