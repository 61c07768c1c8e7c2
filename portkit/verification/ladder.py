"""The ladder: rungs from cheap to dear, stopping at the first that fails."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
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

    from portkit.verification.functions import Pair

RUNGS = ("coverage", "bits", "structure", "outputs")
_DEFAULT = Options()
_RUNNING = ("structure", "outputs")  # these run the models


def verify_port(
    port: Port, artifact: Path, options: Options = _DEFAULT, progress: Progress = SILENT
) -> Verification:
    """Climb the ladder for a ported file; a failed comparison is a result, never an exception."""
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
        not_checked=(*left, *climb.beyond()),
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
        """The rungs asked for or, where none is, all that there is a way to climb."""
        if self.options.rungs:
            return tuple(rung for rung in RUNGS if rung in self.options.rungs)
        return tuple(rung for rung in RUNGS if rung not in _RUNNING or not self._unknown())

    def rungs(self) -> Iterator[RungResult]:
        why_not = self._why_not_run()
        with open_weights(self.port.source) as reader:
            if "coverage" in self.wanted:
                modules = None if why_not else self._skeletons()
                yield check_coverage(self.port.plan, reader.specs, self.artifact, modules)
            if "bits" in self.wanted:
                yield check_bits(self.port.plan, reader, self.artifact, self.progress)
        running = [rung for rung in _RUNNING if rung in self.wanted]
        if running and why_not:
            for rung in running:
                yield RungResult(rung, Status.NOT_CHECKED, why_not)
        elif running:
            yield from self._run(running)

    def _why_not_run(self) -> str:
        """Return why the models cannot be run, or nothing."""
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed"
        unknown = self._unknown()
        if unknown:
            return f"no model is known whose tensors are called as {unknown}'s"
        if "torchvision" in (self.port.source.scheme, self.port.target.scheme) and (
            importlib.util.find_spec("torchvision") is None
        ):
            return "torchvision is not installed"
        return ""

    def _unknown(self) -> str:
        """Return the scheme of an end that is no model, or nothing."""
        ends = (self.port.source, self.port.target)
        return next((end.scheme for end in ends if not _is_model(end)), "")

    def _skeletons(self) -> "tuple[nn.Module, nn.Module]":
        """Return both models without their weights, for their configurations."""
        from portkit.runners.torch import empty_module

        return (
            empty_module(self.port.source).eval(),
            empty_module(self.port.target).eval(),
        )

    def _run(self, running: list[str]) -> Iterator[RungResult]:
        from portkit.verification import functions
        from portkit.verification.battery import choose_sizes, make_batches

        sizes, _ = choose_sizes(self.port.plan, self.port.source, self.options.input_size)
        pair = self._pair()
        inputs = functions.inputs_of(pair, sizes)
        if isinstance(inputs, str):
            for rung in running:
                yield RungResult(rung, Status.NOT_CHECKED, inputs)
            return
        batches = make_batches(inputs, quick=self.options.quick)
        judged = functions.Judged(self.options.tolerances, self.progress)
        self.progress.start("running models", functions.forwards(batches, running), "images")
        try:
            reference = functions.run_source(pair, batches, self.progress)
            if "structure" in running:
                yield functions.check_structure(pair, batches, reference, judged)
            if "outputs" in running:
                yield functions.check_outputs(pair, batches, reference, judged)
        except (RuntimeError, ValueError) as error:
            raise PortkitError.at(str(self.port.target), f"running it failed: {error}") from error
        finally:
            self.progress.finish()

    def _pair(self) -> "Pair":
        from portkit.runners.torch import build_module
        from portkit.verification.functions import Pair

        source, target = self.port.source, self.port.target
        written = Endpoint(target.reference, target.manifest, FileWeights(self.artifact))

        def build_source(dtype: "torch.dtype") -> "nn.Module":
            return build_module(source, dtype)

        def build_target(dtype: "torch.dtype") -> "nn.Module":
            return build_module(written, dtype)

        return Pair(build_source, build_target, self.port.plan)

    def beyond(self) -> Iterator[str]:
        """Say what this verification is no evidence for."""
        why_not = self._why_not_run()
        if why_not:
            yield f"what the models compute: {why_not}"
            return
        from portkit.verification.battery import choose_sizes

        _, left_out = choose_sizes(self.port.plan, self.port.source, self.options.input_size)
        yield left_out
        yield "accuracy: no labelled images were given"
        if self.options.quick:
            yield "other sizes and batches: --quick"
        made = [step.target.name for step in self.port.plan.made if step.target.dtype.is_float]
        if made:
            yield f"{len(made)} tensors that were made anew, first {made[0]}: there is no source"


def _is_model(endpoint: Endpoint) -> bool:
    return endpoint.scheme == "python" or bool(endpoint.manifest and endpoint.manifest.arguments)
