"""What the command line says about images, and what it refuses."""

import click
import pytest

from portkit.cli.data_options import data_options, read_data, read_preprocess
from portkit.errors import PortkitError
from portkit.evaluation.choices import DataOptions


def read(*words):
    """Return what a command with these options is called with."""
    heard = {}

    @click.command()
    @data_options
    def command(**options):
        heard.update(options)

    command.main(list(words), standalone_mode=False)
    return heard


def test_data_options_are_read(folder):
    assert read_data(read()) is None
    (folder / "x").mkdir()
    assert read_data(read("--data", "x")) == DataOptions("x")
    words = ("--data", "shipped", "--subset", "5", "--data-seed", "3")
    assert read_data(read(*words)) == DataOptions("shipped", 5, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--subset", "5", "--data-seed", "0"),
            (
                "--subset: says which images are drawn: from what?\n  fix: add --data\n"
                "--data-seed: says which images are drawn: from what?\n  fix: add --data"
            ),
        ),
        (
            ("--data", "shipped", "--data-seed", "1"),
            "--data-seed: draws nothing where all images are taken\n  fix: add --subset",
        ),
        (
            ("--data", "nowhere"),
            (
                "--data nowhere: no such file or folder\n"
                "  fix: name a folder of images, an image, an .npz, or `shipped`"
            ),
        ),
    ],
)
def test_data_options_that_mean_nothing(folder, words, said):
    del folder
    with pytest.raises(PortkitError) as caught:
        read_data(read(*words))
    assert str(caught.value) == said


def test_preprocessing_functions_are_read():
    assert read_preprocess(read()) == ("", "")
    assert read_preprocess(read("--preprocess", "python:m:f")) == ("python:m:f", "python:m:f")
    words = ("--preprocess-source", "python:m:f", "--preprocess-target", "python:m:g")
    assert read_preprocess(read(*words)) == ("python:m:f", "python:m:g")
    assert read_preprocess(read(*words[:2])) == ("python:m:f", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--preprocess", "python:m:f", "--preprocess-source", "python:m:g"),
            (
                "--preprocess: is for both models: one of them has another as well\n"
                "  fix: give --preprocess-source and --preprocess-target"
            ),
        ),
        (
            ("--preprocess", "m:f"),
            "m:f: names no preprocessing function\n  fix: write python:MODULE:FUNCTION",
        ),
        (
            ("--preprocess", "python:m"),
            "python:m: names no preprocessing function\n  fix: write python:MODULE:FUNCTION",
        ),
    ],
)
def test_preprocessing_functions_that_mean_nothing(words, said):
    with pytest.raises(PortkitError) as caught:
        read_preprocess(read(*words))
    assert str(caught.value) == said
