"""Where the parts of a page's charts stand: geometry only, templates draw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from portkit.report.words import scale_of, size_in_words, size_of
from portkit.verification.results import Check, Histogram

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEFT, _TOP, _RIGHT = 56.0, 34.0, 24.0
_PLOT = 240.0  # height of the layers' plot, in pixels
_WIDTH = 968.0  # of a page on a screen
_NARROWEST, _WIDEST = 9.0, 64.0  # pixels from layer to layer
_LEGIBLE = 14.0  # pixels from name to name
_NAME = 26  # characters of a name under the axis
_CHARACTER = 5.6  # pixels, as high as names stand
_LEAST, _MOST = 1e-3, 1e12  # times the gate: what is beyond is drawn at the edge
_BAR, _BAR_PLOT = 30.0, 110.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """One layer, or a span between layers."""

    x: float
    y: float
    name: str
    title: str
    failed: bool
    is_span: bool


@dataclass(frozen=True, slots=True)
class LayerChart:
    """How far off layers are, on a logarithmic axis."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    gate: Tick
    points: tuple[Point, ...]
    names: tuple[Tick, ...]
    levels: tuple[Tick, ...]

    @property
    def line(self) -> str:
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Bar:
    """How many differences lie in one decade."""

    x: float
    y: float
    height: float
    label: str
    count: str
    title: str


@dataclass(frozen=True, slots=True)
class HistogramChart:
    """Differences by their power of ten; those of exactly zero stand first."""

    width: float
    height: float
    bottom: float
    bar: float
    bars: tuple[Bar, ...]


def layout_layers(layers: Sequence[Check]) -> LayerChart | None:
    """Return the curve of differences by layer; None where no layer was measured."""
    if not layers:
        return None
    step = min(max((_WIDTH - _LEFT - _RIGHT) / len(layers), _NARROWEST), _WIDEST)
    scale = scale_of(layers)
    shown = [_between(size_of(check), scale.gate) for check in layers]
    low = floor(min(map(log10, [*shown, scale.gate / 10])))
    high = ceil(max(map(log10, [*shown, scale.gate * 10])))
    points = tuple(
        _point(check, scale.unit, _LEFT + step * (at + 0.5), _height(size, low, high))
        for at, (check, size) in enumerate(zip(layers, shown, strict=True))
    )
    every = ceil(_LEGIBLE / step)
    names = tuple(Tick(point.x, _shortened(point.name)) for point in points[::every])
    bottom = _TOP + _PLOT
    longest = max(len(name.label) for name in names)
    return LayerChart(
        width=max(_LEFT + step * len(layers) + _RIGHT, _WIDTH),
        height=bottom + 16 + _CHARACTER * longest,
        left=_LEFT,
        right=max(_LEFT + step * len(layers), _WIDTH - _RIGHT),
        bottom=bottom,
        gate=Tick(_height(scale.gate, low, high), f"gate {scale.gate:g}"),
        points=points,
        names=names,
        levels=tuple(_levels(low, high)),
    )


def layout_histogram(histogram: Histogram) -> HistogramChart:
    """Return the bars of a histogram, as high as the logarithm of what they count."""
    counted = [
        ("0", "exactly 0", histogram.zeros),
        *(
            (_power(decade), f"from {_power(decade)} to {_power(decade + 1)}", count)
            for decade, count in zip(histogram.decades, histogram.counts, strict=True)
        ),
    ]
    top = max(log10(1 + count) for _, _, count in counted) or 1.0
    bottom = _TOP + _BAR_PLOT
    bars = []
    for at, (label, title, count) in enumerate(counted):
        height = _BAR_PLOT * log10(1 + count) / top
        where = 8 + at * (_BAR + 6)
        words = f"{title}: {count:,}"
        bars.append(Bar(where, bottom - height, height, label, compact(count), words))
    width = 10 + len(bars) * (_BAR + 6)
    return HistogramChart(width, bottom + 24, bottom, _BAR, tuple(bars))


def compact(count: int) -> str:
    """Return a count in at most five characters: `812`, `51.3k`, `1.2M`.

    >>> compact(51_300)
    '51.3k'
    """
    size = float(count)
    for unit in ("", "k", "M", "G"):
        if size < 1000 or unit == "G":
            break
        size /= 1000
    return f"{count}" if not unit else f"{size:.1f}{unit}" if size < 100 else f"{size:.0f}{unit}"


def _point(check: Check, unit: str, x: float, y: float) -> Point:
    mark = "passed" if check.passed else "FAILED"
    title = f"{check.subject}: {unit} {size_in_words(size_of(check))}, {mark}"
    return Point(x, y, check.subject, title, not check.passed, " → " in check.subject)


def _between(size: float, gate: float) -> float:
    return min(max(size, gate * _LEAST), gate * _MOST)


def _height(size: float, low: int, high: int) -> float:
    return _TOP + _PLOT * (1 - (log10(size) - low) / (high - low))


def _levels(low: int, high: int) -> list[Tick]:
    step = ceil((high - low) / 8)
    powers = range(ceil(low / step) * step, high + 1, step)
    return [Tick(_height(10.0**n, low, high), _power(n)) for n in powers]


def _power(exponent: int) -> str:
    plain = {-1: "0.1", 0: "1", 1: "10"}
    return plain.get(exponent, f"10{str(exponent).translate(_SUPERSCRIPTS)}")


def _shortened(name: str) -> str:
    """Return a name's beginning and end."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2 - 1]}…{name[-_NAME // 2 :]}"
