"""One page of what runs came to: the tables and pictures of experiments, and a list of all runs.

The page holds its pictures and its style, so that it works from disk and can be sent to somebody.
"""

import base64
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ranking.run_directory import RESULT, read_result
from ranking.sweeps.sweep import SweepError
from ranking.sweeps.tables import rendering
from ranking.tasks import KINDS

BEGINNING = '<section class="ranking-table">'  # of a document that rendering.py has written
SINGLE = "Single runs"


@dataclasses.dataclass(frozen=True)
class Run:
  """A run directory: how its run ended, and its figures in words, by task."""

  name: str
  status: str
  model: str = ""
  method: str = ""
  day: str = ""
  figures: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
  """An experiment.

  Attributes:
    name: of its folder.
    documents: as HTML.
    pictures: address that holds the picture → name.
    runs: all that there are.
  """

  name: str
  documents: Sequence[Markup]
  pictures: dict[str, str]
  runs: Sequence[Run]


def page(folders: Sequence[Path]) -> str:
  """The page as HTML.

  Args:
    folders: of run directories, of experiments, or of either, such as runs/.

  Raises:
    SweepError: a folder holds no run, or a file in it cannot be read.
  """
  sections, single = [], []
  for folder in folders:
    found = list(_experiments(folder))
    if not found:
      raise SweepError(f"{folder} holds no run; name run directories, or folders of them")
    for directory in found:
      if _is_run(directory):
        single.append(_run(directory))
      else:
        sections.append(_section(directory))
  if single:
    sections.append(Section(SINGLE, [], {}, single))
  return rendering.environment().get_template("report.html").render(sections=sections)


def _experiments(folder: Path) -> Iterator[Path]:
  """Run directories, and folders of them, from this one downwards."""
  children = sorted(path for path in folder.glob("*") if path.is_dir())
  if _is_run(folder) or any(_is_sweep_run(child) for child in children):
    yield folder
    return
  for child in children:
    yield from _experiments(child)


def _is_run(folder: Path) -> bool:
  names = ("result.json", "failed.json", "trial.json", "config.gin")
  return any((folder / name).is_file() for name in names)


def _is_sweep_run(folder: Path) -> bool:
  return (folder / "trial.json").is_file()


def _section(folder: Path) -> Section:
  documents = []
  for path in sorted(folder.glob("*.html")):
    text = path.read_text()
    if text.startswith(BEGINNING):
      documents.append(Markup(text))
  pictures = {
    f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}": path.stem
    for path in sorted(folder.glob("*.svg"))
  }
  runs = [_run(child) for child in sorted(folder.glob("*/")) if _is_run(child)]
  return Section(folder.name, documents, pictures, runs)


def _run(directory: Path) -> Run:
  """Raises SweepError if its result cannot be read."""
  name = directory.name
  if not (directory / RESULT).is_file():
    return Run(name, "failed" if (directory / "failed.json").is_file() else "unfinished")
  try:
    result = read_result(directory)
    figures = [_figure(task, entry) for task, entry in result["metrics"].items()]
    return Run(
      name,
      status=result["status"],
      model=result["model"],
      method=result["method"],
      day=result["eval_day"],
      figures=", ".join(figures),
    )
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise SweepError(f"{directory} cannot be read ({type(error).__name__}: {error})") from error


def _figure(task: str, entry: dict[str, Any]) -> str:
  """A figure in words, "click AUC 72.33"; one that is not finite is null or text in result.json."""
  measure = KINDS[entry["kind"]].measure
  value = entry[measure.name]
  shown = measure.text(value) if isinstance(value, (int, float)) else "not finite"
  return f"{task} {measure.title} {shown}"
