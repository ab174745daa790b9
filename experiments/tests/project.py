"""A folder with one of everything that a report shows, and a reader of the page."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from experiments.__main__ import main
from experiments.published import RESULTS

EXPERIMENTS = ("table2", "table3", "survival", "adam", "days")  # copied, all of kuairand
FIGURES = ("1", "3", "4a", "8")
FINDINGS = {
  "kuairand": {
    "F1": {"rule": "If all are.", "verdict": "reproduced", "evidence": "3 of 3"},
    "F15": {"rule": "If it helps.", "verdict": "undecided", "evidence": "<i>1</i> of 5"},
  }
}


def project(folder: Path) -> None:
  """Makes runs/, results/ and findings.json below a folder."""
  for name in EXPERIMENTS:
    source, target = RESULTS / f"{name}_kuairand", folder / "runs" / f"{name}_kuairand"
    target.mkdir(parents=True)
    for path in (*source.glob("*.csv"), *source.glob("*.parquet"), *source.glob("*.md")):
      if not (name == "table3" and path.stem == "summary"):
        shutil.copy(path, target)
  run(folder / "runs" / "table2_kuairand" / "small-gc-seed=1", "ok")
  run(folder / "runs" / "odd=name, with 100%" / "a", None)
  run(folder / "runs" / "single", "micro_diverged")
  draw(folder / "runs" / "survival_kuairand" / "survival_map.svg", 480)
  for name in FIGURES:
    draw(folder / "results" / "figures" / "kuairand" / f"figure_{name}.svg")
  (folder / "findings.json").write_text(json.dumps(FINDINGS))


def run(directory: Path, status: str | None) -> None:
  """A run directory, finished if it has a status."""
  directory.mkdir(parents=True)
  (directory / "trial.json").write_text("{}")
  if status is not None:
    (directory / "result.json").write_text(json.dumps({"status": status}))


def draw(path: Path, width: float = 238) -> None:
  """A picture of that width, in pt."""
  path.parent.mkdir(parents=True, exist_ok=True)
  size = f'width="{width}pt" height="100pt" viewBox="0 0 {width} 100"'
  shape = '<rect width="100" height="50"/>'
  path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{shape}</svg>')


def report(folder: Path, *more: str) -> int:
  """Makes runs/report.html; returns the exit code."""
  places = {"runs": "runs", "out": "runs/report.html", "findings": "findings.json"}
  places |= {"figures": "results/figures", "experiments": "experiments", "published": "results"}
  return main(["report", *(f"--{name}={folder / place}" for name, place in places.items()), *more])


def made(folder: Path, *more: str) -> str:
  """The page of a project."""
  assert report(folder, *more) == 0
  return (folder / "runs" / "report.html").read_text()


class Page(HTMLParser):
  """Attributes of every element by tag, the tags that are open, and all text."""

  def __init__(self, text: str):
    super().__init__()
    self.found: list[tuple[str, dict[str, str]]] = []
    self.open: list[str] = []
    self.text = ""
    self.feed(text)
    self.ids = {attributes["id"] for _, attributes in self.found if "id" in attributes}

  def handle_starttag(self, tag: str, attrs: Any) -> None:
    self.found.append((tag, dict(attrs)))
    if tag not in ("meta", "link", "img", "br", "hr"):
      self.open.append(tag)

  def handle_endtag(self, tag: str) -> None:
    assert self.open.pop() == tag

  def handle_data(self, data: str) -> None:
    self.text += data

  def all(self, tag: str, attribute: str) -> list[str]:
    """An attribute of each element of a tag that has it."""
    return [attrs[attribute] for name, attrs in self.found if name == tag and attribute in attrs]
