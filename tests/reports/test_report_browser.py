"""The page in a real browser: no complaint, everything drawn, wide and narrow."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from portkit.report.html import html_of

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browse(page, *words):
    """Open a page without a window; return the document as it came to be, and the complaints."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser, f"install one of: {', '.join(BROWSERS)}"
    profile = page.with_suffix(".profile")
    ran = subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--v=0",
            f"--user-data-dir={profile}",
            *words,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def page(tmp_path, examples):
    """A page of everything that there is to report."""
    path = tmp_path / "report.html"
    path.write_text(html_of(examples.all), encoding="utf-8")
    return path


def test_the_page_opens_without_complaint(page, examples):
    document, complaints = browse(page, "--dump-dom")
    assert complaints == []
    assert "<title>1 of 6 files verified, 1 in part</title>" in document
    assert document.count("<article") == len(examples.all)
    assert document.count("<svg") == 5
    assert document.count('class="failed"') == 4
    assert document.count("<tr>") > 80
    assert 'src="data:image/png;base64,iVBOR' in document
    assert "<script" not in document


def test_a_complaint_would_be_seen(page):
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", "<script>boom()</script></main>"), encoding="utf-8")
    document, complaints = browse(page, "--dump-dom")
    assert "<script>boom()" in document
    assert len(complaints) == 1
    assert "Content Security Policy" in complaints[0]


@pytest.mark.parametrize("width", [1200, 420])
def test_the_page_is_drawn(page, width):
    shot = page.with_suffix(".png")
    browse(page, f"--window-size={width},1600", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape == (1600, width, 3)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    assert len(colours) > 100
    assert counts.max() < 0.9 * pixels.shape[0] * width
    greenish = (pixels[..., 1] > pixels[..., 0].astype(int) + 40).sum()
    blueish = (pixels[..., 2] > pixels[..., 0].astype(int) + 80).sum()
    assert greenish > 500
    assert blueish > 200
