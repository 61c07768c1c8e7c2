"""An inferred pairing, for people and for machines: what corresponds, why, and what is unsure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from portkit.pairing import Inferred


def render_pairing(inferred: "Inferred") -> RenderableType:
    """Return every pair with its evidence, and all that is not certain."""
    return Group(*_parts(inferred))


def _parts(inferred: "Inferred") -> Iterator[RenderableType]:
    yield Text("no mapping is known: which tensors correspond was inferred", "bold")
    table = Table(box=None, pad_edge=False)
    for heading in ("source", "target", "op", "because"):
        table.add_column(heading, overflow="fold")
    for pair in inferred.pairs:
        cells = (pair.source, pair.target, pair.ops, ", ".join(pair.because))
        table.add_row(*map(Text, cells))
    yield table
    yield from (Text(f"ambiguous: {one}", "yellow") for one in inferred.ambiguous)
    for side, names in (("source", inferred.unpaired_source), ("target", inferred.unpaired_target)):
        yield from (Text(f"unpaired {side} tensor: {name}", "red") for name in names)
    yield from (Text(f"note: {note}") for note in inferred.notes)


def pairing_as_dict(inferred: "Inferred") -> dict[str, Any]:
    """Return what `--json` says of a pairing."""
    return {
        "pairs": [
            {"source": p.source, "target": p.target, "ops": p.ops, "because": list(p.because)}
            for p in inferred.pairs
        ],
        "ambiguous": [
            {"target": a.target, "candidates": list(a.candidates), "decided": a.decided}
            for a in inferred.ambiguous
        ],
        "unpaired_source": list(inferred.unpaired_source),
        "unpaired_target": list(inferred.unpaired_target),
        "dropped": list(inferred.dropped),
        "notes": list(inferred.notes),
        "mapping": inferred.text,
    }
