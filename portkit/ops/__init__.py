"""What may happen to a tensor on its way. An op is one class, and one line in `OPS`.

A tuple of tensors flows through a chain of ops, so that many can become one and one many. As
written in a mapping, an op names axes and may leave sizes open; `bind` gives the same op with every
axis a number and every size known, which is what a plan holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from portkit.ops.base import Frame, Kind, Op, OpError, Size
from portkit.ops.casting import Cast, parse_cast
from portkit.ops.choosing import Flip, Slice, Take, parse_slice
from portkit.ops.filling import Fill, parse_fill
from portkit.ops.joining import Concat, Pick, Split, Stack, Unstack
from portkit.ops.rearranging import Rearrange, parse_rearrange, simplify

__all__ = [
    "OPS",
    "Cast",
    "Concat",
    "Fill",
    "Flip",
    "Frame",
    "Kind",
    "Op",
    "OpError",
    "Pick",
    "Rearrange",
    "Size",
    "Slice",
    "Split",
    "Stack",
    "Take",
    "Unstack",
    "chain_kind",
    "parse_fill",
    "parse_rearrange",
    "simplify",
]


@dataclass(frozen=True, slots=True)
class Written:
    """How an op is written: `{name: argument}`, with the keys allowed beside and inside it."""

    parse: Callable[[Any, Mapping[str, Any]], Op]
    argument: type  # str, int, list or dict
    inside: tuple[str, ...] = ()  # keys of a dict argument; () means axis names
    beside: tuple[str, ...] = ()


def _slice(argument: Any, _: Any) -> Slice:
    for text in argument.values():
        parse_slice(str(text))
    return Slice(tuple((axis, str(text)) for axis, text in argument.items()))


def _flip(argument: Any, _: Any) -> Flip:
    return Flip(tuple(argument))


OPS: Mapping[str, Written] = MappingProxyType(
    {
        "rearrange": Written(
            lambda text, beside: parse_rearrange(text, beside.get("sizes", {})),
            str,
            beside=("sizes",),
        ),
        "concat": Written(
            lambda a, _: Concat(a["axis"], tuple(a["sizes"])), dict, ("axis", "sizes")
        ),
        "split": Written(lambda a, _: Split(a["axis"], tuple(a["sizes"])), dict, ("axis", "sizes")),
        "stack": Written(lambda count, _: Stack(count), int),
        "unstack": Written(lambda count, _: Unstack(count), int),
        "flip": Written(_flip, list),
        "take": Written(
            lambda a, _: Take(a["axis"], tuple(a["indices"])), dict, ("axis", "indices")
        ),
        "slice": Written(_slice, dict),
        "cast": Written(lambda a, _: parse_cast(a["from"], a["to"]), dict, ("from", "to")),
    }
)

_HARM = tuple(Kind)  # from harmless to new


def chain_kind(ops: tuple[Op, ...]) -> Kind:
    """Return the most harmful kind among the ops; nothing at all is exact."""
    return max((op.kind for op in ops), key=_HARM.index, default=Kind.EXACT)
