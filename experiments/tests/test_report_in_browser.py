"""The report in a real browser, headless: no error, no picture lost, readable on phone and desktop.

A harness page beside it holds it in a frame of each width and writes what it measured into itself.
"""

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments.tests.project import FIGURES, made, project

BROWSER = next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
WIDTHS = {390: 844, 1280: 900}  # of a phone and a desktop, with their heights
FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--hide-scrollbars",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-logging=stderr",
  "--virtual-time-budget=10000",
  "--dump-dom",
)
HARNESS = """<!DOCTYPE html>
<html><body><pre id="measured"></pre><script>
const measured = {}, widths = WIDTHS;
function measure(view) {
  const page = view.document, body = page.body, first = page.getElementById("verdict");
  const texts = [...page.querySelectorAll("body *")].filter(x => [...x.childNodes].some(
    y => y.nodeType === Node.TEXT_NODE && y.textContent.trim()));
  return {
    errors: view.errors,
    pictures: page.images.length,
    lost: [...page.images].filter(x => !x.complete || !x.naturalWidth).map(x => x.alt),
    width: page.documentElement.scrollWidth,
    inner: view.innerWidth,
    font: Math.min(...texts.map(x => parseFloat(view.getComputedStyle(x).fontSize))),
    bottom: first.getBoundingClientRect().bottom,
    outside: [...page.querySelectorAll("p, h1, h2, h3, dd, figure, img, .scroll, details")].filter(
      x => !x.closest(".scroll, .wide, nav") && x.getBoundingClientRect().right > view.innerWidth
    ).map(x => x.tagName),
    loaded: view.performance.getEntriesByType("resource").map(x => x.name)
      .filter(x => !x.startsWith("data:")),
  };
}
for (const [width, height] of Object.entries(widths)) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: ${height}px; border: 0`;
  frame.src = "watched.html";
  frame.onload = () => {
    measured[width] = measure(frame.contentWindow);
    document.getElementById("measured").textContent = JSON.stringify(measured);
  };
  document.body.append(frame);
}
</script></body></html>
"""
# Runs before all else in the page, so that no error is missed.
WATCH = """<script>
window.errors = [];
addEventListener("error", e => errors.push(e.message || `not loaded: ${e.target.alt}`), true);
console.error = (...words) => errors.push(words.join(" "));
</script>"""
SMALLEST_TEXT = 12  # px
FIRST_SCREEN = 1.5  # heights of a phone, at most

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")


class Quiet(SimpleHTTPRequestHandler):
  """A server that says nothing."""

  def log_message(self, format: str, *args: Any) -> None:
    pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
  """Serves tmp_path/runs."""
  handler = functools.partial(Quiet, directory=str(tmp_path / "runs"))
  with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, str]]:
  """Opens an address; returns the page as it is then, and what the browser logged."""

  def browse(address: str) -> tuple[str, str]:
    profile = tmp_path_factory.mktemp("profile")
    ran = subprocess.run(
      [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", address],
      capture_output=True,
      text=True,
      timeout=120,
    )
    shutil.rmtree(profile, ignore_errors=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, ran.stderr

  return browse


def shown(folder: Path, change: Callable[[str], str] = str) -> None:
  """The page of a project, changed on purpose; with its harness beside it."""
  project(folder)
  text = change(made(folder))
  (folder / "runs" / "report.html").write_text(text)
  (folder / "runs" / "watched.html").write_text(text.replace("<head>", f"<head>{WATCH}", 1))
  harness = HARNESS.replace("WIDTHS", json.dumps(WIDTHS))
  (folder / "runs" / "harness.html").write_text(harness)


def problems(dumped: str, pictures: int) -> list[str]:
  """What is wrong with the page, by the harness's measurements at each width."""
  found = re.search(r'<pre id="measured">(.*?)</pre>', dumped, re.DOTALL)
  measured = json.loads(html.unescape(found[1])) if found and found[1] else {}
  wrong = [f"nothing measured at {width}" for width in WIDTHS if str(width) not in measured]
  for width, page in measured.items():
    checks = {
      f"errors {page['errors']}": page["errors"],
      f"{page['pictures']} pictures": page["pictures"] != pictures,
      f"lost {page['lost']}": page["lost"],
      f"scrolls sideways, {page['width']} px": page["width"] > page["inner"],
      f"text of {page['font']} px": page["font"] < SMALLEST_TEXT,
      f"beyond the edge {page['outside']}": page["outside"],
      f"loads {page['loaded']}": page["loaded"],
      f"first screen of {page['bottom']} px": page["bottom"] > FIRST_SCREEN * WIDTHS[int(width)],
    }
    wrong += [f"{width}: {text}" for text, bad in checks.items() if bad]
  return wrong


PICTURES = len(FIGURES) + 1  # and the survival map


def test_the_page_is_whole_and_readable_on_phone_and_desktop(
  tmp_path: Path, address: str, browse: Callable[..., tuple[str, str]]
):
  shown(tmp_path)
  dumped, _ = browse(f"{address}/harness.html")
  assert problems(dumped, PICTURES) == []


def broken(text: str) -> str:
  """In every way that the harness looks for."""
  text = re.sub(r'src="data:[^"]*"', 'src="gone.svg"', text, count=1)
  text = text.replace('class="scroll"', "")
  text = text.replace("<main>", "<main><script>gone()</script>")
  text = text.replace('class="lead">', 'class="lead" style="font-size: 8px">' + "word " * 5000)
  return re.sub(r'<img (src="[^"]*" alt="Figure 8)', r"<b \1", text)


def test_a_broken_page_is_told(
  tmp_path: Path, address: str, browse: Callable[..., tuple[str, str]]
):
  shown(tmp_path, broken)
  dumped, logged = browse(f"{address}/harness.html")
  told = "\n".join(problem for problem in problems(dumped, PICTURES) if problem.startswith("390"))
  for part in (
    "lost ['Survival",
    "not loaded: Survival",
    "gone is not defined",
    f"{PICTURES - 1} pictures",
    "scrolls sideways",
    "text of 8 px",
    "first screen of",
    "gone.svg",
  ):
    assert part in told
  assert "CONSOLE" in logged


def test_the_page_works_from_disk_without_a_word_in_the_console(
  tmp_path: Path, browse: Callable[..., tuple[str, str]]
):
  shown(tmp_path)
  dumped, logged = browse((tmp_path / "runs" / "report.html").as_uri())
  for text in ("What was compared", "Tied: AGC and ", "Figure 4a", "Table 3", "Single runs"):
    assert text in dumped
  assert "CONSOLE" not in logged
