"""Options that name images to judge a port on, and how they are preprocessed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from portkit.errors import Problems
from portkit.evaluation.choices import DataOptions

Command = TypeVar("Command", bound=Callable[..., Any])

_PREFIX = "python:"
_FUNCTION = "python:MODULE:FUNCTION"

_DATA = (
    click.option(
        "--data",
        metavar="DIR|FILE|shipped",
        help="Images: class folders, a flat folder with or without a list of labels, "
        "one image, an .npz, or the shipped ones.",
    ),
    click.option(
        "--subset",
        type=click.IntRange(min=1),
        metavar="N",
        help="Draw N of the images, in proportion to their classes.",
    ),
    click.option(
        "--data-seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Draw others.  [default: 0]",
    ),
    click.option(
        "--preprocess",
        metavar=_FUNCTION,
        help="Preprocess for both models with this function: an image in, float32 [C, H, W] out.",
    ),
    click.option("--preprocess-source", metavar=_FUNCTION, help="The same for the source alone."),
    click.option("--preprocess-target", metavar=_FUNCTION, help="The same for the target alone."),
)


def data_options(command: Command) -> Command:
    """Add the options that say which images a port is judged on."""
    for option in reversed(_DATA):
        command = option(command)
    return command


def read_data(options: Mapping[str, Any]) -> DataOptions | None:
    """Return which images are asked for, None for none; raise PortkitError for what cannot be."""
    path, problems = options["data"], Problems()
    for name in ("subset", "data_seed"):
        if options[name] is not None and path is None:
            shown = f"--{name.replace('_', '-')}"
            problems.add(shown, "says which images are drawn: from what?", "add --data")
    if options["data_seed"] is not None and path is not None and options["subset"] is None:
        problems.add("--data-seed", "draws nothing where all images are taken", "add --subset")
    wanted = None
    if path is not None:
        wanted = DataOptions(path, options["subset"] or 0, options["data_seed"] or 0)
        if not wanted.is_shipped and not Path(path).expanduser().exists():
            fix = "name a folder of images, an image, an .npz, or `shipped`"
            problems.add(f"--data {path}", "no such file or folder", fix)
    problems.raise_if_any()
    return wanted


def read_preprocess(options: Mapping[str, Any]) -> tuple[str, str]:
    """Return the functions for source and target, empty where the documented way is to be gone."""
    problems = Problems()
    both = options["preprocess"]
    sides = options["preprocess_source"], options["preprocess_target"]
    if both and any(sides):
        what = "is for both models: one of them has another as well"
        problems.add("--preprocess", what, "give --preprocess-source and --preprocess-target")
    for text in dict.fromkeys(filter(None, (both, *sides))):
        if not text.startswith(_PREFIX) or text.removeprefix(_PREFIX).count(":") != 1:
            problems.add(text, "names no preprocessing function", f"write {_FUNCTION}")
    problems.raise_if_any()
    return sides[0] or both or "", sides[1] or both or ""
