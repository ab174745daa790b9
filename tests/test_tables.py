"""Table 2: what a cell says, what is underlined, and that all formats say the same."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown as in_html
import numpy as np
import pandas as pd
import pytest

from ranking.sweeps import results
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method, Trial
from ranking.sweeps.tables import rendering, table2
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, p_text
from ranking.sweeps.tables.outcomes import cost
from tests.test_sweep_results import finished, hold

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
LAMB = Method("lamb", thresholds=[{"Lamb.multiplier": [0.1]}])
COLUMNS: dict[str, list[str | Method]] = {"Naive": ["naive"], "GC": [GC], "LAMB": [LAMB]}
SEARCH = Search("t", ["small"], COLUMNS, learning_rate=0.1)
RANDOM = np.random.default_rng(0)
End = tuple[Any, Any, str]  # AUC, RMSE, status


def outcome(trial: Trial, auc: Any, rmse: Any, status: str = "ok") -> dict[str, Any]:
  entries = finished(trial, auc, status=status, command=f"train --run={trial.name} <'a|b'>")
  entries["metrics"]["seconds"]["rmse"] = rmse
  entries["metrics"]["like"] = {**entries["metrics"]["click"], "auc": 0.6}
  return entries


def table_of(
  folder: Path, repeats: Mapping[str, Sequence[End]], search: Search = SEARCH
) -> pd.DataFrame:
  """Results of a search whose first candidates win, and of their repeats, by column."""
  for model in search.models:
    for column in search.columns:
      settings = search.settings(model, column)
      for k, trial in enumerate(settings):
        if not (folder / trial.name).exists():
          status = "diverged" if column == "Naive" else "ok"
          hold(folder, trial, result=outcome(trial, 0.7 - k / 100, 1.5, status))
      ends = repeats.get(column, [])
      for trial, end in zip(search.repeats_of(settings[0]), ends, strict=False):
        hold(folder, trial, result=outcome(trial, *end))
  return results.read([folder])


def texts(table: Table) -> dict[str, list[str]]:
  """Row name → texts of its columns; a name is that of the model and the figure."""
  return {" ".join(e.text for e in row[:2]): [e.text for e in row[2:]] for row in table.rows}


def styles(table: Table) -> dict[str, list[str]]:
  return {" ".join(e.text for e in row[:2]): [e.style for e in row[2:]] for row in table.rows}


GOOD = [(0.71, 1.50, "ok"), (0.72, 1.40, "ok"), (0.74, 1.30, "micro_diverged")]
WORSE = [(0.70, 1.60, "ok"), (0.71, 1.50, "ok"), (0.72, 1.40, "ok")]
LOST = [(0.55, 9.0, "diverged"), (0.52, 8.0, "diverged"), (0.51, 7.0, "diverged")]


def test_a_cell_is_the_mean_and_deviation_of_the_repeats_alone(tmp_path: Path):
  aucs, rmses = RANDOM.uniform(0.6, 0.8, 3), RANDOM.uniform(1, 2, 3)
  ends = [(auc, rmse, "ok") for auc, rmse in zip(aucs, rmses, strict=True)]
  document = table2.table2(SEARCH, table_of(tmp_path, {"Naive": LOST, "GC": ends, "LAMB": WORSE}))
  rows = texts(document.tables[0])
  auc, deviation = 100 * np.mean(aucs), 100 * np.std(aucs, ddof=1)
  assert rows["small click AUC (%) ↑"][1] == f"{auc:.2f} ± {deviation:.2f}"
  rmse, deviation = np.mean(rmses), np.std(rmses, ddof=1)
  assert rows["small seconds RMSE ↓"][1] == f"{rmse:.3f} ± {deviation:.3f}"
  figure = document.figures.query("column == 'GC' and task == 'click'").iloc[0]
  assert figure["mean"] == pytest.approx(np.mean(aucs), rel=1e-15)
  assert figure["deviation"] == pytest.approx(np.std(aucs, ddof=1), rel=1e-15)


def test_the_best_of_each_row_is_underlined_and_the_setting_told(tmp_path: Path):
  table = table2.table2(
    SEARCH, table_of(tmp_path, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE})
  ).tables[0]
  assert texts(table) == {
    "small click AUC (%) ↑": ["diverged (3 of 3)", "72.33 ± 1.53", "71.00 ± 1.00"],
    "small seconds RMSE ↓": ["diverged (3 of 3)", "1.400 ± 0.100", "1.500 ± 0.100"],
    "small best threshold": ["–", "0.1", "0.1"],
    "small best learning rate": ["–", "1x", "1x"],
  }
  assert styles(table)["small click AUC (%) ↑"] == ["remark", "best", "plain"]
  assert styles(table)["small seconds RMSE ↓"] == ["remark", "best", "plain"]


def test_what_prints_alike_is_equally_good(tmp_path: Path):
  a, b = [(0.72001, 1.4, "ok")] * 3, [(0.72004, 1.4004, "ok")] * 3
  table = table2.table2(SEARCH, table_of(tmp_path, {"GC": a, "LAMB": b})).tables[0]
  assert styles(table)["small click AUC (%) ↑"][1:] == ["best", "best"]
  assert styles(table)["small seconds RMSE ↓"][1:] == ["best", "best"]


def test_the_commits_of_runs_are_short_and_a_dirty_one_says_so(tmp_path: Path):
  hold(tmp_path, SEARCH.trials()[0], result=outcome(SEARCH.trials()[0], 0.7, 1.5))
  run = results.read([tmp_path])[:1]

  def said(*names: str | None) -> str:
    rows = [run.assign(trial=str(k), git_commit=name) for k, name in enumerate(names)]
    return cost(pd.concat(rows)).partition("added up over runs")[2]

  assert said("a" * 40, "a" * 40, "b" * 40 + "-dirty") == "; commits aaaaaaaaa, bbbbbbbbb-dirty."
  assert said("a" * 40, "") == "; commit aaaaaaaaa."
  assert said("") == "."


def test_no_p_value_is_shown_as_zero():
  assert [p_text(p) for p in (0.0, 4e-4, 6e-4, 0.05, math.nan)] == [
    *("< 0.001", "< 0.001", "0.001", "0.050", NOTHING)
  ]


def test_each_model_has_a_best_of_its_own(tmp_path: Path):
  search = Search("t", ["small", "large"], {"GC": [GC]})
  table = table2.table2(search, table_of(tmp_path, {"GC": GOOD}, search)).tables[0]
  assert [row[0].text for row in table.rows if row[2].style == "best"] == [
    *("small", "small", "large", "large")
  ]


def test_one_diverged_repeat_makes_the_cell_diverged_whatever_the_others_reached(tmp_path: Path):
  ends = [(0.99, 0.1, "ok"), (0.99, 0.1, "diverged"), (0.99, 0.1, "ok")]
  document = table2.table2(SEARCH, table_of(tmp_path, {"Naive": LOST, "GC": ends, "LAMB": WORSE}))
  assert texts(document.tables[0])["small click AUC (%) ↑"][1:] == [
    "diverged (1 of 3)",
    "71.00 ± 1.00",
  ]
  assert styles(document.tables[0])["small click AUC (%) ↑"][1:] == ["remark", "best"]
  assert texts(document.tables[0])["small best learning rate"][1] == "1x"  # the search survived
  assert document.figures.query("column == 'GC'")["mean"].isna().all()


@pytest.mark.parametrize("auc", ["nan", "inf", None])
def test_a_figure_that_is_not_finite_is_said_and_is_never_the_best(auc: Any, tmp_path: Path):
  ends = [(0.99, 1.4, "ok"), (auc, 1.4, "ok"), (0.99, 1.4, "ok")]
  table = table2.table2(SEARCH, table_of(tmp_path, {"GC": ends, "LAMB": WORSE})).tables[0]
  assert texts(table)["small click AUC (%) ↑"][1] == "not finite"
  assert styles(table)["small click AUC (%) ↑"][1:] == ["remark", "best"]
  assert texts(table)["small seconds RMSE ↓"][1] == "1.400 ± 0.000"


def test_a_column_that_lacks_a_task_says_so_and_the_others_have_it(tmp_path: Path):
  table = table_of(tmp_path, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE})
  table = table[(table.method != "gc") | (table.task != "like")]
  (row,) = [
    cells
    for name, cells in texts(table2.table2(SEARCH, table).tables[1]).items()
    if name.startswith("small like")
  ]
  assert row == ["diverged (3 of 3)", "no such task", "60.00 ± 0.00"]


def test_what_is_not_finished_has_no_figure_yet(tmp_path: Path):
  search = Search("t", ["small"], {"GC": [GC], "LAMB": [LAMB]})
  hold(tmp_path, search.settings("small", "LAMB")[1])  # began
  table = table2.table2(search, table_of(tmp_path, {"GC": GOOD[:2]}, search)).tables[0]
  assert texts(table) == {
    "small click AUC (%) ↑": ["2 of 3 runs", "1 of 2 runs of the search"],
    "small seconds RMSE ↓": ["2 of 3 runs", "1 of 2 runs of the search"],
    "small best threshold": ["0.1", "–"],
    "small best learning rate": ["1x", "–"],
  }


def test_a_failed_repeat_leaves_its_cell_open(tmp_path: Path):
  failed = SEARCH.repeats_of(SEARCH.settings("small", "GC")[0])[2]
  hold(tmp_path, failed, failed={"error": "it broke", "exit_code": 1})
  table = table2.table2(SEARCH, table_of(tmp_path, {"GC": GOOD[:2], "LAMB": WORSE})).tables[0]
  assert texts(table)["small click AUC (%) ↑"][1] == "2 of 3 runs"


def test_a_table_of_nothing_finished_is_still_a_table(tmp_path: Path):
  for trial in SEARCH.trials():
    hold(tmp_path, trial)
  document = table2.table2(SEARCH, results.read([tmp_path]))
  assert document.paragraphs[0] == "No run is finished."
  assert texts(document.tables[0])["small best learning rate"] == ["–"] * 3
  for path in rendering.write(document, tmp_path / "out" / "table2"):
    assert path.is_file()


def test_one_seed_has_no_deviation(tmp_path: Path):
  search = Search("t", ["small"], {"GC": [GC]}, seeds=[1])
  table = table2.table2(search, table_of(tmp_path, {"GC": GOOD}, search)).tables[0]
  assert texts(table)["small click AUC (%) ↑"] == ["71.00"]


def test_the_appendix_has_all_tasks_the_whole_search_and_every_command(tmp_path: Path):
  results_of = table_of(tmp_path, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE})
  document = table2.table2(SEARCH, results_of)
  _, tasks, search, runs = document.tables
  assert list(texts(tasks)) == [
    *("small click AUC (%) ↑", "small seconds RMSE ↓", "small like AUC (%) ↑")
  ]
  assert [[entry.text for entry in row[1:]] for row in search.rows] == [
    ["naive", "default", "1x", "diverged", "Naive"],
    ["naive", "default", "2x", "diverged", ""],
    ["gc", "threshold=0.1", "1x", "70.00", "GC"],
    ["gc", "threshold=0.1", "2x", "69.00", ""],
    ["gc", "threshold=0.01", "1x", "68.00", ""],
    ["gc", "threshold=0.01", "2x", "67.00", ""],
    ["lamb", "multiplier=0.1", "1x", "70.00", "LAMB"],
    ["lamb", "multiplier=0.1", "2x", "69.00", ""],
  ]
  names = [trial.name for trial in SEARCH.repeats(results_of) if trial]
  assert [row[-1].text for row in runs.rows] == [f"train --run={name} <'a|b'>" for name in names]
  hints = "\n".join(entry.hint for entry in document.tables[0].rows[0][2:])
  assert hints.splitlines() == [row[-1].text for row in runs.rows]


def test_the_page_says_where_its_figures_come_from(tmp_path: Path):
  results_of = table_of(tmp_path, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE})
  assert table2.table2(SEARCH, results_of).paragraphs[0] == (
    "synthetic at proxy scale, day N = 2026-01-18, base learning rate 0.1. "
    "17 runs, 12 minutes of training, added up over runs; commit abc."  # (8 + 9) · 42.5 s
  )


def test_a_search_on_an_earlier_day_is_told_apart_from_the_figures(tmp_path: Path):
  search = dataclasses.replace(SEARCH, search_days_earlier=3)
  for trial in search.trials():  # of the same names as those that table_of would make
    early = {**outcome(trial, 0.6, 1.5, "ok"), "eval_day": "2026-01-15"}
    hold(tmp_path, trial, result=early)
  results_of = table_of(tmp_path, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE}, search)
  first, choice, _ = table2.table2(search, results_of).paragraphs
  assert first == (
    "synthetic at proxy scale, day N = 2026-01-18, base learning rate 0.1. "
    "9 runs, 6 minutes of training, added up over runs; commit abc. "
    "The search before them: 8 runs, 6 minutes of training."
  )
  assert "on day N of the log without its last 3 days" in choice
  assert choice.endswith("3 days earlier, by rows that no figure is of.")


def test_columns_that_choose_the_same_setting_show_the_same(tmp_path: Path):
  search = Search("t", ["small"], {"A": [LAMB], "B": [LAMB, "naive"]})
  table = table2.table2(search, table_of(tmp_path, {"A": GOOD}, search)).tables[0]
  assert texts(table)["small click AUC (%) ↑"] == ["72.33 ± 1.53"] * 2


class Page(HTMLParser):
  """Cells of every table, whether an <u> or <em> is in one, and the tags that are open."""

  def __init__(self, text: str):
    super().__init__()
    self.tags: list[str] = []
    self.tables: list[list[list[str]]] = []
    self.open: list[str] = []
    self.hints: list[str] = []
    self.feed(text)

  def handle_starttag(self, tag: str, attrs: Any) -> None:
    if tag not in ("img", "meta"):  # which nothing ends
      self.open.append(tag)
    self.tags.append(tag)
    self.hints += [value for name, value in attrs if name == "title"]
    if tag == "table":
      self.tables.append([])
    if tag == "tr":
      self.tables[-1].append([])
    if tag in ("td", "th"):
      self.tables[-1][-1].append("")

  def handle_endtag(self, tag: str) -> None:
    assert self.open.pop() == tag

  def handle_data(self, data: str) -> None:
    marks = {"u": "<u>{}</u>", "em": "*{}*", "code": "`{}`"}
    if {"td", "th"} & set(self.open):
      self.tables[-1][-1][-1] += marks.get(self.open[-1], "{}").format(data)


def in_markdown(text: str) -> list[list[list[str]]]:
  """Cells of every table."""
  found = [re.findall(r"^\|.*\|$", part, re.MULTILINE) for part in text.split("\n## ")[1:]]
  cells = [
    [
      [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
      for line in lines
    ]
    for lines in found
  ]
  return [[table[0], *table[2:]] for table in cells]


def document_of(folder: Path) -> Document:
  return table2.table2(SEARCH, table_of(folder, {"Naive": LOST, "GC": GOOD, "LAMB": WORSE}))


def test_markdown_html_and_csv_say_the_same(tmp_path: Path):
  document = document_of(tmp_path / "2")
  md, page, csv = rendering.write(document, tmp_path / "out" / "table")
  parsed = Page(page.read_text())
  assert parsed.open == []
  assert parsed.tables == in_markdown(md.read_text())
  assert len(parsed.tables) == len(document.tables)
  read = pd.read_csv(csv, float_precision="round_trip")
  pd.testing.assert_frame_equal(read, document.figures, check_dtype=False)
  for table in document.tables:
    assert all(len(row) == len(table.header) for row in table.rows)
  for figure in read[read.outcome == "ok"].to_dict("records"):
    unit, digits = (100, 2) if figure["measure"] == "auc" else (1, 3)
    shown = f"{unit * figure['mean']:.{digits}f} ± {unit * figure['deviation']:.{digits}f}"
    assert (f"<u>{shown}</u>" if figure["best"] else f"| {shown} |") in md.read_text()


def test_the_page_fragment_needs_nothing_from_elsewhere_and_styles_nothing_else(tmp_path: Path):
  text = rendering.as_html(document_of(tmp_path))
  assert not re.search(r"src=|href=|url\(|@import|<script|http", text)
  style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
  selectors = [part for rule in re.findall(r"([^{}]+){", style) for part in rule.split(",")]
  assert all(selector.strip().startswith(".ranking-table ") for selector in selectors)
  assert text.startswith('<section class="ranking-table">')
  assert text.endswith("</section>\n")


EVIL = "<script>a|b</script> &lt; [c](javascript:d)\n`e`"


def test_what_would_be_html_is_text_in_every_place_of_both_formats():
  entries = [Entry(EVIL), Entry(EVIL, "best"), Entry(EVIL, "remark"), Entry(EVIL, "code")]
  table = Table(EVIL, [EVIL] * 4, [entries])
  document = Document(EVIL, [EVIL], [table], pd.DataFrame())
  page = Page(rendering.as_html(document))
  assert page.tables == [
    [[EVIL] * 4, [EVIL, f"<u>{EVIL}</u>", f"*{EVIL}*", f"`{EVIL}`"]],
  ]
  assert "script" not in page.tags
  text = rendering.markdown(document)
  shown = Page(in_html.markdown(text, extensions=["tables"]))
  assert not {"script", "a"} & set(shown.tags)
  assert re.search(r"(?<!`)<script", re.sub(r"``.*?``", "", text)) is None
  assert len(in_markdown(text)[0][1]) == 4  # no pipe ends a cell


def test_an_ordinary_sign_stays_as_it_is():
  assert rendering.inline("< 0.001, a & b, ≤ 2 [x]") == "< 0.001, a & b, ≤ 2 [x]"


def test_a_hint_and_a_text_are_escaped(tmp_path: Path):
  entry = Entry("a<b>|c", "code", "x \"y\" & '<z>'\nsecond")
  document = Document("t & u", ["1 < 2"], [Table("c", ["h"], [[entry]])], pd.DataFrame())
  page = Page(rendering.as_html(document))
  assert page.tables == [[["h"], ["`a<b>|c`"]]]
  assert page.hints == [entry.hint]
  assert "| `a<b>\\|c` |" in rendering.markdown(document)
  assert "t &amp; u" in rendering.as_html(document)
