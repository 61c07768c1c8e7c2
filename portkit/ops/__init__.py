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
from portkit.ops.blocks import BlockDiagonal, DiagonalBlocks
from portkit.ops.casting import Cast, parse_cast
from portkit.ops.choosing import Flip, Slice, Take, parse_slice
from portkit.ops.computing import Add, Mean, Scale, Sum, parse_factor
from portkit.ops.filling import Fill, parse_fill
from portkit.ops.folding import (
    FoldBatchnorm,
    FoldNormalization,
    parse_fold_batchnorm,
    parse_fold_normalization,
)
from portkit.ops.joining import Concat, Pick, Split, Stack, Unstack
from portkit.ops.padding import Pad, Unpad, parse_widths
from portkit.ops.rearranging import Rearrange, parse_rearrange, simplify

__all__ = [
    "OPS",
    "Add",
    "BlockDiagonal",
    "Cast",
    "Concat",
    "DiagonalBlocks",
    "Fill",
    "Flip",
    "FoldBatchnorm",
    "FoldNormalization",
    "Frame",
    "Kind",
    "Mean",
    "Op",
    "OpError",
    "Pad",
    "Pick",
    "Rearrange",
    "Scale",
    "Size",
    "Slice",
    "Split",
    "Stack",
    "Sum",
    "Take",
    "Unpad",
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
    argument: Any  # str, int, Size (a number or a parameter), list or dict
    inside: tuple[str, ...] = ()  # keys of a dict argument; () means axis names
    beside: tuple[str, ...] = ()


def _slice(argument: Any, _: Any) -> Slice:
    for text in argument.values():
        parse_slice(str(text))
    return Slice(tuple((axis, str(text)) for axis, text in argument.items()))


def _flip(argument: Any, _: Any) -> Flip:
    return Flip(tuple(argument))


def _one_axis(name: str, argument: list[Any]) -> Any:
    if len(argument) != 1:
        raise OpError(f"{name} goes over one axis, found [{', '.join(map(str, argument))}]")
    return argument[0]


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
        "pad": Written(lambda a, _: Pad(parse_widths(a)), dict),
        "unpad": Written(lambda a, _: Unpad(parse_widths(a)), dict),
        "block_diagonal": Written(lambda groups, _: BlockDiagonal(groups), Size),
        "diagonal_blocks": Written(lambda groups, _: DiagonalBlocks(groups), Size),
        "sum": Written(lambda axes, _: Sum(_one_axis("sum", axes)), list),
        "mean": Written(lambda axes, _: Mean(_one_axis("mean", axes)), list),
        "scale": Written(lambda a, _: parse_factor(Scale, a), dict, ("axis", "by")),
        "add": Written(lambda a, _: parse_factor(Add, a), dict, ("axis", "by")),
        "fold_batchnorm": Written(
            lambda a, _: parse_fold_batchnorm(a), dict, ("takes", "eps", "axis")
        ),
        "fold_normalization": Written(
            lambda a, _: parse_fold_normalization(a), dict, ("takes", "mean", "std", "borders")
        ),
    }
)

_HARM = tuple(Kind)  # from harmless to new


def chain_kind(ops: tuple[Op, ...]) -> Kind:
    """Return the most harmful kind among the ops; nothing at all is exact."""
    return max((op.kind for op in ops), key=_HARM.index, default=Kind.EXACT)
