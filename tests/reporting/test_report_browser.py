"""The report in a real browser: at the width of a phone and of a desktop, in light and in dark."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynarium.reporting import write_report

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

HEIGHT = 9000
PROBE = """<script>addEventListener("load", () => {
const wide = document.documentElement.scrollWidth, room = document.documentElement.clientWidth;
const out = [...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, .strip, pre, svg")
  && e.getBoundingClientRect().right > room + 1).map(e => e.tagName + "." + e.className);
parent.postMessage([wide, room, document.documentElement.scrollHeight, out.slice(0, 5).join(" ")].join("|"), "*")})
</script>"""
"""Put into a copy of the page, which itself has no script: it tells the page around it the measured widths."""

WIDTHS = (320, 390, 1280)
FRAMES = """<!DOCTYPE html><title>probe</title><script>
const told = []; addEventListener("message", e => { told.push(e.data); document.title = told.join(";") })</script>
""" + "".join(f'<iframe src="probed.html" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS)
"""Frames, since a window of Chromium cannot be as narrow as a phone."""


def chromium(profile: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    common = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    done = subprocess.run([CHROMIUM, *common, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_the_page_is_seen(run_directory: Path, tmp_path: Path, width: int, dark: bool) -> None:
    page = write_report(run_directory)
    picture = tmp_path / "page.png"
    mode = ["--force-dark-mode"] if dark else []
    chromium(tmp_path / "profile", *mode, f"--window-size={width},{HEIGHT}", f"--screenshot={picture}", page.as_uri())
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.int16)
    assert pixels.shape == (HEIGHT, width, 3)
    paper = pixels[2, 2]
    assert (paper < 60).all() if dark else (paper > 230).all()
    written = (np.abs(pixels - paper).sum(axis=-1) > 60).mean(axis=1)
    assert (written > 0).mean() > 0.3, "an empty page"
    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 500, "no colours"
    saturated = (pixels.max(axis=-1) - pixels.min(axis=-1) > 80).sum()
    assert saturated > 3000, "no charts"
    assert (written[0:800] > 0).mean() > 0.2, "nothing at the top"


def test_nothing_sticks_out_sideways(run_directory: Path, tmp_path: Path) -> None:
    page = write_report(run_directory)
    probed = page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>")
    (tmp_path / "probed.html").write_text(probed, encoding="utf-8")
    frames = tmp_path / "frames.html"
    frames.write_text(FRAMES, encoding="utf-8")
    dom = chromium(tmp_path / "profile", "--virtual-time-budget=20000", "--dump-dom", frames.as_uri())
    told = dom.split("<title>")[1].split("</title>")[0].split(";")
    measured = sorted(tuple(one.split("|")) for one in told)
    assert sorted(int(room) for _, room, _, _ in measured) == sorted(WIDTHS)
    for wide, room, height, out in measured:
        assert int(wide) <= int(room), out
        assert out == ""
        assert int(height) > 2000
