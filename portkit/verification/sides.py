"""One side of a comparison: the tensors as they lie somewhere, and the model that runs on them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.endpoints import Endpoint, FactoryWeights, FileWeights, open_weights
from portkit.errors import PortkitError
from portkit.formats.protocols import Reader
from portkit.verification.rereading import reopen

if TYPE_CHECKING:
    import torch
    from torch import nn

Open = Callable[[], AbstractContextManager[Reader]]
Build = Callable[["torch.dtype"], "nn.Module"]


@dataclass(frozen=True, slots=True)
class Side:
    """A model with weights. `build` gives it anew, in eval mode, its floats in a dtype."""

    endpoint: Endpoint
    open: Open
    build: Build
    skeleton: "Callable[[], nn.Module]"  # its configuration alone
    path: Path | None = None  # the file its weights lie in

    def __str__(self) -> str:
        return str(self.path or self.endpoint)


def side_of(endpoint: Endpoint) -> Side:
    """Return the side that a reference names; raise PortkitError for weights that are chance."""
    weights = endpoint.weights
    path = weights.path if isinstance(weights, FileWeights) else None
    if isinstance(weights, FactoryWeights):
        return _side(endpoint, _same_weights(endpoint), None)
    return _side(endpoint, lambda: open_weights(endpoint), path)


def written_side(endpoint: Endpoint, artifact: Path) -> Side:
    """Return the side of a file that was ported, read by code that did not write it."""
    written = Endpoint(endpoint.reference, endpoint.manifest, FileWeights(artifact))
    return _side(written, lambda: reopen(artifact), artifact)


def _side(endpoint: Endpoint, opening: Open, path: Path | None) -> Side:
    def build(dtype: "torch.dtype") -> "nn.Module":
        from portkit.runners.torch import load_module

        with opening() as reader:
            return load_module(endpoint, reader, dtype)

    def make_skeleton() -> "nn.Module":
        from portkit.runners.torch import skeleton

        return skeleton(endpoint).eval()

    return Side(endpoint, opening, build, make_skeleton, path)


def _same_weights(endpoint: Endpoint) -> Open:
    """Build a factory's net twice, and keep the first; raise PortkitError where they differ."""
    with open_weights(endpoint) as first, open_weights(endpoint) as second:
        for name, spec in first.specs.items():
            one, two = first.fetch(name), second.fetch(name)
            if spec != second.specs.get(name) or one.tobytes() != two.tobytes():  # type: ignore[union-attr]
                what = f"gives other weights each time it is called ({name}): nothing to compare"
                fix = "seed it, or name the weights: python:MODULE:FACTORY@FILE"
                raise PortkitError.at(str(endpoint), what, fix)
        kept = first

    @contextmanager
    def reopen_kept() -> Iterator[Reader]:
        yield kept

    return reopen_kept


def refuse_itself(source: Side, target: Side) -> None:
    """Raise PortkitError where both sides are one and the same: that would prove nothing."""
    what = "is compared with itself: that proves nothing"
    fix = "name another source with --against"
    if source.path is not None and target.path is not None:
        same = source.path.exists() and target.path.exists()
        if same and source.path.samefile(target.path):
            raise PortkitError.at(target.path, what, fix)
    elif source.path == target.path and str(source.endpoint) == str(target.endpoint):
        raise PortkitError.at(str(target.endpoint), what, fix)
