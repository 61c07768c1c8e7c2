"""Seeded random weights: every parameter and buffer drawn, the same on every machine.

A freshly initialised model is a blind oracle: zeros, ones and equal statistics hide swaps. Here
every value differs, and activations keep their size, so that logits look trained. Weights are
uniform, centred over their fan-in (each value has its negative, so that the common part of ReLU's
positive outputs cancels and images stay distinguishable) and scaled for ReLU, as in scaled weight
standardisation (Brock, De & Smith 2021): variance 2/(1 - 1/pi)/fan-in. No sum or transcendental
function is taken over drawn values, so the bits do not depend on the processor.
"""

from math import pi, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from portkit.ops.filling import encode, fan_in, stream
from portkit.tensors import DType, Specs, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portkit.formats.protocols import Array

SCALING = "centred-uniform-1"
LOGIT_SCALE = 3.0  # standard deviation aimed at for the logits, about what trained nets have


class RandomReader:
    """A reader whose tensors are drawn, one stream a tensor, keyed by seed and name."""

    def __init__(self, specs: Specs, seed: int) -> None:
        self.path = Path(f"random:{seed}")
        self.specs = specs
        self.ignored: tuple[str, ...] = ()
        self.metadata: Mapping[str, str] = MappingProxyType({})
        self._seed = seed
        kernels = [name for name, spec in specs.items() if len(spec.shape) >= 2]
        self._last = kernels[-1] if kernels else ""

    def fetch(self, name: str) -> "Array":
        """Return the tensor's values, `[*shape]` in the carrier of its dtype."""
        import numpy as np

        spec = self.specs[name]
        random = stream(self._seed, name)
        if not spec.dtype.is_float:
            high = 2 if spec.dtype is DType.BOOL else 100
            return random.integers(1, high, spec.shape).astype(spec.dtype.carrier)
        values = random.random(spec.shape, np.float32)
        return np.ascontiguousarray(encode(self._scaled(values, spec), spec)).reshape(spec.shape)

    def _scaled(self, unit: "Array", spec: TensorSpec) -> "Array":
        """Turn numbers of [0, 1) into a weight, bias, batch norm parameter or statistic."""
        import numpy as np

        if len(spec.shape) >= 2:
            gain = LOGIT_SCALE if spec.name == self._last else sqrt(2 / (1 - 1 / pi))
            spread = np.float32(gain * sqrt(3 / fan_in(spec.shape)))
            return _centre(unit) * spread
        part = spec.name.rpartition(".")[2]
        normalised = f"{spec.name.rpartition('.')[0]}.running_mean" in self.specs
        if part == "running_var":
            return unit + np.float32(0.5)
        if part == "weight" and normalised:
            return unit * np.float32(0.75) + np.float32(0.5)
        return (unit * 2 - 1) * np.float32(0.25)


def _centre(unit: "Array") -> "Array":
    """Spread [0, 1) over [-1, 1), the second half of each fan-in the negative of the first."""
    flat = (unit * 2 - 1).reshape(unit.shape[0], -1)
    half = flat.shape[1] // 2
    flat[:, half : 2 * half] = -flat[:, :half]
    return flat.reshape(unit.shape)
