"""The user's own preprocessing: named as `python:MODULE:FUNCTION`, with its answers checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portkit.errors import PortkitError
from portkit.evaluation.decoding import as_picture

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

Way = Callable[["Array"], "Array"]  # uint8 [H, W, C] → float32 [C, H, W]

_PREFIX = "python:"


@dataclass(frozen=True, slots=True)
class OwnPreprocessing:
    """A function of the user's that takes a Pillow image or, where that fails, an array."""

    name: str
    function: Callable[[Any], Any]
    channels: int = 0  # that the model takes; 0 where that is not known

    def __call__(self, image: "Array") -> "Array":
        import numpy as np

        made = self._call(image)
        if hasattr(made, "detach"):
            made = made.detach().cpu().numpy()
        if not isinstance(made, np.ndarray):
            what = f"gives a {type(made).__name__}, an array or tensor [C, H, W] is needed"
            raise PortkitError.at(self.name, what)
        self._refuse_misfit(made)
        return np.ascontiguousarray(made)

    def __str__(self) -> str:
        return self.name

    def _call(self, image: "Array") -> Any:
        """Call with a Pillow image; with the array if that raises; raise PortkitError for both."""
        errors: list[Exception] = []
        for given in (as_picture(image), image.copy()):
            try:
                return self.function(given)
            except Exception as error:
                errors.append(error)
        words = "; ".join(
            f"given {kind} it raises {type(error).__name__}: {error}"
            for kind, error in zip(("a Pillow image", "an array"), errors, strict=True)
        )
        raise PortkitError.at(self.name, words) from errors[0]

    def _refuse_misfit(self, made: "Array") -> None:
        import numpy as np

        shown = f"{made.dtype}{list(made.shape)}"
        allowed = (self.channels,) if self.channels else (1, 3)
        if made.ndim != 3 or made.shape[0] not in allowed or not made.size:
            wanted = f"[{' or '.join(map(str, allowed))}, H, W]"
            fix = "return the channels first, without a batch axis"
            raise PortkitError.at(self.name, f"gives {shown}, {wanted} is needed", fix)
        if made.dtype != np.float32:
            what = f"gives {shown}, float32 is needed"
            raise PortkitError.at(self.name, what, "convert its result: .astype(numpy.float32)")
        wrong = int(np.count_nonzero(~np.isfinite(made)))
        if wrong:
            what = f"gives {wrong} of {made.size} values that are not finite"
            raise PortkitError.at(self.name, what)


def load_callable(text: str, channels: int = 0) -> OwnPreprocessing:
    """Import `python:MODULE:FUNCTION`, from the current folder first; raise PortkitError."""
    from portkit.manifests.factory import import_factory

    if not text.startswith(_PREFIX):
        fix = "write python:MODULE:FUNCTION"
        raise PortkitError.at(text, "names no preprocessing function", fix)
    found = import_factory(text.removeprefix(_PREFIX))
    if not callable(found):
        raise PortkitError.at(text, f"is a {type(found).__name__}, a function is needed")
    return OwnPreprocessing(text, found, channels)
