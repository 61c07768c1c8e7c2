"""The Python API: the same nouns as the command line, returning the values that reports print."""

from pathlib import Path
from typing import TYPE_CHECKING

from portkit.conversion import Converted, OutputOptions, convert_port
from portkit.errors import PortkitError
from portkit.planning import Plan
from portkit.porting import Port, make_port
from portkit.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

    from portkit.verification import Options, Verification


def plan(source: str | Path, target: str, mapping: str | Path | None = None) -> Plan:
    """Return what `convert` would do, reading no value; raise PortkitError listing every misfit.

    `source` and `target` are references, `mapping` a file or a shipped mapping's name.
    """
    return make_port(str(source), target, mapping).plan


def convert(
    source: str | Path,
    target: str,
    output: str | Path | None = None,
    *,
    mapping: str | Path | None = None,
    options: OutputOptions | None = None,
    progress: Progress = SILENT,
) -> Converted:
    """Port weights into `output`, by default `{arch}-{scheme}.safetensors` here.

    Raise PortkitError, and leave no file, where that cannot be done.
    """
    port = make_port(str(source), target, mapping)
    path = Path(output) if output is not None else Path(default_output(port))
    return convert_port(port, path, options or OutputOptions(), progress)


def default_output(port: Port) -> str:
    """Return the file name that a port is written to where none is asked for."""
    reference = port.target.reference
    arch = reference.arch.replace(":", "-").replace(".", "-")
    parts = [part for part in (arch or port.source.reference.arch, reference.scheme) if part]
    return f"{'-'.join(parts)}.safetensors"


def verify(
    target: str | Path,
    against: str | Path | None = None,
    *,
    mapping: str | Path | None = None,
    options: "Options | None" = None,
    progress: Progress = SILENT,
) -> "Verification":
    """Prove a model against its source: a ported file, or any reference with weights.

    A file's provenance names its source unless `against` does; for a reference it has to. Between
    models of your own and without a `mapping`, the pairing is inferred, which the result says.
    Raise PortkitError where nothing can be found out; a failed comparison is a result.
    """
    from portkit.verification import Options, verify_job
    from portkit.verification.preparing import Asked, prepare_job

    asked = Asked(str(target), None if against is None else str(against), mapping)
    return verify_job(prepare_job(asked, options or Options(), progress).job)


def load(reference: str | Path) -> "torch.nn.Module":
    """Build the model that a file or reference names, in eval mode, with its weights.

    A conv head answers with a score map `[N, classes, h, w]`: `portkit.models.SpatialMean`
    averages it to `[N, classes]`.
    """
    from portkit.endpoints import resolve_source
    from portkit.runners.torch import build_module

    if not isinstance(reference, str | Path):
        what = f"a reference or a path is needed, found a {type(reference).__name__}"
        raise PortkitError.at("portkit.load", what)
    return build_module(resolve_source(str(reference)))
