"""The HTML page: whole, self-contained, readable without colour, inert whatever names hold."""

import base64
import re
from html.parser import HTMLParser
from math import log10

import pytest

from portkit.report.charts import compact, layout_histogram, layout_layers
from portkit.report.html import html_of
from portkit.verification.results import (
    Check,
    Histogram,
    RungResult,
    Status,
    Tolerances,
    Verification,
)

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """A page's elements with their attributes and texts; it fails where tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    def texts_in(self, tag):
        return [text for found, text in self.texts if found == tag and text]

    @property
    def words(self):
        return " ".join(text for _, text in self.texts if text)


@pytest.fixture
def everything(examples):
    return html_of(examples.all)


def test_tags_nest_and_ids_are_unique(everything):
    page = Page(everything)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        assert attributes["href"].removeprefix("#") in ids
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby") in (None, *ids)


def test_a_page_needs_nothing_else(everything):
    page = Page(everything)
    assert not {"script", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert re.match(r"data:|#file-\d+$", attributes.get(name) or "#file-1")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", everything)
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_names_are_text(examples):
    text = html_of(examples.all_hurt, Tolerances(because=examples.hostile))
    assert "<script" not in text
    assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(text)
    text.encode()
    page = Page(text)
    cells = [one for one in page.texts_in("code") if one.startswith("x<script>alert(1)</script>")]
    assert len(cells) >= 3
    assert page.all("img")[0]["alt"].startswith("""x<script>alert(1)</script>'"&]]>|`""")


def test_a_refutation_holds_verdict_ladder_culprits_and_flips(examples):
    page = Page(html_of({"b.safetensors": examples.failed}))
    assert page.texts_in("title")[0] == "NOT verified: b.safetensors"
    assert page.texts_in("h2")[0] == "NOT verified"
    assert {"bits", "layers", "decisions"} <= set(page.texts_in("th"))
    assert page.words.count("✗ failed") == 3
    assert "transposed it equals the transpose of its source, 16,777,216 elements" in page.words
    assert "batchnorm_eps" in page.texts_in("code")
    assert "outputs: an earlier rung failed" in page.texts_in("li")
    assert "ρ of 2.9e+06 is usual for another structure or other weights" in page.texts_in("li")
    assert "CPU, 2 threads" in page.texts_in("td")
    assert "2 images answered differently" in page.texts_in("h3")
    assert "ankle boot → sneaker" in page.texts_in("b")
    assert page.texts_in("span").count("tie") == page.texts_in("span").count("✗ no tie") == 1
    assert "Nearest to the gate" not in page.words


def test_pictures_are_within_the_page(examples):
    (image,) = Page(html_of({"b": examples.failed})).all("img")
    data = image["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == examples.failed.rungs[2].flips[0].picture


def test_a_proof_shows_what_came_nearest_to_the_gate(examples):
    page = Page(html_of({"a": examples.passed}))
    assert page.texts_in("h2")[0] == "Verified"
    captions = page.texts_in("caption")
    assert "Nearest to the gate of what passed" in captions
    assert not [caption for caption in captions if caption.startswith("What differs")]
    first = page.texts_in("code")[page.texts_in("code").index("classifier.3") :]
    assert "features.10" in first


@pytest.mark.parametrize(
    ("result", "words", "tone"),
    [
        ("passed", "Verified", "good"),
        ("partly", "Verified, all but structure", "partly"),
        ("failed", "NOT verified", "bad"),
        ("nothing", "NOT verified", "bad"),
        ("error", "Not found out", "bad"),
    ],
)
def test_the_verdict_is_said_in_words_and_colour(examples, result, words, tone):
    page = Page(html_of({"a": getattr(examples, result)}))
    assert page.texts_in("h2")[0] == words
    assert {"class": f"verdict {tone}"} in page.all("section")


def test_several_files_are_listed_first(examples, everything):
    page = Page(everything)
    assert page.texts_in("h1") == ["1 of 6 files verified, 1 in part"]
    assert len(page.all("article")) == len([a for a in page.all("a") if a]) == len(examples.all)
    assert "fix: name its source with --against" in page.texts_in("p")


def test_no_file_is_said():
    assert "No file was verified." in html_of({})


def test_tolerances_are_said():
    page = Page(html_of({}, Tolerances(atol=1e-5, strict_atol=True, because="old weights")))
    cells = page.texts_in("td")
    assert "atol 1e-05, also for float32 rounding" in cells
    assert "old weights" in cells
    assert any(cell.startswith("1e-12 of the largest value, in float64;") for cell in cells)
    assert "because" not in Page(html_of({})).texts_in("th")


def test_long_lists_are_cut_and_counted():
    checks = tuple(
        Check(f"t.{at}", passed=False, what="", histogram=Histogram((0,), (1,), 0))
        for at in range(1234)
    )
    failed = Verification("a", "s", "t", (RungResult("bits", Status.FAILED, "", checks),))
    page = Page(html_of({"a": failed}))
    assert "What differs, the first 50 of 1,234" in page.texts_in("caption")
    assert "t.49" in page.texts_in("code")
    assert "t.50" not in page.texts_in("code")
    assert len(page.all("svg")) == 12


def check(name, rho, *, passed=True):
    return Check(name, passed, "", {"rho": rho, "gate": 8.0})


def test_a_curve_is_logarithmic_and_failures_are_marked():
    rhos = (1.0, 8.0, 100.0, 1e6, 0.0, float("inf"), float("nan"))
    chart = layout_layers([check(f"l{at}", rho, passed=rho <= 8) for at, rho in enumerate(rhos)])
    ys = [point.y for point in chart.points]
    assert ys[1] == chart.gate.at
    assert (ys[0] - ys[2]) / (ys[2] - ys[3]) == pytest.approx(log10(100) / log10(1e4))
    assert ys[4] == max(ys) <= chart.bottom
    assert ys[5] == ys[6] == min(ys)
    assert [point.failed for point in chart.points] == [False, False, True, True, False, True, True]
    assert chart.points[3].title == "l3: ρ 1.0e+06, FAILED"
    labels = {level.label: level.at for level in chart.levels}
    assert labels["1"] == ys[0]
    assert layout_layers([check("l", 8.0)]).levels[0].label == "0.1"
    assert chart.gate.label == "gate 8"


@pytest.mark.parametrize("count", [1, 2, 18, 100, 1000])
def test_points_and_names_stay_within_the_chart(count):
    chart = layout_layers([check(f"a.{'long' * 20}.{at} → b", 1.0) for at in range(count)])
    xs = [point.x for point in chart.points]
    assert xs == sorted(xs)
    assert chart.left < xs[0]
    assert xs[-1] < chart.right <= chart.width
    gaps = [b.at - a.at for a, b in zip(chart.names, chart.names[1:], strict=False)]
    assert min(gaps, default=99) >= 14
    assert chart.names[0].label == "a.longlonglo…onglong.0 → b"
    assert chart.height >= chart.bottom + 5 * len(chart.names[0].label)
    assert all(point.is_span for point in chart.points)


@pytest.mark.parametrize(("count", "width"), [(1, 968), (20, 968), (98, 968), (200, 1880)])
def test_a_chart_fits_a_page_until_points_would_touch(count, width):
    assert layout_layers([check("l", 1.0)] * count).width == pytest.approx(width)


def test_without_layers_there_is_no_curve():
    assert layout_layers([]) is None


def test_bars_stand_for_decades_and_zeros():
    chart = layout_histogram(Histogram((-7, 0), (99, 0), 9))
    assert [bar.label for bar in chart.bars] == ["0", "10⁻⁷", "1"]
    assert [bar.title for bar in chart.bars] == [
        "exactly 0: 9",
        "from 10⁻⁷ to 10⁻⁶: 99",
        "from 1 to 10: 0",
    ]
    heights = [bar.height for bar in chart.bars]
    assert heights[0] == pytest.approx(heights[1] / 2)
    assert heights[2] == 0
    assert max(heights) == pytest.approx(110)
    assert min(bar.y for bar in chart.bars) >= 20
    assert chart.bars[0].x >= 0
    gaps = [b.x - a.x - chart.bar for a, b in zip(chart.bars, chart.bars[1:], strict=False)]
    assert gaps == [6, 6]
    assert chart.bars[-1].x + chart.bar <= chart.width
    assert chart.height >= chart.bottom + 20
    assert all(bar.y + bar.height == pytest.approx(chart.bottom) for bar in chart.bars)
    assert layout_histogram(Histogram((), (), 0)).bars[0].height == 0


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (999, "999"), (1000, "1.0k"), (51300, "51.3k"), (912_000, "912k")]
)
def test_counts_are_said_shortly(count, said):
    assert compact(count) == said
