"""Makes the report, one page of what the experiments found: tables, pictures and findings.

It opens with the paper's question as comparison.md answers it: which method bears the rates that
pay, and what that is worth.
An experiment is shown as runs/ has it, and where this machine has no document of it, as
experiments/results/ publishes it. The page trains nothing, needs no network and holds its pictures
and its style; its links are relative. `ranking report runs` lists the runs themselves.
"""

import argparse
import base64
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markdown import Markdown
from markupsafe import Markup

from experiments import templating
from experiments.findings.archive import Archive
from experiments.findings.rules import RULES
from experiments.pages import EXPERIMENTS
from experiments.published import RESULTS, read
from ranking.errors import InputError
from ranking.files import write_atomically

RUNS, FIGURES = Path("runs"), RESULTS / "figures"
OPENING = "With a warm-up"  # the section of comparison.md that comes first, with its picture
PICTURE = Path("docs/with_a_warm_up.png")
DOCUMENTS = ("table2", "table3", "comparison", "summary")
SECTIONS = ("table2", "survival", "table3")  # kinds of experiments that have one of their own
TESTED = "model method reference task measure difference ci95_low ci95_high p_holm outcome"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments report`."""
  parser.add_argument("--data", default="kuairand", help="whose Table 2 comes first; kuairand")
  parser.add_argument("--out", type=Path, default=RUNS / "report.html", help="the page")


def run(given: argparse.Namespace) -> int:
  """Writes the page and prints where it is. Raises InputError as `page` does."""
  text = page(given.data, given.out)
  given.out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(given.out, text)
  print(given.out)
  return 0


def page(data: str, out: Path) -> str:
  """The report as HTML; the same files give the same one.

  Args:
    data: the log whose Table 2 and survival map come first.
    out: where the page will be, which its links start from.

  Raises:
    InputError: there is nothing to report, or a file cannot be read.
  """
  folders = experiments()
  if not folders:
    raise InputError(f"nothing to report below {RUNS} or {RESULTS}; run: make table2 DATA={data}")
  names = sorted(folders, key=lambda name: (not name.endswith(f"_{data}"), name))
  sections: dict[str, list[dict[str, Any]]] = {}
  for name in names:
    kind = name.partition("_")[0]
    section = sections.setdefault(kind if kind in SECTIONS else "beyond", [])
    section.append(article(folders[name], out))
  archive = Archive(EXPERIMENTS / "findings.json")
  figures = {path.name: _pictures(path) for path in sorted(FIGURES.glob("*/"))}
  return templating.render(
    "report.html",
    data=data,
    opening=opening(out),
    first=next(iter(sections.get("table2", [])), None),
    sections=sections,
    findings=[(rule, of) for rule in RULES if (of := archive.of_rule(rule.name))],
    figures=figures,
    missing=[
      path.stem
      for path in sorted(EXPERIMENTS.glob("*.gin"))
      if path.stem not in folders
      and not (path.stem.startswith("dynamics_") and path.stem.partition("_")[2] in figures)
    ],
  )


def opening(out: Path) -> dict[str, Any] | None:
  """Picture, first paragraph, table and the rest of the section that comes first, if it is there.

  Args:
    out: where the page will be, which its links start from.
  """
  path = EXPERIMENTS / "comparison.md"
  if not (path.is_file() and PICTURE.is_file()):
    return None
  section = path.read_text().partition(f"\n## {OPENING}\n")[2].partition("\n## ")[0]
  if not section:
    return None

  def moved(link: re.Match[str]) -> str:
    image, target, place = link[1] or "", EXPERIMENTS / link[2], link[3] or ""
    if image and target.is_file():
      return f"{image}]({_address(target, 'image/png')})"
    return f"{image}]({quote(os.path.relpath(target, out.parent))}{place})"

  section = re.sub(r"(!\[[^\]]*)?\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)", moved, section)
  about, table, *rest = section.strip().split("\n\n")
  return {
    "title": OPENING,
    "picture": _address(PICTURE, "image/png"),
    "about": _html(about),
    "table": _html(table),
    "rest": _html("\n\n".join(rest)),
  }


def experiments() -> dict[str, Path]:
  """The folder of each experiment that has a document, here or else as published."""
  paths = [path for root in (RESULTS, RUNS) for path in root.glob("*/*.md")]
  return {path.parent.name: path.parent for path in paths if path.stem in DOCUMENTS}


def article(folder: Path, out: Path) -> dict[str, Any]:
  """What the page shows of an experiment. Raises InputError if a table of it cannot be read."""
  paths = [path for stem in DOCUMENTS if (path := folder / f"{stem}.md").is_file()]
  table, pairs = folder / "table2.csv", folder / "comparison.csv"
  return {
    "name": folder.name,
    "documents": [_document(path) for path in paths],
    "links": {path.name: quote(os.path.relpath(path, out.parent)) for path in paths},
    "pictures": _pictures(folder),
    "compared": read(table, ["model", "column"]) if table.is_file() else None,
    "tested": read(pairs, TESTED.split()).to_dict("records") if pairs.is_file() else None,
  }


def _document(path: Path) -> dict[str, Any]:
  """Title, paragraphs, and captions with their tables, of a document that rendering.py wrote."""
  about, *tables = path.read_text().split("\n## ")
  title, *paragraphs = about.split("\n\n")
  captioned = [table.partition("\n") for table in tables]
  return {
    "title": _html(f"##{title}"),
    "paragraphs": [_html(text) for text in paragraphs],
    "tables": [(_html(f"#### {caption}"), _html(table)) for caption, _, table in captioned],
  }


def _html(text: str) -> Markup:
  """Renders Markdown; of HTML in it, which an older document may hold, <u> alone is kept."""
  reader = Markdown(extensions=["tables", "fenced_code"], output_format="html")
  reader.preprocessors.deregister("html_block")
  reader.inlinePatterns.deregister("html")
  escaped = reader.convert(text)
  return Markup(escaped.replace("&lt;u&gt;", "<u>").replace("&lt;/u&gt;", "</u>"))


def _pictures(folder: Path) -> dict[str, str]:
  """By name, the SVG files of a folder as addresses that hold them."""
  return {path.stem: _address(path, "image/svg+xml") for path in sorted(folder.glob("*.svg"))}


def _address(picture: Path, kind: str) -> str:
  """One that holds a picture."""
  return f"data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"
