"""The ladder: rungs from cheap to dear, stopping at the first that fails."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.endpoints import Endpoint, FileWeights, open_weights
from portkit.errors import PortkitError
from portkit.porting import Port
from portkit.progress import SILENT, Progress
from portkit.verification.bits import check_bits
from portkit.verification.coverage import check_coverage
from portkit.verification.results import Options, RungResult, Status, Verification

if TYPE_CHECKING:
    import torch
    from torch import nn

    from portkit.verification.battery import Batch, Inputs, Sizes
    from portkit.verification.running import Pair

RUNGS = ("coverage", "bits", "structure", "outputs")
_DEFAULT = Options()
_RUNNING = ("structure", "outputs")  # these run the models


def verify_port(
    port: Port, artifact: Path, options: Options = _DEFAULT, progress: Progress = SILENT
) -> Verification:
    """Climb the ladder for a ported file; a failed comparison is a result, never an exception.

    Raise PortkitError where nothing can be found out: no such rung, a model that does not run.
    """
    climb = _Climb(port, artifact, options, progress)
    results: list[RungResult] = []
    for result in climb.rungs():
        results.append(result)
        if result.status is Status.FAILED:
            break
    done = {result.rung for result in results}
    left = [f"{rung}: an earlier rung failed" for rung in climb.wanted if rung not in done]
    return Verification(
        artifact=str(artifact),
        source=str(port.source),
        target=port.target.reference.model or port.plan.route[-1],
        rungs=tuple(results),
        not_checked=(*left, *climb.beyond(done)),
    )


@dataclass(frozen=True, slots=True)
class _Climb:
    """One verification under way."""

    port: Port
    artifact: Path
    options: Options
    progress: Progress

    @property
    def wanted(self) -> tuple[str, ...]:
        return tuple(r for r in RUNGS if not self.options.rungs or r in self.options.rungs)

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(rung for rung in _RUNNING if rung in self.wanted)

    def rungs(self) -> Iterator[RungResult]:
        unknown = [rung for rung in self.options.rungs if rung not in RUNGS]
        if unknown:
            fix = f"use some of: {', '.join(RUNGS)}"
            raise PortkitError.at("", f"no rung is called {unknown[0]!r}", fix)
        why_not = self.why_not_run()
        skeletons = None if why_not else self._skeletons()
        with open_weights(self.port.source) as reader:
            if "coverage" in self.wanted:
                yield check_coverage(self.port, reader.specs, self.artifact, skeletons)
            if "bits" in self.wanted:
                yield check_bits(self.port.plan, reader, self.artifact, self.progress)
        if skeletons is None:
            yield from (RungResult(rung, Status.NOT_CHECKED, why_not) for rung in self.running)
        elif self.running:
            yield from self._run(self._inputs(skeletons[0]))

    def why_not_run(self) -> str:
        """Return why the models cannot be run, or nothing."""
        if not _installed("torch"):
            return "torch is not installed"
        ends = self.port.source, self.port.target
        for endpoint in ends:
            if not _is_model(endpoint):
                return f"no model is known whose tensors are called as {endpoint.scheme}'s"
        if "torchvision" in {end.scheme for end in ends} and not _installed("torchvision"):
            return "torchvision is not installed"
        return ""

    def _skeletons(self) -> "tuple[nn.Module, nn.Module] | None":
        """Return both models without their weights, where a rung asks for their settings."""
        if not self.running and "coverage" not in self.wanted:
            return None
        from portkit.runners.torch import skeleton

        return skeleton(self.port.source).eval(), skeleton(self.port.target).eval()

    def _run(self, inputs: "Inputs") -> Iterator[RungResult]:
        from portkit.verification.battery import (
            count_forwards,
            exact_batches,
            make_batches,
            make_trials,
        )
        from portkit.verification.judging import refuse_tolerances
        from portkit.verification.outputs import check_outputs
        from portkit.verification.running import RunError
        from portkit.verification.structure import check_structure

        tolerances, quick = self.options.tolerances, self.options.quick
        refuse_tolerances(tolerances)
        pair = self._pair()
        batches = make_batches(inputs, quick=quick)
        trials = make_trials(batches, quick=quick)
        forwards = count_forwards(batches, trials, self.running)
        self.progress.start("running models", forwards, "inputs")
        try:
            pair = _try_exact(pair, exact_batches(batches)[0])
            if "structure" in self.running:
                few = exact_batches(batches)
                yield check_structure(pair, few, self.port.plan, tolerances)
            if "outputs" in self.running:
                yield check_outputs(pair, trials, tolerances)
        except RunError as error:
            fix = "name the size that it takes with --input-size"
            raise PortkitError.at(str(self.port.source), f"cannot run {error}", fix) from error
        finally:
            self.progress.finish()

    def _inputs(self, source: "nn.Module") -> "Inputs":
        """Return what the source takes, told by its first layer; raise PortkitError."""
        from portkit.verification.battery import guess_inputs

        inputs = guess_inputs(source, self._sizes().tried)
        if inputs is None:
            what = "its first layer is neither a Conv2d nor a Linear: what it takes is not known"
            fix = "verify what needs no inputs: --rungs coverage,bits"
            raise PortkitError.at(str(self.port.source), what, fix)
        return inputs

    def _sizes(self) -> "Sizes":
        from portkit.verification.battery import choose_sizes

        return choose_sizes(self.port.plan, self.port.source, self.options.input_size)

    def _pair(self) -> "Pair":
        from portkit.runners.torch import build_module
        from portkit.verification.running import Model, Pair

        source, target = self.port.source, self.port.target
        written = Endpoint(target.reference, target.manifest, FileWeights(self.artifact))

        def build_source(dtype: "torch.dtype") -> "nn.Module":
            return build_module(source, dtype)

        def build_target(dtype: "torch.dtype") -> "nn.Module":
            return build_module(written, dtype)

        return Pair(Model(build_source, self.progress), Model(build_target, self.progress))

    def beyond(self, done: set[str]) -> Iterator[str]:
        """Say what this verification is no evidence for."""
        missing = [rung for rung in RUNGS if rung not in self.wanted]
        if missing:
            yield f"{', '.join(missing)}: not asked for"
        if self.why_not_run():
            yield f"both models' configuration and what they compute: {self.why_not_run()}"
        elif done & set(_RUNNING):
            yield self._sizes().left_out
        yield "accuracy: no labelled images were given"
        if self.options.quick and self.running:
            yield "batches of more than 2 inputs, most real images: --quick"
        made = [step.target.name for step in self.port.plan.made if step.target.dtype.is_float]
        if made:
            more = f" and {len(made) - 1} more" if len(made) > 1 else ""
            yield f"{made[0]}{more}: made anew, there is no source to compare with"
        before = self.port.source.provenance
        if before and before.initialised:
            yield f"{len(before.initialised)} tensors that were made when the source was ported"


def _try_exact(pair: "Pair", batch: "Batch") -> "Pair":
    """Find out whether the source runs in float64; raise RunError where it does not run at all."""
    import torch

    from portkit.verification.running import RunError

    try:
        pair.source.answer(batch, torch.float64)
    except RunError as error:
        pair.source.answer(batch, torch.float32)
        return replace(pair, inexact=f"the source cannot run in float64 ({error})")
    return pair


def _installed(package: str) -> bool:
    with suppress(ModuleNotFoundError, ValueError):
        return find_spec(package) is not None
    return False


def _is_model(endpoint: Endpoint) -> bool:
    return endpoint.scheme == "python" or bool(endpoint.manifest and endpoint.manifest.arguments)
