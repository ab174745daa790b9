"""One page of all that the experiments found: tables, pictures, findings, and every run.

The page is made of what there is below runs/, and of what was published below docs/results/ where
this machine has no runs of it; what is missing is named with the command that makes it. It holds
its pictures and its style, so that it works from disk, and its links are relative.
"""

import dataclasses
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

import pandas as pd

from experiments.report import fragments
from experiments.report.fragments import ReportError
from experiments.report.verdict import Line, Verdict, enumeration, verdict
from ranking.sweeps.tables import rendering

TEMPLATE = Path(__file__).with_name("page.html")
TITLE = "Which method keeps training stable?"
LEAD = (
  "Large ranking models can diverge in training: the loss jumps, and the model is lost. Which "
  "methods prevent that, and at what quality?"
)
SECTIONS = {  # id → heading and what it holds
  "findings": ("Findings", ""),
  "table2": (
    "Table 2",
    "Every method at its best setting on every model, judged on day N, the day after the last one "
    "that was trained on. AUC is how well a model ranks, RMSE how far its estimates are off.",
  ),
  "survival": ("Survival map", "Which method survives which learning rate, and how well."),
  "table3": ("Table 3", "What makes training diverge less often, without any method."),
  "figures": ("Figures", "The paper's figures, drawn from runs of this project."),
  "statistics": ("Statistics", "How much better is one method, and could it be chance?"),
  "beyond": ("Other experiments", "Sweeps beyond the paper's tables and figures."),
}
DOCUMENTS = {  # of an experiment, by file name → section
  "table2": "table2",
  "table3": "table3",
  "comparison": "statistics",
  "summary": "beyond",
}
SAME_AS_DRAWN = ("dynamics_", "methods_")  # sweeps that figures are drawn of
DATA = ("kuairand", "synthetic", "movielens")
ELSEWHERE = "as published, of other runs than those of this machine"


@dataclasses.dataclass(frozen=True)
class Sources:
  """Where a report is made of; whatever is missing is left out.

  Attributes:
    runs: a folder per experiment, with its documents, pictures and run directories.
    published: likewise, without run directories, what the repository holds of earlier runs.
    figures: a folder per log, with figure_*.svg.
    findings: a Markdown file.
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


def page(sources: Sources) -> str:
  """The report as one HTML page; the same files give the same one.

  Raises:
    ReportError: when there is nothing to report, or a table is not what it should be.
  """
  styles = [rendering.CSS]
  sections = {name: list(parts(name, sources, styles)) for name in SECTIONS}
  runs = run_lists(sources)
  if not runs and not any(sections.values()):
    raise ReportError(
      f"nothing to report below {sources.runs}; run: make table2 DATA={sources.data}"
    )
  absent = missing(sources)
  shown = {name: (*SECTIONS[name], parts) for name, parts in sections.items() if parts}
  if absent:
    shown["missing"] = ("Missing", "Not made yet, and the command that makes it.", [_lines(absent)])
  if runs:
    hint = (
      "Every run directory, by experiment, and how the run ended. Its curves: "
      f"<code>.venv/bin/tensorboard --logdir={html.escape(str(sources.runs))}</code>"
    )
    shown["runs"] = ("Runs", hint, runs)
  return Template(TEMPLATE.read_text()).substitute(
    title=html.escape(TITLE),
    styles="\n".join(styles),
    verdict=_first_screen(headline(sources), sources),
    contents="\n".join(f'<a href="#{name}">{heading}</a>' for name, (heading, *_) in shown.items()),
    sections="\n".join(_section(name, *content) for name, content in shown.items()),
  )


def folders(sources: Sources) -> dict[str, Path]:
  """Of each experiment that has a document or a picture: its folder here, or the published one."""
  found: dict[str, Path] = {}
  for root in (sources.published, sources.runs):
    for folder in sorted(root.glob("*/")):
      if any(fragments.find(folder, stem) for stem in DOCUMENTS) or any(folder.glob("*.svg")):
        found[folder.name] = folder
  return found


def documents(sources: Sources, name: str) -> dict[str, Path]:
  """By DOCUMENTS, those of an experiment: of its runs here, and published ones that these lack."""
  places = (sources.runs / name, sources.published / name)
  found = {
    stem: path
    for stem in DOCUMENTS
    for folder in reversed(places)
    if (path := fragments.find(folder, stem))
  }
  return found


def headline(sources: Sources) -> tuple[str, Verdict] | None:
  """The experiment that the first screen is about, and its verdict. Raises ReportError."""
  first = [f"table2_{data}" for data in dict.fromkeys((sources.data, *DATA))]
  known = folders(sources)
  for name in dict.fromkeys((*first, *known)):
    if name not in known:
      continue
    folder = known[name]
    figures = _read(folder / "table2.csv", ("model", "column", "task", "measure", "outcome"))
    runs = _read(folder / "table.parquet", ("trial", "status", "task", "ci95_low", "ci95_high"))
    if figures is None or runs is None:
      continue
    found = verdict(figures, runs, comparison(name, sources))
    if found is not None:
      return name, found
  return None


def comparison(name: str, sources: Sources) -> pd.DataFrame | None:
  """The paired differences of an experiment's own runs. Raises ReportError."""
  tables = [
    _read(
      folder / "comparison.csv",
      ("experiment", "model", "reference", "method", "task", "difference", "detectable"),
    )
    for folder in folders(sources).values()
  ]
  mine = [table[table.experiment == name] for table in tables if table is not None]
  found = pd.concat(mine) if mine else None
  return None if found is None or found.empty else found


def parts(section: str, sources: Sources, styles: list[str]) -> Iterator[str]:
  """The documents and pictures of a section; their styles are moved to `styles`."""
  start = sources.out.parent
  if section == "findings" and sources.findings.is_file():
    yield f'<div class="findings">{fragments.page_of(sources.findings, start)}</div>'
  if section == "figures":
    for folder in sorted(sources.figures.glob("*"), key=lambda x: (x.name != sources.data, x)):
      if pictures := sorted(folder.glob("figure_*.svg")):
        name = html.escape(folder.name)
        yield f"<article><h3>{name}</h3>{fragments.pictures(pictures, start)}</article>"
  order = [f"{kind}_{data}" for kind in ("table2", "table3") for data in (sources.data, *DATA)]
  for name, folder in sorted(
    folders(sources).items(), key=lambda x: (order.index(x[0]) if x[0] in order else 99, x)
  ):
    homes = {
      stem: (_home(name, DOCUMENTS[stem]), path) for stem, path in documents(sources, name).items()
    }
    pictures = sorted(folder.glob("*.svg"), key=_picture_order)
    mine = []
    for stem, (home, path) in homes.items():
      if home == section:
        # Pictures stand once, in the first document of their experiment.
        drawn = pictures if stem == next(iter(homes)) else ()
        remark = ELSEWHERE if path.parent != folder else ""
        mine.append(fragments.document(path, start, styles, drawn, remark))
    if pictures and not homes and _home(name, "beyond") == section:
      mine = [f"<h3>{html.escape(name)}</h3>{fragments.pictures(pictures, start)}"]
    if mine:
      yield f"<article>{''.join(mine)}</article>"


def missing(sources: Sources) -> list[tuple[str, str]]:
  """What is not there, and the command that makes it."""
  data = sources.data
  core = [f"table2_{data}", f"table3_{data}", f"survival_{data}", f"dynamics_{data}"]
  described = sorted(path.stem for path in sources.experiments.glob("*.gin"))
  absent: dict[str, str] = {}
  known = folders(sources)
  there = {(name, stem) for name in known for stem in documents(sources, name)}
  for name in dict.fromkeys((*core, *described)):
    kind, _, of = name.partition("_")
    if kind in ("table2", "table3"):
      if (name, kind) not in there:
        absent[f"{kind.capitalize()[:-1]} {kind[-1]} of {of}"] = f"make {kind} DATA={of}"
    elif name.startswith(SAME_AS_DRAWN):
      if not any((sources.figures / of).glob("figure_*.svg")):
        absent[f"Figures of {of}"] = f"make figures DATA={of}"
    elif kind == "days":
      if (name, "comparison") not in there:
        absent[name] = f"make compare SWEEP=experiments/{name}.gin"
    elif not any((name, stem) in there for stem in DOCUMENTS):
      what = f"Survival map of {of}" if kind == "survival" else name
      absent[what] = f"make sweep SWEEP=experiments/{name}.gin"
  if not any(stem == "comparison" for _, stem in there):
    absent["Statistics: methods compared in pairs"] = f"make compare DATA={data}"
  if not sources.findings.is_file():
    absent["Findings"] = "make findings"
  return list(absent.items())


def run_lists(sources: Sources) -> list[str]:
  """A folded list of run directories for each experiment."""
  groups: dict[str, list[tuple[Path, str]]] = {}
  for directory in sorted([*sources.runs.glob("*/"), *sources.runs.glob("*/*/")]):
    if status := _status(directory):
      parent = directory.parent
      group = "Single runs" if parent == sources.runs else str(parent.relative_to(sources.runs))
      groups.setdefault(group, []).append((directory, status))
  lists = []
  for group, runs in sorted(groups.items()):
    statuses = [status for _, status in runs]
    counts = enumeration([f"{statuses.count(x)} {x}" for x in dict.fromkeys(sorted(statuses))])
    rows = "".join(
      f"<tr><td>{fragments.link(directory, sources.out.parent, directory.name)}</td>"
      f"<td>{html.escape(status)}</td></tr>"
      for directory, status in runs
    )
    lists.append(
      f"<details><summary>{html.escape(group)}: {html.escape(counts).replace('_', '-')}</summary>"
      '<div class="scroll"><table><thead><tr><th scope="col">run directory</th>'
      f'<th scope="col">status</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )
  return lists


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


def _home(experiment: str, section: str) -> str:
  """The section of a document: the survival map has one of its own."""
  return "survival" if section == "beyond" and experiment.startswith("survival_") else section


def _picture_order(path: Path) -> tuple[int, str]:
  """Known ones first, as they are listed."""
  known = list(fragments.PICTURES)
  return (known.index(path.stem) if path.stem in known else len(known), path.name)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
  """A table of an experiment; None if it is missing or has no row yet. Raises ReportError."""
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
  if absent := [name for name in columns if name not in table]:
    raise ReportError(f"{path} has no column {absent[0]!r}; make it again")
  return table


def _section(name: str, heading: str, intro: str, content: Sequence[str]) -> str:
  about = f"<p>{intro}</p>" if intro else ""
  return f'<section id="{name}"><h2>{heading}</h2>{about}\n' + "\n".join(content) + "\n</section>"


def _lines(absent: Sequence[tuple[str, str]]) -> str:
  rows = [f"<li>{html.escape(x)}: <code>{html.escape(y)}</code></li>" for x, y in absent]
  return f"<ul>{''.join(rows)}</ul>"


def _first_screen(found: tuple[str, Verdict] | None, sources: Sources) -> str:
  lead = f'<p class="lead">{LEAD}</p>'
  if found is None:
    command = f"make table2 DATA={sources.data}"
    return (
      f"{lead}\n<p>There is no verdict yet, because no Table 2 is finished: "
      f"<code>{html.escape(command)}</code></p>"
    )
  _, said = found
  facts = [
    ("What was compared", said.compared),
    ("What survived", said.survived),
    ("What won", said.won),
    ("How sure that is", said.sure),
  ]
  models = [
    f'<div class="model {each.state}">'
    f"<h3>{html.escape(each.model)}</h3><strong>{html.escape(each.heading)}</strong>"
    f"<dl>{''.join(map(_line, each.lines))}</dl></div>"
    for each in said.models
  ]
  listed = "".join(f"<div><dt>{x}</dt><dd>{_prose(y)}</dd></div>" for x, y in facts)
  return (
    f'{lead}\n<dl class="facts">{listed}</dl>\n<div class="models">{"".join(models)}</div>\n'
    '<details class="reading"><summary>How to read this</summary>'
    f"<p>{_prose(said.reading)}</p></details>"
  )


def _line(line: Line) -> str:
  return f"<div><dt>{html.escape(line.figure)}</dt><dd>{_prose(line.text)}</dd></div>"


def _prose(text: str) -> str:
  """With ± on the line of its number."""
  return html.escape(text).replace("± ", "±&nbsp;").replace(" %", "&nbsp;%")
