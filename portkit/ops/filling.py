"""New values for tensors that nothing gives: the same on every machine and in every order.

Each tensor has a Philox stream of its own, keyed by the seed and a digest of its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import TYPE_CHECKING

from portkit.ops.base import Frame, Kind, OpError
from portkit.tensors import Shape, TensorSpec

if TYPE_CHECKING:
    from portkit.formats.protocols import Array

CONSTANTS = ("zeros", "ones")
DRAWN = ("normal", "kaiming_normal", "kaiming_uniform", "xavier_uniform")


@dataclass(frozen=True, slots=True)
class Fill:
    """Make a tensor: `zeros`, `ones`, or seeded random numbers of a named scheme.

    `normal` has standard deviation `std`. Kaiming (He et al. 2015) has variance 2/fan-in; Xavier
    uniform (Glorot & Bengio 2010) is bounded by sqrt(6/(fan-in + fan-out)).
    """

    scheme: str
    seed: int = 0
    std: float = 0.01
    spec: TensorSpec | None = None  # once bound

    @property
    def kind(self) -> Kind:
        return Kind.MADE

    def __str__(self) -> str:
        if self.scheme in CONSTANTS:
            return self.scheme
        return (
            f"{self.scheme}{f' std {self.std}' if self.scheme == 'normal' else ''} seed {self.seed}"
        )

    def bind_to(self, spec: TensorSpec) -> "Fill":
        """Return this op for one target tensor; raise OpError where the scheme has no meaning."""
        if self.scheme not in CONSTANTS and not spec.dtype.is_float:
            raise OpError(f"{self.scheme} makes floats, {spec} holds none")
        if self.scheme != "zeros" and spec.dtype.name.startswith("F8"):
            raise OpError(f"{self.scheme} has no bits in {spec.dtype} here: use zeros")
        if self.scheme.startswith(("kaiming", "xavier")) and len(spec.shape) < 2:
            raise OpError(f"{self.scheme} needs a fan-in, {spec} has none: use zeros or normal")
        return replace(self, spec=spec)

    def bind(self, frame: Frame, symbols: Mapping[str, int]) -> "tuple[Fill, Frame]":
        del symbols
        if frame.shapes or self.spec is None:
            raise OpError("a fill makes a tensor from nothing: it stands alone")
        return self, Frame((self.spec.shape,), (self.spec.dtype,))

    def rename(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return axes

    def apply(self, arrays: "tuple[Array, ...]") -> "tuple[Array, ...]":
        import numpy as np

        if arrays or self.spec is None:
            raise AssertionError("a bound fill takes no tensor")
        spec = self.spec
        if self.scheme in CONSTANTS:
            return (encode(np.full(spec.shape, float(self.scheme == "ones"), np.float32), spec),)
        return (encode(self._draw(spec), spec),)

    def _draw(self, spec: TensorSpec) -> "Array":
        import numpy as np

        random = stream(self.seed, spec.name)
        if self.scheme in ("normal", "kaiming_normal"):
            std = self.std if self.scheme == "normal" else sqrt(2 / fan_in(spec.shape))
            return random.standard_normal(spec.shape, np.float32) * np.float32(std)
        fans = fan_in(spec.shape) + (fan_out(spec.shape) if self.scheme == "xavier_uniform" else 0)
        bound = np.float32(sqrt(6 / fans))
        return (random.random(spec.shape, np.float32) * 2 - 1) * bound

    def inverse(self) -> None:
        return None


def parse_fill(scheme: str, seed: int = 0, std: float = 0.01) -> Fill:
    """Read how a tensor is made; raise OpError."""
    if scheme not in CONSTANTS + DRAWN:
        raise OpError(f"cannot make {scheme!r}, use one of: {', '.join(CONSTANTS + DRAWN)}")
    return Fill(scheme, seed, std)


def stream(seed: int, name: str) -> "np.random.Generator":
    """Return the random stream that belongs to this seed and tensor name."""
    import numpy as np
    from blake3 import blake3

    key = int.from_bytes(blake3(f"{seed}:{name}".encode()).digest(length=16), "little")
    return np.random.Generator(np.random.Philox(key=key))


def fan_in(shape: Shape) -> int:
    """Return the inputs of one output unit, of `[out, in, …]`."""
    return max(1, prod(shape[1:]))


def fan_out(shape: Shape) -> int:
    """Return the outputs that one input channel reaches, of `[out, in, …]`."""
    return max(1, shape[0] * prod(shape[2:]))


def encode(array: "Array", spec: TensorSpec) -> "Array":
    """Round float32 values to the spec's dtype, in its carrier."""
    from portkit.ops.casting import Cast
    from portkit.tensors import DType

    if spec.dtype is DType.BF16:
        return Cast(DType.F32, DType.BF16).apply((array,))[0]
    return array.astype(spec.dtype.carrier)


if TYPE_CHECKING:
    import numpy as np
