"""A folder with one of everything that a report shows, and a reader of the page."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from experiments.__main__ import main

RESULTS = Path(__file__).parents[1] / "results"
EXPERIMENTS = ("table2", "table3", "survival", "adam", "days")  # copied, all of kuairand
FIGURES = ("1", "3", "4a", "8")
FINDINGS = {
  "kuairand": {
    "F1": {"rule": "If all are.", "verdict": "reproduced", "evidence": "3 of 3"},
    "F15": {"rule": "If it helps.", "verdict": "undecided", "evidence": "<i>1</i> of 5"},
  }
}


def project(folder: Path) -> None:
  """Makes runs/ and experiments/ below a folder, with one of everything."""
  for name in EXPERIMENTS:
    source, target = RESULTS / f"{name}_kuairand", folder / "runs" / f"{name}_kuairand"
    target.mkdir(parents=True)
    for path in (*source.glob("*.csv"), *source.glob("*.md")):
      shutil.copy(path, target)
  draw(folder / "runs" / "survival_kuairand" / "survival_map.svg")
  for name in FIGURES:
    draw(folder / "experiments" / "results" / "figures" / "kuairand" / f"figure_{name}.svg")
  (folder / "experiments" / "findings.json").write_text(json.dumps(FINDINGS))


def run(directory: Path, status: str | None) -> None:
  """A run directory, finished if it has a status."""
  directory.mkdir(parents=True)
  (directory / "trial.json").write_text("{}")
  if status is not None:
    (directory / "result.json").write_text(json.dumps({"status": status}))


def draw(path: Path) -> None:
  """A picture."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect width="100" height="50"/></svg>')


def made(*options: str) -> str:
  """The report on the current folder."""
  assert main(["report", *options]) == 0
  return Path("runs", "report.html").read_text()


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
