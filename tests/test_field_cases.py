"""Small logs of the shapes that people bring, through the commands that they would type.

Each is a made-up log like one that went wrong in silence once; docs/field_cases.md shows what is
printed, and says why it is right.
"""

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.cli import main
from ranking.data.store import DayStore

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "field_cases.md"
# As people wrote them when settings had the names of their modules before them.
DESCRIPTION = """from __gin__ import dynamic_registration

from ranking.data.sources import table
from ranking.training import loop

loop.train_and_evaluate.source = @table.Table()
table.Table.name = "case"
table.Table.time = "t"
table.Table.categorical = ["u", "i"]
table.Table.entities = ["u", "i"]
loop.train_and_evaluate.batch_size = 256
loop.train_and_evaluate.learning_rate = 0.05
"""
HEADER = ["t", "u", "i", "click"]


def rows(days: int = 3, of_day: int = 40) -> list[list[Any]]:
  """Rows of t, u, i and click, in order of time from 2026-03-01 on."""
  random = np.random.default_rng(0)
  start = pd.Timestamp("2026-03-01")
  step = pd.Timedelta(days=1) / of_day
  return [
    [
      f"{start + k * step:%Y-%m-%dT%H:%M:%SZ}",
      *random.integers(0, 9, 2),
      int(random.random() < 0.4),
    ]
    for k in range(days * of_day)
  ]


def written(lines: Sequence[Sequence[Any]], separator: str = ",") -> str:
  return "".join(separator.join(map(str, line)) + "\n" for line in lines)


class Case:
  """A log and its description, and the commands on them."""

  def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]):
    self.folder, self._capsys = folder, capsys

  def prepare(self, raw: str, *settings: str, command: str = "prepare") -> tuple[int, str]:
    """The exit code of `ranking prepare`, and all that it printed."""
    described = [f"table.Table.{setting}\n" for setting in settings]
    if not any(setting.startswith("binary") for setting in settings):
      described.append('table.Table.binary = ["click"]\n')
    (self.folder / "log.gin").write_text(DESCRIPTION + "".join(described))
    store = f'train_and_evaluate.store_directory="{self.folder}/store"'
    words = [f"--data={self.folder}/log.gin", f"--raw={self.folder}/{raw}", f"--set={store}"]
    if command == "train":
      words += ["--config=small_naive.gin", "--scale=proxy"]
    code = main([command, *words])
    printed = self._capsys.readouterr()
    self.printed = printed.out + printed.err
    return code, self.printed

  def train(self, raw: str, run: str) -> tuple[int, str]:
    """The same of `ranking train`, on the log as it is described by now."""
    store = f'train_and_evaluate.store_directory="{self.folder}/store"'
    words = [f"--data={self.folder}/log.gin", f"--raw={self.folder}/{raw}", f"--set={store}"]
    words += ["--config=small_naive.gin", "--scale=proxy", f"--run={self.folder}/{run}"]
    code = main(["train", *words])
    printed = self._capsys.readouterr()
    return code, printed.out + printed.err

  @property
  def store(self) -> DayStore:
    """The store that was prepared."""
    return DayStore(Path(self.printed.strip().splitlines()[-1]))

  def labels(self, task: str = "click") -> list[float]:
    """The labels of a task, of all rows."""
    place = [each.name for each in self.store.schema.tasks].index(task)
    days = [*self.store.train_days, self.store.eval_day]
    return np.concatenate([day.labels[:, place] for day in days]).tolist()


@pytest.fixture
def case(tmp_path: Path, own_folder: None, capsys: pytest.CaptureFixture[str]) -> Case:
  return Case(tmp_path, capsys)


CLICKS = [float(row[3]) for row in rows()]


def test_impressions_of_the_same_hour_are_kept_unless_they_are_asked_to_be_unique(
  case: Case,
) -> None:
  lines = [[k, f"{row[0][:13]}:00:00Z", row[1] % 2, 0, 0] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([["id", *HEADER], *lines, lines[-1]]))
  _, printed = case.prepare("log.csv")
  assert (len(case.labels()), "dropped" in printed) == (121, False)
  _, printed = case.prepare("log.csv", 'unique_by = ["id"]')
  assert len(case.labels()) == 120
  assert "dropped: rows that repeat an earlier one in id: 1" in printed
  case.prepare("log.csv", 'unique_by = ["t", "u", "i", "click"]')
  assert len(case.labels()) < 120


@pytest.mark.parametrize(
  ("separator", "setting"), [("|", '{"b": "|"}'), (";", '{"b": ";"}'), (" ", '{"b": " "}')]
)
def test_a_bag_of_another_separator_is_read_by_it_or_warned_of(
  case: Case, separator: str, setting: str
) -> None:
  lists = [["a", "b"], ["b", "c"], ["c", "a", "b"], ["a", "c"]]
  lines = [[*row, separator.join(lists[k % 4])] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([[*HEADER, "b"], *lines]))
  _, printed = case.prepare("log.csv", 'bags = ["b"]')
  assert re.search(
    rf"warning: bag b: its values hold {re.escape(repr(separator))} and no ','.* Table\.bags = ",
    printed,
  )
  _, printed = case.prepare("log.csv", f"bags = {setting}")
  assert "warning" not in printed
  (bag,) = case.store.schema.of_kind("bag")
  assert (bag.vocabulary_size, bag.length) == (2 + 3, 3)


@pytest.mark.parametrize("form", ["""["b", "c"]""", "['b', 'c']"])
def test_a_bag_of_json_or_python_lists_is_read_as_lists_and_said(case: Case, form: str) -> None:
  quoted = form.replace('"', '""')
  lines = [[*row, f'"{quoted}"'] for row in rows()]
  (case.folder / "log.csv").write_text(written([[*HEADER, "b"], *lines]))
  for setting in ('["b"]', '{"b": ","}'):
    _, printed = case.prepare("log.csv", f"bags = {setting}")
    assert "read as lists: values of b such as ['a', 'b']: 120" in printed
    (bag,) = case.store.schema.of_kind("bag")
    assert (bag.vocabulary_size, bag.length) == (2 + 2, 2)


def test_a_clock_that_was_wrong_does_not_decide_day_n(case: Case) -> None:
  odd = [["2099-01-01T00:00:00Z", 1, 1, 1], ["1970-01-01T00:00:00Z", 1, 1, 1]]
  (case.folder / "log.csv").write_text(written([HEADER, *odd, *rows()]))
  _, printed = case.prepare("log.csv")
  assert case.store.schema.day_names[-1] == "2026-03-03"
  assert re.search(r"dropped: rows of 1 days? after day N, .*: 1\n", printed)
  assert "warning: 1 of 121 rows are of 1970-01-01 or before, 56.2 years before all" in printed
  _, printed = case.prepare("log.csv", 'since = "2026-03-01"', 'until = "2026-03-03"')
  assert "dropped: rows before Table.since: 1" in printed
  assert "dropped: rows after Table.until: 1" in printed
  assert "warning" not in printed


def test_a_folder_is_read_to_the_bottom_in_all_its_formats(case: Case) -> None:
  folder = case.folder / "log"
  (folder / "dt=2026-03-03").mkdir(parents=True)
  parts = [rows()[k::4] for k in range(4)]
  (folder / "a.csv").write_text(written([HEADER, *parts[0]]))
  (folder / "B.CSV").write_text(written([HEADER, *parts[1]]))
  (folder / "c.csv.gz").write_bytes(gzip.compress(written([HEADER, *parts[2]]).encode()))
  frame = pd.DataFrame(parts[3], columns=HEADER)
  frame.to_parquet(folder / "dt=2026-03-03" / "part-0.parquet")
  (folder / ".~lock.a.csv#").write_text("x")
  _, printed = case.prepare("log")
  assert case.labels() == CLICKS
  assert "not read: .~lock.a.csv#" in printed
  for said in (
    *("read 2 files (B.CSV, a.csv): text, commas", "read c.csv.gz: text, commas, .gz"),
    "read dt=2026-03-03/part-0.parquet: Parquet",
  ):
    assert said in printed


@pytest.mark.parametrize("history", [0, 2])
def test_a_column_named_as_a_feature_that_is_made_is_told_apart(case: Case, history: int) -> None:
  lines = [[*row, k, '"a,b"'] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([[*HEADER, "u_count", "recent_i"], *lines]))
  lookback = f"lookback = @Lookback()\nLookback.history = {history}"
  case.prepare(
    "log.csv",
    'bags = ["recent_i"]',
    f'dense = ["u_count"]\nloop.train_and_evaluate.{lookback}',
  )
  names = [feature.name for feature in case.store.schema.features]
  assert len(set(names)) == len(names)
  assert {"u_count", "u_count_as_of_now", "recent_i"} <= set(names)
  assert ("recent_i_as_of_now" in names) == (history > 0)


def test_a_task_without_labels_or_positives_in_the_training_days_is_warned_of(case: Case) -> None:
  lines = [[*row, "" if k < 80 else k % 2, 0] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([[*HEADER, "survey", "never"], *lines]))
  _, printed = case.prepare("log.csv", 'binary = ["click", "survey", "never"]')
  assert "warning: task survey has no label in the training days, 40 on day N: nothing" in printed
  assert "warning: task never is never positive in the training days: nothing can be" in printed
  assert "warning: task click" not in printed


LEAK = (
  r"warning: feature nonclk alone predicts click on 2026-03-\d\d almost perfectly \(AUC 1.000\)"
)


@pytest.fixture
def leaking(case: Case) -> Case:
  """A log of 200 rows a day with the opposite of its label beside it."""
  lines = [[*row, 1 - row[3]] for row in rows(of_day=200)]
  (case.folder / "log.csv").write_text(written([[*HEADER, "nonclk"], *lines]))
  return case


def test_a_column_that_gives_the_label_away_is_warned_of_until_it_is_left_out(
  leaking: Case,
) -> None:
  code, printed = leaking.prepare("log.csv", 'dense = ["nonclk"]')
  assert code == 0
  assert len(re.findall(LEAK, printed)) == 1
  store = leaking.store
  assert re.search(LEAK.removeprefix("warning: "), (store.directory / "summary.md").read_text())
  few = "loop.train_and_evaluate.max_steps = 1\n"
  without = "Inputs.without_features = ['nonclk']\n"
  for lines, warnings in ((few, 1), (few + without, 0)):
    described = leaking.folder / "log.gin"
    described.write_text(described.read_text() + lines)
    code, printed = leaking.train("log.csv", f"run{warnings}")
    assert code == 0, printed
    assert len(re.findall(LEAK, printed)) == warnings
    assert f"how it was read: {store.directory}/summary.md" in printed


def test_a_task_that_the_training_days_could_not_teach_has_no_auc(case: Case) -> None:
  lines = [[*row, k % 2 if k >= 80 else 0] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([[*HEADER, "never"], *lines]))
  case.prepare("log.csv", 'binary = ["click", "never"]')
  code, printed = case.train("log.csv", "run")
  assert code == 0, printed
  metrics = json.loads((case.folder / "run" / "result.json").read_text())["metrics"]
  assert (metrics["never"]["auc"], metrics["never"]["positives"]) == (None, 20)
  assert metrics["click"]["auc"] is not None


def test_a_calm_run_on_rare_positives_has_not_diverged_and_says_how_few_they_are(
  case: Case,
) -> None:
  random, lines = np.random.default_rng(0), rows(of_day=800)
  rare = [[*row[:3], int(random.random() < 0.006)] for row in lines]
  (case.folder / "log.csv").write_text(written([HEADER, *rare]))
  case.prepare("log.csv")
  code, printed = case.train("log.csv", "run")
  assert code == 0, printed
  result = json.loads((case.folder / "run" / "result.json").read_text())
  assert result["status"] == "ok"  # 6 steps are too few to tell
  positives = sum(row[3] for row in rare[: 6 * 256])
  assert re.fullmatch(
    r"(in )?6 steps with \d+ of 1,536 labels on the rarer side .*", result["reason"]
  )
  assert positives < 20
  assert result["verdicts"]["click"]["status"] == "ok"
  assert "on the rarer side" in " ".join(printed.split())


def test_a_log_of_more_columns_than_the_model_has_is_refused_before_it_is_read(case: Case) -> None:
  names = [f"f{k}" for k in range(300)]
  (case.folder / "log.csv").write_text(written([[*HEADER, *names], ["not", "read"]]))
  code, printed = case.prepare("log.csv", f"dense = {names}", command="train")
  assert code == 2
  assert re.search(
    r"case has 304 dense features and 2 embeddings, and the input 206 columns at "
    r"Model\.width_scale 0\.125; make Inputs\.input_width 2444 or more",
    printed,
  )
  assert not list(case.folder.rglob("*.npy"))


@pytest.mark.parametrize(
  ("name", "lines", "settings"),
  [
    ("semicolon.csv", written([HEADER, *rows()], ";"), []),
    ("bars.txt", written([HEADER, *rows()], "|"), []),
    ("films.dat", written([HEADER, *rows()], "::"), []),
    ("no_header.dat", written(rows()), ['names = ["t", "u", "i", "click"]']),
    (
      "typed.tsv",
      written([["t:time", "u:token", "i:token", "click:float"], *rows()], "\t"),
      [],
    ),
    (
      "us_dates.csv",
      written(
        [HEADER, *([f"{pd.Timestamp(row[0]):%m/%d/%Y %I:%M %p}", *row[1:]] for row in rows())]
      ),
      ['time_format = "%m/%d/%Y %I:%M %p"'],
    ),
    (
      "hours.csv",
      written([HEADER, *([f"{pd.Timestamp(row[0]):%y%m%d%H}", *row[1:]] for row in rows())]),
      ['time_format = "%y%m%d%H"'],
    ),
    (
      "seconds.csv",
      written([HEADER, *([int(pd.Timestamp(r[0]).timestamp()), *r[1:]] for r in rows())]),
      ['time_unit = "s"'],
    ),
    (
      "events.csv",
      written([[*HEADER[:3], "event"], *([*row[:3], ["view", "buy"][row[3]]] for row in rows())]),
      ['binary = {"click": "event == \'buy\'"}'],
    ),
    (
      "words.csv",
      written([HEADER, *([*row[:3], ["No", "Yes"][row[3]]] for row in rows())]),
      [],
    ),
    (
      "index.csv",
      written([["", *HEADER], *([k, *row] for k, row in enumerate(rows()))]),
      [],
    ),
  ],
)
def test_a_format_takes_no_script_but_a_line_of_the_description_at_most(
  case: Case, name: str, lines: str, settings: list[str]
) -> None:
  (case.folder / name).write_text(lines)
  code, _ = case.prepare(name, *settings)
  assert code == 0
  assert case.labels() == CLICKS
  assert case.store.schema.day_names == ("2026-03-01", "2026-03-02", "2026-03-03")


def damaged(column: int, value: str) -> list[list[Any]]:
  """The rows, and the header, with another value on line 41."""
  lines: list[list[Any]] = [HEADER, *rows()]
  lines[40] = [*lines[40][:column], value, *lines[40][column + 1 :]]
  return lines


DAMAGE: dict[str, tuple[list[list[Any]], list[str], str, str]] = {
  "short_row": (
    [*damaged(3, "1")[:40], damaged(3, "1")[40][:2], *damaged(3, "1")[41:]],
    [],
    "line 41 has 2 fields where there must be 4; mend it, or set Table.on_bad_row",
    "dropped: lines with too few or too many fields: 1",
  ),
  "open_quote": (
    damaged(1, '"3'),
    [],
    'line 41 opens a quote (") that is not closed, or has one inside a field; mend it',
    "dropped: lines with an open or stray quote: 1",
  ),
  "nul": (
    damaged(3, "1\0"),
    [],
    "line 41 holds a NUL character; mend it",
    "dropped: lines with a NUL character: 1",
  ),
  "huge_number": (
    [[*HEADER, "x"], *([*row, "1e308" if k == 39 else 0.5] for k, row in enumerate(rows()))],
    ['dense = ["x"]'],
    "line 41 column x holds '1e308' where a number that float32 holds belongs; mend it",
    "dropped: rows whose x is not a number that float32 holds: 1",
  ),
  "text_for_a_number": (
    [[*HEADER, "x"], *([*row, "cheap" if k == 39 else 0.5] for k, row in enumerate(rows()))],
    ['dense = ["x"]'],
    "line 41 column x holds 'cheap' where a number belongs; mend it, name it in Table.missing if",
    "dropped: rows whose x is not a number: 1",
  ),
  "below_a_logarithm": (
    [[*HEADER, "x"], *([*row, -1 if k == 39 else 0.5] for k, row in enumerate(rows()))],
    ['log_dense = ["x"]'],
    "line 41 column x holds '-1' where a number of 0 or more belongs; its logarithm is taken: mend",
    "dropped: rows whose x is not a number of 0 or more: 1",
  ),
  "mixed_booleans": (
    [HEADER, *([*r[:3], r[3] if k == 39 else bool(r[3])] for k, r in enumerate(rows()))],
    [],
    "line 41 column click holds '0' where the other rows have false and true; mend it, or set",
    "dropped: rows whose click is not false or true: 1",
  ),
  "minus_one": (
    damaged(3, "-1"),
    [],
    "line 41 column click holds '-1' where 0 or 1 (or true and false, yes and no) belongs; mend it",
    "dropped: rows whose click is not 0 or 1 (or true and false, yes and no): 1",
  ),
  "no_time": (
    damaged(0, ""),
    [],
    "line 41 column t is empty where a date belongs; mend it, or set Table.on_bad_row",
    "dropped: rows whose t is not a date: 1",
  ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_an_error_with_its_place_or_dropped_and_counted(case: Case, name: str) -> None:
  lines, settings, error, count = DAMAGE[name]
  (case.folder / "log.csv").write_text(written(lines))
  code, printed = case.prepare("log.csv", *settings)
  assert code == 2
  assert f"{case.folder}/log.csv {error}" in printed
  code, printed = case.prepare("log.csv", *settings, 'on_bad_row = "drop"')
  assert code == 0
  assert f"{count}\n" in printed
  assert case.labels() == CLICKS[:39] + CLICKS[40:]


def test_the_page_shows_what_is_printed() -> None:
  page = PAGE.read_text()
  for name, (_, _, error, count) in DAMAGE.items():
    for printed in (error.partition(";")[0], count):
      assert printed.replace("'0'", "'1'") in page, name


def test_text_that_is_not_utf_8_is_named_or_read_as_what_it_is(case: Case) -> None:
  (case.folder / "log.csv").write_bytes(written(damaged(1, "Müller")).encode("latin-1"))
  code, printed = case.prepare("log.csv")
  assert code == 2
  assert "line 41 is no text in utf-8" in printed
  assert 'give Table.encoding, such as "latin-1"' in printed
  case.prepare("log.csv", 'encoding = "latin-1"')
  assert case.labels() == CLICKS
  case.prepare("log.csv", 'on_bad_row = "drop"')
  assert case.labels() == CLICKS[:39] + CLICKS[40:]


def test_a_country_called_na_is_one_unless_it_is_said_to_mean_missing(case: Case) -> None:
  lines = [[row[0], ["NA", "US", "DE"][k % 3], *row[2:]] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([HEADER, *lines]))
  case.prepare("log.csv", 'report_by = "u"')
  assert "NA" in case.store.schema.report_values
  _, printed = case.prepare("log.csv", 'report_by = "u"', 'missing = ["NA"]')
  assert "NA" not in case.store.schema.report_values
  assert "missing: values of u that Table.missing names: 40" in printed


def test_seconds_that_are_said_to_be_ms_are_refused_with_the_unit_that_fits(case: Case) -> None:
  lines = [[int(pd.Timestamp(row[0]).timestamp()), *row[1:]] for row in rows()]
  (case.folder / "log.csv").write_text(written([HEADER, *lines]))
  for setting, said in (
    ('time_unit = "ms"', 'would be in the year 1970; Table.time_unit = "s" makes it 2026-03-01'),
    ("time_is_local = True", 'Table.time_unit = "s" makes it 2026-03-01'),
  ):
    code, printed = case.prepare("log.csv", setting)
    assert code == 2
    assert said in printed


def test_values_that_are_filled_or_clipped_are_counted(case: Case) -> None:
  lines = [[*row, "" if k < 3 else 1000 if k == 50 else k % 7] for k, row in enumerate(rows())]
  (case.folder / "log.csv").write_text(written([[*HEADER, "x"], *lines]))
  _, printed = case.prepare("log.csv", 'dense = ["x"]')
  assert "filled with the mean of the training days: values of x 3\n" in printed
  assert "clipped at 5 standard deviations: values of x 1\n" in printed
  assert re.search(r"\| x \| dense \|.*\| 3 rows \(2.50%\) \| 1 rows \(0.83%\) \|\n", printed)
