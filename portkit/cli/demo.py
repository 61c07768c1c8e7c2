"""`portkit demo`: a trained net ported there and back, proved and evaluated, offline."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portkit.cli import console
from portkit.cli.codes import NO, YES
from portkit.cli.options import json_option

if TYPE_CHECKING:
    from portkit.evaluation.metrics import Accuracy
    from portkit.verification import Verification

_SOURCE = "demo:fashion"
_OUT, _BACK = "fashion-conv-head.safetensors", "fashion-fc-head.safetensors"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One model's answers to the images that ship with portkit, beside the original's."""

    reference: str
    accuracy: "Accuracy"
    flips: int  # images that the original answers otherwise


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that the demo finds out."""

    verifications: tuple["Verification", ...]
    tensors: int
    unequal: tuple[str, ...]  # tensors that did not come back bit for bit
    evaluated: tuple["Evaluated", ...]

    @property
    def passed(self) -> bool:
        proved = all(verification.passed for verification in self.verifications)
        return proved and not self.unequal and not any(one.flips for one in self.evaluated)


@click.command("demo")
@click.option("--keep", metavar="DIR", help="Leave the files in DIR instead of removing them.")
@json_option
def command(keep: str | None, as_json: bool) -> int:
    """Port a small trained net to a conv head and back, prove both ports, evaluate all three."""
    with _folder(keep) as folder:
        shown = _show(folder, in_words=not as_json)
    if as_json:
        console.say_json(_as_dict(shown))
    else:
        _say_results(shown)
        if keep is not None:
            console.say_facts([("kept", f"{Path(keep) / _OUT}, {Path(keep) / _BACK}")])
    return YES if shown.passed else NO


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    """Give the folder that is asked for, else one that vanishes."""
    from tempfile import TemporaryDirectory

    if keep is None:
        with TemporaryDirectory(prefix="portkit-demo-") as name:
            yield Path(name)
        return
    Path(keep).mkdir(parents=True, exist_ok=True)
    yield Path(keep)


def _show(folder: Path, *, in_words: bool) -> Shown:
    legs = ((_SOURCE, "conv-head", _OUT), (str(folder / _OUT), "fc-head", _BACK))
    verifications = tuple(
        _port(source, target, folder / name, in_words=in_words) for source, target, name in legs
    )
    tensors, unequal = _compare_bits(folder / _BACK)
    files = (_SOURCE, str(folder / _OUT), str(folder / _BACK))
    return Shown(verifications, tensors, unequal, _evaluate(files, in_words=in_words))


def _port(source: str, target: str, output: Path, *, in_words: bool) -> "Verification":
    """Convert and verify one leg, saying what happens."""
    from portkit.cli.bars import choose_progress
    from portkit.cli.proving import say_verification
    from portkit.cli.summary import describe_port
    from portkit.conversion import OutputOptions, convert_port
    from portkit.porting import make_port
    from portkit.verification import Options, verify_port

    progress = choose_progress(quiet=not in_words)
    port = make_port(source, target)
    convert_port(port, output, OutputOptions(force=True), progress)
    if in_words:
        console.say_facts(describe_port(port))
    verification = verify_port(port, output, Options(), progress)
    if in_words:
        say_verification(verification)
        console.say()
    return verification


def _compare_bits(back: Path) -> tuple[int, tuple[str, ...]]:
    """Compare what came back with what went out: names, shapes, dtypes and every bit."""
    from portkit.endpoints import open_weights, resolve_source
    from portkit.formats import as_array, open_reader

    with open_weights(resolve_source(_SOURCE)) as ours, open_reader(back) as theirs:
        names = dict.fromkeys((*ours.specs, *theirs.specs))
        unequal = [name for name in names if ours.specs.get(name) != theirs.specs.get(name)]
        for name, spec in ours.specs.items():
            if name in unequal:
                continue
            one, two = (as_array(reader.fetch(name), spec) for reader in (ours, theirs))
            if one.tobytes() != two.tobytes():
                unequal.append(name)
    return len(names), tuple(unequal)


def _evaluate(references: tuple[str, ...], *, in_words: bool) -> tuple[Evaluated, ...]:
    """Run every model on the images that ship with portkit; compare each with the first."""
    import numpy as np

    from portkit.api import load
    from portkit.cli.bars import choose_progress
    from portkit.evaluation.choices import DataOptions
    from portkit.evaluation.folders import open_data
    from portkit.evaluation.metrics import measure_accuracy
    from portkit.evaluation.preprocessing import fashion_preprocessing
    from portkit.verification.answering import answer_images
    from portkit.verification.decisions import find_changed

    images = open_data(DataOptions("shipped"), channels=1)
    labels = np.array(images.labels)
    how, progress = fashion_preprocessing(), choose_progress(quiet=not in_words)
    logits = [
        answer_images(load(one), images, range(len(images)), how, progress) for one in references
    ]
    return tuple(
        Evaluated(reference, measure_accuracy(mine, labels), len(find_changed(logits[0], mine, 1)))
        for reference, mine in zip(references, logits, strict=True)
    )


def _say_results(shown: Shown) -> None:
    back = (
        f"{shown.tensors} of {shown.tensors} tensors came back bit for bit"
        if not shown.unequal
        else f"{len(shown.unequal)} of {shown.tensors} tensors differ: {', '.join(shown.unequal)}"
    )
    console.say_facts([("there", "and back: " + back)])
    console.say()
    rows = [
        (
            Path(one.reference).name,
            f"{one.accuracy.share:.1%}",
            f"{one.accuracy.low:.1%} to {one.accuracy.high:.1%}",
            f"{one.accuracy.right} of {one.accuracy.total}",
            str(one.flips),
        )
        for one in shown.evaluated
    ]
    heads = ("Fashion-MNIST test images", "accuracy", "95 % interval", "right", "flips")
    console.say_table(heads, rows, right=(1, 2, 3, 4))
    console.say()
    if shown.passed:
        console.say("the same net, three times", fg="green", bold=True)
    else:
        console.say("NOT the same net", fg="red", bold=True)


def _as_dict(shown: Shown) -> dict[str, Any]:
    from portkit.report.json import verification_as_dict

    return {
        "passed": shown.passed,
        "verifications": [verification_as_dict(one) for one in shown.verifications],
        "round_trip": {"tensors": shown.tensors, "unequal": list(shown.unequal)},
        "evaluations": [
            {
                "reference": Path(one.reference).name,
                "accuracy": one.accuracy.share,
                "interval": [one.accuracy.low, one.accuracy.high],
                "right": one.accuracy.right,
                "images": one.accuracy.total,
                "flips": one.flips,
            }
            for one in shown.evaluated
        ],
    }
