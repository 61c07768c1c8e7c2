"""Time a verification rung by rung, beside the bare forward passes that it needs.

    tools/bench_verify.py [SRC [DST]]     default: torchvision:vgg16@random:7 conv-head

Every forward pass of the verification is noted and then run again by plain modules, in the same
order, precision and batches; loading the models is timed apart. The budget is a ratio of 1.1.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from portkit.conversion import convert_port
from portkit.porting import Port, make_port
from portkit.runners.devices import fixed_arithmetic
from portkit.runners.torch import as_input
from portkit.verification import (
    Options,
    Verification,
    dense,
    forcing,
    functions,
    running,
    verify_port,
)
from portkit.verification.sides import side_of, written_side


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass that a verification made: whose, and of what."""

    side: str
    dtype: torch.dtype
    images: Any


@dataclass(slots=True)
class Noted:
    """What a verification did: its passes, how long loading and the windows of a map took."""

    passes: list[Pass] = field(default_factory=list)
    loading: float = 0.0
    windows: float = 0.0


@contextmanager
def noting(noted: Noted) -> Iterator[None]:
    """Note every forward pass while the block runs."""
    run, build = running.run_module, running.Model.module
    forced, record, windows = forcing.force, forcing.record_trace, dense.answer_windows
    sides: dict[int, str] = {}

    def building(self: Any, dtype: torch.dtype) -> Any:
        started, before = perf_counter(), self._module
        module = build(self, dtype)
        if module is not before:
            noted.loading += perf_counter() - started
        sides[id(module)] = sides.get(id(self)) or ("source" if not sides else "target")
        sides[id(self)] = sides[id(module)]
        return module

    def running_one(module: Any, images: Any) -> Any:
        noted.passes.append(Pass(sides[id(module)], _precision(module), images))
        return run(module, images)

    def forcing_one(module: Any, state: Any) -> Any:
        noted.passes.append(Pass(sides[id(module)], _precision(module), state.trace.batch.images))
        return forced(module, state)

    def recording(pair: Any, batch: Any, plan: Any, dtype: torch.dtype) -> Any:
        noted.passes.append(Pass("source", dtype, batch.images))
        return record(pair, batch, plan, dtype)

    def answering(*given: Any) -> Any:
        started = perf_counter()
        found = windows(*given)
        noted.windows += perf_counter() - started
        return found

    replaced = [
        (running, "run_module", running_one), (running.Model, "module", building),
        (forcing, "force", forcing_one), (functions, "record_trace", recording),
        (dense, "answer_windows", answering),
    ]  # fmt: skip
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _precision(module: Any) -> torch.dtype:
    return next(p.dtype for p in module.parameters() if p.is_floating_point())


def run_bare(port: Port, artifact: Path, passes: list[Pass]) -> float:
    """Run the same passes with plain modules; return the seconds of the passes alone."""
    sides = {"source": side_of(port.source), "target": written_side(port.target, artifact)}
    seconds = 0.0
    with fixed_arithmetic(), torch.inference_mode():
        for dtype in (torch.float64, torch.float32):
            for name, side in sides.items():
                chosen = [one for one in passes if (one.side, one.dtype) == (name, dtype)]
                if not chosen:
                    continue
                module = side.build(dtype)
                for one in chosen:
                    started = perf_counter()
                    module(as_input(module, one.images))
                    seconds += perf_counter() - started
                del module
    return seconds


def show(found: Verification, noted: Noted, total: float, bare: float) -> None:
    """Print the table of rungs and the ratio."""
    for rung in found.rungs:
        print(f"{rung.rung:<10} {rung.seconds:8.2f} s  {rung.status}")
    needed = bare + noted.windows
    ran = sum(rung.seconds for rung in found.rungs if rung.rung not in ("coverage", "bits"))
    print(f"{'together':<10} {total:8.2f} s")
    print(f"loading    {noted.loading:8.2f} s of it")
    print(
        f"{len(noted.passes)} passes, {sum(len(p.images) for p in noted.passes)} inputs; ", end=""
    )
    print(f"bare: {needed:.2f} s; rungs without loading: {ran - noted.loading:.2f} s, ", end="")
    print(f"ratio {(ran - noted.loading) / needed:.3f} (budget 1.1)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB, {torch.get_num_threads()} threads")


def main() -> None:
    """Port, verify, run the bare passes, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default="torchvision:vgg16@random:7")
    parser.add_argument("target", nargs="?", default="conv-head")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    port = make_port(asked.source, asked.target)
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder, "port.safetensors")
        convert_port(port, artifact)
        noted = Noted()
        started = perf_counter()
        with noting(noted):
            found = verify_port(port, artifact, Options(quick=asked.quick))
        total = perf_counter() - started
        bare = run_bare(port, artifact, noted.passes)
    show(found, noted, total, bare)
    sys.exit(not found.passed)


if __name__ == "__main__":
    main()
