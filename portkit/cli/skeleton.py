"""Writes the mapping file that a user starts from: every tensor of both sides, listed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portkit.endpoints import Endpoint
from portkit.mapping.quoting import escape_name, quote
from portkit.tensors import Specs, TensorSpec

_CANDIDATES = 5  # equally large sources named for one target; the rest is counted
_OURS = ("torchvision", "fc-head", "conv-head", "python")


@dataclass(frozen=True, slots=True)
class Sides:
    """What a skeleton is written from: what both ends are called, and their headers."""

    source: str  # "torchvision:vgg16"
    target: str
    taken: Specs
    given: Specs

    @property
    def shared(self) -> tuple[str, ...]:
        """Names that mean the same shape on both sides."""
        return tuple(
            name
            for name, spec in self.taken.items()
            if name in self.given and self.given[name].shape == spec.shape
        )


def name_scheme(endpoint: Endpoint, path: str) -> str:
    """Return what `from:` or `to:` calls an endpoint: its model, or a file's own name."""
    reference = endpoint.reference
    if reference.scheme in _OURS and reference.arch:
        return f"{reference.scheme}:{reference.arch}"
    stem = path.rpartition("/")[2].partition(".")[0]
    words = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem.lower())
    return words.strip("-") or "theirs"


def write_skeleton(sides: Sides, command: str) -> str:
    """Return the text of a mapping with the plain rules in place and the others prepared."""
    return "\n".join((*_head(sides, command), *_rules(sides), ""))


def _head(sides: Sides, command: str) -> Iterator[str]:
    yield "# Fill this in until the following command is content; it says what is missing, line by"
    yield f"# line:  {command}"
    yield "# The README describes the language: patterns such as features.{i}.weight, ops, tables."
    yield "portkit: 1"
    yield f"from: {quote(sides.source)}"
    yield f"to: {quote(sides.target)}"
    if ":" not in sides.source and ":" not in sides.target:
        yield f"for: [{quote(sides.source)}]  # the architectures that this mapping is meant for"
    yield ""
    yield "rules:"


def _rules(sides: Sides) -> Iterator[str]:
    shared = sides.shared
    if shared:
        yield "  # The same name and shape on both sides. Shapes prove little: are these the same?"
    lines = [f"  - map: {quote(escape_name(name))}" for name in shared]
    width = max(map(len, lines), default=0)
    for name, line in zip(shared, lines, strict=True):
        yield f"{line.ljust(width)}  # {sides.taken[name].form}"
    untaken = [spec for name, spec in sides.taken.items() if name not in shared]
    ungiven = [spec for name, spec in sides.given.items() if name not in shared]
    yield from _open_targets(ungiven, untaken)
    yield from _open_sources(untaken)


def _open_targets(ungiven: list[TensorSpec], untaken: list[TensorSpec]) -> Iterator[str]:
    if ungiven:
        yield ""
        yield "  # Each of these needs one rule. Sources with as many elements stand below it: keep"
        yield "  # the right one, without its '# ', or make the tensor anew with `init`."
    for target in ungiven:
        yield ""
        yield f"  # {target}"
        fitting = [spec for spec in untaken if spec.size == target.size]
        for source in fitting[:_CANDIDATES]:
            yield from _candidate(source, target)
        if len(fitting) > _CANDIDATES:
            yield f"  #   and {len(fitting) - _CANDIDATES} more sources of this size"
        if not fitting:
            because = "because: why"
            yield f"  # - {{init: {quote(escape_name(target.name))}, with: zeros, {because}}}"


def _candidate(source: TensorSpec, target: TensorSpec) -> Iterator[str]:
    arrow = f"{escape_name(source.name)} -> {escape_name(target.name)}"
    yield f"  # - map: {quote(arrow)}"
    if source.shape != target.shape:
        shapes = f"{list(source.shape)} to {list(target.shape)}"
        yield f'  #   ops: [{{rearrange: "… -> …"}}]  # from {shapes}'


def _open_sources(untaken: Iterable[TensorSpec]) -> Iterator[str]:
    sources = list(untaken)
    if sources:
        yield ""
        yield "  # Each of these must be taken by a rule above, or dropped with a reason."
    for spec in sources:
        yield f"  # {spec.form}"
        yield f"  # - {{drop: {quote(escape_name(spec.name))}, because: why}}"
