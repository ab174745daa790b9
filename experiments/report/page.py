"""One page of all that the experiments found: tables, pictures, findings, and every run.

The page is made of what there is below runs/, and of what was published below experiments/results/
where this machine has no runs of it; what is missing is named with the command that makes it. It
holds its pictures and its style, so that it works from disk, and its links are relative.
"""

import base64
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pandas as pd

from experiments import templating
from experiments.findings.archive import Archive
from experiments.findings.rules import RULES
from experiments.report import tables
from experiments.report.verdict import Verdict, verdict
from ranking.errors import InputError

HOMES = {  # section of a document, by its file name
  "table2": "table2",
  "table3": "table3",
  "comparison": "statistics",
  "summary": "beyond",
}
SAME_AS_DRAWN = ("dynamics_", "methods_")  # sweeps that figures are drawn of
DATA = ("kuairand", "synthetic", "movielens")
PICTURES = ("survival_map", "survival_curves", "map")  # those of a sweep, in their order
WIDE = 320  # pt of an SVG; a column of the paper has 238


class ReportError(InputError):
  """There is nothing to report, or a file cannot be read; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Sources:
  """Where a report is made of; whatever is missing is left out.

  Attributes:
    runs: a folder per experiment, with its documents, pictures and run directories.
    published: likewise, without run directories, what the repository holds of earlier runs.
    figures: a folder per log, with figure_*.svg.
    findings: the archive of judgements, a JSON file.
    experiments: the *.gin files that describe the experiments.
    data: whose Table 2 comes first; the next one that is finished if it is not.
    out: where the page will be, which its links start from.
  """

  runs: Path
  published: Path
  figures: Path
  findings: Path
  experiments: Path
  data: str
  out: Path

  def link(self, path: Path) -> str:
    """A URL from the page to a file or folder."""
    relative = quote(os.path.relpath(path, self.out.parent).replace(os.sep, "/"))
    return f"{relative}/" if path.is_dir() else relative


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What there is of an experiment: its CSVs by name, and its pictures.

  Attributes:
    name: of its folder.
    documents: of its runs here, and published ones that these lack.
    pictures: SVG files.
    mixed: whether some of the documents are of other runs than those of this machine.
  """

  name: str
  documents: dict[str, Path]
  pictures: Sequence[Path]
  mixed: bool

  def home(self, stem: str) -> str:
    """The section of a document: the survival map has one of its own."""
    is_survival = stem == "summary" and self.name.startswith("survival_")
    return "survival" if is_survival else HOMES[stem]


def page(sources: Sources) -> str:
  """The report as one HTML page; the same files give the same one.

  Raises:
    ReportError: when there is nothing to report, or a table is not what it should be.
  """
  found = experiments(sources)
  runs, figures = run_lists(sources), drawn_figures(sources)
  if not (found or runs or figures or sources.findings.is_file()):
    raise ReportError(
      f"nothing to report below {sources.runs}; run: make table2 DATA={sources.data}"
    )
  return templating.render(
    "report.html",
    data=sources.data,
    runs_folder=sources.runs,
    verdict=headline(found, sources),
    findings=judgements(sources),
    articles=articles(found, sources),
    figures=figures,
    missing=missing(found, sources),
    runs=runs,
  )


def experiments(sources: Sources) -> list[Experiment]:
  """Every experiment that has a document or a picture, those of the wanted log first."""
  found = {}
  for name in {folder.name for root in _roots(sources) for folder in root.glob("*/")}:
    folders = [root / name for root in _roots(sources)]
    documents = {
      stem: path
      for stem in HOMES
      for folder in reversed(folders)
      if (path := folder / f"{stem}.csv").is_file()
    }
    drawn = next((drawn for folder in folders if (drawn := sorted(folder.glob("*.svg")))), [])
    if documents or drawn:
      places = {path.parent for path in (*documents.values(), *drawn[:1])}
      drawn.sort(key=lambda path: PICTURES.index(path.stem) if path.stem in PICTURES else 99)
      found[name] = Experiment(name, documents, drawn, mixed=len(places) > 1)
  order = [f"{kind}_{data}" for kind in ("table2", "table3") for data in (sources.data, *DATA)]
  return sorted(
    found.values(), key=lambda x: (order.index(x.name) if x.name in order else 99, x.name)
  )


def _roots(sources: Sources) -> tuple[Path, Path]:
  return sources.runs, sources.published


def headline(found: Sequence[Experiment], sources: Sources) -> Verdict | None:
  """The verdict of the first Table 2 that has a figure. Raises ReportError."""
  pairs = [
    read(each.documents["comparison"], tables.COLUMNS["comparison"])
    for each in found
    if "comparison" in each.documents
  ]
  for each in found:
    if "table2" not in each.documents:
      continue
    path = each.documents["table2"]
    runs = read(
      path.with_name("table.parquet"), "trial status task eval_day rows ci95_low ci95_high"
    )
    mine = [table[table.experiment == each.name] for table in pairs if table is not None]
    figures = read(path, tables.COLUMNS["table2"])
    if figures is not None and runs is not None:
      said = verdict(figures, runs, pd.concat(mine) if mine else None)
      if said is not None:
        return said
  return None


def articles(found: Sequence[Experiment], sources: Sources) -> dict[str, list[dict[str, Any]]]:
  """By section, the documents and pictures that stand in it. Raises ReportError."""
  sections: dict[str, list[dict[str, Any]]] = {}
  for each in found:
    pictures = [picture(path, sources) for path in each.pictures]
    for stem, path in each.documents.items():
      table = read(path, tables.COLUMNS[stem])
      article = {
        "name": each.name,
        "stem": stem,
        "table": None if table is None or table.empty else tables.shaped(stem, table),
        "pictures": pictures,
        "folder": sources.link(path.parent),
        "files": {
          file.name: sources.link(file)
          for file in (path, path.with_suffix(".md"))
          if file.is_file()
        },
        "elsewhere": each.mixed and path.parent.parent == sources.published,
      }
      sections.setdefault(each.home(stem), []).append(article)
      pictures = []  # they stand once, in the first document of their experiment
    if pictures:
      article = {"name": each.name, "stem": "pictures", "pictures": pictures}
      sections.setdefault(each.home("summary"), []).append(article)
  return sections


def drawn_figures(sources: Sources) -> dict[str, list[dict[str, Any]]]:
  """The paper's figures by log, those of the wanted one first."""
  folders = sorted(sources.figures.glob("*/"), key=lambda x: (x.name != sources.data, x))
  drawn = {folder.name: sorted(folder.glob("figure_*.svg")) for folder in folders}
  return {log: [picture(path, sources) for path in paths] for log, paths in drawn.items() if paths}


def picture(path: Path, sources: Sources) -> dict[str, Any]:
  """An SVG file as an image that the page holds, so that inner names cannot clash."""
  _, root = next(ElementTree.iterparse(path, ["start"]))
  return {
    "stem": path.stem,
    "wide": float(root.get("width", "0").removesuffix("pt")) > WIDE,
    "data": base64.b64encode(path.read_bytes()).decode(),
    "link": sources.link(path),
  }


def judgements(sources: Sources) -> list[tuple[Any, dict[str, dict[str, str]]]]:
  """Each rule with what is archived of it, by log; none without an archive.

  Raises InputError if it is damaged.
  """
  archive = Archive(sources.findings)
  found = [(rule, archive.of_rule(rule.name)) for rule in RULES]
  return [(rule, by_log) for rule, by_log in found if by_log]


def missing(found: Sequence[Experiment], sources: Sources) -> list[tuple[str, str, str]]:
  """What is not there: its kind, which one, and the command that makes it."""
  data = sources.data
  core = [f"{kind}_{data}" for kind in ("table2", "table3", "survival", "dynamics")]
  described = sorted(path.stem for path in sources.experiments.glob("*.gin"))
  there = {each.name: each.documents for each in found}
  absent = []
  for name in dict.fromkeys((*core, *described)):
    kind, _, log = name.partition("_")
    documents = there.get(name, {})
    if kind in ("table2", "table3") and kind not in documents:
      absent.append((kind, log, f"make {kind} DATA={log}"))
    elif name.startswith(SAME_AS_DRAWN) and not any((sources.figures / log).glob("figure_*.svg")):
      absent.append(("figures", log, f"make figures DATA={log}"))
    elif kind == "days" and "comparison" not in documents:
      absent.append(("sweep", name, f"make compare SWEEP=experiments/{name}.gin"))
    elif not documents and not name.startswith(SAME_AS_DRAWN) and kind != "days":
      what, which = ("survival", log) if kind == "survival" else ("sweep", name)
      absent.append((what, which, f"make sweep SWEEP=experiments/{name}.gin"))
  if not any("comparison" in documents for documents in there.values()):
    absent.append(("statistics", "", f"make compare DATA={data}"))
  if not sources.findings.is_file():
    absent.append(("findings", "", "make findings"))
  return list(dict.fromkeys(absent))


def run_lists(sources: Sources) -> dict[str, list[tuple[str, str, str]]]:
  """Run directories by experiment, "" for single runs: name, link, and how the run ended."""
  groups: dict[str, list[tuple[str, str, str]]] = {}
  for directory in sorted([*sources.runs.glob("*/"), *sources.runs.glob("*/*/")]):
    if status := _status(directory):
      parent = directory.parent
      group = "" if parent == sources.runs else str(parent.relative_to(sources.runs))
      groups.setdefault(group, []).append((directory.name, sources.link(directory), status))
  return dict(sorted(groups.items()))


def _status(directory: Path) -> str | None:
  """How the run in a directory ended; None if there is no run in it."""
  if (directory / "result.json").is_file():
    try:
      return str(json.loads((directory / "result.json").read_text())["status"])
    except (OSError, ValueError, KeyError, TypeError):
      return "unreadable"
  if (directory / "failed.json").is_file():
    return "failed"
  if any((directory / name).is_file() for name in ("trial.json", "config.gin")):
    return "unfinished"
  return None


def read(path: Path, columns: str) -> pd.DataFrame | None:
  """A table of an experiment; None if it is missing or has no row yet.

  Raises ReportError if it cannot be read or lacks one of the columns, names with spaces between.
  """
  if not path.is_file():
    return None
  try:
    # "None" and the like are names here; an empty place is what is missing.
    if path.suffix == ".parquet":
      table = pd.read_parquet(path)
    else:
      table = pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""])
  except pd.errors.EmptyDataError:
    return None
  except (OSError, ValueError) as error:
    raise ReportError(f"{path} cannot be read ({type(error).__name__}); make it again") from error
  if absent := [name for name in columns.split() if name not in table]:
    raise ReportError(f"{path} has no column {absent[0]!r}; make it again")
  return table
