"""Turn a port into a file: open the source, write header and values, say where they came from."""

import glob
from dataclasses import dataclass
from pathlib import Path

from portkit import __version__, formats
from portkit.conversion.carrying import run_plan
from portkit.endpoints import FileWeights, RandomWeights, open_weights
from portkit.errors import PortkitError
from portkit.formats.protocols import Layout, Reader
from portkit.mapping import MAPPING_SUFFIXES
from portkit.planning import Plan
from portkit.porting import Port
from portkit.progress import SILENT, Progress
from portkit.provenance import (
    AppliedMapping,
    Provenance,
    SourceFile,
    data_digest,
    files_of,
    header_digest,
    relative_path,
    write_provenance,
)
from portkit.random_weights import SCALING
from portkit.tensors import Extent

_FOLIO = 1 << 16  # bytes that file systems cache in one piece


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How an output is written."""

    force: bool = False  # replace what is there
    shard_bytes: int = 0  # 0: one file
    digest: bool = False  # record a digest of the source's data, not only of its headers


_DEFAULT = OutputOptions()


@dataclass(frozen=True, slots=True)
class Converted:
    """What happened: the file that was written, by which plan, and what it says of itself."""

    output: Path  # the index, where the tensors are split over files
    plan: Plan
    provenance: Provenance
    nbytes: int  # of tensors


def convert_port(
    port: Port,
    output: Path,
    options: OutputOptions = _DEFAULT,
    progress: Progress = SILENT,
) -> Converted:
    """Carry out a port; raise PortkitError and leave no file where it cannot be done."""
    plan = port.plan
    with open_weights(port.source) as reader:
        _refuse_own_source(files_of(reader), output, options)
        provenance = _provenance_of(port, reader, output, options)
        layout = Layout(
            specs=tuple(step.target for step in plan.steps),
            metadata={"format": "pt", **write_provenance(provenance)},
            phase=_phase(plan, reader),
            shard_bytes=options.shard_bytes,
        )
        with formats.open_writer(output, layout, force=options.force) as writer:
            run_plan(plan, reader, writer, progress)
    nbytes = sum(step.target.nbytes for step in plan.steps)
    index = output.with_name(f"{output.name}.index.json")
    return Converted(index if options.shard_bytes else output, plan, provenance, nbytes)


def _refuse_own_source(files: tuple[Path, ...], output: Path, options: OutputOptions) -> None:
    """Refuse to write over what is read, even by force: the source is never touched."""
    written = {output.resolve()}
    if options.shard_bytes:
        stem = output.with_name(output.name.removesuffix(".safetensors"))
        written |= {path.resolve() for path in output.parent.glob(f"{glob.escape(stem.name)}*")}
    taken = [path for path in files if path.resolve() in written]
    if taken:
        what = "is what the tensors come from, and the source is never touched"
        raise PortkitError.at(taken[0], what, "name another output")


def _phase(plan: Plan, reader: Reader) -> int:
    """Return where the first moved tensor starts within a folio: equal phases copy faster."""
    first = next((step for step in plan.steps if step.reinterprets), None)
    if first is None:
        return 0
    found = reader.fetch(first.sources[0].name)
    return found.offset % _FOLIO if isinstance(found, Extent) else 0


def _provenance_of(port: Port, reader: Reader, output: Path, options: OutputOptions) -> Provenance:
    source, before = port.source, port.source.provenance
    reference, file = str(source.reference), None
    if isinstance(source.weights, FileWeights):
        files = files_of(reader)
        file = SourceFile(
            path=relative_path(source.weights.path, output.parent),
            size=sum(path.stat().st_size for path in files),
            header=header_digest(reader.specs),
            data=data_digest(files) if options.digest else "",
        )
    return Provenance(
        version=__version__,
        source=reference,
        target=port.target.reference.model or port.plan.route[-1],
        route=port.plan.route,
        mappings=tuple(
            AppliedMapping(_mapping_name(used.name, output), used.digest, used.inverted)
            for used in port.plan.mappings
        ),
        file=file,
        scaling=SCALING if isinstance(source.weights, RandomWeights) else "",
        initialised=tuple(step.target.name for step in port.plan.made),
        dropped=tuple(dropped.spec.name for dropped in port.plan.dropped),
        before=(before.source, *before.before) if before else (),
    )


def _mapping_name(name: str, output: Path) -> str:
    """Return a shipped mapping's name as it is, and a file's path from the output's folder."""
    return relative_path(Path(name), output.parent) if name.endswith(MAPPING_SUFFIXES) else name
